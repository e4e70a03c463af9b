//! Why a copy cannot go on. Main type: [`TransferError`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::bounded::NoResult;
use crate::disk::DiskError;
use crate::limits::{DISK_TIMEOUT, TRANSFER_BYTES_MAX};

/// Why a copy cannot go on. Clones, since several streams end of the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransferError {
    /// The path, or what is there.
    #[error(transparent)]
    Disk(Arc<DiskError>),
    /// More than 16 TiB.
    #[error("a file of {length} bytes is too long to be copied: at most {TRANSFER_BYTES_MAX} bytes are")]
    TooLong {
        /// Its length in bytes.
        length: u64,
    },
    /// The original cannot be read.
    #[error(
        "cannot read {path:?} at offset {offset}: the disk of the source may be failing; copy what can be saved by other means"
    )]
    Read {
        /// The original.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The original is not what it was.
    #[error("{path:?} changed while it was copied: find out who writes to it, and begin again")]
    Changed {
        /// The original.
        path: PathBuf,
    },
    /// A stream did not come to its end.
    #[error("not everything of {path:?} was sent: ask what the target holds, and go on from there")]
    Unfinished {
        /// The original.
        path: PathBuf,
    },
    /// Something is where a fresh copy is to be.
    #[error("{path:?} exists already and is not written over: choose another place or remove it")]
    Exists {
        /// The copy's place.
        path: PathBuf,
    },
    /// What is only to be compared is another one than the original.
    #[error("{path:?} holds something else than the original, and is not written over: choose another place")]
    Kept {
        /// What lies at the copy's place.
        path: PathBuf,
    },
    /// A block device that does not hold the copy.
    #[error("block device {path:?} has {size} bytes, and {length} are to be written: take a larger one")]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// What it has, in bytes.
        size: u64,
        /// What is needed, in bytes.
        length: u64,
    },
    /// No space or quota is left.
    #[error("no space is left for {path:?} at offset {offset}: free some, and the copy can go on")]
    NoSpace {
        /// The copy.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
    },
    /// The copy cannot be written, or not be read back.
    #[error("cannot {step} {path:?} at offset {offset}: the disk of the target may be failing")]
    Write {
        /// "write", "read back" …
        step: &'static str,
        /// The copy.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// What the disk gives back is not what was written.
    #[error(
        "{path:?} reads back otherwise than it was written, at offset {offset}: the disk of the target is not to be trusted"
    )]
    Mangled {
        /// The copy.
        path: PathBuf,
        /// The block, in bytes.
        offset: u64,
    },
    /// The whole is not what was sent.
    #[error("{path:?} is not equal to its original: ask what it holds, and send what differs")]
    Differs {
        /// The copy.
        path: PathBuf,
    },
    /// What came is not what this protocol sends.
    #[error("what came for {path:?} is not what was sent: {what}, at offset {offset}")]
    Wire {
        /// The copy.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// Where in the file it was to go, in bytes, as far as it is known.
        offset: u64,
    },
    /// What the target answered is not what this protocol has.
    #[error(
        "what the target says it holds is not about a file of {length} bytes: is its agent of this version?"
    )]
    Held {
        /// The file's length in bytes.
        length: u64,
    },
    /// The stream ended early.
    #[error("the stream for {path:?} was cut: {reason}")]
    Cut {
        /// The copy.
        path: PathBuf,
        /// What its connection says.
        reason: String,
    },
    /// Somebody writes this copy.
    #[error("{path:?} is being copied to already: wait until that has ended")]
    InUse {
        /// The copy.
        path: PathBuf,
    },
    /// The storage does not answer.
    #[error("{path:?} did not answer within {} s: is the server of its mount reachable?", after.as_secs_f32())]
    TimedOut {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// Any other failure.
    #[error("cannot {step} {path:?}")]
    Io {
        /// "open", "name" …
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
}

impl From<DiskError> for TransferError {
    fn from(error: DiskError) -> TransferError {
        TransferError::Disk(Arc::new(error))
    }
}

impl TransferError {
    /// For `map_err` of what is done with a file as a whole.
    pub(super) fn io<'a>(
        step: &'static str,
        path: &'a Path,
    ) -> impl Fn(io::Error) -> TransferError + Copy + 'a {
        move |error| match is_full(&error) {
            true => TransferError::NoSpace { path: path.to_owned(), offset: 0 },
            false => TransferError::Io { step, path: path.to_owned(), source: Arc::new(error) },
        }
    }

    /// What came of working at a place of the copy.
    pub(super) fn at(step: &'static str, path: &Path, offset: u64, error: io::Error) -> TransferError {
        match is_full(&error) {
            true => TransferError::NoSpace { path: path.to_owned(), offset },
            false => TransferError::Write { step, path: path.to_owned(), offset, source: Arc::new(error) },
        }
    }

    /// What came of an operation that was given a time.
    pub(super) fn told<T>(
        path: &Path,
        done: Result<Result<T, TransferError>, NoResult>,
    ) -> Result<T, TransferError> {
        done.unwrap_or_else(|no_result| {
            Err(match no_result {
                NoResult::TimedOut => TransferError::TimedOut { path: path.to_owned(), after: DISK_TIMEOUT },
                NoResult::NoThread(error) => TransferError::io("start a thread for", path)(error),
            })
        })
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}
