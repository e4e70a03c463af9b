//! The measuring client: pings a guest all the time and can say afterwards, for any stretch of time, what was lost
//! and how long the guest was silent. Main types: [`Pings`] while it goes on, [`Window`] for what came of it.
//!
//! It measures from outside, on one clock: the guest's own clock stands still while its vCPUs do.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use guest::echo::{EchoSocket, Heard};

use crate::limits::{PING_EVERY, PING_LOST_AFTER, PING_RECEIVE};
use crate::namespace::Namespace;

const ECHO_ID: u16 = 0x6c61;
/// Nice value of the measuring threads: a busy machine must not look like a silent guest.
pub(crate) const NICE: i32 = -15;

/// One echo request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// When it was sent.
    pub sent: Instant,
    /// When its first answer came.
    pub answered: Option<Instant>,
}

/// What happened between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Requests sent in it.
    pub sent: u64,
    /// Those of them that were not answered within [`PING_LOST_AFTER`].
    pub lost: u64,
    /// The longest time without any answer coming in.
    pub gap: Duration,
    /// The longest time between two requests: when it is much more than 10 ms, the client itself was held up and
    /// `gap` says less than it seems to.
    pub pause: Duration,
}

/// What the client heard so far.
#[derive(Debug, Default)]
struct Heardbook {
    echoes: Vec<Echo>,
    /// The highest number among the guest's own requests.
    request_last: Option<u64>,
    /// The guest's requests whose number was not higher than one before.
    requests_repeated: u64,
}

