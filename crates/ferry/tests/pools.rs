//! Storage pools and volumes, asked of real agents without guests.

mod running;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use running::{Running, configuration, ferry, start, text};
use serde_json::Value;

/// An agent, and how it is asked.
struct Host {
    directory: tempfile::TempDir,
    agent: Option<Running>,
}

impl Host {
    fn new() -> Host {
        let directory = directory();
        let agent = start(&configuration(directory.path()));
        std::fs::create_dir(directory.path().join("volumes")).expect("makes");
        Host { directory, agent: Some(agent) }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Exit code and both streams of a command; paths of this test are `DIR`.
    fn ferry(&self, arguments: &str) -> String {
        let root = self.path("");
        let arguments = arguments.replace("DIR/", &root);
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut command = ferry(&arguments);
        let output = command.env("FERRY_SOCKET", self.path("ferry.sock")).output().expect("runs");
        let code = output.status.code().expect("it ends by itself");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &text(&output);
        format!("exit {code}\n{said}").replace(&root, "DIR/")
    }

    #[track_caller]
    fn done(&self, arguments: &str) -> String {
        let said = self.ferry(arguments);
        said.strip_prefix("exit 0\n").unwrap_or_else(|| panic!("{arguments}: {said}")).to_owned()
    }

    #[track_caller]
    fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.done(&format!("--json {arguments}"))).expect("JSON")
    }

    /// The agent is killed, and another one takes its place.
    fn restart(&mut self) {
        self.agent = None;
        self.agent = Some(start(&self.path("agent.toml")));
    }
}

/// Lines are broken by their length, and paths of it are in them: it has the same length everywhere.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/tmp").expect("a directory")
}

/// A transcript: each command with its answer.
fn transcript(host: &Host, commands: &[&str]) -> String {
    commands.iter().map(|command| format!("$ ferry {command}\n{}", host.ferry(command))).collect()
}

fn hide_uuids() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID");
    settings.add_filter(r"\d+(\.\d+)? [KMGTP]iB, \d+(\.\d+)? [KMGTP]?i?B free", "ROOM");
    settings.add_filter(r"(DIR/volumes +)\d+(\.\d+)? [KMGTP]iB", "${1}ROOM");
    settings.add_filter(r"\d+(\.\d+)? KiB\n", "SIZE\n");
    settings.bind_to_scope()
}

#[test]
fn a_pool_is_defined_started_used_and_forgotten() {
    let host = Host::new();
    let _guard = hide_uuids();
    std::fs::write(host.path("image.raw"), b"an image").expect("writes");
    let said = transcript(
        &host,
        &[
            "pool list",
            "pool define --name images --type dir --path DIR/volumes",
            "pool start images",
            "pool info images",
            "vol list images",
            "vol create images web1.qcow2 1GiB",
            "vol create images web1.qcow2 1GiB",
            "vol create images ../web1 1GiB",
            "vol create images web1.qcow2.ferry 1GiB",
            "vol resize images web1.qcow2 2GiB",
            "vol resize images web1.qcow2 1GiB",
            "vol upload images copy.raw DIR/image.raw",
            "vol upload images copy.raw DIR/image.raw",
            "vol download images copy.raw DIR/back.raw",
            "vol info images web1.qcow2",
            "vol list images",
            "vol delete images web1.qcow2",
            "vol delete images web1.qcow2",
            "pool undefine images",
            "pool stop images",
            "vol list images",
            "pool list",
            "pool undefine images",
            "pool info images",
        ],
    );
    insta::assert_snapshot!(said);
    assert_eq!(std::fs::read(host.path("back.raw")).expect("is there"), b"an image");
    assert!(Path::new(&host.path("volumes/copy.raw")).exists(), "volumes outlive their pool");
}

