//! Every check before anything is changed, as rules over facts; each answer is a [`Finding`], and all of them come at
//! once. The facts are gathered by the agents, here they are only judged. Main types: [`SourceView`], [`TargetView`].

use std::path::PathBuf;

use uuid::Uuid;

/// What the target must know of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceView {
    /// The source host.
    pub host: String,
    /// Architecture, as in `x86_64`.
    pub arch: String,
    /// `vendor_id` of `/proc/cpuinfo`.
    pub cpu_vendor: String,
    /// Whether no-execute pages are on.
    pub nx: bool,
    /// Whether the guest runs under KVM, where the CPU's vendor shows through.
    pub kvm: bool,
    /// Migration capabilities of QEMU there.
    pub migrate_capabilities: Vec<String>,
}

/// What the domain wants of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainView {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// The versioned machine type.
    pub machine: String,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// Parallel memory connections wanted.
    pub channels: u8,
    /// Whether memory goes encrypted.
    pub encrypted: bool,
    /// The generation that the source's right to run has.
    pub generation: u64,
    /// Devices of the source host in the guest's hands, for people: `PCI device 0000:06:02.0`.
    pub host_devices: Vec<String>,
    /// Whether an interface of the guest goes through QEMU's own network stack.
    pub user_networking: bool,
}

/// What the target found on its own side, for this domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetView {
    /// The target host.
    pub host: String,
    /// Architecture.
    pub arch: String,
    /// `vendor_id` of `/proc/cpuinfo`.
    pub cpu_vendor: String,
    /// Whether no-execute pages are on.
    pub nx: bool,
    /// Why KVM does not work here; `None` where it does.
    pub kvm_unusable: Option<String>,
    /// `MemAvailable` in bytes.
    pub memory_available_bytes: u64,
    /// Whether QEMU here has the machine type.
    pub has_machine: bool,
    /// CPU features that the guest has and this host cannot give.
    pub cpu_features_missing: Vec<String>,
    /// Migration capabilities of QEMU here.
    pub migrate_capabilities: Vec<String>,
    /// A domain here of the same name and its UUID, tombstones of this very domain left out.
    pub same_name: Option<Uuid>,
    /// The name of a domain here with the same UUID that is not a tombstone.
    pub same_uuid: Option<String>,
    /// Disks in the order of the definition.
    pub disks: Vec<DiskView>,
    /// Bridges in the order of the interfaces: the name (of the network where that has none), and why it cannot be
    /// used.
    pub bridges: Vec<(String, Option<BridgeFault>)>,
    /// Devices that QEMU here lacks, by QEMU's name, and what to do.
    pub devices_missing: Vec<(String, String)>,
    /// Other files the definition names (kernel, initrd) that cannot be read here.
    pub files_missing: Vec<PathBuf>,
    /// Files the definition names outside the directories that this host allows.
    pub files_forbidden: Vec<PathBuf>,
    /// The emulator that the definition names, where this host does not allow it.
    pub emulator_forbidden: Option<PathBuf>,
}

/// A disk as the target sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskView {
    /// Its path.
    pub path: PathBuf,
    /// Why it cannot be opened.
    pub fault: Option<String>,
    /// For the disk that carries the owner record: whether the record that the source wrote is seen here.
    pub shared: Shared,
}

/// Whether storage is really shared: the source writes the owner record beside the disk, the target reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// The target reads the very record that the source wrote.
    Proven,
    /// The file is there and the record beside it is not the source's: another file of the same name.
    Disproven,
    /// This disk carries no record (read-only, or not the first).
    NotAsked,
}

/// Why a bridge cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeFault {
    /// There is no such link.
    Missing,
    /// The link is something else.
    NotABridge,
    /// The definition names a network, and the host does not know its bridge.
    NetworkUnknown,
}

