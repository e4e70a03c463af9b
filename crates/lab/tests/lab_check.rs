//! `ferry check` on real hosts: each condition is made in turn around one guest, and its rule and no other finds it, with a
//! mend; two hosts in order break no rule; and a check leaves both hosts as they were.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::{Guest, GuestOptions, create_disk};
use lab::host::{Host, Mount};
use lab::trial::{Trial, play};
use serde::Deserialize;

/// What a check may take beyond its connection tests, where both agents have been asked before.
const QUICK: Duration = Duration::from_secs(1);
/// Longer than any host is waited for.
const BOUNDED: Duration = Duration::from_secs(40);

#[derive(Debug, Deserialize)]
struct Report {
    checked: Vec<Checked>,
    #[serde(default)]
    skipped: Vec<String>,
    wall_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Checked {
    rule: String,
    severity: String,
    message: String,
    why: String,
    mend: Option<String>,
}

/// A report and the exit code that came with it.
fn check(host: &Host, words: &[&str]) -> Result<(Report, i32)> {
    let output = host.ferry().args(["--json", "check"]).args(words).output().context("ip netns exec")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&said)
        .with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((report, output.status.code().unwrap_or(-1)))
}

/// Checks a domain of `kvm1`: what is not in order must be of this rule, and of this severity.
fn expect(lab: &Lab, domain: &str, rule: &str, severity: &str) -> Result<()> {
    let (report, exit) = check(lab.kvm1(), &[domain, "--to", "kvm2"])?;
    let wrong: Vec<&Checked> = report.checked.iter().filter(|checked| checked.severity != "pass").collect();
    ensure!(!wrong.is_empty(), "{rule} was to be broken, and nothing was found");
    for checked in &wrong {
        ensure!((checked.rule.as_str(), checked.severity.as_str()) == (rule, severity), "{rule}: {wrong:#?}");
        ensure!(checked.mend.as_ref().is_some_and(|mend| !mend.is_empty()), "no mend: {checked:#?}");
        ensure!(!checked.why.is_empty() && !checked.message.is_empty(), "{checked:#?}");
    }
    let code = if severity == "fail" { 4 } else { 0 };
    ensure!(exit == code, "{rule}: exit code {exit}");
    println!("{rule} → {}", wrong[0].message);
    Ok(())
}

/// Checks that nothing is wrong.
fn in_order(lab: &Lab, domain: &str) -> Result<Report> {
    let (report, exit) = check(lab.kvm1(), &[domain, "--to", "kvm2"])?;
    let wrong: Vec<&Checked> = report.checked.iter().filter(|checked| checked.severity != "pass").collect();
    ensure!(wrong.is_empty() && exit == 0, "exit {exit}: {wrong:#?}");
    Ok(report)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn on(host: &Host, line: &str) -> Result<()> {
    let (program, words) = line.split_once(' ').context("a program and its words")?;
    run(host.namespace.command(program).args(words.split(' ')))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Files by their paths, with size and inode; links; QEMUs. What a guest writes while it runs is left out.
fn state(lab: &Lab) -> Result<BTreeMap<String, String>> {
    let mut state = BTreeMap::new();
    for entry in fs::read_dir(&lab.shared)? {
        let entry = entry?;
        state.insert(entry.path().display().to_string(), entry.metadata()?.ino().to_string());
    }
    for host in lab.hosts() {
        let mut directories = vec![host.state(), host.run()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                let is = entry.metadata()?;
                if is.is_dir() {
                    directories.push(entry.path());
                }
                state.insert(entry.path().display().to_string(), format!("{} {}", is.ino(), is.len()));
            }
        }
        state.insert(format!("{} links", host.name), host.namespace.links()?.join(" "));
        state.insert(format!("{} qemus", host.name), format!("{:?}", host.qemus()?));
    }
    Ok(state)
}

#[test]
fn conditions_that_a_running_guest_is_checked_under() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        in_order(lab, "web1").context("two hosts in order")?;
        let before = state(lab)?;
        let again = in_order(lab, "web1")?;
        ensure!(state(lab)? == before, "a check changed something: {before:#?} {:#?}", state(lab)?);
        ensure!(Duration::from_millis(again.wall_ms) < QUICK, "a check took {} ms", again.wall_ms);
        println!("a check of two hosts in order: {} ms", again.wall_ms);

        on_the_network(lab, &trial.guest)?;
        names(lab, &trial.guest)?;
        selections(lab)?;
        let (same, exit) = check(kvm1, &["web1", "--to", "kvm1"])?;
        ensure!(exit == 4 && same.checked.len() == 1 && same.checked[0].rule == "same-host", "{same:?}");
        storage(lab, &trial.guest)?;
        configurations(lab)?;
        clocks_and_hosts_that_go(lab)?;
        trial.unharmed_on(kvm1)?;
        trial.moves(kvm1, kvm2, &["--skip", "clock-skew"])
    })
}

