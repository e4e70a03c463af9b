//! What all streams of a migration share: how much is compressed, how fast they may be, what they did. It decides none of
//! it. Main type: [`Line`].

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// zstd's levels that are used; higher ones want more memory than a block is worth.
const LEVEL_MAX: i32 = 19;

/// What all streams of a migration share.
#[derive(Debug)]
pub struct Line {
    level: AtomicI32,
    pace: Mutex<Pace>,
    read_bytes: AtomicU64,
    content_bytes: AtomicU64,
    wire_bytes: AtomicU64,
    waited_ns: AtomicU64,
    worked_ns: AtomicU64,
}

#[derive(Debug)]
struct Pace {
    bytes_per_s: u64,
    /// When all that was let through so far is through at this pace.
    free: Instant,
}

/// What a [`Line`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes read from originals.
    pub read_bytes: u64,
    /// Bytes of the blocks that were handed to the network, as they are without compression.
    pub content_bytes: u64,
    /// Bytes that were handed to the network for them.
    pub wire_bytes: u64,
    /// How long workers waited for the network, all added up. What the bandwidth's limit makes them wait is not in it.
    pub waited: Duration,
    /// How long workers read, hashed and compressed, all added up.
    pub worked: Duration,
}

impl Line {
    /// A line that takes `bytes_per_s` bytes per second on the wire, 0 for as many as it can, and compresses nothing.
    #[must_use]
    pub fn new(bytes_per_s: u64) -> Line {
        Line {
            level: AtomicI32::new(0),
            pace: Mutex::new(Pace { bytes_per_s, free: Instant::now() }),
            read_bytes: AtomicU64::new(0),
            content_bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            worked_ns: AtomicU64::new(0),
        }
    }

    /// Changes the limit, in bytes per second on the wire; 0 is without one.
    pub fn set_pace(&self, bytes_per_s: u64) {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).bytes_per_s = bytes_per_s;
    }

    /// zstd's level from now on, 1 to 19; 0 does not compress.
    pub fn set_level(&self, level: i32) {
        self.level.store(level.clamp(0, LEVEL_MAX), Relaxed);
    }

    /// zstd's level; 0 does not compress.
    #[must_use]
    pub fn level(&self) -> i32 {
        self.level.load(Relaxed)
    }

    /// What was done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            read_bytes: self.read_bytes.load(Relaxed),
            content_bytes: self.content_bytes.load(Relaxed),
            wire_bytes: self.wire_bytes.load(Relaxed),
            waited: Duration::from_nanos(self.waited_ns.load(Relaxed)),
            worked: Duration::from_nanos(self.worked_ns.load(Relaxed)),
        }
    }

    pub(super) fn add_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn add_sent(&self, content_bytes: u64, wire_bytes: u64) {
        self.content_bytes.fetch_add(content_bytes, Relaxed);
        self.wire_bytes.fetch_add(wire_bytes, Relaxed);
    }

    pub(super) fn add_times(&self, worked: Duration, waited: Duration) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.worked_ns.fetch_add(ns(worked), Relaxed);
        self.waited_ns.fetch_add(ns(waited), Relaxed);
    }

    /// Makes room for `bytes` more at this pace: how long to wait before they go.
    pub(super) fn pause(&self, bytes: u64) -> Duration {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.pause(bytes, Instant::now())
    }
}

impl Pace {
    fn pause(&mut self, bytes: u64, now: Instant) -> Duration {
        if self.bytes_per_s == 0 {
            return Duration::ZERO;
        }
        let begin = self.free.max(now);
        self.free = begin + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_and_saves_nothing_up() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace { bytes_per_s: 1000, free: now };
        assert_eq!(pace.pause(500, now), Duration::ZERO);
        assert_eq!(pace.pause(500, now), second / 2);
        assert_eq!(pace.pause(1000, now), second);
        assert_eq!(pace.pause(1000, now + second * 10), Duration::ZERO, "idle time is lost");
        assert_eq!(pace.pause(1000, now + second * 10), second);
        pace.bytes_per_s = 0;
        assert_eq!(pace.pause(1 << 40, now), Duration::ZERO);
    }
}
