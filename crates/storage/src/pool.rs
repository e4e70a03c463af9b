//! A pool's directory: how much room it has, and whether this host can really work in it. A nonce says more than a mode:
//! it is written, made durable, and read back from where it lies and not from this host's memory. It never touches a
//! volume. Main functions: [`check_writable`], [`space`].

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::fchown;
use rustix::io::Errno;
use rustix::process::{Uid, geteuid};
use uuid::Uuid;

use crate::bounded::{self, NoResult};
use crate::limits::DISK_TIMEOUT;
use crate::nonce::{NonceRead, content, read_back};

/// How the name of a nonce begins; it is removed again.
const NONCE_PREFIX: &str = ".ferry-nonce-";
/// A user who is not root, whoever it is.
const SOMEBODY: u32 = 1;

/// Why a pool's directory does not serve.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Nothing is there.
    #[error("there is no directory {path:?} on this host: make it")]
    Missing {
        /// The pool's path.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path:?} is not a directory: give the pool another path, or move it away")]
    NotADirectory {
        /// The pool's path.
        path: PathBuf,
    },
    /// Something is to be mounted over files.
    #[error("{path:?} holds files, which a mount would cover: move them away, or give the pool another path")]
    NotEmpty {
        /// The pool's path.
        path: PathBuf,
    },
    /// The directory is there, and what should be mounted on it is not.
    #[error("{device} is not mounted on {path:?}: stop the pool and start it again")]
    NotMounted {
        /// Server and export.
        device: String,
        /// The pool's path.
        path: PathBuf,
    },
    /// Something else is mounted there.
    #[error("{found} is mounted on {path:?}, and not {device}: unmount it, or give the pool another path")]
    OtherMount {
        /// What should be.
        device: String,
        /// What is, with its filesystem's type.
        found: String,
        /// The pool's path.
        path: PathBuf,
    },
    /// The right export, and another version of NFS than the pool asks for.
    #[error(
        "{path:?} is mounted with NFS version {found}, and the pool wants {wanted}: stop it and start it again"
    )]
    OtherVersion {
        /// The pool's path.
        path: PathBuf,
        /// The mount's.
        found: String,
        /// The definition's.
        wanted: String,
    },
    /// Nothing can be written at all.
    #[error("{path:?} is read-only: mount or export it writable (`rw`)")]
    ReadOnly {
        /// The pool's path.
        path: PathBuf,
    },
    /// This process, which is root as a rule, must not write.
    #[error(
        "{path:?} must not be written by this host's root: check the directory's mode and, on NFS, that the server exports it with `no_root_squash`"
    )]
    Denied {
        /// The pool's path.
        path: PathBuf,
        /// EACCES or EPERM.
        source: io::Error,
    },
    /// What root writes belongs to somebody else.
    #[error(
        "what this host's root writes into {path:?} belongs to user {uid}: the server exports it with `root_squash` or `all_squash`; export it with `no_root_squash`"
    )]
    Squashed {
        /// The pool's path.
        path: PathBuf,
        /// Whose it became.
        uid: u32,
    },
    /// The server has forgotten what was mounted.
    #[error(
        "the NFS server does not know any more what is mounted on {path:?} (stale file handle): the export was removed or made anew; see to it there, then stop the pool and start it again"
    )]
    Stale {
        /// The pool's path.
        path: PathBuf,
    },
    /// Reads give zeros.
    #[error(
        "what is written into {path:?} is read back as zeros: the NFS server answers reads of version 4.2 wrongly (READ_PLUS, known of old nfs-ganesha); mount it with version 4.1 (<protocol ver='4.1'/>, `--nfs-version 4.1`) or update the server"
    )]
    ReadsZeros {
        /// The pool's path.
        path: PathBuf,
    },
    /// Reads give an error.
    #[error(
        "what is written into {path:?} cannot be read back (input/output error): an NFS server that answers reads of version 4.2 wrongly gives this (READ_PLUS, known of old nfs-ganesha); if it is NFS, mount it with version 4.1 (<protocol ver='4.1'/>, `--nfs-version 4.1`) or update the server; else the kernel's log says what the storage lacks"
    )]
    ReadsFail {
        /// The pool's path.
        path: PathBuf,
    },
    /// Reads give something else.
    #[error(
        "what is written into {path:?} is not what is read back: do not use this storage before it is mended"
    )]
    ReadsOther {
        /// The pool's path.
        path: PathBuf,
    },
    /// No space, inode or quota is left.
    #[error("{path:?} is full: free some space or raise the quota")]
    NoSpace {
        /// The pool's path.
        path: PathBuf,
    },
    /// No answer.
    #[error(
        "{path:?} did not answer within {} s: is the server of its mount reachable?",
        after.as_secs_f32()
    )]
    TimedOut {
        /// The pool's path.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// A program that is needed cannot be run.
    #[error("cannot start {program}: install it (Debian and Ubuntu: package {package})")]
    NoProgram {
        /// `mount`, `umount`.
        program: &'static str,
        /// Where it is in.
        package: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// mount said no.
    #[error("{device} was not mounted on {path:?}: {said}")]
    MountRefused {
        /// Server and export.
        device: String,
        /// The pool's path.
        path: PathBuf,
        /// mount's own words.
        said: String,
    },
    /// umount said no.
    #[error("{path:?} was not unmounted: {said}")]
    UnmountRefused {
        /// The pool's path.
        path: PathBuf,
        /// umount's own words.
        said: String,
    },
    /// Any other failure.
    #[error("cannot {step} {path:?}")]
    Io {
        /// "look at", "write into" …
        step: &'static str,
        /// The pool's path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// How much room a filesystem has (statvfs(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes that are free for this host's root.
    pub available: u64,
}

/// The room of the filesystem that `path` lies on.
///
/// # Errors
/// [`PoolError`]: it is not there, does not answer, or is stale.
pub async fn space(path: &Path) -> Result<Space, PoolError> {
    bounded("look at", path, |path| {
        let answer = rustix::fs::statvfs(path)?;
        Ok(Space { capacity: answer.f_blocks * answer.f_frsize, available: answer.f_bfree * answer.f_frsize })
    })
    .await
}

/// Makes the directory that something is to be mounted on, where it is not there.
///
/// # Errors
/// [`PoolError::NotEmpty`]: files are there, which a mount would cover.
pub async fn make_mount_point(path: &Path) -> Result<(), PoolError> {
    bounded("make", path, |path| {
        std::fs::create_dir_all(path)?;
        match std::fs::read_dir(path)?.next() {
            Some(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            None => Ok(()),
        }
    })
    .await
}

/// Whether this host's root can write into the directory and reads what it has written. `nonce` makes the content
/// unlike any other; whatever was written is removed again.
///
/// # Errors
/// [`PoolError`] names what stands in the way.
pub async fn check_writable(path: &Path, nonce: Uuid) -> Result<(), PoolError> {
    let found = bounded("write into", path, move |path| {
        if !path.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        write_and_read(path, nonce)
    });
    let Found { squashed, content } = found.await?;
    if let Some(uid) = squashed {
        return Err(PoolError::Squashed { path: path.to_owned(), uid });
    }
    let path = path.to_owned();
    match content {
        NonceRead::Same => Ok(()),
        NonceRead::Zeros => Err(PoolError::ReadsZeros { path }),
        NonceRead::Failing => Err(PoolError::ReadsFail { path }),
        NonceRead::Missing | NonceRead::Other => Err(PoolError::ReadsOther { path }),
    }
}

/// What became of a nonce.
struct Found {
    /// Whose it became, where that is not this process's user.
    squashed: Option<u32>,
    content: NonceRead,
}

fn write_and_read(directory: &Path, nonce: Uuid) -> io::Result<Found> {
    // Removed when this function returns.
    let mut file = tempfile::Builder::new().prefix(NONCE_PREFIX).tempfile_in(directory)?;
    let written = content(nonce);
    file.write_all(&written)?;
    file.as_file().sync_all()?;
    let squashed = squashed(file.as_file())?;
    let content = read_back(file.path(), &written)?;
    file.close()?;
    Ok(Found { squashed, content })
}

/// Whose a file is that this process has just made, where the server took it for somebody else. With NFS version 4 the
/// owner that is shown may be wrong, since names of users are translated on the way; who is root to the server may give
/// the file away, and nobody else may. To give it to root proves nothing: nfs-ganesha takes that root for nobody, too.
fn squashed(file: &File) -> io::Result<Option<u32>> {
    let owner = file.metadata()?.uid();
    if owner == geteuid().as_raw() {
        return Ok(None);
    }
    match fchown(file, Some(Uid::from_raw(SOMEBODY)), None) {
        Err(Errno::PERM | Errno::ACCESS) => Ok(Some(owner)),
        // EINVAL is a server that does not know the translated name.
        Ok(()) | Err(Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A file operation within its time, and its failure by a name under which somebody can act on it.
pub(crate) async fn bounded<T: Send + 'static>(
    step: &'static str,
    path: &Path,
    operation: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, PoolError> {
    let owned = path.to_owned();
    match bounded::run_in_turn(path, DISK_TIMEOUT, move || operation(&owned)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(explain(step, path, source)),
        Err(NoResult::NoThread(source)) => Err(PoolError::Io { step, path: path.to_owned(), source }),
        Err(NoResult::TimedOut) => Err(PoolError::TimedOut { path: path.to_owned(), after: DISK_TIMEOUT }),
    }
}

fn explain(step: &'static str, path: &Path, source: io::Error) -> PoolError {
    let path = path.to_owned();
    // By kind: tempfile wraps its errors, and the number is not seen any more.
    match source.kind() {
        io::ErrorKind::NotFound => PoolError::Missing { path },
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => PoolError::NotADirectory { path },
        io::ErrorKind::DirectoryNotEmpty => PoolError::NotEmpty { path },
        io::ErrorKind::ReadOnlyFilesystem => PoolError::ReadOnly { path },
        io::ErrorKind::PermissionDenied => PoolError::Denied { path, source },
        io::ErrorKind::StaleNetworkFileHandle => PoolError::Stale { path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PoolError::NoSpace { path },
        _ => PoolError::Io { step, path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: Errno, expect: &str) {
        assert_eq!(explain("write into", Path::new("/srv/a"), errno.into()).to_string(), expect);
    }

    #[test]
    fn failures_say_what_to_do() {
        check(Errno::NOENT, "there is no directory \"/srv/a\" on this host: make it");
        check(Errno::NOTDIR, "\"/srv/a\" is not a directory: give the pool another path, or move it away");
        check(Errno::ROFS, "\"/srv/a\" is read-only: mount or export it writable (`rw`)");
        check(
            Errno::ACCESS,
            "\"/srv/a\" must not be written by this host's root: check the directory's mode and, on NFS, that the server exports it with `no_root_squash`",
        );
        check(
            Errno::STALE,
            "the NFS server does not know any more what is mounted on \"/srv/a\" (stale file handle): the export was removed or made anew; see to it there, then stop the pool and start it again",
        );
        check(Errno::DQUOT, "\"/srv/a\" is full: free some space or raise the quota");
        check(Errno::IO, "cannot write into \"/srv/a\"");
    }

    #[tokio::test]
    async fn a_directory_is_written_to_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        check_writable(directory.path(), Uuid::from_u128(7)).await.unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the nonce is gone");
        let room = space(directory.path()).await.unwrap();
        assert!(room.capacity >= room.available && room.available > 0, "{room:?}");
        make_mount_point(&directory.path().join("new/below")).await.unwrap();
        let covered = make_mount_point(directory.path()).await;
        assert!(matches!(covered, Err(PoolError::NotEmpty { .. })), "{covered:?}");
        let missing = directory.path().join("missing");
        assert!(matches!(check_writable(&missing, Uuid::from_u128(7)).await, Err(PoolError::Missing { .. })));
        assert!(matches!(space(&missing).await, Err(PoolError::Missing { .. })));
        std::fs::write(&missing, "a file").unwrap();
        assert!(matches!(
            check_writable(&missing, Uuid::from_u128(7)).await,
            Err(PoolError::NotADirectory { .. })
        ));
    }
}
