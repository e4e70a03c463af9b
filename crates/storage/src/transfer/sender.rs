//! Sends the blocks of an original that the target lacks, over several streams that share the work. It keeps nothing of a
//! block once that was handed over. Main type: [`Sender`].
//!
//! ```text
//! cursor ──▶ piece of up to 1 MiB ──▶ worker: read, hash, drop what the target holds, compress, frame ──▶ stream
//!                                     (one thread for each stream)
//! ```

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::block::{ABSENT, BlockHash, Root, hash};
use super::buffer::{Buffer, Buffers};
use super::error::TransferError;
use super::frame::{Kind, head};
use super::held::Held;
use super::line::Line;
use super::original::{Known, Original};
use crate::bounded;
use crate::limits::{DISK_TIMEOUT, FRAMES_WAITING_MAX, SAMPLE_BYTES};

/// A frame is a head and a payload.
const PARTS_WAITING_MAX: usize = 2 * FRAMES_WAITING_MAX;

/// One attempt to send what a target lacks. After a cut it is dropped with its streams, and [`Original::send`] makes the
/// next one.
#[derive(Debug)]
pub struct Sender(Arc<Work>);

#[derive(Debug)]
struct Work {
    original: Arc<Original>,
    held: Held,
    line: Arc<Line>,
    done_bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first block that nobody has looked at.
    next: usize,
    /// Pieces that were taken and not yet handed over; one that is lost stays here.
    pending: usize,
    fault: Option<TransferError>,
}

/// What a worker is to do next.
enum Piece {
    /// To read, and to send what differs.
    Content(Range<usize>),
    /// Holes here, content there.
    Zero(Range<usize>),
}

/// Whoever was to get the frames has gone.
struct Gone;

impl Sender {
    pub(super) fn new(original: Arc<Original>, held: Held, line: Arc<Line>) -> Sender {
        let state = Mutex::default();
        Sender(Arc::new(Work { original, held, line, done_bytes: AtomicU64::new(0), state }))
    }

    /// One of several streams that share the work, each with a thread. It ends when nothing is left; its error is a
    /// [`TransferError`]. What a stream has taken on is lost if that is dropped: then all are to be dropped.
    pub fn stream(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<> {
        let (out, frames) = mpsc::channel(PARTS_WAITING_MAX);
        let work = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("copy-source".to_owned()).spawn(move || {
            let mut worker = Worker::new(&work, &out);
            let Err(fault) = worker.run() else { return };
            work.state().fault.get_or_insert_with(|| fault.clone());
            // Nobody waits any more if the stream was dropped.
            let _ = out.blocking_send(Err(io::Error::other(fault)));
        });
        if let Err(error) = thread {
            let fault = TransferError::io("start a thread for", self.0.original.path())(error);
            self.0.state().fault.get_or_insert(fault);
        }
        ReceiverStream::new(frames)
    }

    /// Bytes in blocks with content that need not be looked at any more: handed over, or equal there.
    #[must_use]
    pub fn done_bytes(&self) -> u64 {
        self.0.done_bytes.load(Relaxed)
    }

    /// Why a stream ended early for a reason of this side; the first there was.
    #[must_use]
    pub fn fault(&self) -> Option<TransferError> {
        self.0.state().fault.clone()
    }

    /// After all streams have ended: the hash over the whole.
    ///
    /// # Errors
    /// The fault of a stream; [`TransferError::Unfinished`], [`TransferError::Changed`], [`TransferError::TimedOut`].
    pub async fn root(&self) -> Result<Root, TransferError> {
        let work = Arc::clone(&self.0);
        let done = bounded::run(DISK_TIMEOUT, move || work.root()).await;
        TransferError::told(self.0.original.path(), done)
    }
}

impl Work {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> Result<Root, TransferError> {
        let unfinished = || TransferError::Unfinished { path: self.original.path().to_owned() };
        let blocks = self.original.blocks();
        {
            let state = self.state();
            if let Some(fault) = &state.fault {
                return Err(fault.clone());
            }
            if state.next < blocks.count() || state.pending > 0 {
                return Err(unfinished());
            }
        }
        self.original.check_unchanged()?;
        let hashes: Option<Vec<BlockHash>> = self.original.known().iter().map(|known| known.hash()).collect();
        Ok(Root::over(blocks, hashes.ok_or_else(unfinished)?.into_iter()))
    }

