//! What two agents tell each other for a preflight: facts about a host as one domain needs it. What is not known is
//! absent, and so is what an older agent does not tell. Main types: [`HostFacts`], [`TargetFacts`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{CopyFile, Pool};

/// `POST /agent/checks`: a source asks a host what it would find there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckOffer {
    /// The source host.
    pub source: String,
    /// The definition, with `host-model` expanded: libvirt domain XML.
    pub xml: String,
    /// Whether the guest is to work on while it moves.
    pub live: bool,
    /// The check; nonces are named after it.
    pub check: Uuid,
    /// The directories in which the source has written a nonce.
    #[serde(default)]
    pub nonces: Vec<String>,
    /// The domain's UUID on the source, where it is to get another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Uuid>,
    /// The files that would be copied; the definition has them by their paths on the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<CopyFile>,
}

/// What a nonce was when it was read on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum NonceSeen {
    /// What the source wrote.
    Same,
    /// It is not there.
    Missing,
    /// A file of the right length that holds nothing but zeros.
    Zeros,
    /// Something else.
    Other,
    /// An input/output error, as an NFS server with a wrong READ_PLUS gives.
    Failing,
    /// It could not be read; on the source: not be written.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// A host as one domain needs it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HostFacts {
    /// Its name.
    pub host: String,
    /// Architecture, as in `x86_64`.
    pub arch: Option<String>,
    /// `vendor_id` of `/proc/cpuinfo`.
    pub cpu_vendor: Option<String>,
    /// `model name` of `/proc/cpuinfo`.
    pub cpu_model: Option<String>,
    /// Features of the CPU that a guest sees here which sees the host's own, by QEMU's names; absent for other guests.
    pub cpu_features: Option<BTreeSet<String>>,
    /// Whether no-execute pages are on.
    pub nx: Option<bool>,
    /// Logical processors online.
    pub cpus: Option<u32>,
    /// The kernel's clock source, as in `tsc`.
    pub clock_source: Option<String>,
    /// Ticks of the CPUs' time stamp counter in a millisecond, as the kernel measured them.
    pub tsc_khz: Option<u64>,
    /// Whether that counter neither changes its rate nor stops.
    pub tsc_even: Option<bool>,
    /// What its clock says, in milliseconds since 1970.
    pub now_ms: Option<u64>,
    /// `MemAvailable` in bytes.
    pub memory_available_bytes: Option<u64>,
    /// The size of a huge page where a definition names none, in bytes.
    pub hugepage_default_bytes: Option<u64>,
    /// Huge pages by size.
    pub hugepages: Vec<HugepageFacts>,
    /// Whether QEMU gets a userfaultfd from the kernel, without which it takes no guest in post-copy.
    pub userfaultfd: Option<bool>,
    /// File descriptors that a QEMU may have open (`RLIMIT_NOFILE`).
    pub descriptors_max: Option<u64>,
    /// Free bytes where the agent keeps journals and definitions.
    pub state_free_bytes: Option<u64>,
    /// The certificate that it shows to other hosts.
    pub certificate: Option<CertificateFacts>,
    /// Version of the QEMU that has the guest, or would have it.
    pub qemu_version: Option<String>,
    /// Migration capabilities of that QEMU.
    pub migrate_capabilities: Option<Vec<String>>,
    /// What the domain's `-cpu` asks for and that QEMU cannot give here.
    pub cpu_unavailable: Option<Vec<String>>,
    /// Disks in the order of the definition.
    pub disks: Vec<DiskFacts>,
    /// The bridges of the domain's interfaces, in their order.
    pub bridges: Vec<BridgeFacts>,
    /// The guest's MAC addresses that a bridge has learned on a port that is no guest's.
    pub macs_heard: Vec<MacUse>,
    /// All its storage pools.
    pub pools: Vec<Pool>,
    /// The NFS servers that the domain's disks lie on, as they answer this host.
    pub nfs: Vec<NfsFacts>,
    /// Why no chain of images can be seen as one file here; asked where one is to become one image.
    pub chain_unshown: Option<String>,
    /// What could not be found out.
    pub unknown: Vec<UnknownFact>,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HugepageFacts {
    /// Bytes of one.
    pub size_bytes: u64,
    /// How many there are (`nr_hugepages`).
    pub total: u64,
    /// How many of them are free.
    pub free: u64,
}

/// When a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateFacts {
    /// From.
    pub from_s: i64,
    /// Until.
    pub until_s: i64,
}

/// A disk as one host sees it. Without `file` it was not looked at, or cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DiskFacts {
    /// The guest's name for it, as in `vda`.
    pub disk: String,
    /// Its path.
    pub path: String,
    /// Why it cannot be used.
    pub fault: Option<String>,
    /// Whether that is because nothing is there.
    pub missing: bool,
    /// The file or device.
    pub file: Option<FileFacts>,
    /// Bytes that the guest sees.
    pub size_bytes: Option<u64>,
    /// Bytes that it takes.
    pub taken_bytes: Option<u64>,
    /// What its content looks like, as in `qcow2`; a file of any other kind is `raw`.
    pub looks: Option<String>,
    /// Which filesystem of its host it lies on, or would: `f_fsid` of statvfs(3).
    pub filesystem: Option<u64>,
    /// Free bytes of that filesystem.
    pub free_bytes: Option<u64>,
    /// The images and data files below it, the uppermost image first.
    pub below: Vec<FileFacts>,
    /// Names of the snapshots inside it.
    pub snapshots: Vec<String>,
    /// Those of its images, by path, that QEMU can open with a secret only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encrypted: Vec<String>,
    /// What the source's nonce in its directory was here.
    pub nonce: Option<NonceSeen>,
    /// Whether the owner record beside it is the source's; absent where it carries none.
    pub owned_by_source: Option<bool>,
    /// On the target: an older copy of this very disk lies there, which its owner record gives to the source.
    pub older_copy: bool,
    /// Why no file beside it can be locked.
    pub lock_fault: Option<String>,
    /// Where the chain below it ends too early.
    pub broken: Option<BrokenChain>,
    /// What QEMU says of its lock, where somebody has it open for writing; asked where the domain is shut off.
    pub in_use: Option<String>,
}

