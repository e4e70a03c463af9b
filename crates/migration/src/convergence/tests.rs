//! Policies that are shown rounds, and what they decide.

use std::time::Duration;

use api::{Decision, OnStuck, Reason, Settings};
use proptest::prelude::*;

use super::{Allowed, Policy, Round, downtime_limit_ms, xbzrle_cache_bytes};
use crate::limits::STALLED_AFTER;

const MIB: u64 = 1 << 20;
/// A gigabit per second.
const LINK: u64 = 118_000_000;
const ALLOWED: Allowed = Allowed {
    blackout_ms: 30,
    blackout_bound_ms: 300,
    xbzrle: false,
    throttle_percent_max: 80,
    deadline: None,
    postcopy: false,
};

/// Rounds over a link, each as long as what it sends takes.
struct Rounds {
    policy: Policy,
    seen: Round,
    /// Bytes on the network for each byte of a page.
    share: f64,
}

impl Rounds {
    fn of(allowed: Allowed, on_stuck: OnStuck) -> Rounds {
        let seen = Round {
            round: 1,
            elapsed: Duration::ZERO,
            left_bytes: 400 * MIB,
            sent_bytes: 0,
            pages_bytes: 0,
            dirty_bytes_per_s: 0,
            throttle_percent: 0,
        };
        let mut policy = Policy::new(allowed, on_stuck);
        assert_eq!(policy.round(&seen), [], "all memory is left: nothing to decide");
        Rounds { policy, seen, share: 1.0 }
    }

    /// The round sends all that was left, and so much is dirty then.
    fn leaves(&mut self, left_bytes: u64) -> Vec<(Decision, Reason)> {
        let sent = self.seen.left_bytes as f64 * self.share;
        let seconds = sent / LINK as f64;
        self.seen.round += 1;
        self.seen.elapsed += Duration::from_secs_f64(seconds);
        self.seen.sent_bytes += sent as u64;
        self.seen.pages_bytes += self.seen.left_bytes;
        self.seen.dirty_bytes_per_s = (left_bytes as f64 / seconds.max(0.001)) as u64;
        self.seen.left_bytes = left_bytes;
        let decided = self.policy.round(&self.seen);
        for it in &decided {
            assert_eq!((it.round, it.elapsed_ms), (self.seen.round, self.seen.elapsed.as_millis() as u64));
            if let Decision::Throttle { percent } = it.decision {
                self.seen.throttle_percent = percent;
            }
        }
        decided.into_iter().map(|it| (it.decision, it.reason)).collect()
    }

    /// What is decided beside the early steps to the wish, by rounds that all leave the same.
    fn leave(&mut self, left_bytes: u64, rounds: u64) -> Vec<Decision> {
        let decided = (0..rounds).flat_map(|_| self.leaves(left_bytes));
        decided.filter(|(_, reason)| *reason != Reason::Rounds).map(|(decision, _)| decision).collect()
    }
}

fn check_early(wish_ms: u64, rounds: std::ops::RangeInclusive<u64>, expect_ms: u64) {
    for round in rounds {
        assert_eq!(downtime_limit_ms(wish_ms, round), expect_ms, "round {round}");
    }
}

#[test]
fn the_wish_is_given_in_three_steps() {
    check_early(30, 1..=4, 7);
    check_early(30, 5..=6, 15);
    check_early(30, 7..=99, 30);
    check_early(1, 1..=99, 1);
    check_early(0, 1..=99, 1);
    let mut rounds = Rounds::of(ALLOWED, OnStuck::Keep);
    let mut left = 300 * MIB;
    let mut limits = vec![rounds.policy.blackout_ms()];
    for _ in 2..=8 {
        left = left * 8 / 10;
        rounds.leaves(left);
        limits.push(rounds.policy.blackout_ms());
    }
    assert_eq!(limits, [7, 7, 7, 7, 15, 15, 30, 30]);
}