    /// The next piece that somebody has to look at; none if there is no more.
    fn next_piece(&self) -> Option<Piece> {
        let blocks = self.original.blocks();
        let mut state = self.state();
        let mut known = self.original.known();
        let (mut piece, mut done) = (None, 0);
        while state.next < blocks.count() {
            let block = state.next;
            if known[block] == Known::Unread && self.held.received[block] {
                known[block] = Known::Read(self.held.hashes[block]);
            }
            let hash = known[block].hash();
            let (is_equal, is_zero) = (hash == Some(self.held.hashes[block]), hash == Some(ABSENT));
            match &mut piece {
                None if is_equal => {}
                None if is_zero => piece = Some(Piece::Zero(block..block + 1)),
                None => piece = Some(Piece::Content(block..block + 1)),
                Some(Piece::Zero(range)) if is_zero && !is_equal => range.end += 1,
                Some(Piece::Content(range)) if !is_zero && !is_equal && range.len() < blocks.per_piece() => {
                    range.end += 1;
                }
                Some(Piece::Zero(_) | Piece::Content(_)) => break,
            }
            if (is_equal || is_zero) && known[block] != Known::Hole {
                done += blocks.bytes(&(block..block + 1));
            }
            state.next += 1;
        }
        self.done_bytes.fetch_add(done, Relaxed);
        state.pending += usize::from(piece.is_some());
        piece
    }
}

/// With the level that it has; made when it is wanted.
type Compressor = Option<(i32, zstd::bulk::Compressor<'static>)>;

/// The thread of one stream.
struct Worker<'a> {
    work: &'a Work,
    out: &'a mpsc::Sender<io::Result<Bytes>>,
    content: Arc<Buffers>,
    compressed: Arc<Buffers>,
    compressor: Compressor,
    /// Another one, since a change of level costs the tables of both.
    sampler: Compressor,
    sample: Vec<u8>,
    /// Time in which it could do nothing: the network took nothing, or the pace let nothing through.
    waited: Duration,
    paused: Duration,
}

impl<'a> Worker<'a> {
    fn new(work: &'a Work, out: &'a mpsc::Sender<io::Result<Bytes>>) -> Worker<'a> {
        Worker {
            work,
            out,
            content: Arc::default(),
            compressed: Arc::default(),
            compressor: None,
            sampler: None,
            sample: Vec::new(),
            waited: Duration::ZERO,
            paused: Duration::ZERO,
        }
    }

