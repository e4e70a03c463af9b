//! Storage pools and their volumes, on one host or on all that it knows. Main types: [`Pool`], [`Volume`], [`PoolOrder`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Problem;

/// What a pool's directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolKind {
    /// A directory that is there.
    Dir,
    /// Where an NFS export is mounted.
    Netfs,
}

impl PoolKind {
    /// libvirt's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PoolKind::Dir => "dir",
            PoolKind::Netfs => "netfs",
        }
    }
}

/// A storage pool of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The same on every host that it was defined on at once.
    pub uuid: Uuid,
    /// What its directory is.
    pub kind: PoolKind,
    /// Where its volumes lie.
    pub path: String,
    /// What is mounted there, `HOST:EXPORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The NFS version that the definition wants; none leaves it to client and server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs_version: Option<String>,
    /// Mount options of the definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether it is started.
    pub active: bool,
    /// Whether it is started with its host.
    pub autostart: bool,
    /// Bytes of its filesystem, while it is started and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Bytes of its filesystem that are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// The NFS version that it is mounted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounted_version: Option<String>,
    /// What is wrong with a pool that is started, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// `POST /pools`: define a pool, or define it anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolRequest {
    /// libvirt pool XML.
    Xml(String),
    /// The same in parts.
    Parts(PoolParts),
}

/// What a pool is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolParts {
    /// Its name.
    pub name: String,
    /// What its directory is.
    pub kind: PoolKind,
    /// Where its volumes lie; absolute.
    pub path: String,
    /// What is mounted there, `HOST:EXPORT`; only for `netfs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As in `4.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs_version: Option<String>,
    /// Options of mount(8).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// `POST /pools/orders` (on every host that this one knows) and, between agents `POST /agent/pools`: something to do with
/// pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolOrder {
    /// Show all of them.
    List,
    /// Show one, and find out whether it works.
    Show(String),
    /// Define one.
    Define(PoolRequest),
    /// Forget one.
    Undefine(String),
    /// Make one ready for use.
    Start(String),
    /// Let go of one.
    Stop(String),
    /// Have one started with its host, or no more.
    Autostart {
        /// Its name or UUID.
        pool: String,
        /// Whether it is.
        enabled: bool,
    },
}

/// What became of an order on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostPools {
    /// The host.
    pub host: String,
    /// The pools that the order is about, as they are now.
    pub pools: Vec<Pool>,
    /// In what they are not those that hosts before this one have by the same names, each in a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Why it was not done there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeFormat {
    /// QEMU's, with room that is taken when it is written.
    Qcow2,
    /// The bytes of the disk.
    Raw,
}

/// A volume: a file in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// Its name in the pool.
    pub name: String,
    /// The file.
    pub path: String,
    /// What it looks like. A domain's definition says what it is.
    pub format: VolumeFormat,
    /// Bytes of the disk that a guest sees.
    pub capacity_bytes: u64,
    /// Bytes that the file takes.
    pub allocation_bytes: u64,
    /// The image that it stands on, as it says itself. Only where one volume is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<String>,
    /// Domains of this host that use it. Only where one volume is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// The host that may run the domain on it, by its owner record. Only where one volume is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// `POST /pools/{pool}/volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeRequest {
    /// Its name in the pool.
    pub name: String,
    /// Bytes of the disk that a guest will see.
    pub capacity_bytes: u64,
    /// The format.
    pub format: VolumeFormat,
}

/// `POST /pools/{pool}/volumes/{volume}/size`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeSizeRequest {
    /// Bytes of the disk that a guest will see.
    pub capacity_bytes: u64,
    /// Allow it to lose its end.
    #[serde(default)]
    pub shrink: bool,
}

/// `POST /agent/volumes/users`: which of your domains use this file?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeAsked {
    /// Where the host that asks has it.
    pub path: String,
    /// Its inode there, which hosts that share it have in common (`st_ino` of inode(7)).
    pub inode: u64,
}

/// A domain that uses a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeUser {
    /// Its name.
    pub domain: String,
    /// Whether it has a QEMU process.
    pub runs: bool,
}
