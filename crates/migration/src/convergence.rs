//! How a live migration comes to its end. What each round left is judged: while rounds leave less and less, nothing is done;
//! when they do not, the next means is taken, and when there is none left, the migration ends all the same. Pure: figures in,
//! decisions out, the time is an argument. Main type: [`Policy`].
//!
//! ```text
//! rounds leave less ──► nothing
//! they do not ────────► a longer blackout, up to its bound ──► a slower guest, up to its bound ──► stuck: keep, or suspend
//! deadline ───────────────────────────────────────────────────────────────────────────────────────►  ┘
//! nothing goes over ──► keep
//! ```
//!
//! A round is a *pass* of QEMU: it looks which pages are dirty, and where these can go over within the `downtime-limit` it stops
//! the guest. So a saw tooth needs no aim of its own: a limit that the best of the last rounds would have met is met at the next
//! local minimum.

mod words;

use std::collections::VecDeque;
use std::time::Duration;

use api::{Decided, Decision, OnStuck, Reason, Settings};

use crate::limits::STALLED_AFTER;

pub use words::{sentence, stuck};

/// Rounds in which only a quarter of the wished blackout is given to memory.
const ROUNDS_AT_A_QUARTER: u64 = 4;
/// Rounds after those in which it is a half; from then on memory may take all of it.
const ROUNDS_AT_A_HALF: u64 = 2;
/// What a round leaves must be smaller by this than the least that was left before, or it is no progress. Less than that in
/// several rounds adds up: they are held against the same.
const PROGRESS: f64 = 0.95;
/// Rounds without progress until the next means is taken.
const ROUNDS_PATIENT: u32 = 2;
/// The same after a limit that one of the last rounds would have met: so long the next minimum is waited for.
const ROUNDS_TO_MINIMUM: u32 = 4;
/// Rounds of which the least is remembered.
const ROUNDS_REMEMBERED: usize = 8;
/// Rounds that QEMU has to apply a throttle: it does so at every second one that lasted longer than a second.
const ROUNDS_TO_THROTTLE: u32 = 6;
/// Shorter rounds are judged together: QEMU itself looks at its rate, and at a new limit, this often (`BUFFER_DELAY`).
const JUDGED_EVERY: Duration = Duration::from_millis(100);
/// A limit is longer than what it is to be enough for by this factor.
const MARGIN: f64 = 1.25;
/// A throttled guest is to write so much of what goes over: each round then leaves half of what the one before left.
const AIM: f64 = 0.5;
/// Rounds that find pages in QEMU's cache of what it sent: the first fills nothing, the second fills it.
const ROUND_FIRST_COMPRESSED: u64 = 3;
/// Pages that go over faster than the network's bytes by this factor are compressed.
const COMPRESSED: f64 = 1.5;
/// So much of the rate at which compressed pages went over is reckoned with for the blackout: those that are not in the cache go
/// over whole.
const CAUTION: f64 = 0.7;
/// A rate that differs by less than this factor from what QEMU was told is not told again.
const SAME_RATE: f64 = 1.5;
/// Smallest cache for page differences that is worth having where the guest's memory does not fit.
const XBZRLE_BYTES_MIN: u64 = 64 << 20;
/// A cache for page differences takes at most this part of the memory that its host has to spare.
const XBZRLE_PART_OF_AVAILABLE: u64 = 4;

/// What a migration may do to come to an end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowed {
    /// The blackout that is wished, in milliseconds.
    pub blackout_ms: u64,
    /// The blackout that is borne where the wished one cannot be had, in milliseconds.
    pub blackout_bound_ms: u64,
    /// Send only what has changed of a page.
    pub xbzrle: bool,
    /// How much of its time may be taken from the guest, in per cent.
    pub throttle_percent_max: u8,
    /// How long memory may go over before the migration counts as stuck.
    pub deadline: Option<Duration>,
    /// Let the guest go on on the target before all is there.
    pub postcopy: bool,
}

impl Allowed {
    /// The longest blackout that is borne, in milliseconds.
    #[must_use]
    pub fn bound_ms(&self) -> u64 {
        self.blackout_bound_ms.max(self.blackout_ms).max(1)
    }
}

/// What is seen when a round begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Which, counted from 1.
    pub round: u64,
    /// Time since memory began to go over.
    pub elapsed: Duration,
    /// Bytes of pages that are dirty now.
    pub left_bytes: u64,
    /// Bytes that went over the network so far.
    pub sent_bytes: u64,
    /// Bytes of the pages that went over so far, those that are zero left out. More than `sent_bytes` where they were compressed.
    pub pages_bytes: u64,
    /// How fast the guest dirties memory, in bytes per second; 0 where that is not known.
    pub dirty_bytes_per_s: u64,
    /// How much the guest is throttled, in per cent.
    pub throttle_percent: u8,
}

