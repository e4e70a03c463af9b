//! Of disks, pools and NFS servers, and of disks that go along. Main item: [`CASES`].

use api::{BrokenChain, CopyRole, DiskFacts, FileFacts, NfsFacts, NonceSeen, Pool, Severity};

use super::{Case, told};
use crate::preflight::example::pair;
use crate::preflight::{DomainDisk, Facts};

fn pool(facts: &mut Facts) -> &mut Pool {
    &mut told(facts).host.pools[0]
}

fn nfs(facts: &mut Facts) -> &mut NfsFacts {
    &mut told(facts).host.nfs[0]
}

/// Has the disk be a block device, as the source and as the target call it.
fn devices(facts: &mut Facts, names: [Option<&str>; 2]) {
    let [from, to] = names.map(|name| FileFacts {
        path: "/dev/sdb".into(),
        bytes: Some(8 << 30),
        block: true,
        device: name.map(str::to_owned),
        ..FileFacts::default()
    });
    (facts.source.disks[0].file, facts.source.disks[0].nonce) = (Some(from), None);
    let disk = &mut told(facts).host.disks[0];
    (disk.file, disk.nonce) = (Some(to), None);
}

/// All of them, by rule.
pub(super) static CASES: &[Case] = &[
    Case {
        rule: "disk-space-short",
        severity: Severity::Fail,
        condition: "a disk is to be copied, and the target has no room",
        change: |facts| {
            pair::other_ways(facts);
            told(facts).places[0].free_bytes = Some(1 << 20);
        },
    },
    Case {
        rule: "copy-shared",
        severity: Severity::Warn,
        condition: "one disk of those that are to be copied lies on storage that both hosts have",
        change: |facts| {
            facts.domain.shared = ["/srv/web1.qcow2".into()].into();
        },
    },
    Case {
        rule: "copy-shared",
        severity: Severity::Fail,
        condition: "a second domain is to have a copy of its own, and its place is the disk itself",
        change: |facts| {
            pair::other_ways(facts);
            facts.domain.keeps_source = true;
            let place = &mut told(facts).places[0];
            (place.beside_nonce, place.length_bytes) = (true, Some(1 << 30));
        },
    },
    Case {
        rule: "copy-place-missing",
        severity: Severity::Fail,
        condition: "the directory that a disk is to be copied into is not on the target",
        change: |facts| {
            pair::other_ways(facts);
            told(facts).places[0].fault = Some("no such directory".into());
        },
    },
    Case {
        rule: "copy-exists",
        severity: Severity::Fail,
        condition: "another file lies where a disk is to be copied to",
        change: |facts| {
            pair::other_ways(facts);
            told(facts).places[0].length_bytes = Some(1 << 20);
        },
    },
    Case {
        rule: "copy-exists",
        severity: Severity::Fail,
        condition: "the disk is a device, and the target has one of that name",
        change: |facts| {
            pair::other_ways(facts);
            facts.domain.copies[1].chosen = false;
        },
    },
    Case {
        rule: "copy-exists",
        severity: Severity::Fail,
        condition: "the image that a disk stands on is to be copied over another one that a domain of the target stands on",
        change: |facts| {
            pair::other_ways(facts);
            pair::copied(facts, "vda", "/srv/base.qcow2");
            facts.domain.copies[2].file.role =
                CopyRole::Backing { disk: "vda".into(), format: "qcow2".into() };
            let place = &mut told(facts).places[2];
            (place.length_bytes, place.users) = (Some(1 << 20), vec!["web2".into()]);
        },
    },
    Case {
        rule: "copy-too-small",
        severity: Severity::Fail,
        condition: "the device that a disk is to be copied to is smaller",
        change: |facts| {
            pair::other_ways(facts);
            told(facts).places[1].length_bytes = Some(1 << 20);
        },
    },
    Case {
        rule: "copy-too-small",
        severity: Severity::Warn,
        condition: "a qcow2 image is to be copied to a device that it will outgrow",
        change: |facts| {
            pair::other_ways(facts);
            facts.domain.disks.push(DomainDisk {
                name: "vdb".into(),
                writable: true,
                ..DomainDisk::default()
            });
            let disk = DiskFacts { disk: "vdb".into(), ..facts.source.disks[0].clone() };
            facts.source.disks.push(disk);
        },
    },
    Case {
        rule: "copy-exists",
        severity: Severity::Fail,
        condition: "a chain is to become one image where an older copy of the disk lies",
        change: |facts| {
            pair::flattened(facts);
            let place = &mut told(facts).places[0];
            (place.length_bytes, place.older_copy) = (Some(1 << 20), true);
        },
    },
    Case {
        rule: "copy-exists",
        severity: Severity::Fail,
        condition: "a chain is to become one image, and its place is a device",
        change: |facts| {
            pair::flattened(facts);
            let place = &mut told(facts).places[0];
            (place.length_bytes, place.block) = (Some(2 << 30), true);
        },
    },
    Case {
        rule: "flatten-unsupported",
        severity: Severity::Fail,
        condition: "a chain is to become one image, and the target has no FUSE",
        change: |facts| {
            pair::flattened(facts);
            told(facts).host.chain_unshown = Some("fuse: device not found".into());
        },
    },
    Case {
        rule: "disk-missing",
        severity: Severity::Fail,
        condition: "the disk cannot be opened on the source",
        change: |facts| {
            let gone = pair::missing("vda".into());
            facts.source.disks[0] = DiskFacts { missing: false, ..gone };
        },
    },
    Case {
        rule: "disk-missing",
        severity: Severity::Fail,
        condition: "the disk is not on the target",
        change: |facts| {
            told(facts).host.disks[0] = pair::missing("vda".into());
        },
    },
    Case {
        rule: "chain-broken",
        severity: Severity::Fail,
        condition: "the image that the disk stands on is gone",
        change: |facts| {
            facts.source.disks[0].broken = Some(BrokenChain {
                image: "/srv/web1.qcow2".into(),
                below: "/srv/base.qcow2".into(),
                fault: "no such file".into(),
            });
        },
    },
    Case {
        rule: "image-in-use",
        severity: Severity::Fail,
        condition: "somebody writes the disk of a domain that is shut off",
        change: |facts| {
            pair::other_ways(facts);
            facts.source.disks[0].in_use = Some("Failed to get shared \"write\" lock".into());
        },
    },
    Case {
        rule: "image-in-use",
        severity: Severity::Fail,
        condition: "somebody writes an older copy of the disk on the target",
        change: |facts| {
            pair::other_ways(facts);
            let place = &mut told(facts).places[0];
            (place.older_copy, place.length_bytes) = (true, Some(1 << 30));
            place.in_use = Some("Failed to get shared \"write\" lock".into());
        },
    },
    Case {
        rule: "image-encrypted",
        severity: Severity::Warn,
        condition: "the disk's image is encrypted",
        change: |facts| {
            facts.source.disks[0].encrypted = vec!["/srv/web1.qcow2".into()];
        },
    },
    Case {
        rule: "image-encrypted",
        severity: Severity::Fail,
        condition: "an image below the disk is encrypted, and the chain is to become one image",
        change: |facts| {
            pair::other_ways(facts);
            facts.source.disks[0].encrypted = vec!["/srv/base.qcow2".into()];
            facts.domain.copies[0].file.converted = true;
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Fail,
        condition: "another directory is mounted at the disk's path",
        change: |facts| {
            told(facts).host.disks[0].nonce = Some(NonceSeen::Missing);
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Fail,
        condition: "the NFS server answers READ_PLUS of NFS 4.2 with zeros",
        change: |facts| {
            told(facts).host.disks[0].nonce = Some(NonceSeen::Zeros);
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Fail,
        condition: "the NFS server answers READ_PLUS of NFS 4.2 with an input/output error",
        change: |facts| {
            told(facts).host.disks[0].nonce = Some(NonceSeen::Failing);
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Fail,
        condition: "the source could write nothing beside the disk",
        change: |facts| {
            facts.source.disks[0].nonce =
                Some(NonceSeen::Unreadable { reason: "the storage is full".into() });
            told(facts).host.disks[0].nonce = None;
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Warn,
        condition: "a disk is a block device without a name that both hosts know",
        change: |facts| {
            devices(facts, [None, Some("naa.6001405a")]);
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Fail,
        condition: "a disk is a block device, and another one on the target",
        change: |facts| {
            devices(facts, [Some("naa.6001405b"), Some("naa.6001405a")]);
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Fail,
        condition: "root may not read what root wrote (root_squash)",
        change: |facts| {
            told(facts).host.disks[0].nonce =
                Some(NonceSeen::Unreadable { reason: "permission denied".into() });
        },
    },
    Case {
        rule: "storage-not-shared",
        severity: Severity::Fail,
        condition: "the owner record beside the disk is another one",
        change: |facts| {
            told(facts).host.disks[0].owned_by_source = Some(false);
        },
    },
    Case {
        rule: "image-differs",
        severity: Severity::Fail,
        condition: "the disk's file has another size on the target",
        change: |facts| {
            told(facts).host.disks[0].size_bytes = Some(1 << 20);
        },
    },
    Case {
        rule: "image-differs",
        severity: Severity::Fail,
        condition: "another file lies over the disk in a shared directory",
        change: |facts| {
            told(facts).host.disks[0].file = Some(pair::file("/srv/web1.qcow2", 18));
        },
    },
    Case {
        rule: "image-differs",
        severity: Severity::Fail,
        condition: "the disk stands on another image on the target",
        change: |facts| {
            told(facts).host.disks[0].below = vec![pair::file("/srv/base.qcow2", 3)];
        },
    },
    Case {
        rule: "image-differs",
        severity: Severity::Fail,
        condition: "the image below the disk is a larger one on the target, which has it on storage of its own",
        change: |facts| {
            facts.source.disks[0].below = vec![pair::file("/images/base.qcow2", 3)];
            let own = FileFacts {
                bytes: Some(2 << 30),
                beside_nonce: false,
                ..pair::file("/images/base.qcow2", 4)
            };
            told(facts).host.disks[0].below = vec![own];
        },
    },
    Case {
        rule: "image-differs",
        severity: Severity::Warn,
        condition: "the image below the disk lies on each host's own storage",
        change: |facts| {
            facts.source.disks[0].below = vec![pair::file("/images/base.qcow2", 3)];
            let own = FileFacts { beside_nonce: false, ..pair::file("/images/base.qcow2", 4) };
            told(facts).host.disks[0].below = vec![own];
        },
    },
    Case {
        rule: "image-differs",
        severity: Severity::Warn,
        condition: "the CD lies on each host's own storage",
        change: |facts| {
            pair::cd_of_its_own(facts, 1 << 20);
        },
    },
    Case {
        rule: "image-differs",
        severity: Severity::Fail,
        condition: "the CD on the target's own storage is a larger one",
        change: |facts| {
            pair::cd_of_its_own(facts, 2 << 20);
        },
    },
    Case {
        rule: "format-differs",
        severity: Severity::Warn,
        condition: "the definition says raw, and the disk is a qcow2 image",
        change: |facts| {
            facts.domain.disks[0].format = "raw".into();
        },
    },
    Case {
        rule: "format-differs",
        severity: Severity::Fail,
        condition: "the disk is no qcow2 image on the target",
        change: |facts| {
            told(facts).host.disks[0].looks = Some("raw".into());
        },
    },
    Case {
        rule: "filesystem-differs",
        severity: Severity::Warn,
        condition: "the target sees the directory through an overlay",
        change: |facts| {
            told(facts).host.disks[0].file.as_mut().expect("looked at").filesystem = Some(0x794c_7630);
        },
    },
    Case {
        rule: "filesystem-differs",
        severity: Severity::Warn,
        condition: "the disk lies on another filesystem of the same kind",
        change: |facts| {
            told(facts).host.disks[0].filesystem = Some(2);
        },
    },
    Case {
        rule: "pool-differs",
        severity: Severity::Warn,
        condition: "the target does not have the disk's pool",
        change: |facts| {
            told(facts).host.pools.clear();
        },
    },
    Case {
        rule: "pool-differs",
        severity: Severity::Warn,
        condition: "the disk's pool is not started on the target",
        change: |facts| {
            told(facts).host.pools[0].active = false;
        },
    },
    Case {
        rule: "pool-differs",
        severity: Severity::Warn,
        condition: "the disk's pool is another export on the target",
        change: |facts| {
            pool(facts).source = Some("nas2:/export".into());
        },
    },
    Case {
        rule: "pool-differs",
        severity: Severity::Warn,
        condition: "the disk's pool wants another NFS version on the target",
        change: |facts| {
            pool(facts).nfs_version = Some("4.2".into());
        },
    },
    Case {
        rule: "nfs-unreachable",
        severity: Severity::Fail,
        condition: "the NFS server's firewall lets no RPC in",
        change: |facts| {
            nfs(facts).rpc_fault = Some("rpcbind does not answer at port 111".into());
        },
    },
    Case {
        rule: "nfs-unreachable",
        severity: Severity::Fail,
        condition: "the NFS server is down",
        change: |facts| {
            nfs(facts).nfs_fault = Some("nfs does not answer at port 2049".into());
        },
    },
    Case {
        rule: "export-missing",
        severity: Severity::Fail,
        condition: "the NFS server exports something else",
        change: |facts| {
            nfs(facts).exports = Some(vec!["/backup".into()]);
        },
    },
    Case {
        rule: "cache-unsafe",
        severity: Severity::Fail,
        condition: "a disk has cache='unsafe'",
        change: |facts| {
            facts.domain.disks[0].cache = Some("unsafe".into());
        },
    },
    Case {
        rule: "lock-unavailable",
        severity: Severity::Warn,
        condition: "the NFS server's lock service is not reachable",
        change: |facts| {
            told(facts).host.disks[0].lock_fault = Some("no locks available".into());
        },
    },
    Case {
        rule: "snapshots-inside",
        severity: Severity::Warn,
        condition: "the image holds a snapshot",
        change: |facts| {
            facts.source.disks[0].snapshots = vec!["before-upgrade".into()];
        },
    },
    Case {
        rule: "snapshots-lost",
        severity: Severity::Fail,
        condition: "the image holds a snapshot, and its chain is to become one image",
        change: |facts| {
            pair::flattened(facts);
            facts.source.disks[0].snapshots = vec!["before-upgrade".into()];
        },
    },
];
