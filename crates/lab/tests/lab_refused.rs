//! Bad input and bad circumstances: each is a clear error with a stable code, an exit code and something to do; the guest
//! goes on untouched, and nothing is left behind.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::tls;
use lab::Lab;
use lab::guest::{Guest, GuestOptions, create_disk};
use lab::host::{Host, Mount, Refusal};
use lab::limits::HAPPENS;
use lab::migration::Migration;
use lab::preflight::{self, Expected, real};
use lab::shown::Made;
use lab::trial::{Trial, last_phases, left_on, play};
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};

/// The agents' port for each other.
const PORT: u16 = 7700;
const ANSWER: Duration = Duration::from_secs(30);

/// A refusal as it must be: the code, the exit code, and words for a person.
fn expect(refusal: &Refusal, code: &str, exit: i32) -> Result<()> {
    ensure!(
        (refusal.code.as_str(), refusal.exit) == (code, exit),
        "to be {code} and exit {exit}: {refusal:#?}"
    );
    ensure!(!refusal.detail.is_empty(), "it says nothing: {refusal:?}");
    let told = refusal.mend.is_some() || refusal.details.iter().any(|detail| !detail.mend.is_empty());
    ensure!(told, "it does not say what to do: {refusal:?}");
    Ok(())
}

/// A refusal by the target's preflight that has this finding, and only this.
fn expect_finding(refusal: &Refusal, finding: &str) -> Result<()> {
    expect(refusal, "preflight-refused", 4)?;
    let codes: Vec<&str> = refusal.details.iter().map(|detail| detail.code.as_str()).collect();
    ensure!(codes == [finding], "to be {finding}, and is {codes:?}: {refusal:#?}");
    ensure!(refusal.details.iter().all(|detail| !detail.mend.is_empty()), "{refusal:?}");
    Ok(())
}

/// A changed copy of a definition.
fn changed(guest: &Guest, change: impl FnOnce(String) -> String) -> Result<PathBuf> {
    let path = guest.xml.with_extension("changed.xml");
    let (before, after) = (fs::read_to_string(&guest.xml)?, change(fs::read_to_string(&guest.xml)?));
    ensure!(before != after, "the test changed nothing");
    fs::write(&path, after)?;
    Ok(path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[test]
fn definitions_that_cannot_be_used() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let guest = lab.guest(GuestOptions::small("web1"))?;
        let refusal = |change: &dyn Fn(String) -> String| -> Result<Refusal> {
            let path = changed(&guest, change)?;
            host.ferry_refusal(&["define", text(&path)])
        };

        let broken = refusal(&|xml| xml.replace("</vcpu>", ""))?;
        expect(&broken, "definition-invalid", 4)?;
        let place = broken.details.first().context("no place is named")?;
        ensure!(place.line > Some(5) && place.column.is_some(), "{broken:?}");

        // A device that the guest would see; its line is the one where it stands.
        let shmem = "    <shmem name='ring'/>\n    <memballoon";
        let unknown = refusal(&|xml| xml.replace("    <memballoon", shmem))?;
        expect(&unknown, "definition-invalid", 4)?;
        let line = fs::read_to_string(guest.xml.with_extension("changed.xml"))?
            .lines()
            .position(|line| line.contains("<shmem"))
            .context("the test's own change")?;
        let place = unknown.details.first().context("no place is named")?;
        ensure!(place.line == Some(line as u32 + 1), "line {}: {unknown:?}", line + 1);
        ensure!(place.message.contains("shmem"), "{unknown:?}");

        let machine = refusal(&|xml| xml.replace("machine='q35'", "machine='pc-q35-99.0'"))?;
        expect(&machine, "definition-invalid", 4)?;
        ensure!(machine.details.iter().any(|detail| detail.message.contains("pc-q35-99.0")), "{machine:?}");

        let disk = text(&guest.disk).to_owned();
        expect(&refusal(&|xml| xml.replace(&disk, "/etc/shadow"))?, "path-not-allowed", 4)?;
        let emulator = "<devices>\n    <emulator>/bin/sh</emulator>";
        expect(&refusal(&|xml| xml.replace("<devices>", emulator))?, "emulator-not-allowed", 4)?;

        let listed: Vec<Value> = host.ferry_json(&["list", "--all"])?;
        ensure!(listed.is_empty(), "something was defined: {listed:?}");

        // Names and UUIDs are taken once.
        host.ferry_output(["define", text(&guest.xml)])?;
        expect(&refusal(&|xml| xml.replace(&guest.uuid, &uuid()))?, "name-taken", 4)?;
        expect(&refusal(&|xml| xml.replace("<name>web1<", "<name>web2<"))?, "uuid-taken", 4)?;
        expect(&host.ferry_refusal(&["start", "web2"])?, "domain-not-found", 4)?;
        expect(&host.ferry_refusal(&["migrate", "web1", "--to", "kvm2"])?, "wrong-state", 4)?;
        fs::remove_file(&guest.disk)?;
        expect(&host.ferry_refusal(&["start", "web1"])?, "disk-unusable", 4)?;
        host.ferry_output(["undefine", "web1"])?;
        nothing_left(lab)
    })
}