/// QEMU's `downtime-limit` in milliseconds for a round, counted from 1, and the blackout wished.
///
/// QEMU holds only the memory that is left against its limit, at the bandwidth that it saw last. Device state, the last
/// synchronisation and encryption come on top, so a limit as long as the wish gives a blackout of about twice the wish.
/// The first rounds therefore ask for less. A guest that keeps too much memory dirty for that gets the whole wish later:
/// it is not kept waiting for a shorter blackout than was wished.
#[must_use]
pub fn downtime_limit_ms(wish_ms: u64, round: u64) -> u64 {
    let limit_ms = if round <= ROUNDS_AT_A_QUARTER {
        wish_ms / 4
    } else if round <= ROUNDS_AT_A_QUARTER + ROUNDS_AT_A_HALF {
        wish_ms / 2
    } else {
        wish_ms
    };
    limit_ms.clamp(1, wish_ms.max(1))
}

/// Size of QEMU's cache for page differences (`xbzrle-cache-size`), a power of two; none where it would be too small to help.
///
/// Each page has one place in it. As large as the guest's memory no two pages share one; memory is taken only for pages that are
/// sent a second time.
#[must_use]
pub fn xbzrle_cache_bytes(memory_bytes: u64, available_bytes: u64) -> Option<u64> {
    let whole = memory_bytes.checked_next_power_of_two()?;
    let spare = available_bytes / XBZRLE_PART_OF_AVAILABLE;
    let most = spare.checked_ilog2().map_or(0, |bits| 1 << bits);
    (most >= whole.min(XBZRLE_BYTES_MIN)).then_some(whole.min(most))
}

/// Where a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Going,
    /// The guest stands still until all is over.
    Suspended,
    Kept,
}

/// What QEMU was told last.
#[derive(Debug, Clone, Copy)]
struct Told {
    blackout_ms: u64,
    throttle_percent: u8,
    switchover_bytes_per_s: u64,
}

/// What had gone over at a time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    elapsed: Duration,
    sent_bytes: u64,
    pages_bytes: u64,
}

/// Bytes per second, of late.
#[derive(Debug, Clone, Copy)]
struct Rates {
    sent: f64,
    pages: f64,
}

/// Decides about one migration.
#[derive(Debug)]
pub struct Policy {
    allowed: Allowed,
    on_stuck: OnStuck,
    standing: Standing,
    told: Told,
    /// What rounds without progress, or somebody's word, have raised the limit to; 0 as long as neither has.
    raised_ms: u64,
    marks: VecDeque<Mark>,
    /// What the last rounds left, since the guest was slowed down last.
    lefts: VecDeque<u64>,
    /// The least that rounds since the last judgement left.
    least: u64,
    judged_at: Duration,
    /// The least that was left, as of the last progress.
    best: u64,
    /// Rounds since then, and how many there may be.
    idle: u32,
    patience: u32,
    /// Rounds in which the last throttle was not seen yet.
    unthrottled: u32,
    /// Bytes that had gone over when more did last, and when that was.
    moved: (u64, Duration),
}

impl Policy {
    /// For a migration whose memory begins to go over now, with the limit of its first round.
    #[must_use]
    pub fn new(allowed: Allowed, on_stuck: OnStuck) -> Policy {
        let start = Mark { elapsed: Duration::ZERO, sent_bytes: 0, pages_bytes: 0 };
        Policy {
            allowed,
            on_stuck,
            standing: Standing::Going,
            told: Told {
                blackout_ms: downtime_limit_ms(allowed.blackout_ms, 1),
                throttle_percent: 0,
                switchover_bytes_per_s: 0,
            },
            raised_ms: 0,
            marks: VecDeque::from([start]),
            lefts: VecDeque::new(),
            least: u64::MAX,
            judged_at: Duration::ZERO,
            best: u64::MAX,
            idle: 0,
            patience: ROUNDS_PATIENT,
            unthrottled: 0,
            moved: (0, Duration::ZERO),
        }
    }

    /// The limit that QEMU has, in milliseconds.
    #[must_use]
    pub fn blackout_ms(&self) -> u64 {
        self.told.blackout_ms
    }

