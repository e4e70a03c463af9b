//! How a domain's storage goes over where both hosts do not share it: what is asked, which files travel, how far they
//! are. Main types: [`CopyStorage`], [`Maps`], [`CopyFile`], [`CopyReport`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The disks go with the domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct CopyStorage {
    /// One image without anything below it, in place of a chain.
    pub flatten: bool,
    /// Images of cdroms and floppies go too.
    pub media: bool,
    /// How the copy is proven.
    pub verify: Verify,
    /// What becomes of the disks on the source once the domain is the target's.
    pub source_disks: SourceDisks,
}

/// How a copy is proven to be equal before the domain is handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// The target reads what it has written once, past the page cache, and compares.
    #[default]
    Disk,
    /// What came over the network is compared; what the target's disk made of it is not.
    Wire,
}

/// What becomes of disks whose domain has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceDisks {
    /// They stay, and their owner records say whose they are. A way back sends only what differs.
    #[default]
    Keep,
    /// They are removed.
    Delete,
}

/// What is called otherwise on the target, by the source's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Maps {
    /// Disks by the guest's name (`vda`) or by path, and their paths on the target.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, String>,
    /// Storage pools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, String>,
    /// Bridges and networks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bridges: BTreeMap<String, String>,
}

impl Maps {
    /// Whether everything is called the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.disks.is_empty() && self.pools.is_empty() && self.bridges.is_empty()
    }
}

/// What the domain on the target is to be, where it is not to be the same domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Identity {
    /// It gets a fresh UUID.
    pub new_uuid: bool,
    /// It gets another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The domain stays on the source as well; the copy gets a UUID and MAC addresses of its own.
    pub keep_source: bool,
}

impl Identity {
    /// Whether it is the same domain in every respect.
    #[must_use]
    pub fn is_same(&self) -> bool {
        *self == Identity::default()
    }
}

/// What a file is to the domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum CopyRole {
    /// The uppermost image of a disk, or of a medium.
    Disk {
        /// The guest's name for it, as in `vda`.
        disk: String,
        /// The image's format, as in `qcow2`.
        format: String,
    },
    /// An image below one of a disk.
    Backing {
        /// The guest's name for the disk.
        disk: String,
        /// The image's format.
        format: String,
    },
    /// The variables of its firmware.
    Nvram,
    /// A file of its TPM's state.
    Tpm {
        /// Its name below the directory of that state.
        name: String,
    },
}

impl CopyRole {
    /// The disk whose uppermost image it is, by the guest's name.
    #[must_use]
    pub fn disk(&self) -> Option<&String> {
        match self {
            CopyRole::Disk { disk, .. } => Some(disk),
            CopyRole::Backing { .. } | CopyRole::Nvram | CopyRole::Tpm { .. } => None,
        }
    }
}

/// One file that is to be copied. It is numbered by its place in the offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyFile {
    /// What it is to the domain.
    #[serde(flatten)]
    pub role: CopyRole,
    /// Where it goes on the target; empty where the target knows by its role.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Its length.
    pub length_bytes: u64,
    /// What it takes, holes not counted.
    pub allocated_bytes: u64,
    /// The image that it stands on, where it is called otherwise on the target; in its own words there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<String>,
    /// Whether its content is made by a conversion as it is read, and goes into a new image of its format.
    #[serde(default)]
    pub converted: bool,
}

impl CopyFile {
    /// Whether it is one of a disk's images.
    #[must_use]
    pub fn is_image(&self) -> bool {
        match self.role {
            CopyRole::Disk { .. } | CopyRole::Backing { .. } => true,
            CopyRole::Nvram | CopyRole::Tpm { .. } => false,
        }
    }
}

/// How far the copy of a domain's files is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyProgress {
    /// The file that is under way, by its path on the source.
    pub file: String,
    /// Bytes of content that need not be looked at any more, of all files.
    pub done_bytes: u64,
    /// Bytes of content in all files, holes not counted.
    pub total_bytes: u64,
    /// Bytes that went over the network.
    pub sent_bytes: u64,
    /// Content per second, lately.
    pub rate_bytes_per_s: u64,
    /// How long it will take at that rate, in milliseconds; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Level of zstd; 0 does not compress.
    pub level: i32,
    /// Time since the migration began, in milliseconds.
    pub elapsed_ms: u64,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopyReport {
    /// How it was proven.
    pub verify: Verify,
    /// Each file.
    pub files: Vec<CopiedFile>,
    /// Bytes that went over the network for all of them, what was sent again counted again.
    pub sent_bytes: u64,
    /// Times that it had to begin again after a cut.
    pub resumed: u32,
}

/// The disks that went over while their guest worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorReport {
    /// Each disk.
    pub disks: Vec<MirroredDisk>,
    /// Bytes that went to the target until all were equal there, with what the guest wrote meanwhile; before encryption.
    pub sent_bytes: u64,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
}

/// A disk that went over while its guest worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirroredDisk {
    /// The guest's name for it.
    pub disk: String,
    /// Its path on the source.
    pub from: String,
    /// Its path on the target.
    pub to: String,
}

/// One file that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CopiedFile {
    /// Its path on the source.
    pub from: String,
    /// Its path on the target.
    pub to: String,
    /// Its length.
    pub length_bytes: u64,
    /// Bytes of content that were sent; what the target had already is not in it.
    pub content_bytes: u64,
    /// BLAKE3 over its whole content, as `docs/storage.md` has it; both hosts have computed it.
    pub blake3: String,
}

/// `POST /agent/migrations/{id}/files/{number}/complete`: all of a file was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileSent {
    /// What the source computed over the whole, in hexadecimal.
    pub blake3: String,
}

/// What a target makes of a file that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "file", rename_all = "kebab-case")]
pub enum FileTaken {
    /// It is on the target's disk, durable, and equal.
    Equal,
    /// Something of it is missing, or is not what was sent: it is to be asked again what is there.
    Differs {
        /// What, and where.
        reason: String,
    },
}
