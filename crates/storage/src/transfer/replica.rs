//! A copy that is being made, on the target. What it says it holds is on its disk, durable and proven, and stands in its
//! log: a process that is killed goes on from there. Main type: [`Replica`].
//!
//! ```text
//! frames ──▶ worker: decompress, compare hashes, write ──▶ waiting ──▶ checkpoint: fdatasync, read back, log ──▶ held
//!            (one thread for each stream)                              (one thread, again and again)
//! ```
//!
//! A connection that was given up may still bring what the network had of it, long afterwards. So streams belong to a try: what
//! is asked to begin another one, and what proves the whole, ends those that there are.

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::block::{ABSENT, Root, Stamp, hash};
use super::checkpoint::Ledger;
use super::error::TransferError;
use super::frame::{Decoder, Frame, Kind, Malformed};
use super::held::Held;
use super::log::{Log, marks};
use super::place::{self, Placed};
use super::run::Mark;
use super::store::Store;
use crate::bounded;
use crate::limits::{DISK_TIMEOUT, FRAMES_WAITING_MAX, SCAN_BYTES};

/// How a copy is proven before it counts as held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is read back once, past the page cache.
    Disk,
    /// Hashes are compared as it comes in.
    Wire,
}

/// What is known to lie at a copy's place before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing: what is there all the same is refused, but for a block device.
    Nothing,
    /// An older copy, which is brought up to date in place.
    Older,
    /// A file that others use: it is only compared with the original, and never written.
    Kept,
}

/// Which copy is to be made, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its place, absolute. A block device is written in place.
    pub path: PathBuf,
    /// What lies there.
    pub there: There,
    /// Part of the hidden name of a fresh copy: of this transfer and file alone, and the same when it goes on.
    pub tag: String,
    /// Where its log is to lie.
    pub log: PathBuf,
    /// Length of the original, in bytes.
    pub length: u64,
    /// State of the original.
    pub stamp: Stamp,
    /// How it is proven.
    pub proof: Proof,
}

/// A copy that is being made. Dropped, it stays as it is with its log, and can be opened again.
#[derive(Debug)]
pub struct Replica {
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    kept: bool,
    /// Where it lies now.
    place: Mutex<PathBuf>,
    hidden: Option<PathBuf>,
    /// How many blocks of an older copy have been looked at. Locked while somebody does.
    looked: tokio::sync::Mutex<usize>,
    /// The end of the streams of this try.
    over: Mutex<CancellationToken>,
    /// Shared by the threads that write.
    writing: Arc<RwLock<()>>,
}

impl Replica {
    /// Begins a copy, or goes on where its log says. What it is told of is found there, too: a copy whose original has
    /// changed counts as an older one.
    ///
    /// # Errors
    /// [`TransferError::Exists`], [`TransferError::Kept`], [`TransferError::TooSmall`], [`TransferError::TooLong`],
    /// [`TransferError::NoSpace`], [`TransferError::InUse`], [`TransferError::Disk`], [`TransferError::TimedOut`], [`TransferError::Io`].
    pub async fn open(opening: Opening) -> Result<Replica, TransferError> {
        let path = opening.path.clone();
        let log = opening.log.clone();
        let locked = bounded::run(DISK_TIMEOUT, move || Log::open(&log)).await;
        let (log, records) = match TransferError::told(&path, locked) {
            Err(TransferError::TimedOut { .. }) => return Err(TransferError::InUse { path }),
            other => other?,
        };
        let opened = bounded::run(DISK_TIMEOUT, move || open(opening, log, &records)).await;
        TransferError::told(&path, opened)
    }

