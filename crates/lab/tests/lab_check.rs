//! `ferry check` on real hosts: each condition is made in turn around one guest, and its rule and no other finds it, with a
//! mend; two hosts in order break no rule; and a check leaves both hosts as they were.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::{Guest, GuestOptions, create_disk};
use lab::host::{Host, Mount};
use lab::limits::{HAPPENS, LOOK};
use lab::preflight::{self, Report, check, in_order, real};
use lab::trial::{Trial, play};

/// What a check may take beyond its connection tests, where both agents have been asked before.
const QUICK: Duration = Duration::from_secs(1);
/// Checks that are tried for it: other tests use the machine meanwhile, and only the quickest says what a check takes.
const LOOKS: u32 = 5;
/// Longer than any host is waited for.
const BOUNDED: Duration = Duration::from_secs(40);

/// What is found with nothing but the domain's name.
fn expect(lab: &Lab, rule: &str, severity: &str, condition: &str) -> Result<()> {
    preflight::expect(lab, &["web1"], real(rule, severity, condition))
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
        let again: Vec<u64> =
            (0..LOOKS).map(|_| Ok(in_order(lab, "web1")?.wall_ms)).collect::<Result<_>>()?;
        ensure!(state(lab)? == before, "a check changed something: {before:#?} {:#?}", state(lab)?);
        let quickest = again.iter().min().copied().unwrap_or(u64::MAX);
        ensure!(Duration::from_millis(quickest) < QUICK, "checks took {again:?} ms");

        on_the_network(lab, &trial.guest)?;
        names(lab, &trial.guest)?;
        selections(lab)?;
        let (same, exit) = check(kvm1, &["web1", "--to", "kvm1"])?;
        ensure!(exit == 4 && same.checked.len() == 1 && same.checked[0].rule == "same-host", "{same:?}");
        preflight::shown(&same.checked[0], real("same-host", "fail", "source and target are one host"))?;
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
    kvm2.run_line("ip link set br0 down")?;
    expect(lab, "bridge-down", "fail", "the bridge is set down on the target")?;
    kvm2.run_line("ip link set br0 name br9")?;
    expect(lab, "bridge-missing", "fail", "the bridge has another name on the target")?;
    kvm2.run_line("ip link add br0 type veth peer name br8")?;
    expect(lab, "not-a-bridge", "fail", "a veth has the bridge's name on the target")?;
    kvm2.run_line("ip link delete br0")?;
    kvm2.run_line("ip link set br9 name br0")?;
    kvm2.run_line("ip link set br0 up")?;

    kvm2.run_line("ip link set br0 mtu 1400")?;
    expect(lab, "mtu-differs", "fail", "the bridge on the target has an MTU of 1400")?;
    kvm2.run_line("ip link set br0 mtu 9000")?;
    expect(lab, "mtu-differs", "warn", "the bridge on the target has an MTU of 9000")?;
    kvm2.run_line("ip link set br0 mtu 1500")?;

    kvm2.run_line("ip tuntap add dev tap9 mode tap")?;
    kvm2.run_line("ip link set tap9 master br0")?;
    // Sticky: a packet of the guest that came in by another port would move the entry there (bridge(8)).
    kvm2.run_line(&format!("bridge fdb replace {} dev tap9 master static sticky", guest.mac()))?;
    expect(lab, "mac-in-use", "fail", "a tap on the target has the guest's MAC address")?;
    kvm2.run_line("ip link delete tap9")?;
    in_order(lab, "web1").context("the network is as it was").map(drop)
}

fn uuid() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

fn names(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm2 = lab.kvm2();
    let other = guest.changed(&guest.uuid, &uuid()?)?;
    kvm2.ferry_output(["define", text(&other)])?;
    expect(lab, "name-taken", "fail", "another domain of that name is defined on the target")?;
    kvm2.ferry_output(["undefine", "web1"])?;
    let other = guest.changed("<name>web1<", "<name>web2<")?;
    kvm2.ferry_output(["define", text(&other)])?;
    expect(lab, "uuid-taken", "fail", "another domain of that UUID is defined on the target")?;
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
    kvm2.seeing(&other_directory, || {
        let expect = |rule, condition| {
            preflight::expect(lab, &["web1", "--skip", "local-character"], real(rule, "fail", condition))
        };
        expect("disk-missing", "the disk is not on the target")?;
        create_disk(&disk, guest.options.disk_mib)?;
        expect("storage-not-shared", "another directory is mounted at the disk's path")
    })?;
    let empty = elsewhere.join("empty");
    fs::create_dir_all(&empty)?;
    kvm2.seeing(&Mount::Bind { from: empty, at: lab.shared.join("boot") }, || {
        expect(lab, "file-missing", "fail", "kernel and initramfs of the guest are not on the target")
    })?;
    let other_file = Mount::Bind { from: disk, at: guest.disk.clone() };
    kvm2.seeing(&other_file, || {
        expect(lab, "image-differs", "fail", "another file lies over the disk in a shared directory")
    })?;
    in_order(lab, "web1").context("the storage is as it was").map(drop)
}

