//! Hosts with other processors, less room, an older certificate, or fewer emulators that they allow.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::{Guest, create_disk};
use lab::host::{FAKETIME, Host, Mount};
use lab::preflight::{expect, real};

use crate::{breaks, define};

const CPUINFO: &str = "/proc/cpuinfo";

/// A file with this machine's processors, told in another way.
fn cpuinfo(lab: &Lab, change: impl FnOnce(&str) -> String) -> Result<Mount> {
    let before = fs::read_to_string(CPUINFO)?;
    let (after, from) = (change(&before), lab.directory().join("cpuinfo"));
    ensure!(before != after, "the processors are the same: {before}");
    fs::write(&from, after)?;
    Ok(Mount::Bind { from, at: CPUINFO.into() })
}

pub(crate) fn processors(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm2 = lab.kvm2();
    let without_nx = cpuinfo(lab, |text| text.replace(" nx ", " "))?;
    let condition = "NX is off in the target's /proc/cpuinfo";
    kvm2.seeing(&without_nx, || expect(lab, &["web1"], real("nx-differs", "warn", condition)))?;

    let count = fs::read_to_string(CPUINFO)?.matches("processor\t:").count();
    let fewer = cpuinfo(lab, |text| text.split_inclusive("\n\n").take(count - 1).collect())?;
    let vcpus = format!("<vcpu>{count}</vcpu>");
    define(lab, &guest.changed("<vcpu>1</vcpu>", &vcpus)?)?;
    let condition = "the target has one processor less than the guest, and than the source";
    kvm2.seeing(&fewer, || expect(lab, &["web1"], real("cpus-short", "warn", condition)))?;
    define(lab, &guest.xml)?;

    kvm2.stop_agent()?;
    // setarch(8): the kernel says what one of 32 bits would say.
    kvm2.start_agent_after("set -- setarch i686 \"$@\"\n")?;
    expect(lab, &["web1"], real("arch-differs", "fail", "the target's kernel says that it has 32 bits"))?;
    kvm2.stop_agent()?;
    kvm2.start_agent()
}

pub(crate) fn room(lab: &Lab, guest: &Guest) -> Result<()> {
    let kvm2 = lab.kvm2();
    let pid = kvm2.agent_pid().context("an agent")?.to_string();
    let limit = |limit: &str| kvm2.run_line(&format!("prlimit --pid {pid} --nofile={limit}:"));
    let before = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let soft = before.lines().find_map(|line| line.strip_prefix("Max open files")).context("a limit")?;
    limit("70")?;
    let condition = "a QEMU on the target may open 70 files";
    expect(lab, &["web1"], real("descriptors-short", "warn", condition))?;
    limit(soft.split_whitespace().next().context("a soft limit")?)?;

    let full = Mount::Tmpfs { at: kvm2.state(), size_kib: 1024 };
    let condition = "the filesystem of the target's state has 1 MiB";
    kvm2.seeing(&full, || expect(lab, &["web1"], real("state-space-short", "warn", condition)))?;

    let disks = lab.shared.join("disks");
    fs::create_dir(&disks)?;
    let disk = disks.join("web1.qcow2");
    create_disk(&disk, guest.options.disk_mib)?;
    define(lab, &guest.changed(&guest.disk.display().to_string(), &disk.display().to_string())?)?;
    let small = Mount::Tmpfs { at: disks.clone(), size_kib: 64 };
    let condition = "a disk is to be copied, and the target has 64 KiB for it";
    // The guest's serial file is not proven to be shared either.
    let words = ["web1", "--copy-storage", "--skip", "local-character"];
    kvm2.seeing(&small, || expect(lab, &words, real("disk-space-short", "fail", condition)))?;
    define(lab, &guest.xml)?;
    Ok(fs::remove_dir_all(disks)?)
}

/// Days before which the target's certificate was made; it is valid for five years.
const DAYS_AGO: u32 = 5 * 365 + 1 - 9;

pub(crate) fn certificate(lab: &Lab) -> Result<()> {
    let kvm2 = lab.kvm2();
    let issue = |host: &Host, days_ago: u32| -> Result<()> {
        let output = host
            .namespace
            .command(host.ferry_program())
            .args(["ca", "issue", host.name, "--replace", "--address", &host.address.to_string(), "--dir"])
            .arg(lab.directory().join("ca"))
            .arg("--out")
            .arg(host.tls())
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME", format!("-{days_ago}d"))
            .output()?;
        ensure!(output.status.success(), "ca issue: {}", String::from_utf8_lossy(&output.stderr));
        host.stop_agent()?;
        host.start_agent()
    };
    issue(kvm2, DAYS_AGO)?;
    let condition = "the target's certificate was made five years ago but for nine days";
    expect(lab, &["web1"], real("certificate-expires", "warn", condition))?;
    issue(kvm2, 0)
}

pub(crate) fn emulator(lab: &Lab, guest: &Guest) -> Result<()> {
    let (system, own): (PathBuf, PathBuf) =
        ("/usr/bin/qemu-system-x86_64".into(), lab.directory().join("qemu-own"));
    symlink(&system, &own)?;
    let both = |before: &str| format!("emulators = [{system:?}, {own:?}]\n{before}");
    lab.kvm1().configured(both, || {
        let names = format!("<devices>\n    <emulator>{}</emulator>", own.display());
        let condition = "the emulator is not in `emulators` of the target";
        breaks(lab, guest, ("<devices>", &names), ("emulator-not-allowed", "fail"), condition)
    })?;
    remove(&own)
}

fn remove(path: &Path) -> Result<()> {
    Ok(fs::remove_file(path)?)
}