/// The bridge of the guest and its MAC address, on the target.
fn on_the_network(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm2 = lab.kvm2();
    on(kvm2, "ip link set br0 down")?;
    expect(lab, "web1", "bridge-down", "fail")?;
    on(kvm2, "ip link set br0 name br9")?;
    expect(lab, "web1", "bridge-missing", "fail")?;
    on(kvm2, "ip link add br0 type veth peer name br8")?;
    expect(lab, "web1", "not-a-bridge", "fail")?;
    on(kvm2, "ip link delete br0")?;
    on(kvm2, "ip link set br9 name br0")?;
    on(kvm2, "ip link set br0 up")?;

    on(kvm2, "ip link set br0 mtu 1400")?;
    expect(lab, "web1", "mtu-differs", "fail")?;
    on(kvm2, "ip link set br0 mtu 1500")?;

    on(kvm2, "ip tuntap add dev tap9 mode tap")?;
    on(kvm2, "ip link set tap9 master br0")?;
    on(kvm2, &format!("bridge fdb add {} dev tap9 master static", guest.mac()))?;
    expect(lab, "web1", "mac-in-use", "fail")?;
    on(kvm2, "ip link delete tap9")?;
    in_order(lab, "web1").context("the network is as it was").map(drop)
}

fn uuid() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

fn changed(guest: &Guest, from: &str, to: &str) -> Result<PathBuf> {
    let path = guest.xml.with_extension("changed.xml");
    let before = fs::read_to_string(&guest.xml)?;
    let after = before.replace(from, to);
    ensure!(before != after, "the test changed nothing: {from}");
    fs::write(&path, after)?;
    Ok(path)
}

fn names(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm2 = lab.kvm2();
    let other = changed(guest, &guest.uuid, &uuid()?)?;
    kvm2.ferry_output(["define", text(&other)])?;
    expect(lab, "web1", "name-taken", "fail")?;
    kvm2.ferry_output(["undefine", "web1"])?;
    let other = changed(guest, "<name>web1<", "<name>web2<")?;
    kvm2.ferry_output(["define", text(&other)])?;
    expect(lab, "web1", "uuid-taken", "fail")?;
    kvm2.ferry_output(["undefine", "web2"])?;
    fs::remove_file(other)?;
    Ok(())
}

