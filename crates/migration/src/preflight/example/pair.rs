//! Two hosts as alike as two hosts are, and a domain that can go from one to the other. Main function: [`pair`].

use api::{
    BridgeFacts, CertificateFacts, CopyFile, CopyRole, DiskFacts, FileFacts, HostFacts, HugepageFacts,
    NfsFacts, NonceSeen, PlaceFacts, Pool, PoolKind, TargetFacts,
};
use uuid::Uuid;

use crate::placement::Placed;
use crate::preflight::{Between, DomainDisk, DomainFacts, Facts, GuestFacts};

const NOW_MS: u64 = 1_800_000_000_000;
const DAY_S: i64 = 86_400;

/// A domain under TCG, from kvm1 to kvm2.
#[must_use]
pub fn pair() -> Facts {
    let mut target = host("kvm2");
    target.disks[0].nonce = Some(NonceSeen::Same);
    let mut source = host("kvm1");
    source.disks[0].nonce = Some(NonceSeen::Same);
    Facts {
        domain: DomainFacts {
            name: "web1".into(),
            uuid: Uuid::from_u128(1),
            machine: "pc-q35-10.0".into(),
            memory_bytes: 1 << 30,
            vcpus: 2,
            live: true,
            channels: 2,
            disks: vec![DomainDisk {
                name: "vda".into(),
                writable: true,
                format: "qcow2".into(),
                cache: Some("none".into()),
            }],
            agent_channel: true,
            ..DomainFacts::default()
        },
        source,
        guest: GuestFacts { blocked_reasons: vec![], agent_open: Some(true) },
        target: Ok(TargetFacts { host: target, has_machine: Some(true), ..TargetFacts::default() }),
        target_name: "kvm2".into(),
        between: Between {
            door: Some("10.0.0.2:40000".into()),
            door_fault: None,
            ahead_ms: Some(-12),
            round_trip_ms: 1,
        },
    }
}

/// The same domain under KVM, with the host's own CPU; it may be handed over before its memory.
pub fn kvm(facts: &mut Facts) {
    facts.domain.postcopy = true;
    facts.domain.kvm = true;
    facts.domain.host_cpu = true;
}

/// What a pair has seldom: huge pages; a domain that is shut off, and whose disks are copied, one of them to a device.
pub fn other_ways(facts: &mut Facts) {
    facts.domain.live = false;
    facts.domain.hugepage_bytes = Some(0);
    let target = facts.target.as_mut().expect("told");
    target.host.disks[0] = missing(target.host.disks[0].disk.clone());
    copied(facts, "vda", "/srv/web1.qcow2");
    copied(facts, "vdb", "/dev/vg/web1");
    let device = &mut facts.target.as_mut().expect("told").places[1];
    (device.block, device.length_bytes) = (true, Some(2 << 30));
}

/// The same, and the first disk's chain becomes one image.
pub fn flattened(facts: &mut Facts) {
    other_ways(facts);
    facts.domain.copies[0].file.converted = true;
}

/// Has a disk be copied to the path that it has, where nothing is and a lot of room.
pub fn copied(facts: &mut Facts, disk: &str, path: &str) {
    let file = CopyFile {
        role: CopyRole::Disk { disk: disk.into(), format: "qcow2".into() },
        path: path.into(),
        length_bytes: 1 << 30,
        allocated_bytes: 1 << 30,
        backing: None,
        converted: false,
    };
    facts.domain.copies.push(Placed { from: path.into(), file, chosen: true });
    facts.target.as_mut().expect("told").places.push(PlaceFacts {
        path: path.into(),
        filesystem: Some(1),
        free_bytes: Some(1 << 40),
        ..PlaceFacts::default()
    });
}

/// A disk that is not there.
#[must_use]
pub fn missing(disk: String) -> DiskFacts {
    let (path, fault) = ("/srv/web1.qcow2".into(), Some("no such file".into()));
    DiskFacts { disk, path, fault, missing: true, ..DiskFacts::default() }
}