#[test]
fn what_cannot_be_a_pool_is_refused_with_its_mend() {
    let host = Host::new();
    let _guard = hide_uuids();
    let xml = |file: &str, name: &str, uuid: &str, path: &str| {
        let uuid = if uuid.is_empty() { String::new() } else { format!("<uuid>{uuid}</uuid>") };
        let text = format!(
            "<pool type='dir'>\n  <name>{name}</name>{uuid}\n  <target><path>{path}</path></target>\n</pool>\n"
        );
        std::fs::write(host.path(file), text).expect("writes");
    };
    let (one, two) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
    xml("one.xml", "one", one, "/srv/one");
    xml("name.xml", "one", two, "/srv/two");
    xml("uuid.xml", "two", one, "/srv/two");
    xml("path.xml", "two", two, "/srv/one");
    xml("relative.xml", "three", "", "srv/\nthree");
    std::fs::write(host.path("cloud.xml"), "<pool type='cloud'>\n  <name>c</name>\n</pool>\n")
        .expect("writes");
    let said = transcript(
        &host,
        &[
            "pool define DIR/one.xml",
            "pool define DIR/one.xml",
            "pool define DIR/name.xml",
            "pool define DIR/uuid.xml",
            "pool define DIR/path.xml",
            "pool define DIR/relative.xml",
            "pool define DIR/cloud.xml",
            "pool define --name n --type netfs --path /srv/n",
            "pool define --name n --type netfs --path /srv/n --source nfs",
            "pool define --name n --type netfs --path /srv/n --source nfs:/x --nfs-version 5 --options suid",
            "pool define --name n --type dir --path /srv/n --source nfs:/x",
            "pool define --name n --type dir --path DIR/none",
            "pool start n",
            "pool define --name n",
            "pool define --name n2 --type netfs --path DIR/n2 --source nfs:/x --options bg",
            "pool define --name full --type netfs --path DIR/ --source nfs:/x",
            "pool start full",
        ],
    );
    insta::assert_snapshot!(said);
}

/// A domain whose disk is a volume.
const DOMAIN: &str = "<domain type='qemu'><name>web1</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<disk type='volume'><driver name='qemu' type='qcow2'/><source pool='images' volume='web1.qcow2'/><target dev='vda' bus='virtio'/></disk>
</devices></domain>";

/// One that is attached to it.
const DISK: &str = "<disk type='volume'><driver name='qemu' type='qcow2'/>
<source pool='images' volume='data.qcow2'/><target dev='vdb' bus='virtio'/></disk>";

#[test]
fn a_volume_is_a_domains_disk_and_then_is_not_deleted() {
    let mut host = Host::new();
    std::fs::write(host.path("web1.xml"), DOMAIN).expect("writes");
    std::fs::write(host.path("disk.xml"), DISK).expect("writes");
    let define = "define DIR/web1.xml";
    let missing = host.ferry(define);
    assert!(missing.starts_with("exit 4\n") && missing.contains("no pool \"images\""), "{missing}");
    host.done("pool define --name images --type dir --path DIR/volumes");
    let inactive = host.ferry(define);
    assert!(inactive.contains("`ferry pool start images` starts it"), "{inactive}");
    host.done("pool start images");
    host.done("pool autostart images");
    host.done("vol create images web1.qcow2 1MiB");
    // The pool's directory is below none of `allowed_paths`: being a pool is enough.
    host.done(define);
    let xml = host.done("dumpxml web1");
    assert!(
        xml.contains("<source file='DIR/volumes/web1.qcow2'/>") && !xml.contains("type='volume'"),
        "{xml}"
    );
    host.done("vol create images data.qcow2 1MiB");
    host.done("attach-device web1 DIR/disk.xml");
    assert!(host.done("dumpxml web1").contains("<source file='DIR/volumes/data.qcow2'/>"));
    host.restart();
    let pool = host.json("pool info images");
    assert!(pool["autostart"] == true && pool["active"] == true, "{pool}");
    for volume in ["web1.qcow2", "data.qcow2"] {
        let refused = host.ferry(&format!("vol delete images {volume}"));
        assert!(refused.starts_with("exit 4\n") && refused.contains("is used by web1"), "{refused}");
    }
    assert_eq!(host.json("vol info images web1.qcow2")["used_by"][0], "web1");
    host.done("vol resize images web1.qcow2 2MiB");
    // What the domain stands on cannot be read any more: that could be any volume.
    host.done("vol create images other.qcow2 1MiB");
    std::fs::rename(host.path("volumes/web1.qcow2"), host.path("volumes/gone.qcow2")).expect("is there");
    let refused = host.ferry("vol delete images other.qcow2");
    assert!(refused.starts_with("exit 4\n") && refused.contains("whether domain web1 uses"), "{refused}");
    std::fs::rename(host.path("volumes/gone.qcow2"), host.path("volumes/web1.qcow2")).expect("is there");
    host.done("vol delete images other.qcow2");
    host.done("undefine web1");
    // As another host writes it that runs the domain.
    let record = r#"{"domain":"11111111-1111-4111-8111-111111111111","host":"kvm2","generation":3}"#;
    std::fs::write(host.path("volumes/web1.qcow2.ferry"), record).expect("writes");
    for verb in
        ["delete images web1.qcow2", "resize images web1.qcow2 3MiB", "download images web1.qcow2 DIR/x"]
    {
        let refused = host.ferry(&format!("vol {verb}"));
        assert!(refused.starts_with("exit 4\n") && refused.contains("belongs to host kvm2"), "{refused}");
    }
    std::fs::remove_file(host.path("volumes/web1.qcow2.ferry")).expect("is there");
    host.done("vol delete images web1.qcow2");
}

