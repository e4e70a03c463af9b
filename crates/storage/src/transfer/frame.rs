//! What goes over the network: blocks with their hashes. It opens no file. Main types: [`Frame`], [`Decoder`].
//!
//! ```text
//! frame: kind u32 · CRC-32 of all of the head that follows, hashes included u32
//!        offset u64 · content u64 (bytes of the blocks) · payload u32 (bytes on the wire) · 0 u32
//!        one hash of 32 bytes for each block    (none if the kind is zero)
//!        payload                                                              all integers little-endian
//! kind:  1 data: the blocks    2 zstd: the blocks, one frame of RFC 8878    3 zero: no payload, the blocks are holes now
//! ```

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::block::{BlockHash, Blocks};
use super::buffer::{Buffer, Buffers};

const HEAD_BYTES: usize = 32;
const HASH_BYTES: usize = size_of::<BlockHash>();

/// How a frame carries its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Zstd,
    Zero,
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Kind::Data => 1,
            Kind::Zstd => 2,
            Kind::Zero => 3,
        }
    }
}

/// The head of a frame with its hashes; the payload follows.
pub(super) fn head(
    kind: Kind,
    blocks: Blocks,
    range: &Range<usize>,
    hashes: &[BlockHash],
    payload: usize,
) -> Bytes {
    let payload = u32::try_from(payload).expect("a piece is at most 16 MiB");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + hashes.len() * HASH_BYTES);
    bytes.extend(kind.code().to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(blocks.offset(range.start).to_le_bytes());
    bytes.extend(blocks.bytes(range).to_le_bytes());
    bytes.extend(payload.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(hashes.as_flattened());
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes.into()
}

/// A frame that has come whole.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
    pub(super) hashes: Vec<BlockHash>,
    pub(super) payload: Buffer,
}

/// What is wrong with what came, and for which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str, pub(super) u64);

/// Puts frames together from pieces of any size. After an error nothing more comes of it.
#[derive(Debug)]
pub(super) struct Decoder {
    blocks: Blocks,
    buffers: Arc<Buffers>,
    head: Vec<u8>,
    begun: Option<(Frame, usize)>,
}

impl Decoder {
    pub(super) fn new(blocks: Blocks) -> Decoder {
        Decoder { blocks, buffers: Arc::default(), head: Vec::new(), begun: None }
    }

    /// Whether everything that came was whole frames.
    pub(super) fn is_between_frames(&self) -> bool {
        self.head.is_empty() && self.begun.is_none()
    }

    /// Takes from `bytes` until a frame is whole, or nothing is left.
    pub(super) fn feed(&mut self, bytes: &mut Bytes) -> Result<Option<Frame>, Malformed> {
        if self.begun.is_none() {
            let Some(begun) = self.feed_head(bytes)? else { return Ok(None) };
            self.begun = Some(begun);
        }
        let Some((frame, payload)) = &mut self.begun else { return Ok(None) };
        let part = bytes.split_to((*payload - frame.payload.bytes.len()).min(bytes.len()));
        frame.payload.bytes.extend_from_slice(&part);
        let whole = frame.payload.bytes.len() == *payload;
        Ok(self.begun.take_if(|_| whole).map(|(frame, _)| frame))
    }

    fn feed_head(&mut self, bytes: &mut Bytes) -> Result<Option<(Frame, usize)>, Malformed> {
        if !fill(&mut self.head, HEAD_BYTES, bytes) {
            return Ok(None);
        }
        let head = Head::read(&self.head);
        let (kind, range) = head.check(self.blocks)?;
        let hashes = if kind == Kind::Zero { 0 } else { range.len() };
        if !fill(&mut self.head, HEAD_BYTES + hashes * HASH_BYTES, bytes) {
            return Ok(None);
        }
        if crc32fast::hash(&self.head[8..]) != head.crc {
            return Err(Malformed("the head of a frame was changed on its way", head.offset));
        }
        let hashes = self.head[HEAD_BYTES..].as_chunks::<HASH_BYTES>().0.to_vec();
        let mut payload = self.buffers.take();
        payload.bytes.clear();
        self.head.clear();
        Ok(Some((Frame { kind, range, hashes, payload }, head.payload as usize)))
    }
}