    /// Where its content lies: under a hidden name until it is published.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of blocks that have come in since it was opened.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.ledger.taken_bytes()
    }

    /// Begins a try: what it holds, after what has come in so far was made durable and proven; what went wrong with that before
    /// is forgotten, since it is not held. Streams of the try before are ended. The first time an older copy or a device is read as a whole, for as long as that
    /// takes; given up meanwhile, the next call goes on where it was.
    ///
    /// # Errors
    /// [`TransferError::Write`] where that cannot be read, [`TransferError::Io`].
    pub async fn held(&self) -> Result<Held, TransferError> {
        self.end_streams().await;
        self.ledger.settle().await;
        self.ledger.forget_fault();
        self.look().await?;
        *self.over() = CancellationToken::new();
        Ok(self.ledger.held())
    }

    /// Ends the streams that there are; no other is taken before the next try. Nothing is written any more when it returns.
    pub async fn end_streams(&self) {
        self.over().cancel();
        drop(self.writing.write().await);
    }

    fn over(&self) -> MutexGuard<'_, CancellationToken> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the frames of one stream in; several may do so at once. Whole frames that came before an error are kept.
    ///
    /// # Errors
    /// [`TransferError::Cut`], also where its try is over, [`TransferError::Wire`], [`TransferError::NoSpace`], [`TransferError::Write`];
    /// [`TransferError::Kept`] where it is not to be written; [`TransferError::Mangled`] and [`TransferError::Io`] where what
    /// came earlier could not be made durable.
    pub async fn take<E: Display>(
        &self,
        mut frames: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<(), TransferError> {
        if self.kept {
            let path = self.store.path().to_owned();
            return match frames.next().await.transpose() {
                Ok(None) => Ok(()),
                Ok(Some(_differs)) => Err(TransferError::Kept { path }),
                Err(error) => Err(TransferError::Cut { path, reason: error.to_string() }),
            };
        }
        let over = self.over().clone();
        let writing = Arc::clone(&self.writing).read_owned().await;
        let (whole, waiting) = mpsc::channel(FRAMES_WAITING_MAX);
        let (done, written) = oneshot::channel();
        let (store, ledger) = (Arc::clone(&self.store), Arc::clone(&self.ledger));
        let thread = std::thread::Builder::new().name("copy-target".to_owned()).spawn(move || {
            // Nobody waits any more if the connection was lost: what came whole is written all the same.
            let written = write_frames(&store, &ledger, waiting);
            drop(writing);
            let _ = done.send(written);
        });
        let thread = thread.map_err(TransferError::io("start a thread for", self.store.path()))?;
        let feeding = feed(&self.store, &mut frames, whole);
        let fed = over.run_until_cancelled(feeding).await.unwrap_or_else(|| {
            let reason = "it belongs to a try that is over".to_owned();
            Err(TransferError::Cut { path: self.store.path().to_owned(), reason })
        });
        match written.await {
            Ok(written) => written.and(fed),
            // The sender is dropped unused only by a panic.
            Err(_) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("a thread that ends in order has sent its result"),
            },
        }
    }

    /// All was sent: makes it durable, proves it, and compares the whole. From then on nothing is written.
    ///
    /// # Errors
    /// [`TransferError::Differs`], and as [`Replica::take`].
    pub async fn complete(&self, root: Root) -> Result<(), TransferError> {
        self.end_streams().await;
        self.ledger.settle().await;
        self.ledger.check()?;
        self.look().await?;
        let held = self.ledger.held();
        let own =
            bounded::run(DISK_TIMEOUT, move || Ok(Root::over(held.blocks, held.hashes.into_iter()))).await;
        match TransferError::told(self.store.path(), own)? == root {
            true => Ok(()),
            false => Err(TransferError::Differs { path: self.store.path().to_owned() }),
        }
    }

    /// Gives a fresh copy its name, never over something. One that has it already keeps it.
    ///
    /// # Errors
    /// [`TransferError::Exists`], [`TransferError::TimedOut`], [`TransferError::Io`].
    pub async fn publish(&self) -> Result<(), TransferError> {
        let (path, place) = (self.store.path().to_owned(), self.place());
        if self.hidden.as_ref() != Some(&place) {
            return Ok(());
        }
        publish(&place, &path).await?;
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = path;
        Ok(())
    }

    /// Looks at what is in an older copy, as far as nobody has.
    async fn look(&self) -> Result<(), TransferError> {
        let mut looked = self.looked.lock().await;
        let blocks = self.store.blocks();
        if *looked == blocks.count() {
            return Ok(());
        }
        let given_up = Arc::new(AtomicBool::new(false));
        let _on_drop = GiveUp(Arc::clone(&given_up));
        let (steps, mut ends) = mpsc::unbounded_channel();
        let (store, ledger, from) = (Arc::clone(&self.store), Arc::clone(&self.ledger), *looked);
        std::thread::Builder::new()
            .name("copy-target".to_owned())
            .spawn(move || {
                let mut step = |end| steps.send(Ok(end)).is_ok() && !given_up.load(Relaxed);
                if let Err(fault) = look(&store, &ledger, from, &mut step) {
                    // Nobody waits any more if the future was dropped.
                    let _ = steps.send(Err(fault));
                }
            })
            .map_err(TransferError::io("start a thread for", self.store.path()))?;
        while let Some(end) = ends.recv().await {
            *looked = end?;
        }
        Ok(())
    }
}

