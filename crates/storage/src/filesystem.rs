//! The filesystem that a path lies on: what kind it is, and what room it has. Main type: [`Filesystem`].

use std::io;
use std::path::Path;

use crate::bounded::{self, NoResult};
use crate::disk::DiskError;
use crate::limits::DISK_TIMEOUT;
use crate::record::directory_of;

/// A filesystem, as statfs(2) tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// `f_type`: a number for each kind, as in linux/magic.h.
    pub kind: u64,
    /// Which one it is on this host (`f_fsid` of statvfs(3)).
    pub id: u64,
    /// Bytes that this process may still write.
    pub free_bytes: u64,
}

/// The filesystem of a file or directory that exists.
///
/// # Errors
/// [`DiskError::Missing`], [`DiskError::TimedOut`], [`DiskError::Io`].
pub async fn filesystem(path: &Path) -> Result<Filesystem, DiskError> {
    let owned = path.to_owned();
    let ask = move || io::Result::Ok((rustix::fs::statfs(&owned)?, rustix::fs::statvfs(&owned)?.f_fsid));
    let asked = bounded::run_in_turn(directory_of(path), DISK_TIMEOUT, ask).await;
    let failed = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => DiskError::Missing { path },
            _ => DiskError::Io { step: "look at the filesystem of", path, source },
        }
    };
    match asked {
        Ok(Ok((is, id))) => Ok(Filesystem {
            kind: u64::try_from(is.f_type).unwrap_or_default(),
            id,
            free_bytes: is.f_bavail.saturating_mul(u64::try_from(is.f_bsize).unwrap_or_default()),
        }),
        Ok(Err(source)) => Err(failed(source)),
        Err(NoResult::NoThread(source)) => Err(failed(source)),
        Err(NoResult::TimedOut) => Err(DiskError::TimedOut { path: path.to_owned(), after: DISK_TIMEOUT }),
    }
}
