//! A nonce beside a disk: what one host writes there for a moment, another one reads, and both know that they mean the
//! same storage. It is written durably and read from where it lies, not from a host's memory of it. It never touches the
//! disk. The main type is [`NonceRead`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FlockOperation, OFlags, fadvise, fcntl_lock};
use rustix::io::Errno;
use uuid::Uuid;

use crate::bounded::{self, NoResult};
use crate::limits::{NONCE_BYTES, RECORD_TIMEOUT};
use crate::nfs;
use crate::record::{RecordError, directory_of, explain, read_record, remove_record, write_record};

/// What stands where a nonce was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceRead {
    /// What was written.
    Same,
    /// Nothing.
    Missing,
    /// Zeros: as a wrong READ_PLUS of NFS 4.2 reads.
    Zeros,
    /// An input/output error instead of an answer: so does the same fault, too.
    Failing,
    /// Something else.
    Other,
}

impl NonceRead {
    fn of(written: &[u8], read: &[u8]) -> NonceRead {
        if read == written {
            NonceRead::Same
        } else if read.iter().all(|byte| *byte == 0) {
            NonceRead::Zeros
        } else {
            NonceRead::Other
        }
    }
}

/// Where the nonce of a check lies: in the directory of a file, by a name that no other check has.
#[must_use]
pub fn nonce_path(file: &Path, check: Uuid) -> PathBuf {
    file.with_file_name(format!(".ferry-check-{check}"))
}

/// What is written for a check.
pub(crate) fn content(check: Uuid) -> Vec<u8> {
    let mut text = check.simple().to_string().into_bytes();
    text.truncate(NONCE_BYTES);
    text
}

/// Writes the nonce of a check, durably. What fails leaves none, but where [`RecordError::TimedOut`] does not know.
///
/// # Errors
/// As [`write_record`]; [`RecordError::Exists`].
pub async fn write_nonce(path: &Path, check: Uuid) -> Result<(), RecordError> {
    if nfs::split(path).is_some() {
        return write_record(path, &content(check)).await;
    }
    let owned = path.to_owned();
    let write = move || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&owned)?;
        let written = file.write_all(&content(check)).and_then(|()| file.sync_all());
        if written.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&owned);
        }
        written
    };
    told("write", path, bounded::run(RECORD_TIMEOUT, write).await)
}

/// Reads the nonce of a check, as any host does.
///
/// # Errors
/// As [`read_record`], but that a directory or a file of another kind says that something else is there.
pub async fn read_nonce(path: &Path, check: Uuid) -> Result<NonceRead, RecordError> {
    let written = content(check);
    if nfs::split(path).is_some() {
        return match read_record(path).await {
            Ok(Some(read)) => Ok(NonceRead::of(&written, &read)),
            Ok(None) | Err(RecordError::MissingDirectory { .. }) => Ok(NonceRead::Missing),
            Err(error) => Err(error),
        };
    }
    let owned = path.to_owned();
    let read = bounded::run_in_turn(directory_of(path), RECORD_TIMEOUT, move || read_back(&owned, &written));
    told("read", path, read.await)
}

/// Removes a nonce, durably.
///
/// # Errors
/// As [`remove_record`].
pub async fn remove_nonce(path: &Path) -> Result<(), RecordError> {
    remove_record(path).await
}

/// Locks a nonce for a moment (`F_SETLK` of fcntl(2), as QEMU locks images), to see that its storage keeps locks.
///
/// # Errors
/// [`RecordError::TimedOut`]; [`RecordError::Io`], where the storage keeps none (`ENOLCK`) or somebody else has it.
pub async fn lock_nonce(path: &Path) -> Result<(), RecordError> {
    let owned = path.to_owned();
    let lock = move || {
        let file = OpenOptions::new().read(true).write(true).open(owned)?;
        Ok(fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?)
    };
    let locked = bounded::run_in_turn(directory_of(path), RECORD_TIMEOUT, lock);
    let failed = |source| RecordError::Io { step: "lock", path: path.to_owned(), source };
    match locked.await {
        Ok(locked) => locked.map_err(failed),
        no_result => told("lock", path, no_result),
    }
}

/// What stands where `written` was written, read past this host's memory of it and in both ways in which QEMU reads:
/// without O_DIRECT and, where the filesystem has it, with.
pub(crate) fn read_back(path: &Path, written: &[u8]) -> io::Result<NonceRead> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    for direct in [OFlags::empty(), OFlags::DIRECT] {
        let read = match read_with(path, flags | direct) {
            Ok(read) => NonceRead::of(written, &read),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INVAL) if direct == OFlags::DIRECT => continue,
                Some(Errno::NOENT | Errno::NOTDIR) => NonceRead::Missing,
                Some(Errno::IO) => NonceRead::Failing,
                Some(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => NonceRead::Other,
                _ => return Err(error),
            },
        };
        if read != NonceRead::Same {
            return Ok(read);
        }
    }
    Ok(NonceRead::Same)
}

fn read_with(path: &Path, flags: OFlags) -> io::Result<Vec<u8>> {
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut bytes = Vec::new();
    file.take(NONCE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn told<T>(
    step: &'static str,
    path: &Path,
    result: Result<io::Result<T>, NoResult>,
) -> Result<T, RecordError> {
    match result {
        Ok(done) => done.map_err(|source| explain(step, path, source)),
        Err(NoResult::NoThread(source)) => Err(RecordError::Io { step, path: path.to_owned(), source }),
        Err(NoResult::TimedOut) => {
            Err(RecordError::TimedOut { step, path: path.to_owned(), after: RECORD_TIMEOUT })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(read: &[u8], expect: NonceRead) {
        assert_eq!(NonceRead::of(b"nonce", read), expect);
    }

    #[test]
    fn what_is_read_is_compared_with_what_was_written() {
        check(b"nonce", NonceRead::Same);
        check(b"\0\0\0\0\0", NonceRead::Zeros);
        check(b"", NonceRead::Zeros);
        check(b"nonsense", NonceRead::Other);
    }

    #[test]
    fn a_nonce_is_short_and_of_its_check_alone() {
        let (one, other) = (content(Uuid::from_u128(1 << 100)), content(Uuid::from_u128(2 << 100)));
        assert_eq!(one.len(), NONCE_BYTES);
        assert_ne!(one, other);
    }
}