    /// A round begins.
    pub fn round(&mut self, seen: &Round) -> Vec<Decided> {
        let mut decided = self.tick(seen.round, seen.elapsed, seen.sent_bytes);
        if self.standing != Standing::Going {
            return decided;
        }
        let mut decide = |decision, reason| decided.push(at(seen.round, seen.elapsed, decision, reason));
        if let Some(rates) = self.rates(seen) {
            if seen.round > ROUND_FIRST_COMPRESSED
                && let Some((decision, reason)) = self.switchover_bandwidth(rates)
            {
                decide(decision, reason);
            }
            if let Some((decision, reason)) = self.judge(seen, rates) {
                decide(decision, reason);
            }
        }
        let limit_ms = self.raised_ms.max(downtime_limit_ms(self.allowed.blackout_ms, seen.round));
        if self.standing == Standing::Going
            && let Some(decision) = self.limit(limit_ms)
        {
            decide(decision, Reason::Rounds);
        }
        decided
    }

    /// Time has passed in a round.
    pub fn tick(&mut self, round: u64, elapsed: Duration, sent_bytes: u64) -> Vec<Decided> {
        if sent_bytes != self.moved.0 {
            self.moved = (sent_bytes, elapsed);
        }
        let still = elapsed.saturating_sub(self.moved.1);
        let decided = match (self.standing, self.allowed.deadline) {
            (Standing::Kept, _) => None,
            (Standing::Going | Standing::Suspended, _) if still >= STALLED_AFTER => {
                self.standing = Standing::Kept;
                Some((Decision::Keep, Reason::Stalled { seconds: still.as_secs() }))
            }
            (Standing::Going, Some(deadline)) if elapsed >= deadline => {
                Some((self.stuck(), Reason::Deadline { seconds: deadline.as_secs() }))
            }
            (Standing::Going | Standing::Suspended, _) => None,
        };
        decided.into_iter().map(|(decision, reason)| at(round, elapsed, decision, reason)).collect()
    }

    /// Somebody changes what is allowed.
    pub fn set(&mut self, settings: &Settings, round: u64, elapsed: Duration) -> Vec<Decided> {
        let mut decided = Vec::new();
        if let Some(blackout_ms) = settings.blackout_ms_max {
            let blackout_ms = blackout_ms.max(1);
            self.allowed.blackout_ms = blackout_ms;
            self.allowed.blackout_bound_ms = self.allowed.blackout_bound_ms.max(blackout_ms);
            self.raised_ms = blackout_ms;
            decided.extend(self.limit(blackout_ms));
        }
        if let Some(percent) = settings.throttle_percent_max {
            self.allowed.throttle_percent_max = percent;
            if self.told.throttle_percent > percent {
                self.told.throttle_percent = percent;
                decided.push(Decision::Throttle { percent });
            }
        }
        decided.into_iter().map(|decision| at(round, elapsed, decision, Reason::Asked)).collect()
    }

    /// Somebody wants the end now: the guest is paused, and what is left goes over. Nothing where it stands already.
    pub fn suspend(&mut self, round: u64, elapsed: Duration) -> Option<Decided> {
        if self.standing != Standing::Going {
            return None;
        }
        self.standing = Standing::Suspended;
        Some(at(round, elapsed, Decision::Suspend, Reason::Asked))
    }

    fn limit(&mut self, ms: u64) -> Option<Decision> {
        if ms == self.told.blackout_ms {
            return None;
        }
        self.told.blackout_ms = ms;
        Some(Decision::Blackout { ms })
    }