#[test]
fn an_agent_takes_up_the_pools_that_were_started_and_no_others() {
    let mut host = Host::new();
    for name in ["started", "stopped", "never"] {
        std::fs::create_dir(host.path(name)).expect("makes");
        host.done(&format!("pool define --name {name} --type dir --path DIR/{name}"));
        host.done(&format!("pool autostart {name}"));
    }
    host.done("pool start started");
    host.done("pool start stopped");
    host.done("pool stop stopped");
    // Files of a pool that nobody can read are no reason not to start.
    std::fs::write(host.path("state/pools/torn.xml"), "<pool").expect("writes");
    std::fs::write(host.path("state/pools/never.json"), "{").expect("writes");
    host.restart();
    let pools = host.json("pool list");
    let active = |pool: &Value| (pool["name"].as_str().map(str::to_owned), pool["active"] == true);
    let active: Vec<_> = pools.as_array().expect("a list").iter().map(active).collect();
    let expect = [("never", false), ("started", true), ("stopped", false)];
    assert_eq!(active, expect.map(|(name, active)| (Some(name.to_owned()), active)));
}

#[test]
fn large_volumes_go_up_and_down_and_keep_their_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let host = Host::new();
    host.done("pool define --name images --type dir --path DIR/volumes");
    host.done("pool start images");
    let image = std::fs::File::create(host.path("image.raw")).expect("makes");
    image.set_len(200 << 20).expect("grows");
    image.write_all_at(b"in the middle", 100 << 20).expect("writes");
    host.done("vol upload images large.raw DIR/image.raw");
    let taken = std::fs::metadata(host.path("volumes/large.raw")).expect("is there");
    assert!(taken.len() == 200 << 20 && taken.blocks() * 512 < 1 << 20, "the holes are filled");
    // A refusal comes through although nobody reads the bytes any more.
    let exists = host.ferry("vol upload images large.raw DIR/image.raw");
    assert!(exists.starts_with("exit 4\n") && exists.contains("a volume large.raw already"), "{exists}");
    host.done("vol download images large.raw DIR/back.raw");
    let same =
        std::process::Command::new("cmp").args([host.path("image.raw"), host.path("back.raw")]).status();
    assert!(same.expect("runs").success());
    let names = std::fs::read_dir(host.path("volumes")).expect("is there").count();
    assert_eq!(names, 1, "nothing half is left");
}

/// Addresses that no other process of the tests has: all of 127.0.0.0/8 is this machine.
fn addresses() -> [SocketAddr; 2] {
    static PORT: AtomicU16 = AtomicU16::new(7000);
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    // Process ids have 22 bits at most (`PID_MAX_LIMIT` of proc_sys_kernel(5)).
    [0, 1].map(|place| {
        let [_, high, middle, low] = (std::process::id() << 1 | place).to_be_bytes();
        SocketAddr::from(([127, high, middle, low], port))
    })
}

/// Two agents that know each other, and let each other have pools below this directory.
fn pair(allowed: &Path) -> [Host; 2] {
    let ca = tempfile::tempdir().expect("a directory");
    let ca_path = ca.path().join("ca").display().to_string();
    let made = ferry(&["ca", "init", &ca_path]).output().expect("runs");
    assert!(made.status.success(), "{}", text(&made));
    let addresses = addresses();
    [0, 1].map(|number: usize| {
        let directory = directory();
        let config = configuration(directory.path());
        let names = ["kvm1", "kvm2"];
        let (name, other) = (names[number], names[1 - number]);
        let tls = directory.path().join("tls").display().to_string();
        let address = addresses[number].ip().to_string();
        let issue = ["ca", "issue", name, "--dir", &ca_path, "--out", &tls, "--address", &address];
        let issued = ferry(&issue).output().expect("runs");
        assert!(issued.status.success(), "{}", text(&issued));
        let known = std::fs::read_to_string(&config).expect("is there").replace("kvm1", name);
        let known = known.replace("allowed_paths = [", &format!("allowed_paths = [{allowed:?}, "));
        let more = format!(
            "listen = \"{}\"\ntls_dir = {tls:?}\n[hosts.{other}]\naddress = \"{}\"\n",
            addresses[number],
            addresses[1 - number]
        );
        std::fs::write(&config, known + &more).expect("writes");
        let agent = start(&config);
        Host { directory, agent: Some(agent) }
    })
}

