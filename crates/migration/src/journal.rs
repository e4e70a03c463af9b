//! The journal of one migration on one host: an append-only file of records.
//!
//! ```text
//! record = length u32 LE | CRC-32 of the payload u32 LE | payload (JSON)
//! file   = record*  torn tail?
//! ```
//!
//! The first record is [`Record::Opened`]. A crash can tear the last record; [`decode`] stops there and says how
//! many bytes are whole, so that the file can be cut before the next append. Main type: [`Record`].

use api::{CopyFile, SourceDisks, Verify};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::JOURNAL_RECORD_BYTES_MAX;
use crate::phase::Phase;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// The migration began.
    Opened(Box<Opened>),
    /// One attempt begins: QEMU fixes some capabilities for an attempt, so another means is another attempt.
    Attempt {
        /// Counted from 1.
        number: u32,
        /// Parallel connections for memory.
        channels: u8,
        /// Whether memory is encrypted.
        encrypted: bool,
    },
    /// A phase was entered, or is about to be.
    Entered {
        /// The phase.
        phase: Phase,
        /// Milliseconds since the Unix epoch, for people.
        at_ms: u64,
        /// Why, for an end that is not the good one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What never changes during a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The migration.
    pub migration: Uuid,
    /// Which side this journal is.
    pub side: Side,
    /// The domain's UUID.
    pub domain: Uuid,
    /// The domain's name.
    pub name: String,
    /// The source host.
    pub source: String,
    /// The target host.
    pub target: String,
    /// The generation that the source holds; the target gets one more.
    pub generation: u64,
    /// Whether the domain is suspended and stays so.
    pub suspended: bool,
    /// Whether the guest may be handed over before all its memory is on the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postcopy: bool,
    /// What goes with a domain that moves shut off; none for one that moves while its guest works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
    /// The disks that go with a guest while it works, and how; none where both hosts see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<Offline>,
    /// Whether the source keeps its definition, fenced.
    pub keep_definition: bool,
    /// Rules of the preflight that were left out by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// The token of the ticket, once there is one.
    pub token: Uuid,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What goes with a domain, and how: with one that moves shut off, or as disks of one whose guest works.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offline {
    /// The files, by their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Carried>,
    /// How their copies are proven.
    #[serde(default)]
    pub verify: Verify,
    /// What becomes of the disks on the source.
    #[serde(default)]
    pub source_disks: SourceDisks,
    /// Whether the domain stays on the source, and what goes is another one.
    #[serde(default)]
    pub keep_source: bool,
    /// Bytes per second at most; 0 is without limit.
    #[serde(default)]
    pub bandwidth_bytes_per_s: u64,
    /// The domain's UUID on the source, where the target's is another one. On the source: its own is `Opened::domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Uuid>,
}

impl Offline {
    /// The disks among the files, by the guest's names.
    #[must_use]
    pub fn disk_names(&self) -> Vec<String> {
        self.files.iter().filter_map(|carried| carried.file.role.disk().cloned()).collect()
    }
}

/// A file that is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Its path on the source; empty in the target's journal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// As the offer has it.
    #[serde(flatten)]
    pub file: CopyFile,
    /// Whether an older copy lies at its place on the target, and is brought up to date there. Known to the target alone.
    #[serde(default)]
    pub over: bool,
    /// Of an image that lies there already and is only compared, since it is not this domain's alone: the other domains that
    /// use it. Known to the target alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Vec<String>>,
}

/// Side of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The domain leaves this host.
    Source,
    /// The domain comes to this host.
    Target,
}

/// What a journal file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoded {
    /// The whole records, in order.
    pub records: Vec<Record>,
    /// Bytes up to the end of the last whole record; what lies behind is a torn tail.
    pub whole_bytes: usize,
}

impl Decoded {
    /// The first record, where the journal has one.
    #[must_use]
    pub fn opened(&self) -> Option<&Opened> {
        match self.records.first() {
            Some(Record::Opened(opened)) => Some(opened),
            Some(Record::Attempt { .. } | Record::Entered { .. }) | None => None,
        }
    }

    /// The phase entered last, with its reason.
    #[must_use]
    pub fn last_phase(&self) -> Option<(Phase, Option<&str>)> {
        self.records.iter().rev().find_map(|record| match record {
            Record::Entered { phase, reason, .. } => Some((*phase, reason.as_deref())),
            Record::Opened(_) | Record::Attempt { .. } => None,
        })
    }
}

/// The bytes of a record.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let payload = serde_json::to_vec(record).expect("records are plain data, always JSON");
    let length = u32::try_from(payload.len()).expect("records are small");
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// Reads every whole record; never fails, because a torn tail is what a crash leaves.
#[must_use]
pub fn decode(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    while let Some((record, length)) = first(&bytes[decoded.whole_bytes..]) {
        decoded.records.push(record);
        decoded.whole_bytes += length;
    }
    decoded
}

/// The first record of `bytes` and its length with the frame; `None` where it is torn or not a record.
fn first(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if length > JOURNAL_RECORD_BYTES_MAX {
        return None;
    }
    let payload = rest.get(..length as usize)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((serde_json::from_slice(payload).ok()?, 8 + payload.len()))
}

#[cfg(test)]
mod tests {
    use super::{Opened, Record, Side, decode, encode};
    use crate::phase::Phase;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn opened() -> Record {
        Record::Opened(Box::new(Opened {
            migration: Uuid::from_u128(7),
            side: Side::Source,
            domain: Uuid::from_u128(1),
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
        }))
    }

    fn file() -> (Vec<Record>, Vec<u8>) {
        let entered = |phase| Record::Entered { phase, at_ms: 5, reason: None };
        let records = vec![
            opened(),
            Record::Attempt { number: 1, channels: 2, encrypted: true },
            entered(Phase::Streaming),
            entered(Phase::Pledging),
        ];
        let bytes = records.iter().flat_map(encode).collect();
        (records, bytes)
    }

    #[test]
    fn a_whole_file_reads_back() {
        let (records, bytes) = file();
        let decoded = decode(&bytes);
        assert_eq!(decoded.records, records);
        assert_eq!(decoded.whole_bytes, bytes.len());
        assert_eq!(decoded.last_phase(), Some((Phase::Pledging, None)));
        assert_eq!(decoded.opened().unwrap().name, "web1");
    }

    proptest! {
        #[test]
        fn a_torn_tail_costs_only_the_torn_record(cut in 0usize..2000) {
            let (records, bytes) = file();
            let cut = cut % bytes.len();
            let decoded = decode(&bytes[..cut]);
            prop_assert!(decoded.whole_bytes <= cut);
            prop_assert_eq!(&decoded.records[..], &records[..decoded.records.len()]);
            prop_assert!(decoded.records.len() < records.len());
            let mut mended = bytes[..decoded.whole_bytes].to_vec();
            mended.extend(encode(&opened()));
            prop_assert_eq!(decode(&mended).records.len(), decoded.records.len() + 1);
        }

        #[test]
        fn a_flipped_bit_is_never_read_as_something_else(at in 0usize..2000, bit in 0u8..8) {
            let (records, mut bytes) = file();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let decoded = decode(&bytes);
            prop_assert_eq!(&decoded.records[..], &records[..decoded.records.len()]);
            prop_assert!(decoded.records.len() < records.len());
        }

        #[test]
        fn junk_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
