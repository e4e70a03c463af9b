//! A nonce beside a disk: what one host writes there for a moment, another one reads, and both know that they mean the
//! same storage. It never touches the disk. The main type is [`NonceRead`].

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use uuid::Uuid;

use crate::bounded::{self, NoResult};
use crate::limits::RECORD_TIMEOUT;
use crate::record::{RecordError, read_record, remove_record, write_record};

/// What stands where a nonce was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceRead {
    /// What was written.
    Same,
    /// Nothing.
    Missing,
    /// As many bytes, all of them zero: as a wrong READ_PLUS of NFS 4.2 reads.
    Zeros,
    /// Something else.
    Other,
}

/// Where the nonce of a check lies: in the directory of the disk, by a name that no other check has.
#[must_use]
pub fn nonce_path(disk: &Path, target: &str, check: Uuid) -> PathBuf {
    disk.with_file_name(format!(".ferry-check-{check}-{target}"))
}

fn content(check: Uuid) -> String {
    format!("ferry check {check}: a nonce that may be removed\n")
}

/// Writes the nonce of a check, durably.
///
/// # Errors
/// As [`write_record`].
pub async fn write_nonce(path: &Path, check: Uuid) -> Result<(), RecordError> {
    write_record(path, content(check).as_bytes()).await
}

/// Reads the nonce of a check, as any host does.
///
/// # Errors
/// As [`read_record`], but that a directory or a file of another kind says that something else is there.
pub async fn read_nonce(path: &Path, check: Uuid) -> Result<NonceRead, RecordError> {
    let expect = content(check);
    match read_record(path).await {
        Ok(None) | Err(RecordError::MissingDirectory { .. }) => Ok(NonceRead::Missing),
        Ok(Some(bytes)) if bytes == expect.as_bytes() => Ok(NonceRead::Same),
        Ok(Some(bytes)) if bytes.len() == expect.len() && bytes.iter().all(|byte| *byte == 0) => {
            Ok(NonceRead::Zeros)
        }
        Ok(Some(_)) | Err(RecordError::NotAFile { .. } | RecordError::TooLarge { .. }) => {
            Ok(NonceRead::Other)
        }
        Err(error) => Err(error),
    }
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
    let locked = bounded::run(RECORD_TIMEOUT, move || {
        let file = OpenOptions::new().read(true).write(true).open(owned)?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(())
    });
    let path = path.to_owned();
    match locked.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) | Err(NoResult::NoThread(source)) => {
            Err(RecordError::Io { step: "lock", path, source })
        }
        Err(NoResult::TimedOut) => Err(RecordError::TimedOut { step: "lock", path, after: RECORD_TIMEOUT }),
    }
}
