//! `cargo xtask setup`: finds out what this machine lacks, says so, and installs it with apt. Installs nothing when
//! nothing is missing, and is then done in a moment. Without apt or without root it only says what to install.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{apt, kernel};

/// The oldest QEMU with all that live migration here asks for by name (`channels` in `migrate`, 8.2).
const QEMU_MIN: (u32, u32) = (8, 2);
const QEMU_PACKAGES: [&str; 4] = ["qemu-system-x86", "qemu-utils", "qemu-block-extra", "seabios"];
/// The oldest libvirt that is measured: one of the same time as such a QEMU.
const LIBVIRT_MIN: (u32, u32) = (10, 0);
const LIBVIRT_PACKAGES: [&str; 2] = ["libvirt-daemon-system", "libvirt-clients"];
/// A program, the package that holds it, what it is for.
const PROGRAMS: [(&str, &str, &str); 9] = [
    ("ip", "iproute2", "network namespaces, bridges and links of the lab"),
    ("tc", "iproute2", "slow links in the lab"),
    ("mke2fs", "e2fsprogs", "the filesystem on the guest's disk"),
    ("debugfs", "e2fsprogs", "reading the guest's records from its disk"),
    ("xz", "xz-utils", "unpacking kernel modules"),
    ("dpkg", "dpkg", "unpacking the guest's kernel"),
    ("swtpm", "swtpm", "the guests' TPMs"),
    ("ganesha.nfsd", "nfs-ganesha", "the lab's NFS server"),
    ("rpcbind", "rpcbind", "finding the lab's NFS server"),
];
/// Files that no program is named after, the packages that hold them, what they are for.
const FILES: [(&str, &str, &str); 2] = [
    ("/usr/share/qemu/firmware", "ovmf", "UEFI firmware for guests"),
    (GANESHA_VFS, "nfs-ganesha-vfs", "what the lab's NFS server exports"),
];
/// nfs-ganesha's part for files of its own machine.
const GANESHA_VFS: &str = "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so";
/// QEMU's own NFS client.
const QEMU_NFS: &str = "/usr/lib/x86_64-linux-gnu/qemu/block-nfs.so";

/// More programs, for the tests.
const PROGRAMS_OF_TESTS: [(&str, &str, &str); 3] = [
    ("sshd", "openssh-server", "reaching an agent through ssh; tests run their own"),
    ("ssh", "openssh-client", "reaching an agent through ssh"),
    ("nsenter", "util-linux", "programs in a namespace that is there"),
];

/// More programs, for the crash matrix.
const PROGRAMS_OF_ALL: [(&str, &str, &str); 1] = [("nft", "nftables", "messages that do not arrive")];

/// More programs, for measuring.
const PROGRAMS_OF_BENCH: [(&str, &str, &str); 3] = [
    ("rsync", "rsync", "copying as others do"),
    ("scp", "openssh-client", "copying as others do"),
    ("qemu-nbd", "qemu-utils", "copying as others do"),
];

/// Programs of libvirt, for measuring beside it.
const PROGRAMS_OF_LIBVIRT: [&str; 2] = ["libvirtd", "virsh"];

/// More programs, for hosts that are guests.
const PROGRAMS_OF_HOSTS: [(&str, &str, &str); 3] = [
    ("mount.nfs", "nfs-common", "the kernel's NFS client, for hosts that are guests"),
    ("strip", "binutils", "a small program for hosts that are guests"),
    ("ldd", "libc-bin", "the libraries that a program needs"),
];

/// What these packages would run for this machine. The lab and the tests run their own.
const SERVICES: [(&str, &[&str]); 4] = [
    ("openssh-server", &["ssh.service", "ssh.socket"]),
    ("rpcbind", &["rpcbind.service", "rpcbind.socket"]),
    ("nfs-ganesha", &["nfs-ganesha.service"]),
    (
        LIBVIRT_PACKAGES[0],
        &[
            "libvirtd.service",
            "libvirtd.socket",
            "libvirtd-ro.socket",
            "libvirtd-admin.socket",
            "libvirt-guests.service",
            "virtlogd.service",
            "virtlogd.socket",
            "virtlogd-admin.socket",
        ],
    ),
];

/// What is going to be done; the test runner is needed for tests only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Guests and the lab.
    Demo,
    /// All of it and the test runner.
    Test,
    /// All of it, and what hosts that are guests are made of.
    Slow,
    /// All that tests need, and what the crash matrix breaks things with.
    All,
    /// All that tests need, and what others copy images with.
    Bench,
    /// All that tests need, and libvirt.
    BenchLibvirt,
}

