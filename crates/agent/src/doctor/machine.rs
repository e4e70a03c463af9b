//! The machine: emulators and what they can do, KVM, cgroups, programs beside QEMU.

use std::path::{Path, PathBuf};

use api::Finding;
use qemu::accelerator::{Accelerator, probe_kvm};
use qemu::capabilities::probe;

use super::{problem, warning};
use crate::config::Config;
use crate::failure::chain;

/// What a live migration asks of QEMU by name (QAPI `MigrationCapability`).
const CAPABILITIES: [&str; 4] = ["events", "return-path", "pause-before-switchover", "multifd"];
/// A program, the Debian package that has it, what it is for.
const PROGRAMS: [(&str, &str, &str, bool); 3] = [
    ("qemu-img", "qemu-utils", "disks cannot be looked at or made", true),
    ("swtpm", "swtpm", "domains with a TPM do not start", false),
    ("mount.nfs", "nfs-common", "storage on NFS cannot be mounted", false),
];
/// Files of Debian packages, one of which is enough.
const UEFI: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"];
const NFS_DRIVER: &str = "/usr/lib/x86_64-linux-gnu/qemu/block-nfs.so";

pub(super) async fn examine(config: &Config, found: &mut Vec<Finding>) {
    emulator(config, found).await;
    cgroup(found);
    for (program, package, without, fatal) in PROGRAMS {
        if !in_path(program) {
            let said = format!("{program} is not there: {without}");
            found.push(Finding { fatal, ..problem("program-missing", said, install(package)) });
        }
    }
    let there = |path: &str| Path::new(path).exists();
    if !UEFI.into_iter().any(there) {
        let said = "there is no UEFI firmware: domains with firmware='efi' do not start";
        found.push(warning("firmware-missing", said, install("ovmf")));
    }
    if !there(NFS_DRIVER) {
        let said = "QEMU has no driver for nfs: disks of type network cannot be opened";
        found.push(warning("nfs-driver-missing", said, install("qemu-block-extra")));
    }
    if !there("/dev/vhost-net") {
        let said = "/dev/vhost-net is not there: guests' networks are slower";
        found.push(warning("vhost-net-missing", said, "modprobe vhost_net"));
    }
}

async fn emulator(config: &Config, found: &mut Vec<Finding>) {
    let Some(emulator) = config.emulators.iter().find(|emulator| emulator.exists()) else {
        let said = format!("none of the emulators is there: {:?}", config.emulators);
        found.push(problem("emulator-missing", said, install("qemu-system-x86")));
        return;
    };
    match probe(emulator, Accelerator::Tcg).await {
        Err(error) => found.push(problem(
            "emulator-unusable",
            format!("{}: {}", emulator.display(), chain(&error)),
            "install it anew, or name another one in `emulators`",
        )),
        Ok(capabilities) => {
            let names: Vec<&str> = capabilities.migrate_capability_names().collect();
            let mut lacks: Vec<&str> =
                CAPABILITIES.into_iter().filter(|wanted| !names.contains(wanted)).collect();
            if !capabilities.has_parameter("migrate", "channels") {
                lacks.push("channels");
            }
            if !lacks.is_empty() {
                let said = format!("{} cannot migrate: it lacks {}", emulator.display(), lacks.join(", "));
                found.push(problem("emulator-too-old", said, "install QEMU 8.2 or newer"));
            }
        }
    }
    if let Err(error) = probe_kvm(emulator).await {
        let mend = "enable virtualization in the firmware and load kvm_intel or kvm_amd; until then define \
                    domains with type='qemu', which are slow";
        found.push(problem("kvm-unusable", chain(&error), mend));
    }
}

/// Guests must not end with their agent's service.
fn cgroup(found: &mut Vec<Finding>) {
    let under_systemd = Path::new("/run/systemd/system").is_dir();
    if under_systemd && !in_path("systemd-run") {
        let said = "systemd-run is not there: guests cannot be given scopes of their own and do not start";
        found.push(problem("systemd-run-missing", said, install("systemd")));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if !under_systemd && !mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")) {
        let said = "neither systemd nor cgroup version 2: what ends the agent's whole cgroup ends its guests";
        found.push(warning("cgroup-missing", said, "mount -t cgroup2 none /sys/fs/cgroup"));
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|directory| directory.join(program).is_file())
}

fn install(package: &str) -> String {
    format!("apt-get install {package}")
}