#[test]
fn rounds_that_leave_less_are_left_alone() {
    let mut rounds = Rounds::of(ALLOWED, OnStuck::Keep);
    let mut left = 300 * MIB;
    for _ in 0..40 {
        // Less than what counts as progress, but it adds up in two rounds.
        left = left * 97 / 100;
        let decided = rounds.leaves(left);
        assert!(decided.iter().all(|(_, reason)| *reason == Reason::Rounds), "{left}: {decided:?}");
    }
}

#[test]
fn the_limit_of_a_saw_tooth_is_met_by_its_minimum() {
    let mut rounds = Rounds::of(ALLOWED, OnStuck::Keep);
    let teeth = [60, 20, 45, 30].map(|mib| mib * MIB);
    let decided: Vec<_> = (0..4).flat_map(|i| rounds.leaves(teeth[i % 4])).collect();
    // 20 MiB take 178 ms.
    let [(Decision::Blackout { ms }, Reason::NoProgress { left_bytes, blackout_ms })] = decided[..] else {
        panic!("{decided:?}")
    };
    assert_eq!((left_bytes, blackout_ms, ms), (20 * MIB, 178, 223));
    assert_eq!(rounds.policy.blackout_ms(), 223);
    // The next minimum is waited for: it would be the end.
    assert_eq!((4..7).flat_map(|i| rounds.leaves(teeth[i % 4])).collect::<Vec<_>>(), []);
}

#[test]
fn a_blackout_that_no_bound_is_enough_for_is_followed_by_a_throttle() {
    let mut rounds = Rounds::of(ALLOWED, OnStuck::Keep);
    let decided = rounds.leave(200 * MIB, 5);
    // As much is written as goes over: half of that leaves half in each round.
    assert_eq!(decided, [Decision::Blackout { ms: 300 }, Decision::Throttle { percent: 50 }]);
}

#[test]
fn half_of_what_the_guest_has_left_is_taken_each_time() {
    let mut rounds =
        Rounds::of(Allowed { throttle_percent_max: 99, blackout_bound_ms: 30, ..ALLOWED }, OnStuck::Keep);
    let decided = rounds.leave(200 * MIB, 40);
    let percents = decided.iter().filter_map(|it| match it {
        Decision::Throttle { percent } => Some(*percent),
        _other => None,
    });
    assert_eq!(percents.collect::<Vec<_>>(), [50, 75, 88, 94, 97, 99]);
    assert_eq!(decided.last(), Some(&Decision::Keep));
}

#[test]
fn a_throttle_that_qemu_has_not_applied_is_waited_for() {
    let mut rounds = Rounds::of(ALLOWED, OnStuck::Keep);
    rounds.leave(200 * MIB, 4);
    let mut waited = 0;
    while rounds.leave(200 * MIB, 1).is_empty() {
        rounds.seen.throttle_percent = 1;
        waited += 1;
        assert!(waited < 20, "for ever");
    }
    assert!(waited >= 6, "{waited}");
}

#[test]
fn what_all_means_do_not_end_is_given_up_or_paused() {
    for (on_stuck, expect) in [(OnStuck::Keep, Decision::Keep), (OnStuck::Suspend, Decision::Suspend)] {
        let mut rounds = Rounds::of(Allowed { throttle_percent_max: 20, ..ALLOWED }, on_stuck);
        let decided: Vec<_> = (0..30).flat_map(|_| rounds.leaves(200 * MIB)).collect();
        let Some((last, Reason::Exhausted { left_bytes, rate_bytes_per_s, .. })) = decided.last() else {
            panic!("{decided:?}")
        };
        assert_eq!((*last, *left_bytes), (expect, 200 * MIB));
        assert!((LINK - 1000..LINK + 1000).contains(rate_bytes_per_s), "{rate_bytes_per_s}");
        let throttles = decided.iter().filter(|(decision, _)| matches!(decision, Decision::Throttle { .. }));
        assert_eq!(throttles.count(), 1, "{decided:?}");
        assert_eq!(rounds.leave(200 * MIB, 20), [], "it is over");
    }
    let mut none =
        Rounds::of(Allowed { blackout_bound_ms: 0, throttle_percent_max: 0, ..ALLOWED }, OnStuck::Keep);
    assert_eq!(none.leave(200 * MIB, 30), [Decision::Blackout { ms: 30 }, Decision::Keep]);
}