/// A rule that found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Source and target are one host.
    SameHost,
    /// The architectures differ.
    ArchDiffers,
    /// The CPU vendors differ under KVM.
    CpuVendorDiffers,
    /// No-execute is on at one side only.
    NxDiffers,
    /// KVM does not work on the target.
    KvmUnusable,
    /// The guest's CPU has features that the target lacks.
    CpuFeaturesMissing,
    /// The target's QEMU does not have the machine type.
    MachineMissing,
    /// A QEMU lacks a migration capability that cannot be done without.
    MigrateCapabilityMissing,
    /// Several connections with QEMU's own TLS.
    EncryptedChannels,
    /// Not enough memory.
    MemoryShort,
    /// The name is taken.
    NameTaken,
    /// The UUID is taken.
    UuidTaken,
    /// A disk cannot be opened on the target.
    DiskMissing,
    /// The disk's path holds another file there.
    StorageNotShared,
    /// A bridge is missing.
    BridgeMissing,
    /// The link of that name is not a bridge.
    NotABridge,
    /// The target does not know the bridge of a network.
    NetworkUnknown,
    /// QEMU on the target lacks a device.
    DeviceMissing,
    /// A device of the source host is in the guest's hands.
    HostDevice,
    /// The guest's connections through user networking end.
    UserNetworking,
    /// A kernel, initrd or other file is missing.
    FileMissing,
    /// A file lies outside the directories that the target allows.
    PathNotAllowed,
    /// The target does not allow the emulator.
    EmulatorNotAllowed,
}

impl Rule {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Rule::SameHost => "same-host",
            Rule::ArchDiffers => "arch-differs",
            Rule::CpuVendorDiffers => "cpu-vendor-differs",
            Rule::NxDiffers => "nx-differs",
            Rule::KvmUnusable => "kvm-unusable",
            Rule::CpuFeaturesMissing => "cpu-features-missing",
            Rule::MachineMissing => "machine-missing",
            Rule::MigrateCapabilityMissing => "migrate-capability-missing",
            Rule::EncryptedChannels => "encrypted-channels",
            Rule::MemoryShort => "memory-short",
            Rule::NameTaken => "name-taken",
            Rule::UuidTaken => "uuid-taken",
            Rule::DiskMissing => "disk-missing",
            Rule::StorageNotShared => "storage-not-shared",
            Rule::BridgeMissing => "bridge-missing",
            Rule::NotABridge => "not-a-bridge",
            Rule::NetworkUnknown => "network-unknown",
            Rule::DeviceMissing => "device-missing",
            Rule::HostDevice => "host-device",
            Rule::UserNetworking => "user-networking",
            Rule::FileMissing => "file-missing",
            Rule::PathNotAllowed => "path-not-allowed",
            Rule::EmulatorNotAllowed => "emulator-not-allowed",
        }
    }
}

/// One answer of the preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Whether it forbids the migration; else it is a warning.
    pub fatal: bool,
    /// What is so, and where.
    pub message: String,
    /// What to do.
    pub mend: String,
}

/// Capabilities (qapi `MigrationCapability`) without which the handover cannot be done.
pub const CAPABILITIES_NEEDED: [&str; 3] = ["events", "return-path", "pause-before-switchover"];

/// Judges a live migration over shared storage. Nothing found means that nothing stands in the way.
#[must_use]
pub fn findings(domain: &DomainView, source: &SourceView, target: &TargetView) -> Vec<Finding> {
    let mut found = Vec::new();
    hosts(source, target, &mut found);
    machine(domain, source, target, &mut found);
    names(domain, target, &mut found);
    storage(source, target, &mut found);
    network(domain, target, &mut found);
    devices(domain, source, target, &mut found);
    found
}

fn fatal(rule: Rule, message: String, mend: String) -> Finding {
    Finding { rule, fatal: true, message, mend }
}

fn hosts(source: &SourceView, target: &TargetView, found: &mut Vec<Finding>) {
    let (from, to) = (&source.host, &target.host);
    if from == to {
        found.push(fatal(
            Rule::SameHost,
            format!("source and target are both host {to}"),
            "name another host with --to".into(),
        ));
    }
    if source.arch != target.arch {
        found.push(fatal(
            Rule::ArchDiffers,
            format!("{from} is {}, {to} is {}", source.arch, target.arch),
            format!("choose a target of architecture {}", source.arch),
        ));
    }
    if source.kvm && source.cpu_vendor != target.cpu_vendor {
        found.push(fatal(
            Rule::CpuVendorDiffers,
            format!(
                "the guest runs under KVM on a {} CPU, {to} has {}",
                source.cpu_vendor, target.cpu_vendor
            ),
            "choose a target with a CPU of the same vendor".into(),
        ));
    }
    if source.nx != target.nx {
        let (on, off) = if source.nx { (from, to) } else { (to, from) };
        found.push(Finding {
            rule: Rule::NxDiffers,
            fatal: source.kvm,
            message: format!("no-execute pages (nx) are on at {on} and off at {off}"),
            mend: format!("turn NX (XD, EVP) on in the firmware of {off}"),
        });
    }
}

