//! QEMU's image locks, held while a file is read by something else: no QEMU writes to it meanwhile, and one that does is
//! found. They are locks of bytes of the file, of an open file description (fcntl(2)), and there is nothing at these bytes
//! that they protect (`block/file-posix.c` of QEMU). It changes no file. Main type: [`ReadLock`].
//!
//! ```text
//! byte 100 + n    locked by everybody who does n: 0 reads what is to stay the same, 1 writes, 3 resizes
//! byte 200 + n    locked by everybody who lets nobody else do n
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, c_int, flock};

use crate::bounded::{self, NoResult};
use crate::disk::{DiskError, open_disk};
use crate::limits::DISK_TIMEOUT;

/// What is done with an image, by the number of its byte (QEMU's `BLK_PERM_…`).
const READS: i64 = 0;
const WRITES: i64 = 1;
const RESIZES: i64 = 3;

/// Locked by whoever does it, and by whoever lets nobody else do it.
const DOES: i64 = 100;
const FORBIDS: i64 = 200;

/// A file is read, and no QEMU writes to it, until this is dropped.
#[derive(Debug)]
pub struct ReadLock {
    _locked: File,
}

/// Why a file cannot be read in peace.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The path, or what is there.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A QEMU writes to it, or wants it for itself.
    #[error("somebody has {path:?} open for writing: find out who (`fuser -v`), and end that")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Any other answer of the system.
    #[error("cannot lock {path:?}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

impl ReadLock {
    /// Takes the locks of a QEMU that reads the file. Where there are no locks it does without, as QEMU does.
    ///
    /// # Errors
    /// Every [`LockError`].
    pub async fn take(path: &Path) -> Result<ReadLock, LockError> {
        let owned = path.to_owned();
        match bounded::run(DISK_TIMEOUT, move || take(&owned)).await {
            Ok(taken) => taken,
            Err(NoResult::TimedOut) => {
                Err(DiskError::TimedOut { path: path.to_owned(), after: DISK_TIMEOUT }.into())
            }
            Err(NoResult::NoThread(source)) => Err(LockError::Io { path: path.to_owned(), source }),
        }
    }
}

fn take(path: &Path) -> Result<ReadLock, LockError> {
    let (file, _) = open_disk(path, false)?;
    match lock(&file) {
        Ok(true) | Err(Errno::ENOLCK | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(ReadLock { _locked: file }),
        Ok(false) | Err(Errno::EAGAIN | Errno::EACCES) => Err(LockError::InUse { path: path.to_owned() }),
        Err(errno) => Err(LockError::Io { path: path.to_owned(), source: errno.into() }),
    }
}

/// Says first what is done here, then looks at what others do, so that of two who come at once one at least sees the other.
fn lock(file: &File) -> Result<bool, Errno> {
    for byte in [DOES + READS, FORBIDS + WRITES, FORBIDS + RESIZES] {
        fcntl(file, FcntlArg::F_OFD_SETLK(&byte_lock(F_RDLCK, byte)))?;
    }
    for byte in [FORBIDS + READS, DOES + WRITES, DOES + RESIZES] {
        let mut seen = byte_lock(F_WRLCK, byte);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut seen))?;
        if c_int::from(seen.l_type) != F_UNLCK {
            return Ok(false);
        }
    }
    Ok(true)
}

fn byte_lock(kind: c_int, byte: i64) -> flock {
    let short = |value: c_int| i16::try_from(value).expect("these are 0 to 2");
    flock { l_type: short(kind), l_whence: short(SEEK_SET), l_start: byte, l_len: 1, l_pid: 0 }
}