/// Fills `buffer` to `length`; whether it is full.
fn fill(buffer: &mut Vec<u8>, length: usize, bytes: &mut Bytes) -> bool {
    let part = length.saturating_sub(buffer.len()).min(bytes.len());
    buffer.extend_from_slice(&bytes[..part]);
    bytes.advance(part);
    buffer.len() >= length
}

struct Head {
    kind: u32,
    crc: u32,
    offset: u64,
    content: u64,
    payload: u32,
}

impl Head {
    fn read(mut head: &[u8]) -> Head {
        Head {
            kind: head.get_u32_le(),
            crc: head.get_u32_le(),
            offset: head.get_u64_le(),
            content: head.get_u64_le(),
            payload: head.get_u32_le(),
        }
    }

    fn check(&self, blocks: Blocks) -> Result<(Kind, Range<usize>), Malformed> {
        let malformed = |what| Err(Malformed(what, self.offset));
        let Some(range) = blocks.at(self.offset, self.content) else {
            return malformed("a frame is not of whole blocks of the file");
        };
        let fits = range.len() <= blocks.per_piece();
        let payload = u64::from(self.payload);
        match self.kind {
            1 if fits && payload == self.content => Ok((Kind::Data, range)),
            2 if fits && payload > 0 && payload < self.content => Ok((Kind::Zstd, range)),
            3 if payload == 0 => Ok((Kind::Zero, range)),
            1..=3 => malformed("a frame's payload has a wrong length"),
            _ => malformed("a frame is of no kind that this version knows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::hash;
    use super::*;

    const LENGTH: u64 = 300_000;

    fn blocks() -> Blocks {
        Blocks::of(LENGTH).unwrap()
    }

    fn wire() -> Vec<u8> {
        let content = vec![5; 200_000];
        let range = 2..5;
        let content = &content[..usize::try_from(blocks().bytes(&range)).unwrap()];
        let hashes: Vec<BlockHash> = content.chunks(64 << 10).map(hash).collect();
        let mut bytes = head(Kind::Zero, blocks(), &(0..2), &[], 0).to_vec();
        bytes.extend(head(Kind::Data, blocks(), &range, &hashes, content.len()));
        bytes.extend(content);
        bytes
    }

    fn decode(bytes: &[u8], cuts: &[usize]) -> Result<Vec<(Kind, Range<usize>, usize)>, Malformed> {
        let mut decoder = Decoder::new(blocks());
        let mut frames = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([bytes.len()]) {
            let mut part = Bytes::copy_from_slice(&bytes[from..to]);
            while !part.is_empty() {
                let frame = decoder.feed(&mut part)?;
                frames.extend(frame.map(|frame| (frame.kind, frame.range, frame.payload.bytes.len())));
            }
            from = to;
        }
        assert!(decoder.is_between_frames() || frames.len() < 2);
        Ok(frames)
    }

    #[test]
    fn every_byte_of_a_head_matters() {
        let bytes = wire();
        assert!(decode(&bytes, &[]).is_ok());
        for place in (0..HEAD_BYTES).chain(HEAD_BYTES..2 * HEAD_BYTES + 3 * HASH_BYTES) {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let frames = decode(&changed, &[]);
            // Only a longer payload is waited for.
            assert!(frames.is_err() || frames.unwrap().len() < 2, "byte {place}");
        }
    }

    proptest! {
        #[test]
        fn frames_come_back_from_pieces_of_any_size(cuts in prop::collection::vec(0_usize..168_000, 0..20)) {
            let bytes = wire();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let frames = decode(&bytes, &cuts);
            prop_assert_eq!(frames, Ok(vec![(Kind::Zero, 0..2, 0), (Kind::Data, 2..5, 168_928)]));
        }

        #[test]
        fn junk_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&bytes, &[]));
        }
    }
}
