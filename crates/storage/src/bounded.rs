//! A blocking file operation with a time-out. It never interrupts the operation, because nothing can: a
//! thread in a system call on a dead hard mount cannot even be killed. The main function is [`run`].
//!
//! Each operation has a thread of its own and not one of tokio's blocking pool: a runtime that shuts down
//! waits for that pool, and would wait for the dead mount. An operation that took too long is left behind
//! and *may still take effect later*; its thread ends when the mount comes back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::limits::FILE_OPERATIONS_MAX;

static OPERATIONS: Semaphore = Semaphore::const_new(FILE_OPERATIONS_MAX);

/// Whose turn it is in a directory.
type Turn = Arc<tokio::sync::Mutex<()>>;

static TURNS: Mutex<BTreeMap<PathBuf, Weak<tokio::sync::Mutex<()>>>> = Mutex::new(BTreeMap::new());

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum NoResult {
    /// The time is over.
    TimedOut,
    /// The system gave no thread.
    NoThread(io::Error),
}

/// Runs `operation` on a thread of its own, and waits for it for `within` at most.
///
/// # Panics
/// As `operation` does.
pub(crate) async fn run<T: Send + 'static>(
    within: Duration,
    operation: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoResult> {
    let bounded = tokio::time::timeout(within, async {
        let permit = OPERATIONS.acquire().await.expect("this semaphore is never closed");
        let (done, result) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("file-operation".to_owned())
            .spawn(move || {
                let value = operation();
                drop(permit);
                // Nobody waits any more if the time was over: the value is dropped here.
                let _ = done.send(value);
            })
            .map_err(NoResult::NoThread)?;
        match result.await {
            Ok(value) => Ok(value),
            // The sender is dropped unused only by a panic.
            Err(_) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("a thread that ends in order has sent its value"),
            },
        }
    });
    bounded.await.unwrap_or(Err(NoResult::TimedOut))
}

/// As [`run`], but one operation after the other in each directory: of all who ask again and again about a mount that is
/// dead, it swallows one thread.
///
/// # Panics
/// As `operation` does.
pub(crate) async fn run_in_turn<T: Send + 'static>(
    directory: &Path,
    within: Duration,
    operation: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoResult> {
    let until = Instant::now() + within;
    let Ok(turn) = timeout_at(until, turn(directory).lock_owned()).await else {
        return Err(NoResult::TimedOut);
    };
    let in_turn = move || {
        let value = operation();
        drop(turn);
        value
    };
    run(until.saturating_duration_since(Instant::now()), in_turn).await
}

fn turn(directory: &Path) -> Turn {
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.retain(|_, turn| turn.strong_count() > 0);
    if let Some(turn) = turns.get(directory).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Turn::default();
    turns.insert(directory.to_owned(), Arc::downgrade(&turn));
    turn
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_value_comes_back() {
        assert_eq!(run(Duration::from_secs(60), || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_hanging_operation_is_left_behind_and_others_go_on() {
        let (release, hang) = mpsc::channel::<()>();
        let hung = run(Duration::from_millis(20), move || hang.recv()).await;
        assert!(matches!(hung, Err(NoResult::TimedOut)), "{hung:?}");
        assert_eq!(run(Duration::from_secs(60), || 7).await.unwrap(), 7);
        drop(release);
    }

    #[tokio::test]
    async fn a_dead_directory_swallows_one_operation_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let (release, hang) = mpsc::channel::<()>();
        let hung = run_in_turn(directory.path(), Duration::from_millis(20), move || hang.recv()).await;
        assert!(matches!(hung, Err(NoResult::TimedOut)), "{hung:?}");
        let (begun, is_begun) = mpsc::channel();
        let second = run_in_turn(directory.path(), Duration::from_millis(20), move || begun.send(())).await;
        assert!(matches!(second, Err(NoResult::TimedOut)), "{second:?}");
        assert!(is_begun.try_recv().is_err(), "a second thread hangs");
        let elsewhere = directory.path().join("elsewhere");
        assert_eq!(run_in_turn(&elsewhere, Duration::from_secs(60), || 7).await.unwrap(), 7);
        drop(release);
        assert_eq!(run_in_turn(directory.path(), Duration::from_secs(60), || 7).await.unwrap(), 7);
    }

    #[test]
    fn a_runtime_ends_although_an_operation_hangs() {
        let (release, hang) = mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let hung = runtime.block_on(run(Duration::from_millis(20), move || hang.recv()));
        assert!(matches!(hung, Err(NoResult::TimedOut)), "{hung:?}");
        drop(runtime);
        drop(release);
    }

    #[tokio::test]
    #[should_panic(expected = "broken")]
    async fn a_panic_comes_back() {
        let _ = run(Duration::from_secs(60), || panic!("broken")).await;
    }
}