fn machine(domain: &DomainView, source: &SourceView, target: &TargetView, found: &mut Vec<Finding>) {
    let to = &target.host;
    if let (true, Some(reason)) = (source.kvm, &target.kvm_unusable) {
        found.push(fatal(
            Rule::KvmUnusable,
            format!("the domain is of type kvm and KVM does not work on {to}: {reason}"),
            "make KVM work there (firmware setting, kvm module), or choose another target".into(),
        ));
    }
    if !target.cpu_features_missing.is_empty() {
        found.push(fatal(
            Rule::CpuFeaturesMissing,
            format!(
                "the guest's CPU has features that {to} cannot give: {}",
                target.cpu_features_missing.join(", ")
            ),
            "give the domain a CPU model that both hosts have (<cpu mode='custom'>) and restart it, \
             or choose another target"
                .into(),
        ));
    }
    if !target.has_machine {
        found.push(fatal(
            Rule::MachineMissing,
            format!("QEMU on {to} does not have the machine type {}", domain.machine),
            format!("install a QEMU on {to} that has it (`qemu-system-x86_64 -machine help`)"),
        ));
    }
    let mut needed = CAPABILITIES_NEEDED.to_vec();
    if domain.channels > 1 {
        needed.push("multifd");
    }
    for (host, has) in [(&source.host, &source.migrate_capabilities), (to, &target.migrate_capabilities)] {
        for capability in needed.iter().filter(|needed| !has.iter().any(|has| has == *needed)) {
            found.push(fatal(
                Rule::MigrateCapabilityMissing,
                format!("QEMU on {host} lacks the migration capability {capability}"),
                if *capability == "multifd" {
                    "migrate with --channels 1".into()
                } else {
                    format!("install a newer QEMU on {host} and restart the domain")
                },
            ));
        }
    }
    if domain.channels > 1 && domain.encrypted {
        found.push(Finding {
            rule: Rule::EncryptedChannels,
            fatal: false,
            message: format!(
                "should memory stop going to {to} half-way (cancelled, host or network down), QEMU 10.0 and 10.1 on {} can \
                 die of {} encrypted connections, and the guest with it",
                source.host, domain.channels
            ),
            mend: "migrate with --channels 1, or use QEMU 10.2".into(),
        });
    }
    if target.memory_available_bytes < domain.memory_bytes {
        found.push(fatal(
            Rule::MemoryShort,
            format!(
                "the guest has {} MiB of memory, {to} has {} MiB available",
                domain.memory_bytes >> 20,
                target.memory_available_bytes >> 20
            ),
            format!("free memory on {to}, or choose another target"),
        ));
    }
}

fn names(domain: &DomainView, target: &TargetView, found: &mut Vec<Finding>) {
    let to = &target.host;
    if let Some(uuid) = target.same_name.filter(|&uuid| uuid != domain.uuid) {
        found.push(fatal(
            Rule::NameTaken,
            format!("{to} has another domain named {} (UUID {uuid})", domain.name),
            format!("undefine or rename that domain on {to}"),
        ));
    }
    if let Some(name) = &target.same_uuid {
        found.push(fatal(
            Rule::UuidTaken,
            format!("{to} has a domain {name} with the same UUID {}", domain.uuid),
            format!("undefine {name} on {to} if it is an old copy, or give it a UUID of its own"),
        ));
    }
}

fn storage(source: &SourceView, target: &TargetView, found: &mut Vec<Finding>) {
    let to = &target.host;
    for disk in &target.disks {
        let path = disk.path.display();
        if let Some(fault) = &disk.fault {
            found.push(fatal(
                Rule::DiskMissing,
                format!("disk {path} on {to}: {fault}"),
                format!("make the storage of {} visible on {to} at the same path", source.host),
            ));
        } else if disk.shared == Shared::Disproven {
            found.push(fatal(
                Rule::StorageNotShared,
                format!("{to} has a file {path}, but it is not the one that {} uses", source.host),
                "mount the same storage at the same path on both hosts".into(),
            ));
        }
    }
    for file in &target.files_forbidden {
        found.push(fatal(
            Rule::PathNotAllowed,
            format!("{} lies outside the directories that {to} allows", file.display()),
            format!("add its directory to `allowed_paths` in the agent's configuration on {to}"),
        ));
    }
    if let Some(emulator) = &target.emulator_forbidden {
        found.push(fatal(
            Rule::EmulatorNotAllowed,
            format!("{to} does not allow the emulator {}", emulator.display()),
            format!("add it to `emulators` in the agent's configuration on {to}"),
        ));
    }
    for file in &target.files_missing {
        found.push(fatal(
            Rule::FileMissing,
            format!("{to} cannot read {}", file.display()),
            format!("copy it from {} to the same path", source.host),
        ));
    }
}