/// Pings that go on until stopped or dropped.
#[derive(Debug)]
pub struct Pings {
    book: Arc<Mutex<Heardbook>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Pings {
    /// Pings `target` from inside `namespace` every 10 ms from now on.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or without the right to open raw sockets.
    pub fn start(namespace: &Namespace, target: Ipv4Addr) -> Result<Pings> {
        // Others ping the client too, as when a cut is proved; their numbers are not the guest's.
        let socket =
            namespace.enter(|| EchoSocket::open(ECHO_ID)?.only(target))?.context("raw ICMP socket")?;
        let socket = Arc::new(socket);
        let book = Arc::new(Mutex::new(Heardbook::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        {
            let (socket, book, stop) = (Arc::clone(&socket), Arc::clone(&book), Arc::clone(&stop));
            threads.push(thread::spawn(move || {
                send(&socket, target, &book, &stop);
                Ok(())
            }));
        }
        {
            let (book, stop) = (Arc::clone(&book), Arc::clone(&stop));
            threads.push(thread::spawn(move || receive(&socket, &book, &stop)));
        }
        Ok(Pings { book, stop, threads })
    }

    /// What happened from `from` to `to`. Requests younger than [`PING_LOST_AFTER`] are waited for first.
    pub fn window(&self, from: Instant, to: Instant) -> Window {
        let settled = to + PING_LOST_AFTER;
        thread::sleep(settled.saturating_duration_since(Instant::now()));
        window(&self.lock().echoes, from, to)
    }

    /// Waits until an answer came to a request that was sent after now; `false` when none came in time.
    pub fn answered_within(&self, within: Duration) -> bool {
        let now = Instant::now();
        loop {
            let book = self.lock();
            let young = book.echoes.iter().rev().take_while(|echo| echo.sent >= now);
            if young.into_iter().any(|echo| echo.answered.is_some()) {
                return true;
            }
            drop(book);
            if now.elapsed() > within {
                return false;
            }
            thread::sleep(PING_EVERY);
        }
    }

    /// How many of the guest's own numbered requests came with a number that had been seen already. Two running
    /// copies of one guest send the same numbers, so anything but 0 is a second runner (or a second boot).
    pub fn requests_repeated(&self) -> u64 {
        self.lock().requests_repeated
    }

    /// The number of the guest's own requests heard last; `None` when it sent none.
    pub fn request_last(&self) -> Option<u64> {
        self.lock().request_last
    }

    /// Stops.
    ///
    /// # Errors
    /// What made the receiver give up early; then the figures are not to be trusted.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a measuring thread panicked"))??;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heardbook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send(socket: &EchoSocket, target: Ipv4Addr, book: &Mutex<Heardbook>, stop: &AtomicBool) {
    let hurried = rustix::process::setpriority_process(None, NICE);
    debug_assert!(hurried.is_ok(), "root may hurry: {hurried:?}");
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let number = {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book.echoes.push(Echo { sent: Instant::now(), answered: None });
            book.echoes.len() as u64 - 1
        };
        // One that cannot be sent is never answered: it counts as lost.
        let _ = socket.send(target, number);
        // A sender that was held up does not send in a burst what it missed.
        next = (next + PING_EVERY).max(Instant::now());
    }
}

fn receive(socket: &EchoSocket, book: &Mutex<Heardbook>, stop: &AtomicBool) -> Result<()> {
    let hurried = rustix::process::setpriority_process(None, NICE);
    debug_assert!(hurried.is_ok(), "root may hurry: {hurried:?}");
    while !stop.load(Ordering::Relaxed) {
        let heard = socket.receive(PING_RECEIVE).context("reading answers to pings")?;
        let now = Instant::now();
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        match heard {
            Some(Heard::Answer(number)) => {
                if let Some(echo) = book.echoes.get_mut(number as usize) {
                    echo.answered.get_or_insert(now);
                }
            }
            Some(Heard::Request(number)) => {
                if book.request_last.is_some_and(|last| number <= last) {
                    book.requests_repeated += 1;
                }
                book.request_last = book.request_last.max(Some(number));
            }
            None => {}
        }
    }
    Ok(())
}

/// Judges the echoes between two moments.
fn window(echoes: &[Echo], from: Instant, to: Instant) -> Window {
    let inside = |moment: &Instant| (from..=to).contains(moment);
    let mut window = Window::default();
    let sent: Vec<&Echo> = echoes.iter().filter(|echo| inside(&echo.sent)).collect();
    window.sent = sent.len() as u64;
    window.lost = sent
        .iter()
        .filter(|echo| echo.answered.is_none_or(|at| at.duration_since(echo.sent) > PING_LOST_AFTER))
        .count() as u64;
    (window.pause, _) = longest(sent.iter().map(|echo| echo.sent).collect(), from, to);
    (window.gap, _) =
        longest(echoes.iter().filter_map(|echo| echo.answered).filter(inside).collect(), from, to);
    window
}

/// The longest stretch of `from..to` without any of the moments, and when it begins.
pub(crate) fn longest(mut moments: Vec<Instant>, from: Instant, to: Instant) -> (Duration, Instant) {
    moments.extend([from, to]);
    moments.sort_unstable();
    let stretches = moments.windows(2).map(|pair| (pair[1].duration_since(pair[0]), pair[0]));
    stretches.max().unwrap_or((Duration::ZERO, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(echoes: &[(u64, Option<u64>)], from: u64, to: u64, expect: (u64, u64, u64)) {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let echoes: Vec<Echo> = echoes
            .iter()
            .map(|(sent, answered)| Echo { sent: at(*sent), answered: answered.map(at) })
            .collect();
        let seen = window(&echoes, at(from), at(to));
        assert_eq!((seen.sent, seen.lost, seen.gap.as_millis() as u64), expect, "{echoes:?}");
    }

    #[test]
    fn losses_and_gaps() {
        check(&[], 0, 500, (0, 0, 500));
        check(&[(0, Some(1)), (10, Some(11)), (20, Some(21))], 0, 21, (3, 0, 10));
        // Two lost: the gap reaches from answer to answer.
        check(&[(0, Some(1)), (10, None), (20, None), (30, Some(31))], 0, 31, (4, 2, 30));
        // All answered, all late: nothing is lost, and the silence shows all the same.
        check(&[(0, Some(100)), (10, Some(100)), (20, Some(100))], 0, 100, (3, 0, 100));
        // Only what lies in the window counts; later than a second is lost.
        check(&[(0, None), (10, Some(11)), (20, Some(1500))], 5, 100, (2, 1, 89));
    }
}