/// `--only` and `--skip`, and rules that are none or must be looked at.
fn selections(lab: &Lab) -> Result<()> {
    let kvm1 = lab.kvm1();
    let (only, _) = check(kvm1, &["web1", "--to", "kvm2", "--only", "nx-differs,memory-short"])?;
    let rules: Vec<&str> = only.checked.iter().map(|checked| checked.rule.as_str()).collect();
    ensure!(rules == ["nx-differs", "memory-short"], "{rules:?}");
    let (skipped, _) = check(kvm1, &["web1", "--to", "kvm2", "--skip", "nx-differs"])?;
    ensure!(skipped.skipped == ["nx-differs"], "{skipped:?}");
    ensure!(skipped.checked.iter().all(|checked| checked.rule != "nx-differs"), "{skipped:?}");
    for (rule, code) in [("no-such-rule", "rule-unknown"), ("name-taken", "rule-needed")] {
        for command in ["check", "migrate"] {
            let refusal = kvm1.ferry_refusal(&[command, "web1", "--to", "kvm2", "--skip", rule])?;
            ensure!((refusal.code.as_str(), refusal.exit) == (code, 4), "{command}: {refusal:?}");
        }
    }
    let unknown = kvm1.ferry_refusal(&["check", "web1", "--to", "kvm2", "--only", "no-such-rule"])?;
    ensure!(unknown.mend.is_some_and(|mend| mend.contains("bridge-missing")), "the rules are not listed");
    Ok(())
}

/// Has the agent of the target see other mounts for a while.
fn seeing(host: &Host, mounts: &[Mount], look: impl FnOnce() -> Result<()>) -> Result<()> {
    host.stop_agent()?;
    host.start_agent_seeing(mounts)?;
    look()?;
    host.stop_agent()?;
    host.start_agent()
}

fn storage(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm2 = lab.kvm2();
    let elsewhere = lab.directory().join("elsewhere");
    fs::create_dir_all(elsewhere.join("boot"))?;
    for file in ["boot/vmlinuz", "boot/initramfs"] {
        fs::hard_link(lab.shared.join(file), elsewhere.join(file))?;
    }
    let other_directory = Mount::Bind { from: elsewhere.clone(), at: lab.shared.clone() };
    let disk = elsewhere.join("web1.qcow2");
    // What fills the guest's serial file stays behind, too, where the directory is not the same.
    seeing(kvm2, &[other_directory], || {
        let only = ["web1", "--to", "kvm2", "--skip", "local-character"];
        let rules = || -> Result<Vec<String>> {
            let (report, exit) = check(lab.kvm1(), &only)?;
            ensure!(exit == 4, "exit code {exit}");
            let wrong = report.checked.into_iter().filter(|checked| checked.severity != "pass");
            Ok(wrong.map(|checked| checked.rule).collect())
        };
        ensure!(rules()? == ["disk-missing"], "{:?}", rules()?);
        create_disk(&disk, guest.options.disk_mib)?;
        ensure!(rules()? == ["storage-not-shared"], "{:?}", rules()?);
        fs::remove_file(elsewhere.join("boot/initramfs"))?;
        ensure!(rules()? == ["storage-not-shared", "file-missing"], "{:?}", rules()?);
        Ok(())
    })?;
    let other_file = Mount::Bind { from: disk, at: guest.disk.clone() };
    seeing(kvm2, &[other_file], || expect(lab, "web1", "image-differs", "fail"))?;
    in_order(lab, "web1").context("the storage is as it was").map(drop)
}

/// Restarts the target's agent with another configuration for a while.
fn configured(host: &Host, change: impl Fn(&str) -> String, look: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = fs::read_to_string(host.configuration())?;
    let after = change(&before);
    ensure!(before != after, "the configuration was not changed");
    host.stop_agent()?;
    fs::write(host.configuration(), after)?;
    host.start_agent()?;
    look()?;
    host.stop_agent()?;
    fs::write(host.configuration(), before)?;
    host.start_agent()
}

fn configurations(lab: &Lab) -> Result<()> {
    let kvm2 = lab.kvm2();
    let shared = text(&lab.shared).to_owned();
    let only = |rule: &'static str| {
        move || -> Result<()> {
            let (report, exit) = check(lab.kvm1(), &["web1", "--to", "kvm2", "--only", rule])?;
            let failed = report.checked.iter().filter(|checked| checked.severity == "fail").count();
            ensure!(failed > 0 && exit == 4, "{rule}: exit {exit}, {report:#?}");
            println!("{rule} → {}", report.checked[0].message);
            Ok(())
        }
    };
    let forbidden =
        |before: &str| before.replace(&format!("allowed_paths = [\"{shared}"), "allowed_paths = [\"/none");
    configured(kvm2, forbidden, only("path-not-allowed"))?;
    let alone = |before: &str| before.split("[hosts.kvm1]").next().unwrap_or_default().to_owned();
    configured(kvm2, alone, || expect(lab, "web1", "source-unreachable", "fail"))
}