/// What is not there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    packages: Vec<&'static str>,
    qemu: bool,
    libvirt: bool,
    kernel: bool,
    nextest: bool,
    said: Vec<String>,
}

/// Sees to everything that `purpose` needs.
///
/// # Errors
/// Names the packages when they cannot be installed from here.
pub(crate) fn run(target: &Path, purpose: Purpose) -> Result<()> {
    ensure!(env::consts::ARCH == "x86_64", "guests are x86_64 machines, this one is {}", env::consts::ARCH);
    let missing = missing(target, purpose);
    if missing == Missing::default() {
        eprintln!("setup: nothing is missing");
        return Ok(());
    }
    for line in &missing.said {
        eprintln!("setup: missing: {line}");
    }
    let mut all = missing.packages.clone();
    if missing.qemu {
        all.extend(QEMU_PACKAGES);
    }
    if missing.libvirt {
        all.extend(LIBVIRT_PACKAGES);
    }
    ensure!(
        apt::is_there() || (all.is_empty() && !missing.kernel),
        "this machine has no apt: install by other means what these Debian packages hold: {}",
        all.join(" ")
    );
    if !all.is_empty() {
        ensure!(
            is_root(),
            "not root: run as root, or first: apt-get install --no-install-recommends {} (a QEMU that is too old \
             has a newer one in the release's backports suite)",
            all.join(" ")
        );
        install(&missing)?;
    }
    if missing.kernel {
        kernel::GUEST.download(target).context("the guest's kernel")?;
    }
    if missing.nextest {
        cargo_install("cargo-nextest")?;
    }
    let left = self::missing(target, purpose);
    ensure!(left == Missing::default(), "installed, and still missing: {}", left.said.join("; "));
    eprintln!("setup: done");
    Ok(())
}

/// Finds a program in `PATH` or where the system keeps root's programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// busybox, if it is one that runs without shared libraries.
pub(crate) fn static_busybox() -> Option<PathBuf> {
    find("busybox").filter(|file| std::fs::read(file).is_ok_and(|elf| is_static(&elf)))
}

/// Whether the lab can be set up at all: it makes network namespaces and taps.
pub(crate) fn is_root() -> bool {
    lab::is_root()
}

fn missing(target: &Path, purpose: Purpose) -> Missing {
    let mut missing = Missing::default();
    let tests = if purpose == Purpose::Demo { &[] } else { &PROGRAMS_OF_TESTS[..] };
    let more = match purpose {
        Purpose::Demo | Purpose::Test | Purpose::BenchLibvirt => &[][..],
        Purpose::Slow => &PROGRAMS_OF_HOSTS,
        Purpose::All => &PROGRAMS_OF_ALL,
        Purpose::Bench => &PROGRAMS_OF_BENCH,
    };
    for (program, package, reason) in PROGRAMS.iter().chain(tests).chain(more) {
        if find(program).is_none() {
            missing.said.push(format!("{program} ({reason}): package {package}"));
            if !missing.packages.contains(package) {
                missing.packages.push(package);
            }
        }
    }
    if purpose != Purpose::Demo && !Path::new(lab::host::FAKETIME).is_file() {
        missing.said.push("libfaketime (an agent with a clock of its own): package libfaketime".to_owned());
        missing.packages.push("libfaketime");
    }
    if static_busybox().is_none() {
        missing.said.push("a static busybox (the guest's userland): package busybox-static".to_owned());
        missing.packages.push("busybox-static");
    }
    for (file, package, reason) in FILES.iter().filter(|(file, ..)| !Path::new(file).exists()) {
        missing.said.push(format!("{file} ({reason}): package {package}"));
        missing.packages.push(package);
    }
    if !Path::new(QEMU_NFS).exists() {
        missing.said.push(format!("{QEMU_NFS} (disks over nfs://): package qemu-block-extra"));
        missing.qemu = true;
    }
    for program in ["qemu-system-x86_64", "qemu-img"] {
        let found = installed_version(program);
        if found.is_none_or(|version| version < QEMU_MIN) {
            let (major, minor) = QEMU_MIN;
            let there = found.map_or("none".to_owned(), |(major, minor)| format!("{major}.{minor}"));
            missing.said.push(format!("{program} {major}.{minor} or newer (there is: {there})"));
            missing.qemu = true;
        }
    }
    if purpose == Purpose::BenchLibvirt {
        for program in PROGRAMS_OF_LIBVIRT.into_iter().filter(|program| find(program).is_none()) {
            missing.said.push(format!("{program} (what others run domains with): {LIBVIRT_PACKAGES:?}"));
            missing.libvirt = true;
        }
    }
    if !kernel::GUEST.is_there(target) {
        missing.said.push("the guest's kernel (downloaded and unpacked, not installed)".to_owned());
        missing.kernel = true;
    }
    if purpose != Purpose::Demo && find_in_cargo("cargo-nextest").is_none() {
        missing.said.push("cargo-nextest (the test runner): cargo install cargo-nextest --locked".to_owned());
        missing.nextest = true;
    }
    missing
}