fn configurations(lab: &Lab) -> Result<()> {
    let kvm2 = lab.kvm2();
    let shared = text(&lab.shared).to_owned();
    let forbidden =
        |before: &str| before.replace(&format!("allowed_paths = [\"{shared}"), "allowed_paths = [\"/none");
    let outside = "the disk lies outside `allowed_paths` of the target";
    // Nor is the guest's serial file proven to be shared, where nothing is looked at.
    let words = ["web1", "--skip", "local-character"];
    kvm2.configured(forbidden, || preflight::expect(lab, &words, real("path-not-allowed", "fail", outside)))?;
    let alone = |before: &str| before.split("[hosts.kvm1]").next().unwrap_or_default().to_owned();
    kvm2.configured(alone, || {
        expect(lab, "source-unreachable", "fail", "the source is not in the target's configuration")
    })
}

/// Clocks that differ, and targets that are gone, silent or cut off: findings, and never for long.
fn clocks_and_hosts_that_go(lab: &Lab) -> Result<()> {
    let kvm2 = lab.kvm2();
    let gone = |how: &str| -> Result<()> {
        let began = Instant::now();
        expect(lab, "target-unreachable", "fail", how)?;
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
    expect(lab, "clock-skew", "warn", "the target's clock is 5 s ahead")?;
    kvm2.stop_agent()?;
    kvm2.start_agent()
}

/// A definition, the rule that it breaks on hosts as they are, how gravely, and what it is.
const DEFINITIONS: [(&str, &str, &str, &str, &str); 6] = [
    (
        "<memory unit='MiB'>256</memory>",
        "<memory unit='TiB'>4</memory>",
        "memory-short",
        "warn",
        "the guest has 4 TiB of memory, the target less",
    ),
    (
        "<vcpu>",
        "<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages></memoryBacking><vcpu>",
        "hugepages-short",
        "warn",
        "the guest wants huge pages, and the target has none free",
    ),
    (
        "append='on'",
        "append='off'",
        "local-character",
        "warn",
        "a serial line leads into a file that begins anew",
    ),
    (
        "    <memballoon",
        "    <interface type='user'><model type='virtio'/></interface>\n    <memballoon",
        "user-networking",
        "warn",
        "an interface goes through QEMU's own network stack",
    ),
    (
        "<interface type='bridge'>",
        "<interface type='network'><source network='lan'/><model type='virtio'/></interface><interface type='bridge'>",
        "network-unknown",
        "fail",
        "the target does not know the bridge of a network",
    ),
    (
        "    <memballoon",
        "    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='6' slot='2' function='0'/>\
         </source></hostdev>\n    <memballoon",
        "host-device",
        "fail",
        "the guest has a PCI device of the source",
    ),
];

#[test]
fn conditions_that_a_definition_brings_along() -> Result<()> {
    play(|lab| {
        let guest = lab.guest(GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        kvm1.ferry_output(["define", text(&guest.xml)])?;
        in_order(lab, "web1")?;
        for (from, to, rule, severity, condition) in DEFINITIONS {
            let path = guest.changed(from, to)?;
            kvm1.ferry_output(["define", text(&path)])?;
            expect(lab, rule, severity, condition)?;
        }
        kvm1.ferry_output(["define", text(&guest.xml)])?;
        kvm1.ferry_output(["snapshot", "create", "web1", "before"])?;
        expect(lab, "snapshots-inside", "warn", "the image holds a snapshot")?;
        kvm1.ferry_output(["snapshot", "delete", "web1", "before"])?;

        // Where the machine has KVM, the target's agent sees none.
        let path = guest.changed("<domain type='qemu'>", "<domain type='kvm'>")?;
        kvm1.ferry_output(["define", text(&path)])?;
        let mut mounts = Vec::new();
        if Path::new("/dev/kvm").exists() {
            mounts.push(Mount::Bind { from: "/dev/null".into(), at: "/dev/kvm".into() });
        }
        seeing(kvm2, &mounts, || {
            expect(lab, "kvm-unusable", "fail", "the domain wants KVM, and the target has no /dev/kvm")
        })?;
        a_cd_of_its_own(lab, &guest)?;
        agents_that_end_in_a_check(lab)?;
        let live = kvm1.ferry_refusal(&["check", "web1", "--to", "kvm2", "--live"])?;
        ensure!((live.code.as_str(), live.exit) == ("wrong-state", 4), "{live:?}");
        kvm1.ferry_output(["undefine", "web1"])?;
        Ok(())
    })
}

/// A CD that the hosts share, and one that lies on each host's own storage: it is no other disk.
fn a_cd_of_its_own(lab: &Lab, guest: &Guest) -> Result<()> {
    let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
    let (shared, own) = (lab.shared.join("iso"), lab.directory().join("iso"));
    fs::create_dir(&shared)?;
    fs::create_dir(&own)?;
    let cd = shared.join("cd.iso");
    fs::write(&cd, [7; 1 << 16])?;
    fs::copy(&cd, own.join("cd.iso"))?;
    let disk = format!(
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{}'/>\
         <target dev='sda' bus='sata'/><readonly/></disk>\n    <memballoon",
        cd.display()
    );
    kvm1.ferry_output(["define", text(&guest.changed("    <memballoon", &disk)?)])?;
    in_order(lab, "web1").context("a CD on shared storage")?;
    let mounts = [Mount::Bind { from: own.clone(), at: shared.clone() }];
    seeing(kvm2, &mounts, || {
        expect(lab, "image-differs", "warn", "the CD lies on each host's own storage")?;
        fs::write(own.join("cd.iso"), [7; 1 << 17])?;
        expect(lab, "image-differs", "fail", "the CD on the target's own storage is a larger one")
    })?;
    kvm1.ferry_output(["define", text(&guest.xml)])?;
    fs::remove_dir_all(shared)?;
    in_order(lab, "web1").map(drop)
}

fn nonces(lab: &Lab) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&lab.shared)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".ferry-check-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn wait_for_nonces(lab: &Lab, there: bool) -> Result<()> {
    let end = Instant::now() + HAPPENS;
    while nonces(lab)?.is_empty() == there {
        ensure!(Instant::now() < end, "nonces are to be there ({there}): {:?}", nonces(lab)?);
        thread::sleep(LOOK);
    }
    Ok(())
}