#[test]
fn kvm_that_does_not_work() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        // Where the machine has KVM, this host's agent sees none.
        let mut mounts = Vec::new();
        if Path::new("/dev/kvm").exists() {
            mounts.push(Mount::Bind { from: "/dev/null".into(), at: "/dev/kvm".into() });
        }
        host.stop_agent()?;
        host.start_agent_seeing(&mounts)?;
        let guest = lab.guest(GuestOptions { kind: "kvm", ..GuestOptions::small("web1") })?;
        host.ferry_output(["define", text(&guest.xml)])?;
        let refusal = host.ferry_refusal(&["start", "web1"])?;
        expect(&refusal, "kvm-unusable", 4)?;
        host.ferry_output(["undefine", "web1"])?;
        nothing_left(lab)
    })
}

fn nothing_left(lab: &Lab) -> Result<()> {
    for host in lab.hosts() {
        let left = left_on(host)?;
        ensure!(left.is_empty(), "{} has {left:?}", host.name);
    }
    Ok(())
}

fn uuid() -> String {
    fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().trim().to_owned()
}

/// A guest on `kvm1` that is to stay there, whatever is asked.
struct Refusals<'a> {
    trial: Trial<'a>,
    pid: u32,
}

impl<'a> Refusals<'a> {
    fn begin(lab: &'a Lab) -> Result<Refusals<'a>> {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let pid = trial.qemu(lab.kvm1())?;
        Ok(Refusals { trial, pid })
    }

    /// Asks for a migration, judges the refusal, and sees that it changed nothing on either host.
    fn check(&self, what: &str, to: &str, judge: impl FnOnce(&Refusal) -> Result<()>) -> Result<()> {
        let lab = self.trial.lab;
        let checking = || -> Result<()> {
            judge(&lab.kvm1().ferry_refusal(&["migrate", "web1", "--to", to])?)?;
            let journals = last_phases(lab.kvm2())?;
            ensure!(journals.is_empty(), "{journals:?} on the target");
            self.untouched()
        };
        checking().with_context(|| what.to_owned())
    }

    fn untouched(&self) -> Result<()> {
        let kvm1 = self.trial.lab.kvm1();
        ensure!(self.trial.qemu(kvm1)? == self.pid, "another QEMU");
        self.trial.unharmed_on(kvm1)
    }
}

#[test]
fn a_target_that_cannot_take_the_domain() -> Result<()> {
    play(|lab| {
        let refusals = Refusals::begin(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        refusals.check("an unknown host", "kvm3", |refusal| expect(refusal, "host-unknown", 4))?;
        refusals.check("itself", "kvm1", |refusal| expect_finding(refusal, "same-host"))?;

        let link = |words: &str| run(kvm2.namespace.command("ip").arg("link").args(words.split(' ')));
        link("set br0 down")?;
        link("set br0 name br9")?;
        let none = kvm1.ferry_refusal(&["migrate", "web1", "--to", "kvm2"])?;
        expect_finding(&none, "bridge-missing")?;
        link("add br0 type veth peer name br8")?;
        let other = kvm1.ferry_refusal(&["migrate", "web1", "--to", "kvm2"])?;
        expect_finding(&other, "not-a-bridge")?;
        link("delete br0")?;
        link("set br9 name br0")?;
        link("set br0 up")?;
        refusals.untouched().context("no bridge")?;

        let guest = &refusals.trial.guest;
        let other = changed(guest, |xml| xml.replace(&guest.uuid, &uuid()))?;
        kvm2.ferry_output(["define", text(&other)])?;
        refusals.check("its name", "kvm2", |refusal| expect_finding(refusal, "name-taken"))?;
        kvm2.ferry_output(["undefine", "web1"])?;
        let other = changed(guest, |xml| xml.replace("<name>web1<", "<name>web2<"))?;
        kvm2.ferry_output(["define", text(&other)])?;
        refusals.check("its UUID", "kvm2", |refusal| expect_finding(refusal, "uuid-taken"))?;
        kvm2.ferry_output(["undefine", "web2"])?;

        migrating_already(&refusals)?;
        kvm2.stop_agent()?;
        let refusal = kvm1.ferry_refusal(&["migrate", "web1", "--to", "kvm2"])?;
        expect(&refusal, "host-unreachable", 1)?;
        refusals.untouched().context("no agent")?;
        kvm2.start_agent()?;
        refusals.trial.moves(kvm1, kvm2, &[])
    })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// While a domain is moving nothing else can be done to it, and none of that disturbs the migration.
fn migrating_already(refusals: &Refusals<'_>) -> Result<()> {
    let (kvm1, kvm2) = (refusals.trial.lab.kvm1(), refusals.trial.lab.kvm2());
    let migration = Migration::begin(kvm1, "web1", kvm2, &["--bandwidth", "3MiB/s"])?;
    migration.wait_for("streaming", HAPPENS)?;
    for words in [
        &["migrate", "web1", "--to", "kvm2"][..],
        &["start", "web1"],
        &["suspend", "web1"],
        &["destroy", "web1"],
        &["undefine", "web1"],
        &["define", text(&refusals.trial.guest.xml)],
    ] {
        expect(&kvm1.ferry_refusal(words)?, "migrating", 4).with_context(|| words.join(" "))?;
    }
    expect(&kvm2.ferry_refusal(&["start", "web1"])?, "migrating", 4).context("start on the target")?;
    kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
    let end = migration.wait_for_end(HAPPENS)?;
    ensure!(end.outcome.as_deref() == Some("kept"), "{end:?}");
    refusals.untouched().context("already migrating")
}

#[test]
fn a_target_that_does_not_see_the_disk() -> Result<()> {
    play(|lab| {
        let refusals = Refusals::begin(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        // Another directory lies where the shared one should be.
        let elsewhere = lab.directory().join("elsewhere");
        fs::create_dir_all(elsewhere.join("boot"))?;
        for file in ["boot/vmlinuz", "boot/initramfs"] {
            fs::hard_link(lab.shared.join(file), elsewhere.join(file))?;
        }
        kvm2.stop_agent()?;
        kvm2.start_agent_seeing(&[Mount::Bind { from: elsewhere.clone(), at: lab.shared.clone() }])?;
        refusals.check("no disk", "kvm2", |refusal| expect_finding(refusal, "disk-missing"))?;
        let disk = elsewhere.join("web1.qcow2");
        create_disk(&disk, refusals.trial.guest.options.disk_mib)?;
        refusals.check("another disk", "kvm2", |refusal| expect_finding(refusal, "storage-not-shared"))?;
        fs::remove_file(&disk)?;
        fs::remove_file(elsewhere.join("boot/initramfs"))?;
        refusals.check("every finding at once", "kvm2", |refusal| {
            expect(refusal, "preflight-refused", 4)?;
            let codes: Vec<&str> = refusal.details.iter().map(|detail| detail.code.as_str()).collect();
            ensure!(codes == ["disk-missing", "file-missing"], "{codes:?}");
            Ok(())
        })?;
        kvm2.stop_agent()?;
        kvm2.start_agent()?;
        refusals.trial.moves(kvm1, kvm2, &[])
    })
}

#[test]
fn no_room_for_the_journal() -> Result<()> {
    const STATE_KIB: u32 = 512;
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        kvm1.stop_agent()?;
        kvm1.start_agent_seeing(&[Mount::Tmpfs { at: kvm1.state(), size_kib: STATE_KIB }])?;
        let refusals = Refusals::begin(lab)?;
        let filler = kvm1.seen_by_agent(&kvm1.state().join("filler"))?;

        // On the source: the check that comes first has no place for what it must remember.
        fill(&filler)?;
        let refusal = kvm1.ferry_refusal(&["migrate", "web1", "--to", "kvm2"])?;
        expect(&refusal, "store-failed", 1)?;
        refusals.untouched().context("full disk on the source")?;
        fs::remove_file(&filler)?;
        refusals.trial.moves(kvm1, kvm2, &[])?;

        // On the target.
        fill(&filler)?;
        let refusal = kvm2.ferry_refusal(&["migrate", "web1", "--to", "kvm1"])?;
        expect(&refusal, "journal-failed", 1)?;
        ensure!(refusal.detail.contains("kvm1"), "it does not say where: {refusal:?}");
        refusals.trial.unharmed_on(kvm2).context("full disk on the target")?;
        fs::remove_file(&filler)?;
        refusals.trial.moves(kvm2, kvm1, &[])
    })
}

/// Takes all the room there is.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let end = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    ensure!(end.kind() == std::io::ErrorKind::StorageFull, "{end}");
    Ok(())
}

#[test]
fn another_version_of_the_conversation() -> Result<()> {
    play(|lab| {
        let refusals = Refusals::begin(lab)?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        // An agent that speaks another version asks.
        for version in ["99", "none", ""] {
            let (status, problem) = ask(kvm1, kvm2, version, &json!({}))?;
            let code = problem["code"].as_str().unwrap_or_default();
            ensure!((status, code) == (409, "protocol-version"), "{version:?}: {status} {problem}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            let theirs = if version.is_empty() { "none" } else { version };
            ensure!(detail.contains("on this host speaks 1 to 2,") && detail.ends_with(theirs), "{problem}");
        }
        // The same one asks in our version, from a newer QEMU: the machine type is missing here.
        let (status, problem) = ask(kvm1, kvm2, "1", &offer(&refusals)?)?;
        let codes: Vec<&str> = problem["details"]
            .as_array()
            .map(|details| details.iter().filter_map(|detail| detail["code"].as_str()).collect())
            .unwrap_or_default();
        ensure!((status, codes.as_slice()) == (422, &["machine-missing"][..]), "{status} {problem}");
        refusals.untouched()?;

        // Ours asks one that answers in another version.
        kvm2.stop_agent()?;
        let pose = Arc::new(Mutex::new(Pose::Newer));
        pose_as_agent(kvm2, &pose)?;
        let refusal = kvm1.ferry_refusal(&["migrate", "web1", "--to", "kvm2"])?;
        expect(&refusal, "protocol-version", 4)?;
        ensure!(refusal.detail.contains("1 to 2 here, 98 to 99 at"), "{refusal:?}");
        // One of a release that knows no checks, by its answers as they were recorded.
        *pose.lock().expect("no test panics with it") = Pose::Older;
        let condition = "the agent answers as that of a release without checks did";
        let older = Expected { made: Made::Recorded, ..real("target-older", "warn", condition) };
        preflight::expect(lab, &["web1"], older)?;
        refusals.untouched()
    })
}

/// What `kvm1` would offer if its QEMU had a machine type that no other has.
fn offer(refusals: &Refusals<'_>) -> Result<Value> {
    let kvm1 = refusals.trial.lab.kvm1();
    let xml = kvm1.ferry_output(["dumpxml", "web1"])?;
    let frozen = "machine='pc-q35-";
    let (before, after) = xml.split_once(frozen).with_context(|| format!("no {frozen} in {xml}"))?;
    let (_version, after) = after.split_once('\'').context("a closing quote")?;
    let facts: Value = kvm1.ferry_json(&["host", "info"])?;
    Ok(json!({
        "migration": uuid(),
        "source": "kvm1",
        "xml": format!("{before}{frozen}99.0'{after}"),
        "generation": 2,
        "suspended": false,
        "persistent": true,
        "encrypted": true,
        "channels": 1,
        "source_facts": {
            "arch": "x86_64",
            "cpu_vendor": facts["cpu"]["vendor"],
            "nx": facts["cpu"]["nx"],
            "kvm": false,
            "migrate_capabilities": ["events", "return-path", "pause-before-switchover", "multifd"],
        },
    }))
}

/// The CA's certificate, a host's certificate and its key.
struct Papers([Vec<u8>; 3]);

impl Papers {
    fn read(host: &Host) -> Result<Papers> {
        let read =
            |name: &str| fs::read(host.directory.join("tls").join(name)).with_context(|| name.to_owned());
        Ok(Papers([read("ca.pem")?, read("host.pem")?, read("host-key.pem")?]))
    }

    fn show(&self) -> tls::Papers<'_> {
        let [ca, certificate, key] = &self.0;
        tls::Papers { ca, revocations: None, certificate, key }
    }
}

/// An offer from one agent to another, by hand: as the version says, and with the certificate that it has.
fn ask(from: &Host, to: &Host, version: &str, body: &Value) -> Result<(u16, Value)> {
    let papers = Papers::read(from)?;
    let config = tls::client_config(papers.show())?;
    let address = SocketAddr::from((to.address, PORT));
    let stream = from.namespace.enter(|| TcpStream::connect_timeout(&address, ANSWER))??;
    stream.set_read_timeout(Some(ANSWER))?;
    let connection = ClientConnection::new(config, ServerName::try_from(to.name.to_owned())?)?;
    let mut stream = StreamOwned::new(connection, stream);
    let body = body.to_string();
    let header = if version.is_empty() { String::new() } else { format!("ferry-protocol: {version}\r\n") };
    write!(
        stream,
        "POST /api/v1/agent/migrations HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{header}\r\n{body}",
        to.name,
        body.len()
    )?;
    let mut answer = Vec::new();
    // Whether the other side closes TLS properly is no matter here.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    Ok((status, serde_json::from_str(body).with_context(|| format!("{head}: {body}"))?))
}

/// What an agent is that is posed as.
#[derive(Clone, Copy)]
enum Pose {
    /// It speaks other versions than ours, whatever it is asked.
    Newer,
    /// It speaks ours, and does not know what it is asked.
    Older,
}

impl Pose {
    fn answer(self, asked: &[u8]) -> String {
        let answer = |status: &str, header: &str, body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 {status}\r\n{header}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        };
        match self {
            Pose::Newer => {
                let version = r#"{"ferry":"9.9.9","protocol":99,"protocol_oldest":98,"host":"kvm2"}"#;
                answer("200 OK", "ferry-protocol: 99\r\n", version)
            }
            Pose::Older if asked.starts_with(b"GET /api/v1/version") => {
                let version = r#"{"ferry":"0.1.0","protocol":1,"host":"kvm2"}"#;
                answer("200 OK", "ferry-protocol: 1\r\n", version)
            }
            Pose::Older => answer("404 Not Found", "", r#"{"status":404,"code":"not-found","detail":"no"}"#),
        }
    }
}

/// Answers on the agent's port, with its certificate, as the pose is at the moment.
fn pose_as_agent(host: &Host, pose: &Arc<Mutex<Pose>>) -> Result<()> {
    let config = tls::server_config(Papers::read(host)?.show(), tls::Strangers::Refused)?;
    let listener = host.namespace.enter(|| TcpListener::bind((host.address, PORT)))??;
    let pose = Arc::clone(pose);
    std::thread::spawn(move || -> Result<()> {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config))?, stream?);
            let pose = Arc::clone(&pose);
            std::thread::spawn(move || {
                let mut asked = Vec::new();
                let mut some = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut some) {
                    asked.extend_from_slice(&some[..length]);
                    while let Some(length) = whole_request(&asked) {
                        let answer = pose.lock().expect("no test panics with it").answer(&asked);
                        asked.drain(..length);
                        if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        Ok(())
    });
    Ok(())
}

/// The length of the first request with its body, once all of it is there.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let body =
        text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let length = head + body.unwrap_or(0);
    (bytes.len() >= length).then_some(length)
}
