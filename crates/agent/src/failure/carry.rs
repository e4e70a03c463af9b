//! Why files of a domain did not go over. Main type: [`CarryFailure`].

use std::path::PathBuf;

use storage::{ExportError, LockError, TransferError};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarryFailure {
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("a domain cannot become another one while its guest works")]
    GuestRuns,
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("no file {number} comes with this domain")]
    NoSuchFile { number: usize },
    #[error("nobody has asked yet what there is of file {number}")]
    NotAsked { number: usize },
    #[error("no files of this domain are expected here now")]
    NotLanding,
    #[error(transparent)]
    Mirror(#[from] qemu::mirror::MirrorError),
    #[error("disk {disk} could not be read: {path}")]
    Unreadable { disk: String, path: PathBuf },
    #[error(transparent)]
    NotExported(#[from] qemu::mirror::ExportError),
    #[error("no connection for a disk could be made on this host")]
    Way(#[source] std::io::Error),
    #[error("the target's QEMU did not answer about disk {disk} within {after:?}")]
    Silent { disk: String, after: std::time::Duration },
    #[error("{path} cannot go over while the guest works")]
    NotWhileRunning { path: PathBuf },
    #[error("{text:?} is not 64 hexadecimal digits")]
    Digits { text: String },
    #[error("{name:?} cannot be the name of a file of a TPM")]
    Name { name: String },
    #[error("no directory can be made for {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the image {path} cannot get its name")]
    Unnamed {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the copy of {path} did not become equal in {tries} tries: {reason}")]
    NeverEqual { path: PathBuf, tries: u32, reason: String },
    #[error("{path} is another image than the source's, and is not written over: {}", for_whom(.users))]
    Kept { path: PathBuf, users: Vec<String> },
    #[error("no space is left on {host} for {}: at least {} MiB of it are still to come", .path.display(), .left_bytes.div_ceil(1 << 20))]
    NoRoom { host: String, path: PathBuf, left_bytes: u64 },
    #[error("the target could not be reached for {} s", .after.as_secs())]
    CutTooLong { after: std::time::Duration },
}

fn for_whom(users: &[String]) -> String {
    match users {
        [] => "it is no older copy of this domain's".to_owned(),
        users => format!("it is used by {}", users.join(", ")),
    }
}
