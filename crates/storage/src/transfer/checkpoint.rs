//! What of a copy is durable and proven. What has been written waits here until a thread has fsynced it, read it back and
//! noted it in the log; only then it counts. Main type: [`Ledger`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::buffer::Aligned;
use super::error::TransferError;
use super::held::Held;
use super::log::Log;
use super::replica::Proof;
use super::run::Mark;
use super::store::Store;
use crate::limits::{CHECKPOINT_BYTES, CHECKPOINT_INTERVAL};

/// The account of a copy. Its thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ledger(Arc<Account>);

#[derive(Debug)]
struct Account {
    store: Arc<Store>,
    proof: Proof,
    log: Mutex<Log>,
    state: Mutex<State>,
    wake: Condvar,
    /// How many of the marks that were ever added have been worked off.
    settled: watch::Sender<u64>,
    taken_bytes: AtomicU64,
}

#[derive(Debug)]
struct State {
    held: Held,
    /// Written, and no more than that.
    waiting: Vec<Mark>,
    waiting_bytes: u64,
    /// Since when the first of them waits.
    since: Instant,
    added: u64,
    in_hurry: bool,
    closed: bool,
    fault: Option<TransferError>,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
    }
}

impl Ledger {
    pub(super) fn begin(
        store: Arc<Store>,
        log: Log,
        held: Held,
        proof: Proof,
    ) -> Result<Ledger, TransferError> {
        let path = store.path().to_owned();
        let account = Arc::new(Account {
            store,
            proof,
            log: Mutex::new(log),
            state: Mutex::new(State {
                held,
                waiting: Vec::new(),
                waiting_bytes: 0,
                since: Instant::now(),
                added: 0,
                in_hurry: false,
                closed: false,
                fault: None,
            }),
            wake: Condvar::new(),
            settled: watch::Sender::new(0),
            taken_bytes: AtomicU64::new(0),
        });
        let thread = Arc::clone(&account);
        let thread =
            std::thread::Builder::new().name("copy-checkpoint".to_owned()).spawn(move || thread.work());
        thread.map_err(TransferError::io("start a thread for", &path))?;
        Ok(Ledger(account))
    }

    /// These blocks were written.
    pub(super) fn add(&self, marks: impl Iterator<Item = Mark>) {
        let blocks = self.0.store.blocks();
        let mut state = self.0.state();
        if state.waiting.is_empty() {
            state.since = Instant::now();
        }
        let (before, mut bytes) = (state.waiting.len(), 0);
        state.waiting.extend(marks.inspect(|mark| bytes += blocks.bytes(&(mark.block..mark.block + 1))));
        state.added += (state.waiting.len() - before) as u64;
        state.waiting_bytes += bytes;
        self.0.taken_bytes.fetch_add(bytes, Relaxed);
        self.0.wake.notify_one();
    }

    pub(super) fn taken_bytes(&self) -> u64 {
        self.0.taken_bytes.load(Relaxed)
    }

    /// Waits until what was added so far counts, or has failed.
    pub(super) async fn settle(&self) {
        let added = {
            let mut state = self.0.state();
            state.in_hurry = true;
            state.added
        };
        self.0.wake.notify_one();
        let mut settled = self.0.settled.subscribe();
        // The other end lives as long as this.
        let _ = settled.wait_for(|settled| *settled >= added).await;
    }

    /// What went wrong since the last [`Ledger::forget_fault`].
    pub(super) fn check(&self) -> Result<(), TransferError> {
        self.0.state().fault.clone().map_or(Ok(()), Err)
    }

    pub(super) fn forget_fault(&self) {
        self.0.state().fault = None;
    }

    pub(super) fn held(&self) -> Held {
        self.0.state().held.clone()
    }

    /// These blocks were found on the disk.
    pub(super) fn note_found(&self, found: &[Mark]) -> Result<(), TransferError> {
        self.0.log().note(found.iter().copied())?;
        let mut state = self.0.state();
        found.iter().for_each(|mark| state.held.put(*mark));
        Ok(())
    }
}