/// Gives a complete file its name, durably and never over something.
///
/// # Errors
/// [`TransferError::Exists`], [`TransferError::TimedOut`], [`TransferError::Io`].
pub async fn publish(hidden: &Path, path: &Path) -> Result<(), TransferError> {
    let (hidden, named) = (hidden.to_owned(), path.to_owned());
    TransferError::told(path, bounded::run(DISK_TIMEOUT, move || place::publish(&hidden, &named)).await)
}

/// The copy is wanted: removes its log alone. Nothing is to do where there is none.
///
/// # Errors
/// [`TransferError::TimedOut`], [`TransferError::Io`].
pub async fn forget_replica(log: &Path) -> Result<(), TransferError> {
    let owned = log.to_owned();
    TransferError::told(log, bounded::run(DISK_TIMEOUT, move || place::forget(&owned)).await)
}

/// The copy is not wanted: removes a fresh one, whether it has its name or not, and its log. An older copy and a device
/// stay as they are. Nothing is to do where there is no log. The [`Replica`] is to be dropped before.
///
/// # Errors
/// [`TransferError::TimedOut`], [`TransferError::Io`].
pub async fn discard_replica(log: &Path) -> Result<(), TransferError> {
    let owned = log.to_owned();
    TransferError::told(log, bounded::run(DISK_TIMEOUT, move || place::discard(&owned)).await)
}

/// What is left of a copy whose end is long past: its log goes, and the copy if it never got its name. A file that has its
/// name stays, since nobody can say any more whose it has become.
///
/// # Errors
/// [`TransferError::TimedOut`], [`TransferError::Io`].
pub async fn sweep_replica(log: &Path) -> Result<(), TransferError> {
    let owned = log.to_owned();
    TransferError::told(log, bounded::run(DISK_TIMEOUT, move || place::sweep(&owned)).await)
}

/// Says that nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn open(opening: Opening, mut log: Log, records: &[Vec<u8>]) -> Result<Replica, TransferError> {
    let kept = opening.there == There::Kept;
    let mut held = Held::nothing(opening.length)?;
    let blocks = held.blocks;
    let Placed { file, place, head, resumed } = Placed::open(&opening, &mut log, records.first())?;
    let store = Arc::new(Store::new(file, &place, &opening.path, blocks)?);
    let mut looked = if head.was_empty { blocks.count() } else { 0 };
    if resumed {
        let read = marks(records, blocks, |mark| {
            held.put(mark);
            if !mark.received {
                looked = looked.max(mark.block + 1);
            }
        });
        read.ok_or_else(|| TransferError::io("read", &opening.log)(std::io::ErrorKind::InvalidData.into()))?;
    }
    let ledger = Ledger::begin(Arc::clone(&store), log, held, opening.proof)?;
    Ok(Replica {
        store,
        ledger: Arc::new(ledger),
        kept,
        place: Mutex::new(place),
        hidden: head.hidden,
        looked: tokio::sync::Mutex::new(looked),
        over: Mutex::default(),
        writing: Arc::default(),
    })
}