#[test]
fn a_deadline_is_the_end_of_patience() {
    let deadline = Some(Duration::from_secs(3));
    let mut policy = Policy::new(Allowed { deadline, ..ALLOWED }, OnStuck::Suspend);
    assert_eq!(policy.tick(1, Duration::from_millis(2999), 5), []);
    let decided = policy.tick(1, Duration::from_secs(3), 6);
    let [it] = &decided[..] else { panic!("{decided:?}") };
    assert_eq!((it.decision, it.reason), (Decision::Suspend, Reason::Deadline { seconds: 3 }));
    assert_eq!(policy.tick(1, Duration::from_secs(4), 7), []);
}

#[test]
fn a_stream_that_stands_still_is_given_up_even_where_the_guest_was_paused() {
    for suspended in [false, true] {
        let mut policy = Policy::new(ALLOWED, OnStuck::Suspend);
        assert_eq!(policy.tick(1, Duration::from_secs(9), 5), []);
        assert_eq!(policy.suspend(1, Duration::from_secs(9)).filter(|_| !suspended).is_some(), !suspended);
        let still = Duration::from_secs(9) + STALLED_AFTER;
        assert_eq!(policy.tick(1, still - Duration::from_millis(1), 5), []);
        let decided = policy.tick(1, still, 5);
        let [it] = &decided[..] else { panic!("{decided:?}") };
        assert_eq!((it.decision, it.reason), (Decision::Keep, Reason::Stalled { seconds: 30 }));
        assert_eq!(policy.tick(1, still * 2, 5), [], "once");
    }
}

#[test]
fn somebody_may_change_what_is_allowed() {
    let mut policy = Policy::new(ALLOWED, OnStuck::Keep);
    let decisions = |decided: Vec<api::Decided>| {
        assert!(decided.iter().all(|it| it.reason == Reason::Asked));
        decided.into_iter().map(|it| it.decision).collect::<Vec<_>>()
    };
    let blackout = Settings { blackout_ms_max: Some(500), ..Settings::default() };
    assert_eq!(decisions(policy.set(&blackout, 1, Duration::ZERO)), [Decision::Blackout { ms: 500 }]);
    assert_eq!(decisions(policy.set(&blackout, 1, Duration::ZERO)), []);
    assert_eq!(policy.allowed.bound_ms(), 500);
    let mut rounds = Rounds::of(ALLOWED, OnStuck::Keep);
    rounds.leave(200 * MIB, 6);
    let slower = Settings { throttle_percent_max: Some(99), ..Settings::default() };
    assert_eq!(decisions(rounds.policy.set(&slower, 9, Duration::ZERO)), []);
    let faster = Settings { throttle_percent_max: Some(5), ..Settings::default() };
    let decided = decisions(rounds.policy.set(&faster, 9, Duration::ZERO));
    assert_eq!(decided, [Decision::Throttle { percent: 5 }]);
}

#[test]
fn the_end_can_be_had_at_once_and_only_once() {
    let mut policy = Policy::new(ALLOWED, OnStuck::Keep);
    let decided = policy.suspend(3, Duration::from_secs(2)).unwrap();
    assert_eq!((decided.decision, decided.reason, decided.round), (Decision::Suspend, Reason::Asked, 3));
    assert_eq!(policy.suspend(3, Duration::from_secs(2)), None);
}