    fn run(&mut self) -> Result<(), TransferError> {
        let blocks = self.work.original.blocks();
        while let Some(piece) = self.work.next_piece() {
            let begun = Instant::now();
            (self.waited, self.paused) = (Duration::ZERO, Duration::ZERO);
            let handed_over = match &piece {
                Piece::Content(range) => self.content(range)?,
                Piece::Zero(range) => {
                    self.hand_over(0, head(Kind::Zero, blocks, range, &[], 0), Bytes::new())
                }
            };
            self.work.line.add_times(begun.elapsed() - self.waited - self.paused, self.waited);
            match handed_over {
                Ok(()) => self.work.state().pending -= 1,
                // The piece stays pending: it may not have come.
                Err(Gone) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads a piece, and hands over what the target has otherwise.
    fn content(&mut self, range: &Range<usize>) -> Result<Result<(), Gone>, TransferError> {
        let (original, blocks) = (&self.work.original, self.work.original.blocks());
        let mut buffer = self.content.take();
        let length = usize::try_from(blocks.bytes(range)).expect("a piece is at most 16 MiB");
        if buffer.bytes.len() < length {
            buffer.bytes.resize(length, 0);
        }
        original.read(&mut buffer.bytes[..length], blocks.offset(range.start))?;
        self.work.line.add_read(length as u64);
        let hashes: Vec<BlockHash> = buffer.bytes[..length].chunks(blocks.size()).map(hash).collect();
        self.learn(range, &hashes)?;
        let bytes = Bytes::from_owner(buffer).slice(..length);
        let differs = |block: &usize| hashes[block - range.start] != self.work.held.hashes[*block];
        let mut at = range.start;
        while let Some(start) = (at..range.end).find(differs) {
            let zero = hashes[start - range.start] == ABSENT;
            let alike = |block: &usize| differs(block) && (hashes[block - range.start] == ABSENT) == zero;
            let end = (start..range.end).find(|block| !alike(block)).unwrap_or(range.end);
            let part =
                (start - range.start) * blocks.size()..((end - range.start) * blocks.size()).min(length);
            let sent = match zero {
                true => self.hand_over(0, head(Kind::Zero, blocks, &(start..end), &[], 0), Bytes::new()),
                false => {
                    let (kind, payload) = self.payload(bytes.slice(part.clone()));
                    let hashes = &hashes[start - range.start..end - range.start];
                    let head = head(kind, blocks, &(start..end), hashes, payload.len());
                    self.hand_over(part.len() as u64, head, payload)
                }
            };
            if sent.is_err() {
                return Ok(sent);
            }
            at = end;
        }
        self.work.done_bytes.fetch_add(length as u64, Relaxed);
        Ok(Ok(()))
    }

    /// Keeps the hashes. A block that was known and is another one now has changed.
    fn learn(&self, range: &Range<usize>, hashes: &[BlockHash]) -> Result<(), TransferError> {
        for (known, hash) in self.work.original.known()[range.clone()].iter_mut().zip(hashes) {
            if known.hash().is_some_and(|known| known != *hash) {
                return Err(TransferError::Changed { path: self.work.original.path().to_owned() });
            }
            *known = Known::Read(*hash);
        }
        Ok(())
    }

    /// Content as it goes over the network: compressed if that is wanted and makes it smaller.
    fn payload(&mut self, content: Bytes) -> (Kind, Bytes) {
        match self.work.line.level() {
            0 => (Kind::Data, content),
            level if self.shrinks(&content) => {
                match compress(&mut self.compressor, &self.compressed, level, &content) {
                    Some(compressed) => (Kind::Zstd, Bytes::from_owner(compressed)),
                    None => (Kind::Data, content),
                }
            }
            _ => (Kind::Data, content),
        }
    }

    /// Whether a sample from four places becomes smaller by a tenth at least.
    fn shrinks(&mut self, content: &[u8]) -> bool {
        if content.len() <= SAMPLE_BYTES {
            return true;
        }
        self.sample.clear();
        for quarter in content.chunks(content.len().div_ceil(4)) {
            self.sample.extend_from_slice(&quarter[..quarter.len().min(SAMPLE_BYTES / 4)]);
        }
        compress(&mut self.sampler, &self.compressed, 1, &self.sample)
            .is_some_and(|it| it.bytes.len() < self.sample.len() / 10 * 9)
    }

    fn hand_over(&mut self, content_bytes: u64, head: Bytes, payload: Bytes) -> Result<(), Gone> {
        let wire_bytes = (head.len() + payload.len()) as u64;
        let pause = self.work.line.pause(wire_bytes);
        self.paused += pause;
        std::thread::sleep(pause);
        let begun = Instant::now();
        self.out.blocking_send(Ok(head)).map_err(|_| Gone)?;
        if !payload.is_empty() {
            self.out.blocking_send(Ok(payload)).map_err(|_| Gone)?;
        }
        self.waited += begun.elapsed();
        self.work.line.add_sent(content_bytes, wire_bytes);
        Ok(())
    }
}

/// None where it would not become smaller.
fn compress(
    compressor: &mut Compressor,
    buffers: &Arc<Buffers>,
    level: i32,
    content: &[u8],
) -> Option<Buffer> {
    let compressor = match compressor {
        Some((at, compressor)) => {
            if *at != level {
                compressor.set_compression_level(level).ok()?;
                *at = level;
            }
            compressor
        }
        none => &mut none.insert((level, zstd::bulk::Compressor::new(level).ok()?)).1,
    };
    let mut compressed = buffers.take();
    compressed.bytes.clear();
    compressed.bytes.reserve(zstd::zstd_safe::compress_bound(content.len()));
    let length = compressor.compress_to_buffer(content, &mut compressed.bytes).ok()?;
    (length < content.len()).then_some(compressed)
}