/// Puts frames together and hands them on, until the stream or whoever takes them ends.
async fn feed<E: Display>(
    store: &Store,
    frames: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    whole: mpsc::Sender<Frame>,
) -> Result<(), TransferError> {
    let path = || store.path().to_owned();
    let mut decoder = Decoder::new(store.blocks());
    while let Some(bytes) = frames.next().await {
        let mut bytes =
            bytes.map_err(|error| TransferError::Cut { path: path(), reason: error.to_string() })?;
        while !bytes.is_empty() {
            let fed = decoder.feed(&mut bytes);
            let frame =
                fed.map_err(|Malformed(what, offset)| TransferError::Wire { path: path(), what, offset })?;
            if let Some(frame) = frame
                && whole.send(frame).await.is_err()
            {
                // Its own error is the one to tell.
                return Ok(());
            }
        }
    }
    match decoder.is_between_frames() {
        true => Ok(()),
        false => Err(TransferError::Cut { path: path(), reason: "it ended inside a frame".to_owned() }),
    }
}

fn write_frames(
    store: &Store,
    ledger: &Ledger,
    mut frames: mpsc::Receiver<Frame>,
) -> Result<(), TransferError> {
    let fault = TransferError::io("decompress", store.path());
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(fault)?;
    let mut plain = Vec::new();
    while let Some(frame) = frames.blocking_recv() {
        ledger.check()?;
        let blocks = store.blocks();
        match frame.kind {
            Kind::Zero => {
                store.punch(&frame.range)?;
                ledger.add(frame.range.map(|block| Mark { block, hash: ABSENT, received: true }));
                continue;
            }
            Kind::Data => check_hashes(store, &frame, &frame.payload.bytes)?,
            Kind::Zstd => {
                let bytes = usize::try_from(blocks.bytes(&frame.range)).expect("a piece is at most 16 MiB");
                plain.clear();
                plain.reserve(bytes);
                let length = decompressor.decompress_to_buffer(&frame.payload.bytes, &mut plain);
                if length.ok() != Some(bytes) {
                    return Err(wire(store, "a frame does not decompress", blocks.offset(frame.range.start)));
                }
                check_hashes(store, &frame, &plain)?;
            }
        }
        let content = if frame.kind == Kind::Zstd { &plain } else { &frame.payload.bytes };
        store.write(&frame.range, content)?;
        let marks = frame.range.zip(frame.hashes);
        ledger.add(marks.map(|(block, hash)| Mark { block, hash, received: true }));
    }
    Ok(())
}

fn check_hashes(store: &Store, frame: &Frame, content: &[u8]) -> Result<(), TransferError> {
    let blocks = store.blocks();
    let mut contents = frame.range.clone().zip(content.chunks(blocks.size()).zip(&frame.hashes));
    match contents.find(|(_, (content, said))| hash(content) != **said) {
        Some((block, _)) => Err(wire(store, "a block is not what its hash says", blocks.offset(block))),
        None => Ok(()),
    }
}

fn wire(store: &Store, what: &'static str, offset: u64) -> TransferError {
    TransferError::Wire { path: store.path().to_owned(), what, offset }
}

/// Reads what there is from block `from` on, and notes it; `step` hears how far it is and says whether to go on.
fn look(
    store: &Store,
    ledger: &Ledger,
    from: usize,
    step: &mut dyn FnMut(usize) -> bool,
) -> Result<(), TransferError> {
    let (blocks, mut buffer) = (store.blocks(), store.buffer());
    let with_data = store.with_data()?;
    let per_step = usize::try_from(SCAN_BYTES / blocks.block_bytes).unwrap_or(usize::MAX).max(1);
    let mut at = from;
    while at < blocks.count() {
        let end = blocks.count().min(at + per_step);
        let mut found = Vec::with_capacity(end - at);
        for part in with_data[at..end].chunk_by(|one, other| one == other) {
            let range = at..at + part.len();
            match part[0] {
                true => store.look(&range, &mut buffer, |mark| found.push(mark))?,
                false => found.extend(holes(range)),
            }
            at += part.len();
        }
        ledger.note_found(&found)?;
        if !step(end) {
            return Ok(());
        }
    }
    Ok(())
}

fn holes(range: Range<usize>) -> impl Iterator<Item = Mark> {
    range.map(|block| Mark { block, hash: ABSENT, received: false })
}
