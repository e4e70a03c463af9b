//! Commands that copy a disk to another QEMU while the guest writes to it: NBD server, exports, mirror jobs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Done, command};

/// QAPI `nbd-server-start`. A QEMU has one such server at most.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NbdServerStart {
    /// Where it listens.
    pub addr: NbdAddress,
    /// How many clients there may be at once.
    pub max_connections: u32,
}
command!(NbdServerStart, "nbd-server-start", Done);

/// QAPI `SocketAddressLegacy`, Unix sockets only.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "kebab-case")]
pub enum NbdAddress {
    /// A Unix socket, which the server makes.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

/// QAPI `nbd-server-stop`: every export goes, and every client is disconnected. An error where there is no server.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NbdServerStop;
command!(NbdServerStop, "nbd-server-stop", Done);

/// QAPI `block-export-add`, of the type `nbd`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockExportAdd {
    /// Always `nbd` here.
    #[serde(rename = "type")]
    pub kind: ExportType,
    /// Id of the export.
    pub id: String,
    /// The node that is exported.
    pub node_name: String,
    /// What clients call it.
    pub name: String,
    /// Whether clients may write.
    pub writable: bool,
}
command!(BlockExportAdd, "block-export-add", Done);

/// QAPI `BlockExportType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportType {
    /// Over the NBD server.
    Nbd,
}

/// QAPI `blockdev-mirror`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevMirror {
    /// Id of the job.
    pub job_id: String,
    /// The uppermost node of the disk.
    pub device: String,
    /// The node that it is copied to.
    pub target: String,
    /// What is copied.
    pub sync: MirrorSync,
    /// Bytes per second; 0 is no limit.
    pub speed: u64,
    /// When it is copied.
    pub copy_mode: MirrorCopyMode,
}
command!(BlockdevMirror, "blockdev-mirror", Done);

/// QAPI `MirrorSyncMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorSync {
    /// All that the guest sees, the images below included.
    Full,
}

/// QAPI `MirrorCopyMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorCopyMode {
    /// The guest's writes go over after they were answered.
    Background,
    /// The guest's writes are answered when they are on both sides.
    WriteBlocking,
}

/// QAPI `block-job-change`, of a mirror, and only to [`MirrorCopyMode::WriteBlocking`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockJobChange {
    /// Id of the job.
    pub id: String,
    /// Always `mirror` here.
    #[serde(rename = "type")]
    pub kind: JobType,
    /// The new mode.
    pub copy_mode: MirrorCopyMode,
}
command!(BlockJobChange, "block-job-change", Done);

/// QAPI `JobType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobType {
    /// A mirror.
    Mirror,
}

/// QAPI `block-job-cancel`. A mirror that is ready and not forced away first makes both sides equal; its event then is
/// `BLOCK_JOB_COMPLETED`. It comes later than the reply.
#[derive(Clone, Debug, Serialize)]
pub struct BlockJobCancel {
    /// Id of the job.
    pub device: String,
    /// Whether it ends at once.
    pub force: bool,
}
command!(BlockJobCancel, "block-job-cancel", Done);

/// QAPI `block-job-set-speed`.
#[derive(Clone, Debug, Serialize)]
pub struct BlockJobSetSpeed {
    /// Id of the job.
    pub device: String,
    /// Bytes per second; 0 is without limit.
    pub speed: u64,
}
command!(BlockJobSetSpeed, "block-job-set-speed", Done);

/// QAPI `query-block-jobs`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryBlockJobs;
command!(QueryBlockJobs, "query-block-jobs", Vec<BlockJob>);

/// QAPI `BlockJobInfo`. What is left can grow while the guest writes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockJob {
    /// Id of the job.
    pub device: String,
    /// What is to be done, in bytes.
    pub len: u64,
    /// What is done, in bytes.
    pub offset: u64,
    /// Whether it has come to the end once.
    pub ready: bool,
    /// Of a mirror: whether both sides are equal and stay so. A QEMU before 8.2 does not say.
    pub actively_synced: Option<bool>,
}
