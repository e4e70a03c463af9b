//! Rounds over a guest's memory, reckoned ahead. Each sends what was written during the one before, so it is as long as that was
//! large; it ends when what is left fits the blackout, or never. Main function: [`reckon`].

use api::Mean;

use super::writes::Writes;
use crate::convergence::downtime_limit_ms;
use crate::limits::PLAN_ROUNDS_MAX;

/// A guest that is to move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guest {
    /// Its memory in bytes.
    pub memory_bytes: f64,
    /// So much of it is not zero: the first round sends that.
    pub used_bytes: f64,
    /// How it writes.
    pub writes: Writes,
    /// What is left of a page if only what has changed is sent, as a share of it.
    pub delta: f64,
}

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
    /// Let the guest go on on the target before all is there.
    pub postcopy: bool,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Whether it comes to an end.
    pub converges: bool,
    /// By what, besides rounds.
    pub by: Vec<Mean>,
    /// How long, in seconds, without what comes before the first byte.
    pub seconds: f64,
    /// Bytes sent.
    pub bytes: f64,
    /// Rounds, the last one counted.
    pub rounds: u64,
    /// Time in which the guest stands still for memory, in seconds.
    pub blackout_s: f64,
}

/// Bytes that QEMU writes before each page: its address and its block.
const PAGE_HEADER_BYTES: f64 = 8.0;
/// Bytes that go over for a page that is zero.
const ZERO_PAGE_BYTES: f64 = 9.0;
/// Bytes of a page.
const PAGE_BYTES: f64 = 4096.0;
/// Bytes of zero pages that QEMU looks through in a second.
const ZERO_BYTES_PER_S: f64 = 6e9;
/// What a round leaves must be smaller by this than what it was given, or it does not count as progress.
const PROGRESS: f64 = 0.9;
/// Rounds without progress until the next means is taken.
const ROUNDS_PATIENT: u32 = 2;
/// Steps in which a guest is slowed down, in per cent of its time.
const THROTTLE_STEP_PERCENT: u8 = 10;

/// Reckons ahead how a guest's memory goes over a link of so many bytes per second.
#[must_use]
pub fn reckon(guest: &Guest, link_bytes_per_s: f64, allowed: &Allowed) -> Course {
    let mut going = Going {
        allowed,
        blackout_ms: allowed.blackout_ms,
        throttle_percent: 0,
        stuck: 0,
        course: Course {
            converges: false,
            by: Vec::new(),
            seconds: 0.0,
            bytes: 0.0,
            rounds: 0,
            blackout_s: 0.0,
        },
    };
    let link = link_bytes_per_s.max(1.0);
    let zero_bytes = (guest.memory_bytes - guest.used_bytes).max(0.0);
    going.course.seconds = zero_bytes / ZERO_BYTES_PER_S;
    going.course.bytes = zero_bytes / PAGE_BYTES * ZERO_PAGE_BYTES;
    let (mut left, mut share) = (guest.used_bytes, 1.0);
    while going.course.rounds < PLAN_ROUNDS_MAX {
        let round_s = going.send(left * share, link);
        share = if allowed.xbzrle { guest.delta } else { 1.0 };
        let next = guest.writes.slowed(f64::from(going.throttle_percent) / 100.0).within(round_s);
        let last_s = next * share / link;
        if last_s * 1000.0 <= going.limit_ms() {
            if share < 1.0 && next > 0.0 && next / link * 1000.0 > going.limit_ms() {
                going.course.by.insert(0, Mean::Xbzrle);
            }
            going.course.blackout_s = going.send(next * share, link);
            going.course.converges = true;
            return going.course;
        }
        going.stuck = if next > left * PROGRESS { going.stuck + 1 } else { 0 };
        left = next;
        if going.stuck >= ROUNDS_PATIENT && !going.take_next() {
            break;
        }
        if going.course.by.last() == Some(&Mean::Postcopy) {
            // The guest goes on at once; what is left follows it.
            going.send(left, link);
            going.course.converges = true;
            return going.course;
        }
    }
    going.course
}

/// A course that is being reckoned.
struct Going<'a> {
    allowed: &'a Allowed,
    /// The blackout that is borne now.
    blackout_ms: u64,
    throttle_percent: u8,
    /// Rounds without progress since the last means was taken.
    stuck: u32,
    course: Course,
}

