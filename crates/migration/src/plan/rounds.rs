//! Rounds over a guest's memory, reckoned ahead. Each sends what was written during the one before, so it is as long as that was
//! large; it ends when what is left fits the blackout, or is given up. Main function: [`reckon`].

use std::time::Duration;

use api::{Decision, Mean, OnStuck};

use super::writes::Writes;
use crate::convergence::{Allowed, Policy, Round};
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
/// Bytes of pages that QEMU compares in a second, where it sends only what has changed of them.
const COMPARED_BYTES_PER_S: f64 = 1e9;
/// The first round fills nothing, the second fills the cache of pages, and only later ones find pages in it.
const ROUNDS_WHOLE: u64 = 2;

/// Reckons ahead how a guest's memory goes over a link of so many bytes per second: with the very policy that a migration has.
#[must_use]
pub fn reckon(guest: &Guest, link_bytes_per_s: f64, allowed: &Allowed) -> Course {
    let zero_bytes = (guest.memory_bytes - guest.used_bytes).max(0.0);
    let mut going = Going {
        link: link_bytes_per_s.max(1.0),
        delta: if allowed.xbzrle { guest.delta } else { 1.0 },
        pages_bytes: 0.0,
        course: Course {
            converges: false,
            by: Vec::new(),
            seconds: zero_bytes / ZERO_BYTES_PER_S,
            bytes: zero_bytes / PAGE_BYTES * ZERO_PAGE_BYTES,
            rounds: 0,
            blackout_s: 0.0,
        },
    };
    let mut policy = Policy::new(*allowed, OnStuck::Keep);
    let (mut left, mut throttle_percent) = (guest.used_bytes, 0);
    while going.course.rounds < PLAN_ROUNDS_MAX {
        let round_s = going.send(left);
        let next = guest.writes.slowed(f64::from(throttle_percent) / 100.0).within(round_s);
        let limit_ms = policy.blackout_ms() as f64;
        if going.lasts(next) * 1000.0 <= limit_ms {
            if going.share() < 1.0 && next > 0.0 && next / going.link * 1000.0 > limit_ms {
                going.course.by.insert(0, Mean::Xbzrle);
            }
            going.course.blackout_s = going.send(next);
            going.course.converges = true;
            return going.course;
        }
        left = next;
        for decided in policy.round(&going.seen(next, round_s, throttle_percent)) {
            match decided.decision {
                Decision::Blackout { ms } if ms > allowed.blackout_ms => going.by(Mean::LongerBlackout),
                Decision::Throttle { percent } => {
                    throttle_percent = percent;
                    going.by(Mean::Throttle);
                }
                Decision::Blackout { .. } | Decision::SwitchoverBandwidth { .. } => {}
                Decision::Keep | Decision::Suspend if allowed.postcopy => {
                    // The guest goes on at once; what is left follows it.
                    going.by(Mean::Postcopy);
                    going.send(left);
                    going.course.converges = true;
                    return going.course;
                }
                Decision::Keep | Decision::Suspend => return going.course,
            }
        }
    }
    going.course
}

/// A course that is being reckoned.
struct Going {
    /// Bytes per second.
    link: f64,
    /// What is left of a page that is found in the cache, as a share of it.
    delta: f64,
    /// Bytes of pages that went over.
    pages_bytes: f64,
    course: Course,
}

impl Going {
    /// What is left of a page in the next round, as a share of it.
    fn share(&self) -> f64 {
        if self.course.rounds < ROUNDS_WHOLE { 1.0 } else { self.delta }
    }

    /// Bytes on the network for so many bytes of pages.
    fn sent(&self, bytes: f64) -> f64 {
        bytes * self.share() * (1.0 + PAGE_HEADER_BYTES / PAGE_BYTES)
    }

    /// How long the next round takes that has so many bytes of pages, in seconds.
    fn lasts(&self, bytes: f64) -> f64 {
        let compared_s = if self.share() < 1.0 { bytes / COMPARED_BYTES_PER_S } else { 0.0 };
        (self.sent(bytes) / self.link).max(compared_s)
    }

    /// A round that sends so many bytes of pages, and how long it takes.
    fn send(&mut self, bytes: f64) -> f64 {
        let (sent, seconds) = (self.sent(bytes), self.lasts(bytes));
        self.course.rounds += 1;
        self.course.bytes += sent;
        self.course.seconds += seconds;
        self.pages_bytes += bytes;
        seconds
    }

    /// The next round as the policy sees it.
    fn seen(&self, left: f64, round_s: f64, throttle_percent: u8) -> Round {
        Round {
            round: self.course.rounds + 1,
            elapsed: Duration::try_from_secs_f64(self.course.seconds).unwrap_or(Duration::MAX),
            left_bytes: left as u64,
            sent_bytes: self.course.bytes as u64,
            pages_bytes: self.pages_bytes as u64,
            dirty_bytes_per_s: (left / round_s.max(1e-9)) as u64,
            throttle_percent,
        }
    }

    fn by(&mut self, mean: Mean) {
        if !self.course.by.contains(&mean) {
            self.course.by.push(mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Guest, reckon};
    use crate::convergence::Allowed;
    use crate::limits::PLAN_ROUNDS_MAX;
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
        deadline: None,
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

    /// 200 MB written again and again at 40,000 pages per second, over a gigabit, as measured on a machine of two processors.
    #[test]
    fn the_guests_that_were_measured_come_over() {
        let allowed = Allowed { blackout_bound_ms: 300, xbzrle: true, throttle_percent_max: 80, ..PLAIN };
        let few_bytes = Guest { delta: 0.01, ..guest(156.0, 200.0) };
        let course = reckon(&few_bytes, GIGABIT, &allowed);
        assert_eq!((course.converges, &course.by[..]), (true, &[Mean::Xbzrle][..]), "{course:?}");
        assert!(course.seconds < 8.0 && course.blackout_s < 0.03, "{course:?}");
        let course = reckon(&guest(156.0, 200.0), GIGABIT, &allowed);
        let expect = [Mean::LongerBlackout, Mean::Throttle];
        assert_eq!((course.converges, &course.by[..]), (true, &expect[..]), "{course:?}");
        assert!(course.seconds < 30.0 && course.blackout_s <= 0.3, "{course:?}");
    }

    proptest! {
        #[test]
        fn it_always_ends_and_its_figures_are_possible(
            used_mib in 1.0f64..4000.0, rate_mib in 0.0f64..5000.0, set_mib in 0.0f64..4000.0, delta in 0.0f64..1.0,
            link in 1e6f64..1e10, bound in 30u64..2000, throttle in 0u8..100, xbzrle: bool, postcopy: bool,
        ) {
            let writes = Writes { bytes_per_s: rate_mib * MIB, set_bytes: set_mib * MIB };
            let guest = Guest { memory_bytes: 4096.0 * MIB, used_bytes: used_mib * MIB, writes, delta };
            let allowed = Allowed { blackout_ms: 30, blackout_bound_ms: bound, xbzrle, throttle_percent_max: throttle, deadline: None, postcopy };
            let course = reckon(&guest, link, &allowed);
            prop_assert!(course.rounds < PLAN_ROUNDS_MAX, "it was not ended by the policy: {course:?}");
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
