//! A migration's journal as a file: appended, fsynced, cut where it was torn. What the records mean is
//! `migration::journal`'s. Main type: [`Journal`].

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use migration::journal::{Decoded, Opened, Record, decode, encode};
use migration::phase::Phase;

use crate::limits::JOURNAL_BYTES;
use crate::store::blocking;
use crate::tracker::unix_ms;

/// The journal cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the journal {path} cannot be written")]
pub(crate) struct JournalError {
    /// The file.
    pub(crate) path: PathBuf,
    /// Why.
    #[source]
    pub(crate) source: std::io::Error,
}

/// An open journal. Clones write to the same file, one record at a time.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    file: Arc<Mutex<File>>,
    path: PathBuf,
}

impl Journal {
    /// Makes a new journal with its first record; room for the others is set aside, so that a full disk shows now.
    pub(crate) async fn create(path: PathBuf, opened: Opened) -> Result<Journal, JournalError> {
        let place = path.clone();
        let made = blocking(move || make(&place)).await;
        let file = made.map_err(|source| JournalError { path: path.clone(), source })?;
        let journal = Journal { file: Arc::new(Mutex::new(file)), path };
        if let Err(error) = journal.append(Record::Opened(Box::new(opened))).await {
            journal.discard();
            return Err(error);
        }
        Ok(journal)
    }

    /// Opens a journal that a crash may have torn, and cuts it back to its last whole record.
    pub(crate) fn open(path: &Path) -> Result<(Journal, Decoded), JournalError> {
        let fault = |source| JournalError { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(fault)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fault)?;
        let decoded = decode(&bytes);
        file.set_len(decoded.whole_bytes as u64).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        Ok((Journal { file: Arc::new(Mutex::new(file)), path: path.to_owned() }, decoded))
    }

    /// Writes one record and returns when it is on disk.
    pub(crate) async fn append(&self, record: Record) -> Result<(), JournalError> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let write = move || {
            let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            file.write_all(&encode(&record))?;
            file.sync_data()
        };
        blocking(write).await.map_err(|source| JournalError { path, source })
    }

    /// Removes a journal of which nothing has to be remembered.
    pub(crate) fn discard(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), "a journal was left behind: {error}");
        }
    }

    /// Writes that a phase was entered.
    pub(crate) async fn enter(&self, phase: Phase, reason: Option<String>) -> Result<(), JournalError> {
        self.append(Record::Entered { phase, at_ms: unix_ms(), reason }).await
    }
}

/// An empty journal, with room set aside, whose name is on disk too.
fn make(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, JOURNAL_BYTES);
    // A file system that cannot set room aside is no reason to refuse; one that is full is.
    if let Err(error) = reserved
        && error != rustix::io::Errno::OPNOTSUPP
    {
        _ = std::fs::remove_file(path);
        return Err(error.into());
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::Journal;
    use migration::journal::{Opened, Side};
    use migration::phase::Phase;
    use uuid::Uuid;

    fn opened() -> Opened {
        Opened {
            migration: Uuid::nil(),
            side: Side::Source,
            domain: Uuid::nil(),
            name: "web1".into(),
            source: "kvm1".into(),
            target: "kvm2".into(),
            generation: 1,
            suspended: false,
            postcopy: false,
            offline: None,
            mirrored: None,
            keep_definition: false,
            skipped: Vec::new(),
            token: Uuid::nil(),
            at_ms: 0,
        }
    }

    #[tokio::test]
    async fn a_torn_tail_is_cut_and_the_journal_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        let journal = Journal::create(path.clone(), opened()).await.unwrap();
        journal.enter(Phase::Streaming, None).await.unwrap();
        let whole = std::fs::read(&path).unwrap();
        journal.enter(Phase::Pledging, None).await.unwrap();
        let torn = std::fs::read(&path).unwrap();
        std::fs::write(&path, &torn[..torn.len() - 3]).unwrap();

        let (journal, decoded) = Journal::open(&path).unwrap();
        assert_eq!(decoded.last_phase(), Some((Phase::Streaming, None)));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        journal.enter(Phase::Kept, Some("cut".into())).await.unwrap();
        let (_, decoded) = Journal::open(&path).unwrap();
        assert_eq!(decoded.last_phase(), Some((Phase::Kept, Some("cut"))));
    }

    #[tokio::test]
    async fn a_full_disk_is_said_before_anything_else() {
        // /dev/full answers every write with ENOSPC; a journal there must not seem to have been made.
        let error = Journal::create("/dev/full/a.journal".into(), opened()).await.unwrap_err();
        assert!(error.to_string().contains("/dev/full/a.journal"));
    }
}
