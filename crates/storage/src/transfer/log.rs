//! A copy's log: which file it is about, and which of its blocks are durable and proven. It knows nothing of how they became
//! so. Main type: [`Log`].
//!
//! ```text
//! record:  length u32 · CRC-32 of the bytes u32 · bytes            little-endian; a torn one ends the log and is cut off
//! first:   the bytes are a Head as JSON      others: runs (`run`); what a later one says holds
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::block::Blocks;
use super::error::TransferError;
use super::run::{self, Mark};
use crate::limits::LOG_RECORD_BYTES_MAX;
use crate::record::sync_directory;

/// Which file a log is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) version: u32,
    /// The copy's place.
    pub(super) path: PathBuf,
    /// Where a fresh copy lies until it has its name.
    pub(super) hidden: Option<PathBuf>,
    /// `st_ino` of the copy, or 0 for a block device: the same name may be another file some day.
    pub(super) inode: u64,
    pub(super) length: u64,
    /// Which state of the original it is a copy of.
    pub(super) stamp: String,
    /// It held nothing when the log began; else what was found in it stands in the log.
    pub(super) was_empty: bool,
}

/// An open log, locked against any other process or copy.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    /// Opens it, with what it says if it says something. Waits for its lock for as long as somebody has it.
    pub(super) fn open(path: &Path) -> Result<(Log, Vec<Vec<u8>>), TransferError> {
        let fault = TransferError::io("open", path);
        let mut file = File::options();
        let file = file.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = file.map_err(fault)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|errno| fault(errno.into()))?;
        let (records, whole_bytes) = records(&mut file).map_err(fault)?;
        file.set_len(whole_bytes).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        Ok((Log { file, path: path.to_owned() }, records))
    }

    /// Begins anew.
    pub(super) fn begin(&mut self, head: &Head) -> Result<(), TransferError> {
        let mut anew = || {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(&record(&serde_json::to_vec(head)?))?;
            self.file.sync_all()?;
            sync_directory(&self.path)
        };
        anew().map_err(TransferError::io("write", &self.path))
    }

    /// Notes blocks; they are noted when this returns.
    pub(super) fn note(&mut self, marks: impl Iterator<Item = Mark>) -> Result<(), TransferError> {
        let mut runs = Vec::new();
        run::encode(marks, &mut runs);
        let noted = self.file.write_all(&record(&runs)).and_then(|()| self.file.sync_data());
        noted.map_err(TransferError::io("write", &self.path))
    }
}

/// The head of the log at `path`, if there is such a log.
pub(super) fn read_head(path: &Path) -> Result<Option<Head>, TransferError> {
    let fault = TransferError::io("open", path);
    match File::open(path) {
        Ok(mut file) => Ok(records(&mut file).map_err(fault)?.0.first().and_then(|first| parse_head(first))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(error)),
    }
}

pub(super) fn parse_head(record: &[u8]) -> Option<Head> {
    serde_json::from_slice(record).ok().filter(|head: &Head| head.version == 1)
}

/// Gives each mark of the records that follow the head, in order; none where they are not about such a file.
pub(super) fn marks(records: &[Vec<u8>], blocks: Blocks, mut each: impl FnMut(Mark)) -> Option<()> {
    records.iter().skip(1).try_for_each(|record| run::decode(record, blocks.count(), &mut each))
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("the runs of 2^20 blocks are 44 MiB");
    let mut record = Vec::with_capacity(8 + bytes.len());
    record.extend(length.to_le_bytes());
    record.extend(crc32fast::hash(bytes).to_le_bytes());
    record.extend(bytes);
    record
}

/// The whole records from the beginning, and how many bytes they take.
fn records(file: &mut File) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let mut reader = io::BufReader::new(file);
    let (mut records, mut whole_bytes) = (Vec::new(), 0);
    loop {
        let mut head = Vec::new();
        reader.by_ref().take(8).read_to_end(&mut head)?;
        let Some((length, crc)) = head.split_first_chunk::<4>() else { break };
        let length = u32::from_le_bytes(*length) as usize;
        let mut bytes = Vec::new();
        reader.by_ref().take(length.min(LOG_RECORD_BYTES_MAX) as u64).read_to_end(&mut bytes)?;
        // A crash may leave zeros behind, which would be a record of nothing.
        if length == 0 || bytes.len() != length || crc != crc32fast::hash(&bytes).to_le_bytes() {
            break;
        }
        whole_bytes += 8 + length as u64;
        records.push(bytes);
    }
    Ok((records, whole_bytes))
}
