//! The program itself against an agent that answers as each test wants: output, exit codes, Ctrl-C, ssh.

mod bridges;
mod migrations;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use insta::assert_snapshot;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::process::Command;

const ID: &str = "01900000-0000-7000-8000-000000000001";
const FERRY: &str = env!("CARGO_BIN_EXE_ferry");
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Agent {
    directory: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).expect("a status"))
        .body(body.into())
        .expect("a response")
}

impl Agent {
    fn new(answers: impl Fn(&str) -> Response<Body> + Clone + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| async move {
            let line = format!("{} {}", request.method(), request.uri());
            let line = line.replace("/api/v1", "");
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
            let body = String::from_utf8_lossy(&body).into_owned();
            log.lock().expect("lock").push(format!("{line} {body}").trim_end().to_owned());
            answers(&line)
        });
        let listener = UnixListener::bind(directory.path().join("ferry.sock")).expect("a socket");
        tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { directory, asked }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("ferry.sock")
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = ferry(arguments);
        command.env("FERRY_SOCKET", self.socket());
        command
    }

    async fn ferry(&self, arguments: &str) -> Output {
        self.command(arguments).output().await.expect("runs")
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("lock").clone()
    }
}

fn ferry(arguments: &str) -> Command {
    let mut command = Command::new(FERRY);
    command.args(arguments.split_whitespace()).stdin(Stdio::null()).kill_on_drop(true);
    command.env_remove("FERRY_SOCKET").env_remove("RUST_LOG");
    command
}

/// Exit code and both streams, as one text.
fn shown(output: &Output) -> String {
    format!(
        "exit {}\n{}--- stderr\n{}",
        output.status.code().map_or("by a signal".to_owned(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )
}

fn domain(state: &str) -> String {
    format!(
        r#"{{"name":"web1","uuid":"{ID}","state":"{state}","persistent":true,"memory_bytes":1073741824,"vcpus":2,"machine":"pc-q35-10.0","disks":[],"interfaces":[],"log":"/var/log/ferry/web1.log"}}"#
    )
}

#[tokio::test]
async fn a_screenshot_goes_where_it_is_wanted() {
    let agent = Agent::new(|_| answer(200, &b"\x89PNG\r\n\x1a\n\xff"[..]));
    let output = agent.ferry("screenshot web1 -").await;
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"\x89PNG\r\n\x1a\n\xff"[..]));
    let file = agent.directory.path().join("a.png");
    let output = agent.ferry(&format!("screenshot web1 {}", file.display())).await;
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert_eq!(std::fs::read(file).expect("is there"), b"\x89PNG\r\n\x1a\n\xff");
    // Without a name it is called after the domain and the time.
    let named = agent.command("screenshot web1").current_dir(agent.directory.path()).output().await;
    let said = String::from_utf8(named.expect("runs").stdout).expect("text");
    let name = said.trim_end().trim_end_matches('.').rsplit(' ').next().expect("a name");
    assert!(name.starts_with("web1-") && agent.directory.path().join(name).exists(), "{said}");
}