/// An image that stands on one which cannot be opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct BrokenChain {
    /// The image that names the other.
    pub image: String,
    /// The path of the other.
    pub below: String,
    /// Why that cannot be opened.
    pub fault: String,
}

/// What is on a host where a file is to be copied to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PlaceFacts {
    /// The path.
    pub path: String,
    /// Why it cannot be looked at.
    pub fault: Option<String>,
    /// Bytes in what lies there; absent where nothing does.
    pub length_bytes: Option<u64>,
    /// Bytes that it takes.
    pub taken_bytes: Option<u64>,
    /// Whether it is a block device.
    pub block: bool,
    /// Whether it is what an earlier move of this very domain has left there, and nobody else uses.
    pub older_copy: bool,
    /// Other domains there that use it, or stand on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// What QEMU says of its lock, where somebody has it open for writing.
    pub in_use: Option<String>,
    /// Which filesystem it lies on, or would: `f_fsid` of statvfs(3).
    pub filesystem: Option<u64>,
    /// Free bytes of that filesystem.
    pub free_bytes: Option<u64>,
    /// Whether the source's nonce was read in its directory.
    pub beside_nonce: bool,
}

/// A file or device that a disk is made of, as one host sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct FileFacts {
    /// Its path, or another name that QEMU knows it by.
    pub path: String,
    /// Bytes in it; absent where it was not looked at.
    pub bytes: Option<u64>,
    /// `st_ino`, for a file.
    pub inode: Option<u64>,
    /// What kind of filesystem it lies on, by number (`f_type` of statfs(2)).
    pub filesystem: Option<u64>,
    /// Whether it is a block device.
    pub block: bool,
    /// What a block device is called on every host: a LUN's serial number, a mapped device's UUID.
    pub device: Option<String>,
    /// Whether the source's nonce in its directory was read here.
    pub beside_nonce: bool,
}

/// Why a bridge cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeFault {
    /// There is no such link.
    Missing,
    /// The link is something else.
    NotABridge,
    /// The definition names a network, and the host does not know its bridge.
    NetworkUnknown,
}

/// The bridge of one interface on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct BridgeFacts {
    /// The interface's MAC address.
    pub mac: String,
    /// The bridge, or the network where its bridge is not known.
    pub name: String,
    /// Why it cannot be used.
    pub fault: Option<BridgeFault>,
    /// Whether it is up.
    pub up: Option<bool>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// The VLANs of the links that it stands on, lowest first.
    pub vlans: Vec<u16>,
}

/// An NFS server and what it exports, as one host sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NfsFacts {
    /// The server, by name or address.
    pub server: String,
    /// What a disk needs of it: an export, or a file below one.
    pub path: String,
    /// Whether it is asked by NFS version 3, which needs the portmapper and the MOUNT protocol besides.
    pub version3: bool,
    /// Why one of these two does not answer.
    pub rpc_fault: Option<String>,
    /// Why nothing answers at the port of NFS.
    pub nfs_fault: Option<String>,
    /// What it exports, as `showmount -e` lists it; absent where it does not say.
    pub exports: Option<Vec<String>>,
}

/// Something that could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnknownFact {
    /// What.
    pub what: String,
    /// Why not.
    pub reason: String,
}

/// A device that QEMU lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceLack {
    /// QEMU's name of it.
    pub device: String,
    /// What to do.
    pub mend: String,
}

/// A MAC address that somebody else has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MacUse {
    /// The address.
    pub mac: String,
    /// Who has it: a domain, or a port of a bridge.
    pub by: String,
}

/// What a target found for a domain that may come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TargetFacts {
    /// The host.
    pub host: HostFacts,
    /// Why KVM does not work there, where the domain wants it.
    pub kvm_unusable: Option<String>,
    /// Whether QEMU there has the machine type.
    pub has_machine: Option<bool>,
    /// Devices that QEMU there lacks.
    pub devices_missing: Vec<DeviceLack>,
    /// Another domain there of the same name, by its UUID.
    pub same_name: Option<Uuid>,
    /// Another domain there with the same UUID, by its name.
    pub same_uuid: Option<String>,
    /// Files that the definition names and that cannot be read there.
    pub files_missing: Vec<String>,
    /// Files that the definition names outside the directories that are allowed there.
    pub files_forbidden: Vec<String>,
    /// The emulator, where it is not allowed there.
    pub emulator_forbidden: Option<String>,
    /// The guest's MAC addresses that somebody there has.
    pub macs_taken: Vec<MacUse>,
    /// Cards there that lead to a network and that the host itself does not use.
    pub uplinks_free: Vec<String>,
    /// Why the source's agent cannot be asked from there.
    pub source_fault: Option<String>,
    /// Where the target waits for a connection, as its QEMU would; it sends [`TargetFacts::door_token`].
    pub door: Option<String>,
    /// What is heard at the door.
    pub door_token: Option<Uuid>,
    /// What lies where each file would be copied to that has a place by its path.
    pub places: Vec<PlaceFacts>,
}
