//! Why something was not done with a storage pool or a volume. Main type: [`PoolFailure`].

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::Failure;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolFailure {
    #[error("no pool {pool:?} on host {host}")]
    NotFound { pool: String, host: String },
    #[error("the name {name} is taken by another pool (UUID {uuid})")]
    NameTaken { name: String, uuid: Uuid },
    #[error("the UUID {uuid} is taken by the pool {name}")]
    UuidTaken { uuid: Uuid, name: String },
    #[error("the directory {path} is that of the pool {pool}")]
    PathTaken { path: PathBuf, pool: String },
    #[error("{text:?} is no source of a pool")]
    Source { text: String },
    #[error("a pool that is a directory has no {part}")]
    DirHas { part: &'static str },
    #[error("a pool that is mounted has no source in its definition")]
    NoSource,
    #[error("the directory {path} lies outside those in which this host lets other hosts have pools")]
    PlaceNotAllowed { path: PathBuf },
    #[error("pool {pool} is started")]
    Active { pool: String },
    #[error("pool {pool} is not started")]
    Inactive { pool: String },
    #[error("somebody works with pool {pool} at this moment")]
    Busy { pool: String },
    #[error("{} on files in pool {pool}", run(.domains))]
    HasGuests { pool: String, domains: Vec<String> },
    #[error("the storage of pool {pool} does not serve")]
    Storage {
        pool: String,
        #[source]
        source: storage::PoolError,
    },
    #[error("{name:?} cannot be the name of a volume")]
    VolumeName { name: String },
    #[error("pool {pool} has no volume {volume:?}")]
    VolumeNotFound { volume: String, pool: String },
    #[error("pool {pool} has a volume {volume} already")]
    VolumeExists { volume: String, pool: String },
    #[error("volume {volume} is used by {}", .domains.join(", "))]
    VolumeUsed { volume: String, domains: Vec<String> },
    #[error("whether domain {domain} uses the volume is not known")]
    UseUnknown {
        domain: String,
        #[source]
        source: Box<Failure>,
    },
    #[error("host {host} does not say whether a domain there uses volume {volume}")]
    HostSilent {
        volume: String,
        host: String,
        #[source]
        source: Box<Failure>,
    },
    #[error("the domain on volume {volume} belongs to host {host}, as the owner record beside it says")]
    VolumeOwned { volume: String, host: String },
    #[error("volume {volume} has {capacity} bytes, and would lose its end")]
    VolumeShrinks { volume: String, capacity: u64 },
    #[error("volume {volume} stands on {below}, which lies outside the directories that this host allows")]
    VolumeBelow { volume: String, below: PathBuf },
    #[error("no bytes of volume {volume} came for {after:?}")]
    ContentSilent { volume: String, after: Duration },
    #[error("the bytes of volume {volume} did not come to their end")]
    ContentCut {
        volume: String,
        #[source]
        source: axum::Error,
    },
}

fn run(domains: &[String]) -> String {
    format!("{} {}", domains.join(", "), if domains.len() == 1 { "runs" } else { "run" })
}