#[test]
fn qemu_is_told_how_fast_compressed_pages_go() {
    let told = |xbzrle| {
        let mut rounds = Rounds::of(Allowed { xbzrle, ..ALLOWED }, OnStuck::Keep);
        assert_eq!(rounds.leave(200 * MIB, 1), []);
        rounds.leaves(180 * MIB);
        rounds.share = 0.1;
        let first = rounds.leaves(150 * MIB);
        rounds.leaves(100 * MIB);
        rounds.share = 1.0;
        (first, rounds.leaves(80 * MIB))
    };
    let (fast, slow) = told(true);
    let [(Decision::SwitchoverBandwidth { bytes_per_s }, Reason::Compressed)] = fast[..] else {
        panic!("{fast:?}")
    };
    let expect = LINK * 7;
    assert!((expect - expect / 100..expect + expect / 100).contains(&bytes_per_s), "{bytes_per_s}");
    let back = (Decision::SwitchoverBandwidth { bytes_per_s: 0 }, Reason::Uncompressed);
    assert!(slow.contains(&back), "{slow:?}");
    assert_eq!(told(false).0, []);
}

#[test]
fn a_cache_holds_the_guest_or_a_part_of_what_is_spare() {
    let gib = 1024 * MIB;
    assert_eq!(xbzrle_cache_bytes(gib, 16 * gib), Some(gib));
    assert_eq!(xbzrle_cache_bytes(gib + 1, 16 * gib), Some(2 * gib));
    assert_eq!(xbzrle_cache_bytes(64 * gib, 9 * gib), Some(2 * gib));
    assert_eq!(xbzrle_cache_bytes(64 * gib, 255 * MIB), None);
    assert_eq!(xbzrle_cache_bytes(64 * gib, 256 * MIB), Some(64 * MIB));
    assert_eq!(xbzrle_cache_bytes(32 * MIB, 128 * MIB), Some(32 * MIB));
    assert_eq!(xbzrle_cache_bytes(gib, 0), None);
}

proptest! {
    #[test]
    fn early_limits_never_shrink_and_never_exceed_the_wish(wish_ms in 1u64..10_000, round in 1u64..100) {
        let now = downtime_limit_ms(wish_ms, round);
        prop_assert!(now >= 1 && now <= wish_ms);
        prop_assert!(downtime_limit_ms(wish_ms, round + 1) >= now);
    }

    #[test]
    fn whatever_rounds_leave_there_is_an_end_within_what_is_allowed(
        lefts in prop::collection::vec(4096u64..(1 << 40), 1..12),
        shrink in 0.9f64..1.1, blackout_ms in 1u64..1000, bound in 0u64..3000, most in 0u8..100, obeys: bool,
    ) {
        let allowed = Allowed { blackout_ms, blackout_bound_ms: bound, throttle_percent_max: most, ..ALLOWED };
        let mut policy = Policy::new(allowed, OnStuck::Keep);
        let (mut elapsed, mut scale, mut throttle_percent, mut sent_bytes) = (Duration::ZERO, 1.0, 0, 0);
        let (mut last_ms, mut last_percent) = (0, 0);
        for round in 2u64.. {
            prop_assert!(round < 20_000, "no end");
            elapsed += Duration::from_millis(150);
            scale *= shrink;
            let left = lefts[round as usize % lefts.len()] as f64 * scale;
            sent_bytes += 1_000_000;
            let left_bytes = (left as u64).clamp(4096, 1 << 42);
            let seen = Round {
                round, elapsed, left_bytes, sent_bytes, pages_bytes: sent_bytes,
                dirty_bytes_per_s: left_bytes, throttle_percent,
            };
            for decided in policy.round(&seen) {
                match decided.decision {
                    Decision::Blackout { ms } => {
                        prop_assert!(ms > last_ms && ms <= allowed.bound_ms());
                        last_ms = ms;
                    }
                    Decision::Throttle { percent } => {
                        prop_assert!(percent > last_percent && percent <= most);
                        prop_assert_eq!(policy.blackout_ms(), allowed.bound_ms());
                        last_percent = percent;
                        throttle_percent = if obeys { percent } else { throttle_percent };
                    }
                    Decision::SwitchoverBandwidth { .. } => prop_assert!(false, "nothing is compressed"),
                    Decision::Suspend => prop_assert!(false, "it is to be kept"),
                    Decision::Keep => {
                        prop_assert_eq!(last_percent, most);
                        return Ok(());
                    }
                }
            }
        }
    }
}
