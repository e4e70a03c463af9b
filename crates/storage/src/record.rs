//! Owner records: small files beside a disk that say which host may run the domain that writes to it. Here
//! they are bytes; what they mean is the migration crate's. A write replaces the whole file and is durable
//! when it returns. It never leaves half a record under the record's name. The main functions are
//! [`write_record`] and [`read_record`].
//!
//! ```text
//! write:  <dir>/.<name>.XXXXXX  written, fsynced  ──rename──▶  <dir>/<name>   then fsync of <dir>
//! create: the same with a link(2) that fails where <name> exists
//! ```
//!
//! A crash between the steps can leave a `.<name>.XXXXXX` behind, which nothing reads.
//!
//! A record is named by its path, or as `nfs://HOST/PATH` where its disk is reached by QEMU's own NFS client: then the same
//! steps are taken over the network, by the requests of RFC 1813 of the same names.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::bounded::{self, NoResult};
use crate::limits::{RECORD_BYTES_MAX, RECORD_TIMEOUT, STALE_READS_MAX};
use crate::nfs;

/// What is appended to a disk's path for its owner record.
pub const OWNER_SUFFIX: &str = ".ferry";

/// Why a record could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The directory is not there.
    #[error("directory {directory:?} does not exist: is the storage of this disk mounted?")]
    MissingDirectory {
        /// The directory of the record.
        directory: PathBuf,
    },
    /// The storage is read-only.
    #[error(
        "cannot {step} record {path:?}: the storage is read-only; a host that runs the domain must be able to write there"
    )]
    ReadOnly {
        /// "write", "remove" …
        step: &'static str,
        /// The record's path.
        path: PathBuf,
    },
    /// This process must not.
    #[error(
        "cannot {step} record {path:?}: not permitted; check the directory's mode and, on NFS, that the export has no_root_squash"
    )]
    Denied {
        /// "read", "write", "remove" …
        step: &'static str,
        /// The record's path.
        path: PathBuf,
        /// EACCES or EPERM.
        source: io::Error,
    },
    /// No space, inode or quota is left.
    #[error("cannot {step} record {path:?}: the storage is full; free some space or raise the quota")]
    NoSpace {
        /// "write" …
        step: &'static str,
        /// The record's path.
        path: PathBuf,
        /// ENOSPC or EDQUOT.
        source: io::Error,
    },
    /// Something else has the record's name.
    #[error("{path:?} is not a regular file, but owner records are: move it away and look who made it")]
    NotAFile {
        /// The record's path.
        path: PathBuf,
    },
    /// The file cannot be a record.
    #[error(
        "record {path:?} has more than {RECORD_BYTES_MAX} bytes: this is no owner record; look who made it"
    )]
    TooLarge {
        /// The record's path.
        path: PathBuf,
    },
    /// [`create_record`] found one.
    #[error("record {path:?} exists already: another host may own this disk's domain")]
    Exists {
        /// The record's path.
        path: PathBuf,
    },
    /// The storage does not answer. Whether the operation takes effect after all is not known.
    #[error(
        "cannot {step} record {path:?}: no answer within {} s; is the server of its mount reachable?",
        after.as_secs_f32()
    )]
    TimedOut {
        /// "read", "write", "remove" …
        step: &'static str,
        /// The record's path.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// Any other failure.
    #[error("cannot {step} record {path:?}")]
    Io {
        /// "read", "write", "remove" …
        step: &'static str,
        /// The record's path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Where the owner record of a disk lies: `<disk>.ferry`. Purely textual: give the same spelling of a disk's
/// path on every host, with symbolic links resolved or not.
///
/// For a block device that is a name in /dev, which no other host sees and no reboot survives: such a disk
/// needs another place.
#[must_use]
pub fn owner_path(disk: &Path) -> PathBuf {
    let mut path = disk.as_os_str().to_owned();
    path.push(OWNER_SUFFIX);
    path.into()
}

/// The record's bytes; `None` if there is no record in a directory that exists.
///
/// # Errors
/// [`RecordError::MissingDirectory`], [`RecordError::NotAFile`] (a symbolic link too), [`RecordError::TooLarge`],
/// [`RecordError::Denied`], [`RecordError::TimedOut`], [`RecordError::Io`].
pub async fn read_record(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    let mut read = read_once(path).await;
    for _ in 1..STALE_READS_MAX {
        match &read {
            // Between its name and its bytes another host has put a new record there: that one is asked for.
            Err(RecordError::Io { source, .. }) if Errno::from_io_error(source) == Some(Errno::STALE) => {
                read = read_once(path).await;
            }
            Ok(_) | Err(_) => break,
        }
    }
    match read? {
        Some(bytes) if bytes.len() as u64 > RECORD_BYTES_MAX => {
            Err(RecordError::TooLarge { path: path.to_owned() })
        }
        bytes => Ok(bytes),
    }
}

async fn read_once(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    match nfs::split(path) {
        None => bounded("read", path, |path| read(&path)).await,
        Some((host, file)) => over_nfs("read", path, nfs::read(host, file)).await,
    }
}

/// Writes the record, durably, over the one that may be there. Another host reads the old bytes or the new
/// ones, never a mixture. Mode 0600.
///
/// # Errors
/// Every [`RecordError`] but `Exists`. After any but [`RecordError::TimedOut`] the old record is still
/// there, except if only the directory's fsync failed: then the new one is there and may not outlive a crash.
pub async fn write_record(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    put("write", path, bytes, Replace::Yes).await
}

/// As [`write_record`], but only where no record is: of two hosts that create one at the same time, one
/// gets [`RecordError::Exists`], on NFS too.
///
/// # Errors
/// Every [`RecordError`].
pub async fn create_record(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    put("create", path, bytes, Replace::No).await
}

async fn put(step: &'static str, path: &Path, bytes: &[u8], replace: Replace) -> Result<(), RecordError> {
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(RecordError::TooLarge { path: path.to_owned() });
    }
    if let Some((host, file)) = nfs::split(path) {
        return over_nfs(step, path, nfs::write(host, file, bytes, replace)).await;
    }
    let bytes = bytes.to_owned();
    bounded(step, path, move |path| write(&path, &bytes, replace)).await
}

/// Removes the record, durably. One that is not there is removed.
///
/// # Errors
/// [`RecordError::MissingDirectory`], [`RecordError::NotAFile`] for a directory, [`RecordError::ReadOnly`],
/// [`RecordError::Denied`], [`RecordError::TimedOut`], [`RecordError::Io`].
pub async fn remove_record(path: &Path) -> Result<(), RecordError> {
    match nfs::split(path) {
        None => bounded("remove", path, |path| remove(&path)).await,
        Some((host, file)) => over_nfs("remove", path, nfs::remove(host, file)).await,
    }
}

/// What is asked of a server, within its time. It is not known then whether it takes effect after all.
async fn over_nfs<T>(
    step: &'static str,
    path: &Path,
    asked: impl Future<Output = io::Result<T>>,
) -> Result<T, RecordError> {
    match tokio::time::timeout(RECORD_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|source| explain(step, path, source)),
        Err(_elapsed) => Err(RecordError::TimedOut { step, path: path.to_owned(), after: RECORD_TIMEOUT }),
    }
}