/// A check that waits for the target's QEMU, which says nothing, while one of the agents is killed.
fn agents_that_end_in_a_check(lab: &Lab) -> Result<()> {
    let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
    let silent = lab.directory().join("silent-qemu");
    fs::write(&silent, "#!/bin/sh\nexec sleep 600\n")?;
    fs::set_permissions(&silent, fs::Permissions::from_mode(0o755))?;
    let checking = || {
        let mut ferry = kvm1.ferry();
        let ferry = ferry.args(["--json", "check", "web1", "--to", "kvm2"]).stdout(Stdio::piped());
        ferry.stderr(Stdio::piped()).spawn().context("ip netns exec")
    };
    let with_silent = |before: &str| format!("emulators = [\"{}\"]\n{before}", silent.display());
    kvm2.configured(with_silent, || {
        let asked = checking()?;
        wait_for_nonces(lab, true)?;
        kvm2.kill_agent()?;
        let output = asked.wait_with_output()?;
        let report: Report = serde_json::from_slice(&output.stdout)?;
        let wrong = report.wrong();
        ensure!(wrong.len() == 1 && wrong[0].rule == "target-unreachable", "{wrong:#?}");
        let condition = "the target's agent ends in the middle of the check";
        preflight::shown(wrong[0], real("target-unreachable", "fail", condition))?;
        ensure!(report.checked.len() > 1, "what was found out before is told: {report:#?}");
        ensure!(nonces(lab)?.is_empty(), "{:?}", nonces(lab)?);
        kvm2.start_agent()?;

        let mut asked = checking()?;
        wait_for_nonces(lab, true)?;
        kvm1.kill_agent()?;
        asked.wait()?;
        ensure!(!nonces(lab)?.is_empty(), "the agent was killed after its check");
        kvm1.start_agent()?;
        wait_for_nonces(lab, false)
    })?;
    in_order(lab, "web1").map(drop)
}