/// Whoever waits for the thread hears of its end, by a panic too.
struct Ended<'a>(&'a watch::Sender<u64>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_replace(u64::MAX);
    }
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _ended = Ended(&self.settled);
        let mut buffer = self.store.buffer();
        while let Some(mut batch) = self.next_batch() {
            let done = self.checkpoint(&mut batch, &mut buffer);
            {
                let mut state = self.state();
                match done {
                    Ok(()) => batch.iter().for_each(|mark| state.held.put(*mark)),
                    Err(fault) => {
                        state.fault.get_or_insert(fault);
                    }
                }
            }
            self.settled.send_modify(|settled| *settled += batch.len() as u64);
        }
    }

    /// What waits, once it is worth the work or somebody asks for it; none at the end.
    fn next_batch(&self) -> Option<Vec<Mark>> {
        let mut state = self.state();
        while !state.closed {
            let left = CHECKPOINT_INTERVAL.saturating_sub(state.since.elapsed());
            if state.waiting.is_empty() {
                state.in_hurry = false;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if state.in_hurry || state.waiting_bytes >= CHECKPOINT_BYTES || left.is_zero() {
                state.in_hurry = false;
                state.waiting_bytes = 0;
                return Some(std::mem::take(&mut state.waiting));
            } else {
                let waited = self.wake.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        None
    }

    fn checkpoint(&self, batch: &mut [Mark], buffer: &mut Aligned) -> Result<(), TransferError> {
        self.store.sync()?;
        match self.proof {
            Proof::Disk => prove(&self.store, batch, buffer)?,
            Proof::Wire => {}
        }
        self.log().note(batch.iter().copied())
    }
}

/// Compares what is on the disk with what was to be.
fn prove(store: &Store, batch: &mut [Mark], buffer: &mut Aligned) -> Result<(), TransferError> {
    batch.sort_by_key(|mark| mark.block);
    for run in batch.chunk_by(|one, next| next.block == one.block + 1) {
        let range = run[0].block..run[0].block + run.len();
        let mut mangled = None;
        store.look(&range, buffer, |found| {
            if found.hash != run[found.block - range.start].hash {
                mangled.get_or_insert(found.block);
            }
        })?;
        if let Some(block) = mangled {
            let offset = store.blocks().offset(block);
            return Err(TransferError::Mangled { path: store.path().to_owned(), offset });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::super::block::{Blocks, hash};
    use super::*;

    #[test]
    fn what_the_disk_made_of_it_is_found_though_the_page_cache_has_it_right() {
        let directory = tempfile::tempdir().unwrap();
        let (backing, length) = (directory.path().join("disk"), 4 << 20);
        File::create_new(&backing).unwrap().set_len(length).unwrap();
        let losetup = |arguments: &[&str]| {
            let output = std::process::Command::new("losetup").args(arguments).output().unwrap();
            assert!(output.status.success(), "this test needs loop devices: {output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let device = losetup(&["--find", "--show", backing.to_str().unwrap()]);
        let found = std::panic::catch_unwind(|| {
            let blocks = Blocks::of(length).unwrap();
            let file = File::options().read(true).write(true).open(&device).unwrap();
            let path = std::path::Path::new(&device);
            let store = Store::new(file.try_clone().unwrap(), path, path, blocks).unwrap();
            let content = vec![7; 3 * blocks.size()];
            store.write(&(1..4), &content).unwrap();
            store.sync().unwrap();
            let mark = |block| Mark { block, hash: hash(&content[..blocks.size()]), received: true };
            let mut batch = [3, 1, 2].map(mark);
            prove(&store, &mut batch, &mut store.buffer()).unwrap();

            let below = File::options().write(true).open(&backing).unwrap();
            below.write_all_at(b"x", 2 * blocks.block_bytes + 77).unwrap();
            let mut cached = [0];
            file.read_exact_at(&mut cached, 2 * blocks.block_bytes + 77).unwrap();
            assert_eq!(cached, [7], "the page cache is right");
            prove(&store, &mut batch, &mut store.buffer()).unwrap_err()
        });
        losetup(&["--detach", &device]);
        match found.unwrap() {
            TransferError::Mangled { offset, .. } => assert_eq!(offset, 2 * 65_536),
            other => panic!("{other}"),
        }
    }
}