/// A file on storage that both hosts have.
pub(super) fn file(path: &str, inode: u64) -> FileFacts {
    FileFacts {
        path: path.into(),
        bytes: Some(1 << 30),
        inode: Some(inode),
        filesystem: Some(0x6969),
        beside_nonce: true,
        ..FileFacts::default()
    }
}

/// A CD that lies on each host's own storage, with as many bytes on the target.
pub(super) fn cd_of_its_own(facts: &mut Facts, bytes: u64) {
    let cd = |inode, bytes| DiskFacts {
        disk: "sda".into(),
        path: "/iso/debian.iso".into(),
        file: Some(FileFacts { bytes: Some(bytes), beside_nonce: false, ..file("/iso/debian.iso", inode) }),
        size_bytes: Some(bytes),
        ..DiskFacts::default()
    };
    let there = DiskFacts { nonce: Some(NonceSeen::Missing), ..cd(6, bytes) };
    facts.source.disks.push(DiskFacts { nonce: Some(NonceSeen::Same), ..cd(5, 1 << 20) });
    facts.target.as_mut().expect("told").host.disks.push(there);
}

fn host(name: &str) -> HostFacts {
    let capabilities = ["events", "return-path", "pause-before-switchover", "multifd", "postcopy-ram"];
    let now_s = i64::try_from(NOW_MS / 1000).expect("small");
    HostFacts {
        host: name.into(),
        arch: Some("x86_64".into()),
        cpu_vendor: Some("AuthenticAMD".into()),
        cpu_model: Some("AMD EPYC 9354".into()),
        cpu_features: Some(["nx", "avx2"].map(String::from).into()),
        nx: Some(true),
        cpus: Some(8),
        clock_source: Some("tsc".into()),
        tsc_khz: Some(3_249_998),
        tsc_even: Some(true),
        now_ms: Some(NOW_MS),
        memory_available_bytes: Some(4 << 30),
        hugepage_default_bytes: Some(2 << 20),
        hugepages: vec![HugepageFacts { size_bytes: 2 << 20, total: 1024, free: 1024 }],
        userfaultfd: Some(true),
        descriptors_max: Some(1024),
        state_free_bytes: Some(1 << 30),
        certificate: Some(CertificateFacts { from_s: now_s - DAY_S, until_s: now_s + 300 * DAY_S }),
        qemu_version: Some("10.0.2".into()),
        migrate_capabilities: Some(capabilities.map(String::from).into()),
        cpu_unavailable: Some(vec!["pcid".into()]),
        disks: vec![DiskFacts {
            disk: "vda".into(),
            path: "/srv/web1.qcow2".into(),
            file: Some(file("/srv/web1.qcow2", 17)),
            size_bytes: Some(8 << 30),
            taken_bytes: Some(1 << 30),
            looks: Some("qcow2".into()),
            filesystem: Some(1),
            free_bytes: Some(1 << 40),
            ..DiskFacts::default()
        }],
        bridges: vec![BridgeFacts {
            mac: "52:54:00:00:00:01".into(),
            name: "br0".into(),
            fault: None,
            up: Some(true),
            mtu: Some(1500),
            vlans: vec![],
        }],
        macs_heard: vec![],
        pools: vec![Pool {
            name: "srv".into(),
            uuid: Uuid::from_u128(3),
            kind: PoolKind::Netfs,
            path: "/srv".into(),
            source: Some("nas:/export".into()),
            nfs_version: Some("3".into()),
            options: vec![],
            active: true,
            autostart: true,
            capacity_bytes: None,
            available_bytes: None,
            mounted_version: None,
            fault: None,
        }],
        nfs: vec![NfsFacts {
            server: "nas".into(),
            path: "/export".into(),
            version3: true,
            exports: Some(vec!["/export".into()]),
            ..NfsFacts::default()
        }],
        chain_unshown: None,
        unknown: vec![],
    }
}