fn devices(domain: &DomainView, source: &SourceView, target: &TargetView, found: &mut Vec<Finding>) {
    for device in &domain.host_devices {
        found.push(fatal(
            Rule::HostDevice,
            format!("the guest has the {device} of {}, which cannot follow it", source.host),
            "detach the device from the guest first, or shut the domain off and define it on the target"
                .into(),
        ));
    }
    for (device, mend) in &target.devices_missing {
        found.push(fatal(
            Rule::DeviceMissing,
            format!("QEMU on {} has no {device}", target.host),
            mend.clone(),
        ));
    }
}

fn network(domain: &DomainView, target: &TargetView, found: &mut Vec<Finding>) {
    let to = &target.host;
    if domain.user_networking {
        found.push(Finding {
            rule: Rule::UserNetworking,
            fatal: false,
            message: format!("connections of the guest through user networking end when it moves to {to}"),
            mend: "give the guest an interface on a bridge if they have to last".into(),
        });
    }
    for (bridge, fault) in &target.bridges {
        match fault {
            None => {}
            Some(BridgeFault::NetworkUnknown) => found.push(fatal(
                Rule::NetworkUnknown,
                format!("{to} does not know the bridge of network {bridge}"),
                format!("add `{bridge} = \"BRIDGE\"` to `[networks]` in the agent's configuration on {to}"),
            )),
            Some(BridgeFault::Missing) => found.push(fatal(
                Rule::BridgeMissing,
                format!("{to} has no bridge {bridge}"),
                format!(
                    "make it on {to}: ip link add {bridge} type bridge, with an uplink to the guests' network"
                ),
            )),
            Some(BridgeFault::NotABridge) => found.push(fatal(
                Rule::NotABridge,
                format!("{bridge} on {to} is not a bridge"),
                format!("give {to} a bridge of that name, or name another in the domain's <interface>"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BridgeFault, DiskView, DomainView, Finding, Rule, Shared, SourceView, TargetView, findings};
    use uuid::Uuid;

    fn views() -> (DomainView, SourceView, TargetView) {
        let capabilities: Vec<String> =
            ["events", "return-path", "pause-before-switchover", "multifd"].map(String::from).into();
        let domain = DomainView {
            name: "web1".into(),
            uuid: Uuid::from_u128(1),
            machine: "pc-q35-10.0".into(),
            memory_bytes: 1 << 30,
            channels: 2,
            encrypted: false,
            generation: 1,
            host_devices: vec![],
            user_networking: false,
        };
        let source = SourceView {
            host: "kvm1".into(),
            arch: "x86_64".into(),
            cpu_vendor: "AuthenticAMD".into(),
            nx: true,
            kvm: false,
            migrate_capabilities: capabilities.clone(),
        };
        let target = TargetView {
            host: "kvm2".into(),
            arch: "x86_64".into(),
            cpu_vendor: "AuthenticAMD".into(),
            nx: true,
            kvm_unusable: Some("no /dev/kvm".into()),
            memory_available_bytes: 2 << 30,
            has_machine: true,
            cpu_features_missing: vec![],
            migrate_capabilities: capabilities,
            same_name: None,
            same_uuid: None,
            disks: vec![DiskView { path: "/srv/web1.qcow2".into(), fault: None, shared: Shared::Proven }],
            bridges: vec![("br0".into(), None)],
            devices_missing: vec![],
            files_missing: vec![],
            files_forbidden: vec![],
            emulator_forbidden: None,
        };
        (domain, source, target)
    }

    fn check(
        change: impl FnOnce(&mut DomainView, &mut SourceView, &mut TargetView),
        expect: &[(Rule, bool)],
    ) {
        let (mut domain, mut source, mut target) = views();
        change(&mut domain, &mut source, &mut target);
        let found: Vec<(Rule, bool)> =
            findings(&domain, &source, &target).iter().map(|found| (found.rule, found.fatal)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn two_like_hosts_have_no_findings() {
        check(|_, _, _| {}, &[]);
    }

    #[test]
    fn each_rule_finds_its_fault() {
        check(|_, _, t| t.host = "kvm1".into(), &[(Rule::SameHost, true)]);
        check(|_, _, t| t.arch = "i686".into(), &[(Rule::ArchDiffers, true)]);
        check(|_, _, t| t.nx = false, &[(Rule::NxDiffers, false)]);
        check(|_, _, t| t.has_machine = false, &[(Rule::MachineMissing, true)]);
        check(|_, _, t| t.cpu_features_missing = vec!["avx2".into()], &[(Rule::CpuFeaturesMissing, true)]);
        check(|d, _, _| d.encrypted = true, &[(Rule::EncryptedChannels, false)]);
        check(|d, _, _| (d.encrypted, d.channels) = (true, 1), &[]);
        check(|_, _, t| t.memory_available_bytes = 1, &[(Rule::MemoryShort, true)]);
        check(|_, _, t| t.same_name = Some(Uuid::from_u128(2)), &[(Rule::NameTaken, true)]);
        check(|_, _, t| t.same_name = Some(Uuid::from_u128(1)), &[]);
        check(|_, _, t| t.same_uuid = Some("old".into()), &[(Rule::UuidTaken, true)]);
        check(|_, _, t| t.disks[0].fault = Some("no such file".into()), &[(Rule::DiskMissing, true)]);
        check(|_, _, t| t.disks[0].shared = Shared::Disproven, &[(Rule::StorageNotShared, true)]);
        check(|_, _, t| t.bridges[0].1 = Some(BridgeFault::Missing), &[(Rule::BridgeMissing, true)]);
        check(|_, _, t| t.bridges[0].1 = Some(BridgeFault::NotABridge), &[(Rule::NotABridge, true)]);
        check(|_, _, t| t.bridges[0].1 = Some(BridgeFault::NetworkUnknown), &[(Rule::NetworkUnknown, true)]);
        check(|d, _, _| d.user_networking = true, &[(Rule::UserNetworking, false)]);
        check(|d, _, _| d.host_devices = vec!["USB device 1234:beef".into()], &[(Rule::HostDevice, true)]);
        check(
            |_, _, t| t.devices_missing = vec![("qxl-vga".into(), "use virtio".into())],
            &[(Rule::DeviceMissing, true)],
        );
        check(|_, _, t| t.files_forbidden = vec!["/etc/shadow".into()], &[(Rule::PathNotAllowed, true)]);
        check(|_, _, t| t.emulator_forbidden = Some("/tmp/qemu".into()), &[(Rule::EmulatorNotAllowed, true)]);
        check(|_, _, t| t.files_missing = vec!["/boot/vmlinuz".into()], &[(Rule::FileMissing, true)]);
        check(|_, s, _| _ = s.migrate_capabilities.remove(1), &[(Rule::MigrateCapabilityMissing, true)]);
        check(|_, _, t| _ = t.migrate_capabilities.remove(3), &[(Rule::MigrateCapabilityMissing, true)]);
        check(
            |d, _, t| {
                d.channels = 1;
                t.migrate_capabilities.remove(3);
            },
            &[],
        );
    }

    #[test]
    fn kvm_rules_apply_to_kvm_guests_only() {
        check(|_, _, t| t.cpu_vendor = "GenuineIntel".into(), &[]);
        check(
            |_, s, t| {
                s.kvm = true;
                t.nx = false;
                t.cpu_vendor = "GenuineIntel".into();
            },
            &[(Rule::CpuVendorDiffers, true), (Rule::NxDiffers, true), (Rule::KvmUnusable, true)],
        );
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_a_mend_each() {
        let (domain, source, mut target) = views();
        target.has_machine = false;
        target.bridges[0].1 = Some(BridgeFault::Missing);
        target.disks[0].fault = Some("no such file".into());
        let found: Vec<Finding> = findings(&domain, &source, &target);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|finding| !finding.mend.is_empty() && finding.message.contains("kvm2")));
    }
}