#[tokio::test]
async fn events_are_told_as_they_come_until_the_agent_ends() {
    let agent = Agent::new(|_| {
        let event = |kind: &str, more: &str| {
            format!(
                "data: {{\"at\":\"2026-01-01T00:00:00.123456Z\",\"domain\":\"web1\",\"uuid\":\"{ID}\",\"event\":\"{kind}\"{more}}}\n\n"
            )
        };
        let events = [
            event("started", ""),
            event("stopped", r#","detail":"the guest powered itself off""#),
            event("other", r#","detail":"WARPED","data":{"factor":9}"#),
            event("levitated", ""),
        ];
        answer(200, events.concat())
    });
    let mut all = String::new();
    for options in ["web1 --since 2026-01-01T00:00:00Z", "--event other --json", "--event levitated"] {
        let output = agent.ferry(&format!("events {options}")).await;
        all.push_str(&format!("$ ferry events {options}\nexit {:?}\n", output.status.code()));
        all.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    assert_snapshot!(all, @r#"
    $ ferry events web1 --since 2026-01-01T00:00:00Z
    exit Some(1)
    2026-01-01T00:00:00.123Z  web1  started
    2026-01-01T00:00:00.123Z  web1  stopped: the guest powered itself off
    2026-01-01T00:00:00.123Z  web1  other: WARPED
    2026-01-01T00:00:00.123Z  web1  other
    $ ferry events --event other --json
    exit Some(1)
    {"at":"2026-01-01T00:00:00.123456Z","domain":"web1","uuid":"01900000-0000-7000-8000-000000000001","event":"other","detail":"WARPED","data":{"factor":9}}
    {"at":"2026-01-01T00:00:00.123456Z","domain":"web1","uuid":"01900000-0000-7000-8000-000000000001","event":"other"}
    $ ferry events --event levitated
    exit Some(2)
    "#);
    assert_snapshot!(agent.asked().join("\n"), @"
    GET /events?domain=web1&since=2026-01-01T00%3A00%3A00Z
    GET /events
    ");
}

#[tokio::test]
async fn events_end_when_their_time_is_over() {
    let agent = Agent::new(|_| {
        let silence = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        answer(200, Body::from_stream(silence))
    });
    let output = agent.ferry("events --timeout 0").await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{}", shown(&output));
}

/// What is said, in text and JSON, and what the agent was asked.
async fn transcript(commands: &[&str]) -> (String, String) {
    let agent = Agent::new(|line| match line {
        "DELETE /domains/web1" => answer(204, ""),
        "GET /domains/web1/vnc" => answer(200, r#"{"host":"127.0.0.1","port":5900}"#),
        line if line.starts_with("GET /domains/web1/xml") => answer(200, "<domain>\n</domain>\n"),
        line if line.starts_with("GET /domains?") => answer(200, format!("[{}]", domain("running"))),
        line if line.ends_with("/shutdown") => answer(200, domain("shut-off")),
        _ => answer(200, domain("running")),
    });
    let mut said = String::new();
    for command in commands {
        let output = agent.ferry(command).await;
        assert_eq!(output.status.code(), Some(0), "{command}: {}", shown(&output));
        assert!(output.stderr.is_empty(), "{command}: {}", shown(&output));
        said.push_str(&format!("$ ferry {command}\n{}", String::from_utf8_lossy(&output.stdout)));
        let output = agent.ferry(&format!("{command} --json")).await;
        serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error}: {}", shown(&output)));
    }
    let mut asked = agent.asked();
    asked.dedup();
    (said, asked.join("\n"))
}

#[tokio::test]
async fn words_for_domains_ask_their_endpoints() {
    let (said, asked) = transcript(&[
        "list",
        "list --all",
        "info web1",
        "start web1",
        "shutdown web1",
        "shutdown web1 --timeout 5",
        "reset web1",
        "destroy web1",
        "suspend web1",
        "resume web1",
        "vncdisplay web1",
    ])
    .await;
    assert_snapshot!(said, @r"
    $ ferry list
    NAME  STATE    VCPUS  MEMORY    REMARK
    web1  running  2      1.00 GiB
    $ ferry list --all
    NAME  STATE    VCPUS  MEMORY    REMARK
    web1  running  2      1.00 GiB
    $ ferry info web1
    web1
      uuid        01900000-0000-7000-8000-000000000001
      state       running
      definition  kept
      autostart   no
      memory      1.00 GiB
      vcpus       2
      machine     pc-q35-10.0
      log         /var/log/ferry/web1.log
    $ ferry start web1
    Domain web1 is running.
    $ ferry shutdown web1
    Domain web1 is shut off.
    $ ferry shutdown web1 --timeout 5
    Domain web1 is shut off.
    $ ferry reset web1
    Domain web1 was reset.
    $ ferry destroy web1
    Domain web1 is running.
    $ ferry suspend web1
    Domain web1 is running.
    $ ferry resume web1
    Domain web1 is running.
    $ ferry vncdisplay web1
    127.0.0.1:5900
    ");
    assert_snapshot!(asked, @r#"
    GET /domains?all=false
    GET /domains?all=true
    GET /domains/web1
    GET /domains/01900000-0000-7000-8000-000000000001/statistics
    GET /domains/web1
    GET /domains/01900000-0000-7000-8000-000000000001/statistics
    POST /domains/web1/start
    POST /domains/web1/shutdown {"timeout_s":60}
    POST /domains/web1/shutdown {"timeout_s":5}
    POST /domains/web1/reset
    POST /domains/web1/destroy
    POST /domains/web1/suspend
    POST /domains/web1/resume
    GET /domains/web1/vnc
    "#);
}

#[tokio::test]
async fn words_for_devices_ask_their_endpoints() {
    let (said, asked) = transcript(&[
        "attach-disk web1 /srv/more.qcow2 vdb --persistent",
        "attach-interface web1 bridge br0 --live --config",
        "detach-disk web1 vdb --live",
        "detach-interface web1 52:54:00:00:00:07 --config",
        "change-media web1 sda /srv/cd.iso --force",
        "change-media web1 sda --eject",
    ])
    .await;
    assert_snapshot!(said, @r"
    $ ferry attach-disk web1 /srv/more.qcow2 vdb --persistent
    The device is attached: domain web1.
    $ ferry attach-interface web1 bridge br0 --live --config
    The device is attached: domain web1.
    $ ferry detach-disk web1 vdb --live
    The device is detached: domain web1.
    $ ferry detach-interface web1 52:54:00:00:00:07 --config
    The device is detached: domain web1.
    $ ferry change-media web1 sda /srv/cd.iso --force
    The medium is changed: domain web1.
    $ ferry change-media web1 sda --eject
    The drive is empty: domain web1.
    ");
    assert_snapshot!(asked, @r#"
    POST /domains/web1/devices {"xml":"<disk type='file' device='disk'>\n  <driver name='qemu' type='qcow2'/>\n  <source file='/srv/more.qcow2'/>\n  <target dev='vdb' bus='virtio'/>\n</disk>\n","scope":"persistent"}
    POST /domains/web1/devices {"xml":"<interface type='bridge'>\n  <source bridge='br0'/>\n  <model type='virtio'/>\n</interface>\n","scope":"both"}
    POST /domains/web1/devices/detach {"device":{"disk":"vdb"},"scope":"live"}
    POST /domains/web1/devices/detach {"device":{"interface":"52:54:00:00:00:07"},"scope":"config"}
    POST /domains/web1/media {"target":"sda","source":"/srv/cd.iso","force":true,"scope":"current"}
    POST /domains/web1/media {"target":"sda","force":false,"scope":"current"}
    "#);
}

#[tokio::test]
async fn words_for_definitions_ask_their_endpoints() {
    let (said, asked) = transcript(&[
        "dumpxml web1",
        "dumpxml web1 --inactive",
        "rename web1 web2",
        "autostart web1",
        "autostart web1 --disable",
        "setvcpus web1 4",
        "setmem web1 1.5G",
        "undefine web1",
    ])
    .await;
    assert_snapshot!(said, @r"
    $ ferry dumpxml web1
    <domain>
    </domain>
    $ ferry dumpxml web1 --inactive
    <domain>
    </domain>
    $ ferry rename web1 web2
    Domain web1 is now web1.
    $ ferry autostart web1
    Domain web1 does not start when its host boots.
    $ ferry autostart web1 --disable
    Domain web1 does not start when its host boots.
    $ ferry setvcpus web1 4
    Domain web1 has 4 vCPUs.
    $ ferry setmem web1 1.5G
    Domain web1 has 1.50 GiB of memory.
    $ ferry undefine web1
    Domain web1 is undefined.
    ");
    assert_snapshot!(asked, @r#"
    GET /domains/web1/xml
    GET /domains/web1/xml?inactive=true
    POST /domains/web1/rename {"name":"web2"}
    POST /domains/web1/autostart {"enabled":true}
    POST /domains/web1/autostart {"enabled":false}
    POST /domains/web1/size {"vcpus":4}
    POST /domains/web1/size {"memory_bytes":1610612736}
    DELETE /domains/web1
    "#);
}

const SNAPSHOT: &str =
    r#"{"name":"clean","created_at":"2026-01-01T00:00:00Z","memory_bytes":0,"disks":["vda","vdb"]}"#;

/// An agent that has one snapshot and clones and imports whatever it is asked to.
fn copying(line: &str) -> Response<Body> {
    match line {
        "GET /domains/web1/snapshots" => answer(200, format!("[{SNAPSHOT}]")),
        "GET /domains/web2/snapshots" => answer(200, "[]"),
        line if line.starts_with("DELETE") => answer(204, ""),
        line if line.contains("/snapshots") => answer(200, SNAPSHOT),
        "POST /imports" => answer(
            201,
            format!(
                r#"{{"domain":{},"in_libvirt":true,"libvirt_autostart":true,"notes":["/domain/cputune: kept in the definition and not applied"]}}"#,
                domain("shut-off")
            ),
        ),
        _ => answer(
            201,
            domain("shut-off").replace(
                r#""disks":[]"#,
                r#""disks":[{"target":"vda","source":"/srv/web2.qcow2","format":"qcow2","readonly":false}]"#,
            ),
        ),
    }
}

#[tokio::test]
async fn disks_are_copied_kept_and_taken_over() {
    let agent = Agent::new(copying);
    let mut said = String::new();
    for command in [
        "snapshot create web1 clean",
        "snapshot list web1",
        "snapshot list web2",
        "snapshot revert web1 clean",
        "snapshot delete web1 a/b",
        "clone web1 web2",
        "clone web1 web2 --file vda=/srv/a=b.qcow2 --file vdb=/srv/c.raw",
        "import libvirt:web1",
    ] {
        let output = agent.ferry(command).await;
        said.push_str(&format!("$ ferry {command}\n{}", shown(&output)));
    }
    assert_snapshot!(said, @r"
    $ ferry snapshot create web1 clean
    exit 0
    Snapshot clean of web1 is made: vda, vdb.
    --- stderr
    $ ferry snapshot list web1
    exit 0
    NAME   MADE                  MEMORY  DISKS
    clean  2026-01-01T00:00:00Z  none    vda, vdb
    --- stderr
    $ ferry snapshot list web2
    exit 0
    It has no snapshots.
    --- stderr
    $ ferry snapshot revert web1 clean
    exit 0
    The disks of web1 are as they were at 2026-01-01T00:00:00Z.
    --- stderr
    $ ferry snapshot delete web1 a/b
    exit 0
    Snapshot a/b is deleted.
    --- stderr
    $ ferry clone web1 web2
    exit 0
    Domain web1 is cloned as web1.
      vda: /srv/web2.qcow2
    --- stderr
    $ ferry clone web1 web2 --file vda=/srv/a=b.qcow2 --file vdb=/srv/c.raw
    exit 0
    Domain web1 is cloned as web1.
      vda: /srv/web2.qcow2
    --- stderr
    $ ferry import libvirt:web1
    exit 0
    Domain web1 is defined here, with its disks in place.
      • /domain/cputune: kept in the definition and not applied
    libvirt still has its definition, and starts it when the host boots. So that it
    is not started there, too:
      virsh undefine web1 --keep-nvram
    --- stderr
    ");
    assert_snapshot!(agent.asked().join("\n"), @r#"
    POST /domains/web1/snapshots {"name":"clean"}
    GET /domains/web1/snapshots
    GET /domains/web2/snapshots
    POST /domains/web1/snapshots/clean/revert
    DELETE /domains/web1/snapshots/a%2Fb
    POST /domains/web1/clone {"name":"web2"}
    POST /domains/web1/clone {"name":"web2","files":{"vda":"/srv/a=b.qcow2","vdb":"/srv/c.raw"}}
    POST /imports {"libvirt":"web1"}
    "#);
}

#[tokio::test]
async fn a_guest_that_runs_keeps_its_size() {
    let running = domain("running").replace(r#""disks""#, r#""pid":4711,"disks""#);
    let agent = Agent::new(move |_| answer(200, running.clone()));
    assert_snapshot!(shown(&agent.ferry("setvcpus web1 4").await), @r"
    exit 0
    Domain web1 gets 4 vCPUs at its next start; now it has 2.
    --- stderr
    ");
    assert_snapshot!(shown(&agent.ferry("setmem web1 4GiB").await), @r"
    exit 0
    Domain web1 gets 4.00 GiB of memory at its next start; now it has 1.00 GiB.
    --- stderr
    ");
    assert_snapshot!(shown(&agent.ferry("reboot web1").await), @r"
    exit 0
    Domain web1 was booted again.
    --- stderr
    ");
    assert_snapshot!(shown(&agent.ferry("reboot web1 --timeout 0").await), @r"
    exit 0
    Domain web1 was asked to shut itself down; it is booted again then.
    --- stderr
    ");
    assert_snapshot!(agent.asked().join("\n"), @r#"
    POST /domains/web1/size {"vcpus":4}
    POST /domains/web1/size {"memory_bytes":4294967296}
    POST /domains/web1/reboot {"timeout_s":60}
    POST /domains/web1/reboot {"timeout_s":0}
    "#);
    let ended = Agent::new(|_| answer(200, domain("shut-off")));
    assert_snapshot!(shown(&ended.ferry("reboot web1").await), @r"
    exit 1
    --- stderr
    error: web1 has ended and was not booted again
    → `ferry info web1` may say why; `ferry start web1` boots it
    ");
}

/// `ferry edit web1` with a line of shell for an editor; the file is `$1`.
fn editing(agent: &Agent, editor: &str) -> Command {
    let mut command = agent.command("edit web1");
    command.env_remove("VISUAL").env("EDITOR", format!("{editor};:")).env("TMPDIR", agent.directory.path());
    command
}

#[tokio::test]
async fn an_edit_says_what_it_replaces() {
    let agent = Agent::new(|line| match line {
        line if line.starts_with("GET") => answer(200, "<domain>\n</domain>\n"),
        _ => answer(200, domain("shut-off")),
    });
    let unchanged = editing(&agent, "true").output().await.expect("runs");
    assert_snapshot!(shown(&unchanged), @r"
    exit 0
    Domain web1 is unchanged.
    --- stderr
    ");
    let edited = editing(&agent, "echo '<domain/>' >$1").output().await.expect("runs");
    assert_snapshot!(shown(&edited), @r"
    exit 0
    Domain web1 is edited.
    --- stderr
    ");
    let failed = editing(&agent, "exit 3").output().await.expect("runs");
    assert_snapshot!(shown(&failed), @r"
    exit 1
    --- stderr
    error: the editor exit 3;: failed (exit status: 3); nothing was changed
    ");
    assert_snapshot!(agent.asked().join("\n"), @r#"
    GET /domains/web1/xml?inactive=true
    GET /domains/web1/xml?inactive=true
    PUT /domains/web1/xml {"xml":"<domain/>\n","replaces":"<domain>\n</domain>\n"}
    GET /domains/web1/xml?inactive=true
    "#);
    assert_eq!(
        std::fs::read_dir(agent.directory.path()).expect("lists").count(),
        1,
        "no file is left but the socket"
    );
}

#[tokio::test]
async fn a_refused_edit_is_kept() {
    let agent = Agent::new(|line| match line {
        line if line.starts_with("GET") => answer(200, "<domain>\n</domain>\n"),
        _ => answer(422, REFUSAL),
    });
    let refused =
        editing(&agent, "printf '<domain>\\n  <hostdev/>\\n</domain>\\n' >$1").output().await.expect("runs");
    let mut left =
        std::fs::read_dir(agent.directory.path()).expect("lists").flatten().map(|entry| entry.path());
    let kept =
        left.find(|path| path.extension().is_some_and(|found| found == "xml")).expect("the text is kept");
    assert_eq!(std::fs::read_to_string(&kept).expect("reads"), "<domain>\n  <hostdev/>\n</domain>\n");
    assert_snapshot!(shown(&refused).replace(&kept.display().to_string(), "FILE"), @r"
    exit 4
    --- stderr
    What you wrote is kept in FILE.
    error: the definition cannot be used
    error: <hostdev> is not supported
     --> FILE:2:3
      |
    2 |   <hostdev/>
      |   ^^^^^^^^^^
      |
      = help: leave it out
    → mend it and define it again
    ");
}

#[tokio::test]
async fn a_guest_that_does_not_power_off_is_a_failure() {
    let agent = Agent::new(|_| answer(200, domain("running")));
    assert_snapshot!(shown(&agent.ferry("shutdown web1 --timeout 1").await), @r"
    exit 1
    --- stderr
    error: web1 did not power itself off within 1 s; it is running
    → look at its console, wait longer with --timeout, or end it with `ferry destroy
      web1`
    ");
    assert_eq!(agent.ferry("shutdown web1 --timeout 0").await.status.code(), Some(0));
}

const REFUSAL: &str = r#"{"status":422,"code":"definition-refused","detail":"the definition cannot be used","mend":"mend it and define it again","details":[{"code":"element-unsupported","message":"<hostdev> is not supported","mend":"leave it out","line":2,"column":3}]}"#;

#[tokio::test]
async fn definitions_come_from_files_and_standard_input() {
    let agent = Agent::new(|_| answer(201, domain("shut-off")));
    let mut child =
        agent.command("define -").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("spawns");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"<domain/>").await.expect("writes");
    drop(stdin);
    let output = child.wait_with_output().await.expect("waits");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Domain web1 is defined.\n");
    assert_eq!(agent.asked(), [r#"POST /domains {"xml":"<domain/>"}"#]);

    let file = agent.directory.path().join("web1.xml");
    std::fs::write(&file, "<domain/>").expect("writes");
    let output = agent.ferry(&format!("create {}", file.display())).await;
    assert_eq!(
        shown(&output),
        "exit 0\nDomain web1 is shut off; it is forgotten when it ends.\n--- stderr\n"
    );
    let asked = r#"POST /domains {"xml":"<domain/>","transient":true}"#;
    assert_eq!(agent.asked().last().map(String::as_str), Some(asked));

    let output = agent.ferry("define /nonexistent/web1.xml").await;
    assert_snapshot!(shown(&output), @r"
    exit 1
    --- stderr
    error: cannot open /nonexistent/web1.xml: No such file or directory (os error 2)
    ");
}

#[tokio::test]
async fn a_refused_definition_shows_its_line() {
    let agent = Agent::new(|_| answer(422, REFUSAL));
    let file = agent.directory.path().join("web1.xml");
    std::fs::write(&file, "<domain>\n  <hostdev/>\n</domain>\n").expect("writes");
    let output = agent.ferry(&format!("define {}", file.display())).await;
    let text = shown(&output).replace(&agent.directory.path().display().to_string(), "DIR");
    assert_snapshot!(text, @r"
    exit 4
    --- stderr
    error: the definition cannot be used
    error: <hostdev> is not supported
     --> DIR/web1.xml:2:3
      |
    2 |   <hostdev/>
      |   ^^^^^^^^^^
      |
      = help: leave it out
    → mend it and define it again
    ");
}

#[tokio::test]
async fn errors_in_json_are_problems_on_standard_error() {
    let agent = Agent::new(|_| answer(422, REFUSAL));
    let output = agent.ferry("--json info web1").await;
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error["error"]["code"], "definition-refused");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0));
    let output = ferry("--json --socket /nonexistent/ferry.sock list").output().await.expect("runs");
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(
        (&error["error"]["code"], &error["error"]["status"]),
        (&"agent-unreachable".into(), &0.into())
    );
    assert_eq!(output.status.code(), Some(3));
}

#[tokio::test]
async fn exit_codes_of_failures() {
    for (status, code) in [(404, 4), (409, 4), (422, 4), (500, 1), (507, 1)] {
        let problem = format!(r#"{{"status":{status},"code":"x","detail":"no"}}"#);
        let agent = Agent::new(move |_| answer(status, problem.clone()));
        assert_eq!(agent.ferry("start web1").await.status.code(), Some(code), "{status}");
        assert_eq!(agent.ferry("migrate web1 --to kvm2").await.status.code(), Some(code), "{status}");
    }
    assert_eq!(ferry("list --nonsense").output().await.expect("runs").status.code(), Some(2));
    assert_eq!(ferry("list --host kvm2").output().await.expect("runs").status.code(), Some(2));
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_explained() {
    let output = ferry("--socket /nonexistent/ferry.sock list").output().await.expect("runs");
    assert_snapshot!(shown(&output), @r"
    exit 3
    --- stderr
    error: cannot connect to the agent at /nonexistent/ferry.sock: No such file or
      directory (os error 2)
    → start the agent with `ferry agent --config FILE`, or say where its socket is
      with --socket; /nonexistent/ferry.sock does not exist
    ");
    let output = ferry("--socket /nonexistent/ferry.sock version").output().await.expect("runs");
    assert_snapshot!(shown(&output), @r"
    exit 0
    ferry 0.1.0, protocol 1 to 2
    agent: cannot connect to the agent at /nonexistent/ferry.sock: No such file or
      directory (os error 2)
    --- stderr
    ");
}

/// A program named `ssh` that runs what it is asked on this machine.
fn stand_in_for_ssh(directory: &Path, script: &str) {
    let path = directory.join("ssh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("writes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("is executable");
    std::os::unix::fs::symlink(FERRY, directory.join("ferry")).expect("links");
}

fn with_path(command: &mut Command, directory: &Path) {
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", directory.display()));
}

#[tokio::test]
async fn another_host_is_asked_through_ssh() {
    let agent = Agent::new(|line| match line {
        "GET /version" => answer(200, r#"{"ferry":"0.1.0","protocol":1,"host":"kvm2"}"#),
        _ => answer(200, "[]"),
    });
    let directory = tempfile::tempdir().expect("a directory");
    let pid = directory.path().join("pid");
    // As ssh does: a shell at the other end takes the joined words apart again.
    let script = format!(
        "echo $$ > {}\nwhile [ \"$1\" != -- ]; do shift; done\n[ \"$2\" = ssh://root@kvm2:22 ] || exit 9\nshift 2\nexec sh -c \"exec $*\"",
        pid.display()
    );
    stand_in_for_ssh(directory.path(), &script);
    let mut command = ferry("list --host ssh://root@kvm2:22 --socket");
    command.arg(agent.socket());
    with_path(&mut command, directory.path());
    let output = command.output().await.expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert_eq!(agent.asked(), ["GET /version", "GET /domains?all=false"]);
    let pid = std::fs::read_to_string(pid).expect("ssh ran");
    let process = PathBuf::from("/proc").join(pid.trim());
    let gone = async {
        while process.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("nothing stays behind at the other end");
}

#[tokio::test]
async fn ssh_that_fails_is_quoted() {
    let directory = tempfile::tempdir().expect("a directory");
    stand_in_for_ssh(directory.path(), "echo 'root@kvm2: Permission denied (publickey).' >&2; exit 255");
    let mut command = ferry("list --host ssh://root@kvm2");
    with_path(&mut command, directory.path());
    assert_snapshot!(shown(&command.output().await.expect("runs")), @r"
    exit 3
    --- stderr
    error: no connection to an agent through ssh to ssh://root@kvm2: root@kvm2:
      Permission denied (publickey).
    → let your key in there (`ssh-copy-id`), or name another user: ssh://root@HOST
    ");
}