impl Going<'_> {
    /// A round that sends so many bytes of pages, and how long it takes.
    fn send(&mut self, bytes: f64, link: f64) -> f64 {
        let sent = bytes * (1.0 + PAGE_HEADER_BYTES / PAGE_BYTES);
        let seconds = sent / link;
        self.course.rounds += 1;
        self.course.bytes += sent;
        self.course.seconds += seconds;
        seconds
    }

    /// How long memory may take in the blackout, after the rounds so far.
    fn limit_ms(&self) -> f64 {
        downtime_limit_ms(self.blackout_ms, self.course.rounds) as f64
    }

    /// Takes the next means that is allowed; whether there is one. It is given time to show.
    fn take_next(&mut self) -> bool {
        let mean = if downtime_limit_ms(self.blackout_ms, self.course.rounds) < self.blackout_ms {
            // The wish itself has not been given wholly yet.
            return true;
        } else if self.blackout_ms < self.allowed.blackout_bound_ms {
            self.blackout_ms = (self.blackout_ms * 2).min(self.allowed.blackout_bound_ms);
            Mean::LongerBlackout
        } else if self.throttle_percent < self.allowed.throttle_percent_max {
            let next = self.throttle_percent.saturating_add(THROTTLE_STEP_PERCENT);
            self.throttle_percent = next.min(self.allowed.throttle_percent_max);
            Mean::Throttle
        } else if self.allowed.postcopy {
            Mean::Postcopy
        } else {
            return false;
        };
        if !self.course.by.contains(&mean) {
            self.course.by.push(mean);
        }
        self.stuck = ROUNDS_PATIENT - 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowed, Guest, reckon};
    use crate::plan::writes::Writes;
    use api::Mean;
    use proptest::prelude::*;

    const MIB: f64 = 1_048_576.0;
    const GIGABIT: f64 = 118e6;
    const PLAIN: Allowed = Allowed {
        blackout_ms: 30,
        blackout_bound_ms: 30,
        xbzrle: false,
        throttle_percent_max: 0,
        postcopy: false,
    };

    fn guest(rate_mib: f64, set_mib: f64) -> Guest {
        let writes = Writes { bytes_per_s: rate_mib * MIB, set_bytes: set_mib * MIB };
        Guest { memory_bytes: 1024.0 * MIB, used_bytes: 400.0 * MIB, writes, delta: 1.0 }
    }

    #[track_caller]
    fn check(guest: &Guest, allowed: &Allowed, converges: bool, by: &[Mean]) {
        let course = reckon(guest, GIGABIT, allowed);
        assert_eq!((course.converges, course.by.as_slice()), (converges, by), "{course:?}");
    }

    #[test]
    fn a_guest_that_rests_is_sent_once() {
        let course = reckon(&guest(0.0, 0.0), GIGABIT, &PLAIN);
        assert!(course.converges && course.rounds == 2 && course.by.is_empty(), "{course:?}");
        assert!((3.5..3.9).contains(&course.seconds), "{course:?}");
        assert_eq!(course.blackout_s, 0.0);
    }

    #[test]
    fn a_guest_that_writes_slower_than_the_link_comes_over() {
        check(&guest(50.0, 200.0), &PLAIN, true, &[]);
        // Faster than the link, and all of it fits the blackout.
        check(&guest(1000.0, 2.0), &PLAIN, true, &[]);
    }

    #[test]
    fn one_that_writes_faster_needs_a_means() {
        let busy = guest(160.0, 200.0);
        check(&busy, &PLAIN, false, &[]);
        check(&Guest { delta: 0.01, ..busy }, &Allowed { xbzrle: true, ..PLAIN }, true, &[Mean::Xbzrle]);
        check(&busy, &Allowed { xbzrle: true, ..PLAIN }, false, &[]);
        check(&busy, &Allowed { blackout_bound_ms: 5000, ..PLAIN }, true, &[Mean::LongerBlackout]);
        check(&busy, &Allowed { throttle_percent_max: 99, ..PLAIN }, true, &[Mean::Throttle]);
        check(&busy, &Allowed { throttle_percent_max: 10, ..PLAIN }, false, &[Mean::Throttle]);
        check(&busy, &Allowed { postcopy: true, ..PLAIN }, true, &[Mean::Postcopy]);
        let all = Allowed { blackout_bound_ms: 60, throttle_percent_max: 20, postcopy: true, ..PLAIN };
        check(&busy, &all, true, &[Mean::LongerBlackout, Mean::Throttle, Mean::Postcopy]);
    }

    proptest! {
        #[test]
        fn it_always_ends_and_its_figures_are_possible(
            used_mib in 1.0f64..4000.0, rate_mib in 0.0f64..5000.0, set_mib in 0.0f64..4000.0, delta in 0.0f64..1.0,
            link in 1e6f64..1e10, bound in 30u64..2000, throttle in 0u8..100, xbzrle: bool, postcopy: bool,
        ) {
            let writes = Writes { bytes_per_s: rate_mib * MIB, set_bytes: set_mib * MIB };
            let guest = Guest { memory_bytes: 4096.0 * MIB, used_bytes: used_mib * MIB, writes, delta };
            let allowed = Allowed { blackout_ms: 30, blackout_bound_ms: bound, xbzrle, throttle_percent_max: throttle, postcopy };
            let course = reckon(&guest, link, &allowed);
            prop_assert!(course.bytes >= guest.used_bytes && course.seconds >= guest.used_bytes / link);
            prop_assert!(!course.converges || course.blackout_s * 1000.0 <= bound as f64 * 1.01);
            prop_assert!(course.converges || !postcopy);
            prop_assert!(course.converges || writes.bytes_per_s > 0.0);
        }

        #[test]
        fn a_faster_link_is_never_worse(rate_mib in 0.0f64..500.0, set_mib in 0.0f64..400.0, link in 1e7f64..1e9) {
            let guest = guest(rate_mib, set_mib);
            let (slow, fast) = (reckon(&guest, link, &PLAIN), reckon(&guest, link * 1.5, &PLAIN));
            prop_assert!(fast.converges || !slow.converges);
            if slow.converges {
                prop_assert!(fast.seconds <= slow.seconds && fast.bytes <= slow.bytes * 1.001);
            }
        }
    }
}
