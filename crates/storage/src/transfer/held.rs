//! What a target holds of a file, as the source is told. Main type: [`Held`].
//!
//! ```text
//! "ferryHd1" · length u64 · bytes of a block u64 · runs (`run`) of all blocks but those found absent     little-endian
//! ```

use super::block::{ABSENT, BlockHash, Blocks};
use super::error::TransferError;
use super::run::{self, Mark};
use crate::limits::HELD_BYTES_MAX;

const MAGIC: &[u8; 8] = b"ferryHd1";

/// What a target holds of a file, block by block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub(super) blocks: Blocks,
    pub(super) hashes: Vec<BlockHash>,
    /// Which of them came from the original as it is now, and need not be read there again.
    pub(super) received: Vec<bool>,
}

impl Held {
    /// A copy that has not begun.
    ///
    /// # Errors
    /// [`TransferError::TooLong`].
    pub fn nothing(length: u64) -> Result<Held, TransferError> {
        let blocks = Blocks::of(length)?;
        Ok(Held { blocks, hashes: vec![ABSENT; blocks.count()], received: vec![false; blocks.count()] })
    }

    pub(super) fn put(&mut self, mark: Mark) {
        self.hashes[mark.block] = mark.hash;
        self.received[mark.block] = mark.received;
    }

    /// The file's length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.blocks.length
    }

    /// Bytes in blocks with content that are held, whatever it is.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let held = (0..self.blocks.count()).filter(|block| self.hashes[*block] != ABSENT);
        held.map(|block| self.blocks.bytes(&(block..block + 1))).sum()
    }

    /// As bytes: at most [`crate::HELD_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.blocks.length.to_le_bytes());
        bytes.extend(self.blocks.block_bytes.to_le_bytes());
        let marks = self.hashes.iter().zip(&self.received).enumerate();
        let marks = marks.map(|(block, (hash, received))| Mark { block, hash: *hash, received: *received });
        run::encode(marks.filter(|mark| mark.received || mark.hash != ABSENT), &mut bytes);
        bytes
    }

    /// Reads what [`Held::encode`] wrote for a file of `length` bytes.
    ///
    /// # Errors
    /// [`TransferError::Held`], [`TransferError::TooLong`].
    pub fn decode(bytes: &[u8], length: u64) -> Result<Held, TransferError> {
        let mut held = Held::nothing(length)?;
        read(bytes, &mut held).map(|()| held).ok_or(TransferError::Held { length })
    }
}

fn read(bytes: &[u8], held: &mut Held) -> Option<()> {
    let rest = bytes.strip_prefix(MAGIC).filter(|_| bytes.len() <= HELD_BYTES_MAX)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (block_bytes, runs) = rest.split_first_chunk::<8>()?;
    let said = Blocks { length: u64::from_le_bytes(*length), block_bytes: u64::from_le_bytes(*block_bytes) };
    if said != held.blocks {
        return None;
    }
    run::decode(runs, held.blocks.count(), |mark| held.put(mark))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn two_gib_of_twenty_take_a_mebibyte() {
        let mut held = Held::nothing(20 << 30).unwrap();
        // As a disk has them: runs of content and holes in turn, 16 of 160 blocks.
        for block in (0..held.blocks.count()).filter(|block| block % 160 < 16) {
            held.put(Mark { block, hash: [9; 32], received: true });
        }
        assert_eq!(held.held_bytes(), 2048 * MIB);
        let bytes = held.encode();
        assert!(bytes.len() < 1100 << 10, "{}", bytes.len());
        assert_eq!(Held::decode(&bytes, 20 << 30).unwrap(), held);
        assert!(Held::decode(&bytes, (20 << 30) - 1).is_err(), "of another file");
    }

    #[test]
    fn the_worst_that_there_is_fits() {
        let mut held = Held::nothing(64 << 30).unwrap();
        for block in 0..held.blocks.count() {
            held.put(Mark { block, hash: [9; 32], received: block % 2 == 0 });
        }
        assert!(held.encode().len() <= HELD_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn junk_is_refused_and_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 24..200)) {
            bytes[..8].copy_from_slice(MAGIC);
            bytes[8..16].copy_from_slice(&(10 * MIB).to_le_bytes());
            bytes[16..24].copy_from_slice(&(64_u64 << 10).to_le_bytes());
            // Refused or not: what matters is that it returns.
            drop(Held::decode(&bytes, 10 * MIB));
        }
    }
}