fn install(missing: &Missing) -> Result<()> {
    let mut packages = missing.packages.clone();
    let mut newer = Vec::new();
    let both =
        [(missing.qemu, &QEMU_PACKAGES[..], QEMU_MIN), (missing.libvirt, &LIBVIRT_PACKAGES[..], LIBVIRT_MIN)];
    for (_, wanted, version_min) in both.into_iter().filter(|(missing, ..)| *missing) {
        match suite(wanted[0], version_min)? {
            Some(suite) => newer.push((wanted, suite)),
            None => packages.extend(wanted),
        }
    }
    if !packages.is_empty() {
        apt::install(&packages, None)
            .or_else(|_| apt::update().and_then(|()| apt::install(&packages, None)))?;
    }
    for (wanted, suite) in newer {
        apt::install(wanted, Some(&suite))?;
        packages.extend(wanted);
    }
    for (_, services) in SERVICES.iter().filter(|(package, _)| packages.contains(package)) {
        apt::disable(services);
    }
    Ok(())
}

/// The suite that must be named so that apt takes a package in this version or a newer one; `None` where it does anyway.
fn suite(package: &str, version_min: (u32, u32)) -> Result<Option<String>> {
    if apt::candidate(package)?.is_none() {
        apt::update()?;
    }
    match apt::candidate(package)?.as_deref().and_then(version) {
        Some(candidate) if candidate >= version_min => Ok(None),
        Some(_) => apt::ensure_backports().map(Some),
        None => bail!("apt knows no package {package}"),
    }
}

fn find_in_cargo(program: &str) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    find(program).or_else(|| home.map(|home| home.join("bin").join(program)).filter(|file| file.is_file()))
}

/// Sees to cargo-fuzz, which only `cargo xtask fuzz` needs.
pub(crate) fn cargo_fuzz() -> Result<()> {
    if find_in_cargo("cargo-fuzz").is_none() { cargo_install("cargo-fuzz") } else { Ok(()) }
}

fn cargo_install(program: &str) -> Result<()> {
    eprintln!("setup: building {program} from its source; this takes some minutes, once");
    let status = Command::new("cargo")
        .args(["install", program, "--locked"])
        .stdout(std::io::stderr())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "cargo install {program} failed: {status}");
    Ok(())
}

fn installed_version(program: &str) -> Option<(u32, u32)> {
    let output = Command::new(find(program)?).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    version(text.split_once("version ")?.1)
}

/// `1:10.0.2+ds-2` and `10.0.2 (Debian …)` are both 10.0.
fn version(text: &str) -> Option<(u32, u32)> {
    let text = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        Some(_) | None => text,
    };
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether a 64-bit little-endian ELF file names no interpreter (program header `PT_INTERP`, elf(5)).
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| elf.get(at..at + 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let u32_at =
        |at: usize| elf.get(at..at + 4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let (Some(offset), Some(size), Some(count)) = (u32_at(32), u16_at(54), u16_at(56)) else { return false };
    elf.starts_with(b"\x7fELF\x02\x01")
        && (0..count)
            .all(|header| u32_at(offset as usize + header * size).is_some_and(|kind| kind != PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(u32, u32)>) {
        assert_eq!(version(text), expect, "{text}");
    }

    #[test]
    fn versions() {
        check("1:10.0.2+ds-2+deb13u1~bpo12+1", Some((10, 0)));
        check("7.2+dfsg-7", Some((7, 2)));
        check("10.0.2 (Debian 1:10.0.2+ds)", Some((10, 0)));
        check("QEMU", None);
        check("", None);
    }

    #[test]
    fn this_test_program_needs_shared_libraries() {
        let own = env::current_exe().and_then(std::fs::read).expect("a running program can be read");
        assert!(!is_static(&own));
        assert!(!is_static(b"\x7fELF"));
        assert!(!is_static(b""));
    }
}
