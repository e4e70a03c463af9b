//! How a file is divided into blocks, and the hashes that stand for blocks and for the whole. It reads no file. Main types:
//! [`Blocks`], [`Root`].

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::error::TransferError;
use crate::limits::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, BLOCKS_MAX, PIECE_BYTES, TRANSFER_BYTES_MAX};

/// Keeps roots apart from any other use of BLAKE3 (its `derive_key` mode).
const ROOT_CONTEXT: &str = "Ferry 2026-11-23 root of a copied file";

/// BLAKE3 of a block's bytes, or [`ABSENT`].
pub(super) type BlockHash = [u8; 32];

/// Stands for a block of zeros, which no file has to hold.
pub(super) const ABSENT: BlockHash = [0; 32];

/// The size of a file's blocks in bytes: 64 KiB, doubled until there are at most 2^20 of them.
#[must_use]
pub fn block_bytes(length: u64) -> u64 {
    let mut bytes = BLOCK_BYTES_MIN;
    while length.div_ceil(bytes) > BLOCKS_MAX {
        bytes *= 2;
    }
    bytes
}

/// How a file of some length is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) length: u64,
    pub(super) block_bytes: u64,
}

impl Blocks {
    pub(super) fn of(length: u64) -> Result<Blocks, TransferError> {
        let block_bytes = block_bytes(length.min(TRANSFER_BYTES_MAX));
        debug_assert!(block_bytes <= BLOCK_BYTES_MAX, "the longest file has the largest blocks");
        match length <= TRANSFER_BYTES_MAX {
            true => Ok(Blocks { length, block_bytes }),
            false => Err(TransferError::TooLong { length }),
        }
    }

    pub(super) fn count(self) -> usize {
        usize::try_from(self.length.div_ceil(self.block_bytes)).expect("there are at most 2^20 blocks")
    }

    pub(super) fn offset(self, block: usize) -> u64 {
        (block as u64 * self.block_bytes).min(self.length)
    }

    /// How many bytes these blocks have; the last block of a file may be shorter.
    pub(super) fn bytes(self, blocks: &Range<usize>) -> u64 {
        self.offset(blocks.end) - self.offset(blocks.start)
    }

    /// The blocks that lie at `offset`, if it is whole blocks that do.
    pub(super) fn at(self, offset: u64, bytes: u64) -> Option<Range<usize>> {
        let end = offset.checked_add(bytes).filter(|end| bytes > 0 && *end <= self.length)?;
        let is_edge = |at: u64| at.is_multiple_of(self.block_bytes);
        let whole = is_edge(offset) && (is_edge(end) || end == self.length);
        let blocks = offset / self.block_bytes..end.div_ceil(self.block_bytes);
        whole.then_some(usize::try_from(blocks.start).ok()?..usize::try_from(blocks.end).ok()?)
    }

    /// The blocks that these bytes touch.
    pub(super) fn touching(self, bytes: Range<u64>) -> Range<usize> {
        let index = |block: u64| usize::try_from(block).expect("there are at most 2^20 blocks");
        index(bytes.start / self.block_bytes)..index(bytes.end.min(self.length).div_ceil(self.block_bytes))
    }

    /// How many blocks are read, sent or written at once.
    pub(super) fn per_piece(self) -> usize {
        (PIECE_BYTES / self.size()).max(1)
    }

    /// A block's size as the length of a buffer.
    pub(super) fn size(self) -> usize {
        usize::try_from(self.block_bytes).expect("a block is at most 16 MiB")
    }
}

/// What stands for these bytes of one block.
pub(super) fn hash(bytes: &[u8]) -> BlockHash {
    if is_zero(bytes) { ABSENT } else { *blake3::hash(bytes).as_bytes() }
}

/// One comparison of the bytes with themselves, shifted by one: the fastest that there is without code for a processor.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.split_first().is_none_or(|(first, others)| *first == 0 && *others == bytes[..others.len()])
}

/// Hash over a file's whole content, the same on both hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(blake3::Hash);

impl Root {
    pub(super) fn over(blocks: Blocks, hashes: impl Iterator<Item = BlockHash>) -> Root {
        let mut hasher = blake3::Hasher::new_derive_key(ROOT_CONTEXT);
        hasher.update(&blocks.length.to_le_bytes()).update(&blocks.block_bytes.to_le_bytes());
        for (block, hash) in (0_u64..).zip(hashes).filter(|(_, hash)| *hash != ABSENT) {
            hasher.update(&block.to_le_bytes()).update(&hash);
        }
        Root(hasher.finalize())
    }
}

/// Which state of the original a copy is of. The target compares it and reads nothing out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(blake3::Hash);

impl Stamp {
    pub(super) fn over(parts: &[u64]) -> Stamp {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&part.to_le_bytes());
        }
        Stamp(hasher.finalize())
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no hash of 64 hexadecimal digits")]
pub struct NotAHash;

impl FromStr for Root {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Root, NotAHash> {
        blake3::Hash::from_hex(text).map(Root).map_err(|_| NotAHash)
    }
}

impl FromStr for Stamp {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Stamp, NotAHash> {
        blake3::Hash::from_hex(text).map(Stamp).map_err(|_| NotAHash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_with_the_file() {
        let check = |length: u64, expect: u64| assert_eq!(block_bytes(length), expect, "{length}");
        check(0, 64 << 10);
        check(64 << 30, 64 << 10);
        check((64 << 30) + 1, 128 << 10);
        check(1 << 40, 1 << 20);
        check(TRANSFER_BYTES_MAX, BLOCK_BYTES_MAX);
        assert!(Blocks::of(TRANSFER_BYTES_MAX + 1).is_err());
        assert!(Blocks::of(u64::MAX).is_err());
    }

    #[test]
    fn only_whole_blocks_have_a_place() {
        let blocks = Blocks::of(150_000).unwrap();
        let check = |offset, bytes, expect| assert_eq!(blocks.at(offset, bytes), expect, "{offset} {bytes}");
        check(0, 65_536, Some(0..1));
        check(65_536, 84_464, Some(1..3));
        check(131_072, 18_928, Some(2..3));
        check(0, 150_000, Some(0..3));
        check(0, 0, None);
        check(0, 65_535, None);
        check(1, 65_535, None);
        check(131_072, 18_929, None);
        check(u64::MAX, 2, None);
    }

    #[test]
    fn zeros_are_absent_wherever_the_other_byte_is() {
        for length in [1, 2, 63, 64, 65, 4096] {
            let mut bytes = vec![0; length];
            assert_eq!(hash(&bytes), ABSENT);
            for place in [0, length / 2, length - 1] {
                bytes[place] = 1;
                assert_ne!(hash(&bytes), ABSENT, "{length} {place}");
                bytes[place] = 0;
            }
        }
    }

    #[test]
    fn a_root_is_of_content_place_and_length() {
        let blocks = Blocks::of(200_000).unwrap();
        let (one, two) = (hash(b"one"), hash(b"two"));
        let root = |hashes: [BlockHash; 4]| Root::over(blocks, hashes.into_iter());
        let first = root([one, ABSENT, two, ABSENT]);
        assert_ne!(first, root([one, two, ABSENT, ABSENT]));
        assert_ne!(first, root([two, ABSENT, one, ABSENT]));
        assert_ne!(first, Root::over(Blocks::of(200_001).unwrap(), [one, ABSENT, two, ABSENT].into_iter()));
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!("abc".parse::<Root>(), Err(NotAHash));
    }
}
