//! `ferry agent` as a process: it starts, answers on its socket, refuses a second one, and ends on SIGTERM.

mod running;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use running::{configuration, ferry, start, text};

#[test]
fn a_socket_that_outlived_its_agent_is_taken_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configuration(directory.path());
    // As a child does that an agent was killed over: it listens, and answers nobody.
    let _silent = UnixListener::bind(directory.path().join("ferry.sock")).expect("listens");
    start(&config);
}

#[test]
fn it_serves_until_it_is_told_to_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configuration(directory.path());
    let socket = directory.path().join("ferry.sock").display().to_string();
    let mut agent = start(&config);

    let output = ferry(&["--socket", &socket, "--json", "version"]).output().expect("runs");
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(version["agent"]["host"], "kvm1", "{version}");
    let output = ferry(&["--socket", &socket, "list", "--all"]).output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "No domain is defined here.\n", "{}", text(&output));
    let output = ferry(&["--socket", &socket, "start", "web9"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));

    let output = ferry(&["agent", "--config", &config]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("another agent answers"), "{}", text(&output));

    let pid = agent.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("runs").success());
    assert_eq!(agent.0.wait().expect("waits").code(), Some(0));
    assert!(!Path::new(&socket).exists());
}

#[test]
fn a_wrong_configuration_is_shown() {
    let output = ferry(&["agent", "--config", "/nonexistent/agent.toml"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("/nonexistent/agent.toml"), "{}", text(&output));

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("agent.toml").display().to_string();
    std::fs::write(&path, "host = \"kvm1\"\ncolour = 1\n").expect("writes");
    let output = ferry(&["agent", "--config", &path]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("2 | colour = 1\n"), "{}", text(&output));

    let output = ferry(&["agent", "--log", "a=b=c"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

/// The status line and the body that the agent answers to a `POST /domains` with these bytes.
fn post(socket: &Path, body: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).expect("the agent listens");
    let head = format!(
        "POST /api/v1/domains HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the agent reads");
    // An agent that has read enough stops reading.
    drop(stream.write_all(body));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bodies_that_nobody_can_mean_are_refused_and_the_agent_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("ferry.sock");
    let _agent = start(&configuration(directory.path()));
    let check = |body: &[u8], status: &str, says: &str| {
        let answer = post(&socket, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        assert!(answer.contains(says), "{answer}");
    };
    check(&vec![b' '; 50 << 20], "413", "\"mend\":\"send at most 4194304 bytes\"");
    check(b"{\"xml\":\"<domain>\xff\xfe</domain>\"}", "400", "invalid unicode");
    check(&b"[".repeat(1 << 20), "422", "\"code\":\"request-invalid\"");
    check(b"{\"xml\":\"<!DOCTYPE d [<!ENTITY a 'b'>]><domain>&a;</domain>\"}", "422", "remove the <!DOCTYPE");
    let long = format!("{{\"xml\":\"{}\"}}", "<a>".repeat(1 << 20));
    check(long.as_bytes(), "422", "give a definition of at most");
    let output =
        ferry(&["--socket", socket.to_str().expect("UTF-8"), "list", "--all"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_file_that_is_no_definition_is_not_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("d.xml");
    let define = || {
        let output = ferry(&["define", file.to_str().expect("UTF-8")]).output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        text(&output)
    };
    std::fs::write(&file, vec![b'<'; 50 << 20]).expect("writes");
    assert!(define().contains("is longer than 4194304 bytes"), "{}", define());
    std::fs::write(&file, b"<domain>\xff</domain>").expect("writes");
    assert!(define().contains("is not UTF-8"), "{}", define());
}

#[test]
fn a_new_domain_that_does_not_start_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let _agent = start(&configuration(directory.path()));
    let socket = directory.path().join("ferry.sock").display().to_string();
    let images = directory.path().join("images");
    let refused = |words: &str, code: &str, says: &str| {
        let words = format!("create --name web1 --memory 256M --network none {words}");
        let words: Vec<&str> = words.split_whitespace().collect();
        let output = ferry(&["--socket", &socket, "--json"]).args(words).output().expect("runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(&format!("\"code\":\"{code}\"")) && said.contains(says), "{said}");
    };
    let files = || {
        let entries = std::fs::read_dir(images.join("new")).into_iter().flatten();
        entries.map(|entry| entry.expect("is listed").path()).collect::<Vec<_>>()
    };
    refused("--os amiga --disk size=1G", "system-unknown", "debian13");
    refused("--os debian13 --disk size=1G,bus=warp", "definition-invalid", "`warp`");
    refused("--os debian13 --disk /etc/web1.qcow2,size=1G", "path-not-allowed", "/etc/web1.qcow2");
    assert!(files().is_empty(), "an image was made before all was looked at: {:?}", files());

    // The installer is looked for when the domain is started: its image and its definition are there by then.
    let missing = format!("--os debian13 --disk size=1G --cdrom {}/none.iso", images.display());
    refused(&missing, "disk-unusable", "none.iso");
    assert!(images.join("new").exists(), "no image was made");
    assert!(files().is_empty(), "an image was left behind: {:?}", files());
    let output = ferry(&["--socket", &socket, "list", "--all"]).output().expect("runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "No domain is defined here.\n", "{}", text(&output));

    let taken = images.join("new/web1.qcow2");
    std::fs::write(&taken, "somebody's").expect("writes");
    refused("--os debian13 --disk size=1G", "image-exists", "web1.qcow2");
    assert_eq!(std::fs::read(&taken).expect("is there"), b"somebody's");
    // Of two disks the second is there: the first one goes again.
    refused(
        &format!("--disk {0}/a.raw,size=1G --disk {0}/new/web1.qcow2,size=1G", images.display()),
        "image-exists",
        "",
    );
    assert!(!images.join("a.raw").exists(), "an image was left behind");
}

/// An agent is killed at some instant while it renames a domain: the next one knows it by one name.
#[test]
fn a_rename_that_was_interrupted_has_happened_or_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (config, socket) = (configuration(directory.path()), directory.path().join("ferry.sock"));
    let socket = socket.to_str().expect("UTF-8");
    let xml = directory.path().join("web1.xml");
    let text = "<domain type='qemu'><name>name0</name><memory>65536</memory><vcpu>1</vcpu>\
                <os><type>hvm</type></os><devices/></domain>";
    std::fs::write(&xml, text).expect("writes");
    let mut agent = start(&config);
    let defined =
        ferry(&["--socket", socket, "define", xml.to_str().expect("UTF-8")]).output().expect("runs");
    assert_eq!(defined.status.code(), Some(0), "{}", self::text(&defined));
    let (mut name, mut interrupted) = ("name0".to_owned(), 0);
    for round in 1..=12_u64 {
        let wanted = format!("name{round}");
        let rename = ferry(&["--socket", socket, "rename", &name, &wanted]).spawn();
        // From before the request has come until after its answer: what is between two runs differs anyway.
        std::thread::sleep(std::time::Duration::from_millis(5 * round));
        agent.0.kill().expect("is killed");
        agent.0.wait().expect("is reaped");
        let done = rename.expect("runs").wait().expect("ends").success();
        agent = start(&config);
        let listed = ferry(&["--socket", socket, "--json", "list", "--all"]).output().expect("runs");
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).expect("a list");
        let names: Vec<&str> = listed.iter().filter_map(|domain| domain["name"].as_str()).collect();
        assert!(names == [name.as_str()] || names == [wanted.as_str()], "{names:?} of {name} and {wanted}");
        assert!(!done || names == [wanted.as_str()], "an answered rename is undone");
        interrupted += u64::from(!done);
        name = names[0].to_owned();
    }
    assert!(interrupted > 0, "no rename was interrupted");
}