    /// Rates since the newest mark that is old enough; none before there is one.
    fn rates(&mut self, seen: &Round) -> Option<Rates> {
        let old = |mark: &Mark| seen.elapsed.saturating_sub(mark.elapsed) >= JUDGED_EVERY;
        while self.marks.get(1).is_some_and(old) {
            self.marks.pop_front();
        }
        let since = *self.marks.front().filter(|mark| old(mark))?;
        let Round { elapsed, sent_bytes, pages_bytes, .. } = *seen;
        self.marks.push_back(Mark { elapsed, sent_bytes, pages_bytes });
        let seconds = (elapsed - since.elapsed).as_secs_f64();
        let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds).max(1.0);
        Some(Rates { sent: rate(sent_bytes, since.sent_bytes), pages: rate(pages_bytes, since.pages_bytes) })
    }

    /// QEMU holds bytes of whole pages against the bytes per second that it sees on the network. Where pages are compressed it
    /// sees few, though many pages go over, and would wait for ever for a round as short as it thinks it needs.
    fn switchover_bandwidth(&mut self, rates: Rates) -> Option<(Decision, Reason)> {
        let compressed = self.allowed.xbzrle && rates.pages > rates.sent * COMPRESSED;
        let bytes_per_s = if compressed { (rates.pages * CAUTION) as u64 } else { 0 };
        let told = self.told.switchover_bytes_per_s;
        let (low, high) = (told.min(bytes_per_s) as f64, told.max(bytes_per_s) as f64);
        if high <= low * SAME_RATE {
            return None;
        }
        self.told.switchover_bytes_per_s = bytes_per_s;
        let reason = if compressed { Reason::Compressed } else { Reason::Uncompressed };
        Some((Decision::SwitchoverBandwidth { bytes_per_s }, reason))
    }

    fn judge(&mut self, seen: &Round, rates: Rates) -> Option<(Decision, Reason)> {
        if seen.round < 2 {
            // All memory is left: that is no round's doing.
            return None;
        }
        self.least = self.least.min(seen.left_bytes);
        if seen.elapsed.saturating_sub(self.judged_at) < JUDGED_EVERY {
            return None;
        }
        self.judged_at = seen.elapsed;
        let left = std::mem::replace(&mut self.least, u64::MAX);
        if seen.throttle_percent < self.told.throttle_percent && self.unthrottled < ROUNDS_TO_THROTTLE {
            self.unthrottled += 1;
            return None;
        }
        self.lefts.push_back(left);
        if self.lefts.len() > ROUNDS_REMEMBERED {
            self.lefts.pop_front();
        }
        if left as f64 <= self.best as f64 * PROGRESS {
            (self.best, self.idle) = (left, 0);
            return None;
        }
        self.idle += 1;
        if self.idle < self.patience {
            return None;
        }
        self.idle = 0;
        Some(self.take_next(seen, rates))
    }

    /// Takes the next means that is allowed.
    fn take_next(&mut self, seen: &Round, rates: Rates) -> (Decision, Reason) {
        let left_bytes = self.lefts.iter().copied().min().unwrap_or(seen.left_bytes);
        let needed_ms = left_bytes as f64 * 1000.0 / rates.pages;
        let blackout_ms = needed_ms.ceil() as u64;
        let reason = Reason::NoProgress { left_bytes, blackout_ms };
        let bound_ms = self.allowed.bound_ms();
        if self.told.blackout_ms < bound_ms {
            let enough_ms = (needed_ms * MARGIN).ceil() as u64;
            let step_ms = if self.told.blackout_ms < self.allowed.blackout_ms {
                self.allowed.blackout_ms
            } else {
                self.told.blackout_ms * 2
            };
            // What the bound itself is not enough for comes down to it only once the guest writes less: no use in steps.
            let next_ms = if enough_ms > bound_ms { bound_ms } else { enough_ms.max(step_ms).min(bound_ms) };
            self.patience = if enough_ms > bound_ms { 1 } else { ROUNDS_TO_MINIMUM };
            self.raised_ms = next_ms;
            self.told.blackout_ms = next_ms;
            return (Decision::Blackout { ms: next_ms }, reason);
        }
        let (now, most) = (self.told.throttle_percent, self.allowed.throttle_percent_max);
        if now < most {
            let left_to_guest = 1.0 - f64::from(now) / 100.0;
            let dirty = seen.dirty_bytes_per_s.max(1) as f64;
            let wanted = ((1.0 - left_to_guest * AIM * rates.pages / dirty) * 100.0).clamp(0.0, 99.0).round();
            // A page that is written often counts once a round, so the guest may write far faster than that shows: at least half
            // of the time that it has left is taken.
            let percent = (wanted as u8).max(now + (100 - now).div_ceil(2)).min(most);
            self.told.throttle_percent = percent;
            // The round in which QEMU applies it has left what the guest wrote before; the next one shows what it does.
            self.patience = if percent < most { 1 } else { ROUNDS_PATIENT };
            // A slower guest leaves other amounts: they are held against each other only.
            (self.best, self.unthrottled) = (u64::MAX, 0);
            self.lefts.clear();
            return (Decision::Throttle { percent }, reason);
        }
        let exhausted = Reason::Exhausted {
            left_bytes,
            blackout_ms,
            dirty_bytes_per_s: seen.dirty_bytes_per_s,
            rate_bytes_per_s: rates.pages as u64,
        };
        (self.stuck(), exhausted)
    }

    fn stuck(&mut self) -> Decision {
        match self.on_stuck {
            OnStuck::Keep => {
                self.standing = Standing::Kept;
                Decision::Keep
            }
            OnStuck::Suspend => {
                self.standing = Standing::Suspended;
                Decision::Suspend
            }
        }
    }
}

fn at(round: u64, elapsed: Duration, decision: Decision, reason: Reason) -> Decided {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Decided { round, elapsed_ms, decision, reason }
}

#[cfg(test)]
mod tests;