async fn bounded<T: Send + 'static>(
    step: &'static str,
    path: &Path,
    operation: impl FnOnce(PathBuf) -> Result<T, RecordError> + Send + 'static,
) -> Result<T, RecordError> {
    let owned = path.to_owned();
    match bounded::run(RECORD_TIMEOUT, move || operation(owned)).await {
        Ok(result) => result,
        Err(NoResult::TimedOut) => {
            Err(RecordError::TimedOut { step, path: path.to_owned(), after: RECORD_TIMEOUT })
        }
        Err(NoResult::NoThread(source)) => Err(RecordError::Io { step, path: path.to_owned(), source }),
    }
}

/// Whether a record may be there already.
#[derive(Clone, Copy)]
pub(crate) enum Replace {
    Yes,
    No,
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    let failed = |source| explain("read", path, source);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if directory_of(path).is_dir() { Ok(None) } else { Err(failed(error)) };
        }
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(RecordError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

fn write(path: &Path, bytes: &[u8], replace: Replace) -> Result<(), RecordError> {
    let failed = |source| explain("write", path, source);
    let Some(name) = path.file_name() else {
        return Err(RecordError::NotAFile { path: path.to_owned() });
    };
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    // Removed again when this function returns before the rename.
    let mut fresh =
        tempfile::Builder::new().prefix(&prefix).tempfile_in(directory_of(path)).map_err(failed)?;
    fresh.write_all(bytes).map_err(failed)?;
    fresh.as_file().sync_all().map_err(failed)?;
    match replace {
        Replace::Yes => {
            fresh.persist(path).map_err(|error| failed(error.error))?;
        }
        Replace::No => {
            std::fs::hard_link(fresh.path(), path).map_err(failed)?;
            fresh.close().map_err(failed)?;
        }
    }
    sync_directory(path).map_err(failed)
}

fn remove(path: &Path) -> Result<(), RecordError> {
    let failed = |source| explain("remove", path, source);
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory_of(path).is_dir() => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Gives a failure the name under which somebody can act on it.
pub(crate) fn explain(step: &'static str, path: &Path, source: io::Error) -> RecordError {
    let path = path.to_owned();
    // By kind where there is one: tempfile wraps its errors, and the number is not seen any more.
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            RecordError::MissingDirectory { directory: directory_of(&path).to_owned() }
        }
        io::ErrorKind::ReadOnlyFilesystem => RecordError::ReadOnly { step, path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            RecordError::NoSpace { step, path, source }
        }
        io::ErrorKind::PermissionDenied => RecordError::Denied { step, path, source },
        io::ErrorKind::AlreadyExists => RecordError::Exists { path },
        io::ErrorKind::IsADirectory => RecordError::NotAFile { path },
        _ => match Errno::from_io_error(&source) {
            Some(Errno::LOOP | Errno::NXIO) => RecordError::NotAFile { path },
            _ => RecordError::Io { step, path, source },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: Errno, expect: &str) {
        let error = explain("write", Path::new("/pool/web1.qcow2.ferry"), errno.into());
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn errors_say_what_to_do() {
        let record = r#"cannot write record "/pool/web1.qcow2.ferry""#;
        check(Errno::NOENT, r#"directory "/pool" does not exist: is the storage of this disk mounted?"#);
        check(Errno::NOTDIR, r#"directory "/pool" does not exist: is the storage of this disk mounted?"#);
        check(
            Errno::ROFS,
            &format!(
                "{record}: the storage is read-only; a host that runs the domain must be able to write there"
            ),
        );
        let full = format!("{record}: the storage is full; free some space or raise the quota");
        check(Errno::NOSPC, &full);
        check(Errno::DQUOT, &full);
        let denied = format!(
            "{record}: not permitted; check the directory's mode and, on NFS, that the export has no_root_squash"
        );
        check(Errno::ACCESS, &denied);
        check(Errno::PERM, &denied);
        check(Errno::IO, record);
    }

    #[test]
    fn a_record_lies_beside_its_disk() {
        assert_eq!(owner_path(Path::new("/pool/web1.qcow2")), Path::new("/pool/web1.qcow2.ferry"));
        assert_eq!(owner_path(Path::new("/pool/web1")), Path::new("/pool/web1.ferry"));
    }
}
