//! Everything that the rules judge. It gathers nothing. Main type: [`Facts`].

use std::collections::{BTreeMap, BTreeSet};

use api::{CopyRole, DiskFacts, HostFacts, PlaceFacts, TargetFacts};
use uuid::Uuid;

use crate::placement::Placed;

/// All that is known of a domain, of the host that has it, of the one it is to go to, and of the way between them.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The domain.
    pub domain: DomainFacts,
    /// The host that has it.
    pub source: HostFacts,
    /// Its guest, as the source's QEMU tells.
    pub guest: GuestFacts,
    /// The host that it is to go to, or why that was not asked.
    pub target: Result<TargetFacts, Unasked>,
    /// Name of that host.
    pub target_name: String,
    /// The way.
    pub between: Between,
}

impl Facts {
    /// Whether source and target are one.
    pub(super) fn is_one_host(&self) -> bool {
        self.source.host == self.target_name
    }

    /// A disk on the source, by the guest's name for it.
    pub(super) fn source_disk(&self, name: &str) -> Option<&DiskFacts> {
        self.source.disks.iter().find(|disk| disk.disk == name)
    }

    /// The disks that both hosts are to have in common, as the target sees them.
    pub(super) fn disks_there(&self) -> impl Iterator<Item = &DiskFacts> {
        let there = self.told().map(|target| target.host.disks.as_slice()).unwrap_or_default();
        there.iter().filter(|disk| !self.is_copied(&disk.disk))
    }

    /// The same as source and target see them.
    pub(super) fn disk_pairs(&self) -> impl Iterator<Item = (&DiskFacts, &DiskFacts)> {
        self.disks_there().filter_map(|there| Some((self.source_disk(&there.disk)?, there)))
    }

    /// Whether a disk goes with the domain.
    pub(super) fn is_copied(&self, name: &str) -> bool {
        self.copy_of(name).is_some()
    }

    /// Whether a disk becomes a new image, of what the guest sees.
    pub(super) fn is_made_anew(&self, name: &str) -> bool {
        self.copy_of(name).is_some_and(|placed| placed.file.converted)
    }

    /// What is copied as a disk, its uppermost image.
    fn copy_of(&self, name: &str) -> Option<&Placed> {
        self.domain.copies.iter().find(|placed| match &placed.file.role {
            CopyRole::Disk { disk, .. } => disk == name,
            CopyRole::Backing { .. } | CopyRole::Nvram | CopyRole::Tpm { .. } => false,
        })
    }

    /// Whether what is in a disk goes into another image.
    pub(super) fn is_converted(&self, name: &str) -> bool {
        self.domain.copies.iter().any(|placed| match &placed.file.role {
            CopyRole::Disk { disk, .. } => disk == name && placed.file.converted,
            CopyRole::Backing { .. } | CopyRole::Nvram | CopyRole::Tpm { .. } => false,
        })
    }

    /// What is copied, with what lies at its place on the target; without what has no path there.
    pub(super) fn copied(&self) -> impl Iterator<Item = (&Placed, &PlaceFacts)> {
        let places = self.told().map(|target| target.places.as_slice()).unwrap_or_default();
        let of = |placed: &Placed| places.iter().find(|place| place.path == placed.file.path);
        self.domain.copies.iter().filter_map(move |placed| Some((placed, of(placed)?)))
    }

    /// Whether the guest writes a disk.
    pub(super) fn is_writable(&self, name: &str) -> bool {
        self.domain.disks.iter().any(|disk| disk.name == name && disk.writable)
    }

    /// What the target told.
    pub(super) fn told(&self) -> Option<&TargetFacts> {
        self.target.as_ref().ok()
    }
}

/// Why a target told nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unasked {
    /// It gave no answer.
    Silent {
        /// What happened.
        reason: String,
        /// What to do.
        mend: String,
    },
    /// It answers, and did not tell its facts.
    Untold {
        /// Why not.
        reason: String,
        /// What to do.
        mend: String,
    },
    /// Its agent is of a version that cannot be asked.
    Older,
    /// It is this host.
    Same,
}

/// What a domain wants of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainFacts {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// The versioned machine type.
    pub machine: String,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// The size of the huge pages that it wants; 0 is the host's default. None wants none.
    pub hugepage_bytes: Option<u64>,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Whether it runs under KVM, where the host's CPU shows through.
    pub kvm: bool,
    /// Whether the guest sees the host's own CPU.
    pub host_cpu: bool,
    /// Whether the guest works on while it moves.
    pub live: bool,
    /// Parallel memory connections wanted.
    pub channels: u8,
    /// Whether memory goes encrypted.
    pub encrypted: bool,
    /// Whether the guest may be handed over before its memory.
    pub postcopy: bool,
    /// Devices of the source host in the guest's hands, for people: `PCI device 0000:06:02.0`.
    pub host_devices: Vec<String>,
    /// Character devices that are bound to something on the source.
    pub local_characters: Vec<LocalCharacter>,
    /// Whether an interface of the guest goes through QEMU's own network stack.
    pub user_networking: bool,
    /// Its disks.
    pub disks: Vec<DomainDisk>,
    /// Whether it has a channel for a guest agent.
    pub agent_channel: bool,
    /// What is copied for it.
    pub copies: Vec<Placed>,
    /// Files that would be copied, and that the target sees itself, by path.
    pub shared: BTreeSet<String>,
    /// Files that have another path on the target, by path.
    pub moved: BTreeMap<String, String>,
    /// Whether it stays where it is as well.
    pub keeps_source: bool,
}

impl DomainFacts {
    /// Whether its disks were to go with it.
    pub(super) fn copies_storage(&self) -> bool {
        !self.shared.is_empty() || self.copies.iter().any(|placed| placed.file.is_image())
    }

    /// Where a file is on the target.
    pub(super) fn there<'a>(&'a self, path: &'a str) -> &'a str {
        self.moved.get(path).map_or(path, String::as_str)
    }
}

/// A disk as the definition has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainDisk {
    /// The guest's name for it, as in `vda`.
    pub name: String,
    /// Whether the guest writes it.
    pub writable: bool,
    /// Its image's format, as the definition says.
    pub format: String,
    /// `cache` of its driver, where it says one.
    pub cache: Option<String>,
}

/// A character device that does not lead into a socket or a pseudo terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCharacter {
    /// The file or device.
    pub path: String,
    /// Whether it is a device of the host; else a file that fills.
    pub device: bool,
    /// Whether what is in the file stays when a QEMU opens it.
    pub append: bool,
}

/// What the source's QEMU tells about the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestFacts {
    /// `blocked-reasons` of `query-migrate`.
    pub blocked_reasons: Vec<String>,
    /// Whether something in the guest has its agent's channel open.
    pub agent_open: Option<bool>,
}

/// What is known of the way from source to target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Between {
    /// Where a connection like that of memory was tried.
    pub door: Option<String>,
    /// Why it was not made.
    pub door_fault: Option<String>,
    /// How far the target's clock is ahead of the source's, in milliseconds; at most `round_trip_ms` wrong.
    pub ahead_ms: Option<i64>,
    /// How long the question took, in milliseconds.
    pub round_trip_ms: u64,
}