/// Clocks that differ, and targets that are gone, silent or cut off: findings, and never for long.
fn clocks_and_hosts_that_go(lab: &Lab) -> Result<()> {
    let kvm2 = lab.kvm2();
    let gone = |how: &str| -> Result<()> {
        let began = Instant::now();
        expect(lab, "web1", "target-unreachable", "fail").with_context(|| how.to_owned())?;
        ensure!(began.elapsed() < BOUNDED, "{how}: a check took {:?}", began.elapsed());
        Ok(())
    };
    kvm2.freeze_agent()?;
    gone("a target that does not answer")?;
    kvm2.thaw_agent()?;
    lab.cut(kvm2)?;
    gone("a target that is cut off")?;
    lab.heal(kvm2)?;
    kvm2.stop_agent()?;
    gone("a target without an agent")?;
    kvm2.start_agent_with_clock()?;
    kvm2.set_clock(5)?;
    expect(lab, "web1", "clock-skew", "warn")?;
    kvm2.stop_agent()?;
    kvm2.start_agent()
}

/// A definition, the rule that it breaks on hosts as they are, and how gravely.
const DEFINITIONS: [(&str, &str, &str, &str); 6] = [
    ("<memory unit='MiB'>256</memory>", "<memory unit='TiB'>4</memory>", "memory-short", "fail"),
    (
        "<vcpu>",
        "<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages></memoryBacking><vcpu>",
        "hugepages-short",
        "fail",
    ),
    ("append='on'", "append='off'", "local-character", "warn"),
    (
        "    <memballoon",
        "    <interface type='user'><model type='virtio'/></interface>\n    <memballoon",
        "user-networking",
        "warn",
    ),
    (
        "<interface type='bridge'>",
        "<interface type='network'><source network='lan'/><model type='virtio'/></interface><interface type='bridge'>",
        "network-unknown",
        "fail",
    ),
    (
        "    <memballoon",
        "    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='6' slot='2' function='0'/>\
         </source></hostdev>\n    <memballoon",
        "host-device",
        "fail",
    ),
];

#[test]
fn conditions_that_a_definition_brings_along() -> Result<()> {
    play(|lab| {
        let guest = lab.guest(GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        kvm1.ferry_output(["define", text(&guest.xml)])?;
        in_order(lab, "web1")?;
        for (from, to, rule, severity) in DEFINITIONS {
            let path = changed(&guest, from, to)?;
            kvm1.ferry_output(["define", text(&path)])?;
            expect(lab, "web1", rule, severity)?;
        }
        kvm1.ferry_output(["define", text(&guest.xml)])?;
        kvm1.ferry_output(["snapshot", "create", "web1", "before"])?;
        expect(lab, "web1", "snapshots-inside", "warn")?;
        kvm1.ferry_output(["snapshot", "delete", "web1", "before"])?;

        // Where the machine has KVM, the target's agent sees none.
        let path = changed(&guest, "<domain type='qemu'>", "<domain type='kvm'>")?;
        kvm1.ferry_output(["define", text(&path)])?;
        let mut mounts = Vec::new();
        if Path::new("/dev/kvm").exists() {
            mounts.push(Mount::Bind { from: "/dev/null".into(), at: "/dev/kvm".into() });
        }
        seeing(kvm2, &mounts, || expect(lab, "web1", "kvm-unusable", "fail"))?;
        let live = kvm1.ferry_refusal(&["check", "web1", "--to", "kvm2", "--live"])?;
        ensure!((live.code.as_str(), live.exit) == ("wrong-state", 4), "{live:?}");
        kvm1.ferry_output(["undefine", "web1"])?;
        Ok(())
    })
}