#[test]
fn a_refusal_reaches_who_still_sends() {
    let host = Host::new();
    host.done("pool define --name images --type dir --path DIR/volumes");
    host.done("pool start images");
    let image = std::fs::File::create(host.path("image.raw")).expect("makes");
    image.set_len(64 << 20).expect("grows");
    host.done("vol upload images copy.raw DIR/image.raw");
    for _ in 0..10 {
        let refused = host.ferry("vol upload images copy.raw DIR/image.raw");
        assert!(refused.starts_with("exit 4\n") && refused.contains("copy.raw already"), "{refused}");
    }
}

#[test]
fn all_hosts_are_told_and_each_answers_for_itself() {
    let _guard = hide_uuids();
    let [one, mut two] = pair(Path::new("/srv"));
    let netfs = "--type netfs --source nfs.invalid:/nfs-share --nfs-version 4.1";
    two.done("pool define --name own --type dir --path /etc");
    two.done("pool define --name old --type dir --path /srv/old");
    let said = transcript(
        &one,
        &[
            &format!("pool define --name shared --path /srv/ferry-no-such-place {netfs} --all-hosts"),
            // Neither a directory of another host's own nor one that is free becomes a pool from here.
            "pool define --name etc --type dir --path /etc --all-hosts",
            &format!("pool define --name free --path /etc/ferry-no-such-place {netfs} --all-hosts"),
            // Nor is a pool that it has there moved, started or forgotten.
            &format!("pool define --name own --path /srv/own {netfs} --all-hosts"),
            "pool undefine own --all-hosts",
            "pool define --name old --type dir --path /srv/other",
            "pool autostart shared --all-hosts",
            "pool list --all-hosts",
            "pool undefine free --all-hosts",
        ],
    );
    insta::assert_snapshot!(said);
    assert_eq!(one.json("pool info shared")["uuid"], two.json("pool info shared")["uuid"]);
    assert_eq!(two.json("pool info own")["path"], "/etc");
    two.agent = None;
    let said = one.ferry("pool stop shared --all-hosts");
    assert!(
        said.starts_with("exit 1\n") && said.contains("kvm2: error: host kvm2 cannot be asked"),
        "{said}"
    );
}

#[test]
fn a_volume_that_a_domain_of_another_host_uses_is_not_deleted() {
    let storage = tempfile::tempdir().expect("a directory");
    let [one, mut two] = pair(storage.path());
    let define = format!("pool define --name images --type dir --path {}", storage.path().display());
    one.done(&format!("{define} --all-hosts"));
    one.done("pool start images --all-hosts");
    one.done("vol create images web1.qcow2 1MiB");
    one.done("vol create images data.qcow2 1MiB");
    one.done("vol create images spare.qcow2 1MiB");
    std::fs::write(two.path("web1.xml"), DOMAIN).expect("writes");
    std::fs::write(two.path("disk.xml"), DISK).expect("writes");
    two.done("define DIR/web1.xml");
    two.done("attach-device web1 DIR/disk.xml");
    // Never started, it has no owner record; and one lies beside the first disk only.
    for volume in ["web1.qcow2", "data.qcow2"] {
        let refused = one.ferry(&format!("vol delete images {volume}"));
        assert!(
            refused.starts_with("exit 4\n") && refused.contains("used by web1 on host kvm2"),
            "{refused}"
        );
    }
    // What its domain stands on cannot be read there any more.
    let (image, away) = (storage.path().join("web1.qcow2"), storage.path().join("away.qcow2"));
    std::fs::rename(&image, &away).expect("is there");
    let refused = one.ferry("vol delete images spare.qcow2");
    assert!(refused.starts_with("exit 4\n") && refused.contains("kvm2 does not say whether"), "{refused}");
    std::fs::rename(&away, &image).expect("is there");
    one.done("vol delete images spare.qcow2");
    two.agent = None;
    let refused = one.ferry("vol delete images data.qcow2");
    assert!(refused.starts_with("exit 4\n") && refused.contains("kvm2 does not say whether"), "{refused}");
    two.restart();
    two.done("undefine web1");
    one.done("vol delete images data.qcow2");
}
