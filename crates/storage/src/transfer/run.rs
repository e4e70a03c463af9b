//! Blocks and what stands for them, as bytes: in a target's answer and in its log alike. Main type: [`Mark`].
//!
//! ```text
//! run:  start u32 · count u32 · kind u32 · count hashes of 32 bytes, if the kind has them     all little-endian
//! kind: 1 received    2 received, absent    3 found    4 found, absent
//! ```

use super::block::{ABSENT, BlockHash};

/// What one block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) block: usize,
    pub(super) hash: BlockHash,
    /// It came from the original in the state that the copy is of; else it was found there.
    pub(super) received: bool,
}

impl Mark {
    fn kind(&self) -> u32 {
        match (self.received, self.hash == ABSENT) {
            (true, false) => 1,
            (true, true) => 2,
            (false, false) => 3,
            (false, true) => 4,
        }
    }
}

const HEAD_BYTES: usize = 12;

/// Appends the marks to `bytes`; those that follow each other share a run.
pub(super) fn encode(marks: impl Iterator<Item = Mark>, bytes: &mut Vec<u8>) {
    let mut open: Option<(Mark, u32, usize)> = None;
    for mark in marks {
        match &mut open {
            Some((first, count, _)) if follows(first, *count, &mark) => *count += 1,
            other => {
                close(*other, bytes);
                *other = Some((mark, 1, bytes.len()));
                bytes.extend([0; HEAD_BYTES]);
            }
        }
        if mark.hash != ABSENT {
            bytes.extend(mark.hash);
        }
    }
    close(open, bytes);
}

fn follows(first: &Mark, count: u32, mark: &Mark) -> bool {
    mark.kind() == first.kind() && mark.block == first.block + count as usize
}

/// Fills in the head of a run that has all its blocks.
fn close(run: Option<(Mark, u32, usize)>, bytes: &mut [u8]) {
    let Some((first, count, at)) = run else { return };
    let start = u32::try_from(first.block).expect("there are at most 2^20 blocks");
    for (place, value) in bytes[at..at + HEAD_BYTES].chunks_exact_mut(4).zip([start, count, first.kind()]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Reads marks for a file of `blocks` blocks; none where the bytes are not such marks.
pub(super) fn decode(mut bytes: &[u8], blocks: usize, mut each: impl FnMut(Mark)) -> Option<()> {
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let field = |n: usize| u32::from_le_bytes(head[4 * n..4 * n + 4].try_into().expect("four bytes"));
        let (start, count) = (field(0) as usize, field(1) as usize);
        let (received, absent) = match field(2) {
            1 => (true, false),
            2 => (true, true),
            3 => (false, false),
            4 => (false, true),
            _ => return None,
        };
        let end = start.checked_add(count).filter(|end| *end <= blocks)?;
        let hashes = if absent { 0 } else { count * size_of::<BlockHash>() };
        let (hashes, rest) = rest.split_at_checked(hashes)?;
        let (hashes, _) = hashes.as_chunks::<32>();
        for block in start..end {
            let hash = hashes.get(block - start).copied().unwrap_or(ABSENT);
            each(Mark { block, hash, received });
        }
        bytes = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks() -> impl Strategy<Value = Vec<Mark>> {
        let mark = (0..1000_usize, 0..4_u8, any::<bool>());
        let mark = mark.prop_map(|(block, hash, received)| Mark { block, hash: [hash; 32], received });
        prop::collection::btree_map(0..1000_usize, mark, 0..200)
            .prop_map(|marks| marks.into_iter().map(|(block, mark)| Mark { block, ..mark }).collect())
    }

    proptest! {
        #[test]
        fn marks_come_back(marks in marks()) {
            let mut bytes = Vec::new();
            encode(marks.iter().copied(), &mut bytes);
            let mut back = Vec::new();
            prop_assert_eq!(decode(&bytes, 1000, |mark| back.push(mark)), Some(()));
            prop_assert_eq!(back, marks);
        }

        #[test]
        fn junk_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            decode(&bytes, 1000, |mark| assert!(mark.block < 1000));
        }
    }

    #[test]
    fn neighbours_share_a_head() {
        let mut bytes = Vec::new();
        encode((0..100).map(|block| Mark { block, hash: [7; 32], received: true }), &mut bytes);
        assert_eq!(bytes.len(), 12 + 100 * 32);
        assert_eq!(decode(&bytes, 99, |_| ()), None, "a block that the file has not");
    }
}
