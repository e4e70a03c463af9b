//! The client's ear for a guest's beats (`guest::beat`): how long the guest was silent, and how much it worked, for any
//! stretch of time, on the client's clock. Main types: [`Beats`] while it listens, [`Rhythm`] for what came of it.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::guest::beat::{self, BEAT_BYTES, Beat};
use anyhow::{Context, Result, anyhow};

use crate::client::{NICE, longest};
use crate::limits::{LOOK, PING_RECEIVE};
use crate::namespace::Namespace;

/// What was heard between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Beats that came in.
    pub heard: u64,
    /// The longest time without any: a blackout, as others see it.
    pub gap: Duration,
    /// When that began.
    pub gap_from: Instant,
    /// Pages that the guest changed from the first beat to the last.
    pub pages_changed: u64,
}

/// Listens until stopped or dropped.
#[derive(Debug)]
pub struct Beats {
    heard: Arc<Mutex<Vec<(Instant, Beat)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Beats {
    /// Listens inside `namespace` for the beats of the guest with this address.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or somebody listens there already.
    pub fn start(namespace: &Namespace, guest: Ipv4Addr) -> Result<Beats> {
        let socket = namespace.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, beat::port(guest))))??;
        socket.set_read_timeout(Some(PING_RECEIVE))?;
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (heard, stop) = (Arc::clone(&heard), Arc::clone(&stop));
            thread::spawn(move || listen(&socket, guest, &heard, &stop))
        };
        Ok(Beats { heard, stop, thread: Some(thread) })
    }

    /// What was heard from `from` to `to`.
    pub fn rhythm(&self, from: Instant, to: Instant) -> Rhythm {
        rhythm(&self.lock(), from, to)
    }

    /// Waits until a beat comes; `false` when none came in time.
    pub fn heard_within(&self, within: Duration) -> bool {
        let began = Instant::now();
        loop {
            if self.lock().last().is_some_and(|(at, _)| *at >= began) {
                return true;
            }
            if began.elapsed() > within {
                return false;
            }
            thread::sleep(LOOK);
        }
    }

    /// Stops.
    ///
    /// # Errors
    /// What made it give up early; then the figures are not to be trusted.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the listening thread panicked"))?,
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Beat)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its port is free for the next one after this; whoever asks how it went calls stop().
            let _ = thread.join();
        }
    }
}

fn listen(
    socket: &UdpSocket,
    guest: Ipv4Addr,
    heard: &Mutex<Vec<(Instant, Beat)>>,
    stop: &AtomicBool,
) -> Result<()> {
    let hurried = rustix::process::setpriority_process(None, NICE);
    debug_assert!(hurried.is_ok(), "root may hurry: {hurried:?}");
    let mut packet = [0; BEAT_BYTES + 1];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut packet) {
            Ok((length, sender)) if sender.ip() == guest => {
                let now = Instant::now();
                if let Some(beat) = Beat::from_bytes(&packet[..length]) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push((now, beat));
                }
            }
            // Nobody else sends here.
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("listening for beats"),
        }
    }
    Ok(())
}

fn rhythm(heard: &[(Instant, Beat)], from: Instant, to: Instant) -> Rhythm {
    let inside: Vec<&(Instant, Beat)> = heard.iter().filter(|(at, _)| (from..=to).contains(at)).collect();
    let pages = |beat: Option<&&(Instant, Beat)>| beat.map_or(0, |(_, beat)| beat.pages_changed);
    let (gap, gap_from) = longest(inside.iter().map(|(at, _)| *at).collect(), from, to);
    Rhythm {
        heard: inside.len() as u64,
        gap,
        gap_from,
        pages_changed: pages(inside.last()).saturating_sub(pages(inside.first())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_work_are_seen() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let heard: Vec<(Instant, Beat)> = [(0, 10), (2, 20), (4, 30), (54, 31), (56, 40)]
            .into_iter()
            .enumerate()
            .map(|(number, (ms, pages_changed))| (at(ms), Beat { number: number as u64, pages_changed }))
            .collect();
        let check = |from, to, expect: (u64, [u64; 2], u64)| {
            let seen = rhythm(&heard, at(from), at(to));
            let gap = [seen.gap_from - zero, seen.gap].map(|time| time.as_millis() as u64);
            assert_eq!((seen.heard, gap, seen.pages_changed), expect);
        };
        check(0, 56, (5, [4, 50], 30));
        check(1, 10, (2, [4, 6], 10));
        check(5, 50, (0, [5, 45], 0));
    }
}
