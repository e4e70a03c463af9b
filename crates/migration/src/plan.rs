//! What is expected of a live migration before it begins: how long it takes, whether it comes to an end and by what, and what it
//! would take if not. Pure: measured facts and the past in, intervals out. Main function: [`predict`].
//!
//! ```text
//! memory in use, writes, link ──► rounds, reckoned ahead ──► × how such reckonings were missed before ──► intervals
//!                   (writes)                   (rounds)                                 (calibration)
//! ```

pub mod calibration;
pub mod link;
pub mod rounds;
pub mod writes;

use api::{Convergence, Expected, GuestWrites, Need, PlanFacts, Prediction};

use crate::convergence::Allowed;
use crate::limits::{PLAN_BLACKOUT_MS_MAX, PLAN_LINK_TIMES_MAX};
use calibration::{Past, interval, telling};
use rounds::{Course, Guest, reckon};
use writes::Writes;

/// From the beginning of a migration to its first byte: both hosts are asked, the target starts its QEMU.
const BEFORE_MS: f64 = 400.0;
/// Device state, the pledge, and the guest's going on.
const HANDOVER_MS: f64 = 20.0;
/// Bytes of device state.
const DEVICE_BYTES: f64 = 600_000.0;

/// Between whom, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The host that it would leave.
    pub source: &'a str,
    /// The host that it would go to.
    pub target: &'a str,
    /// What was found out.
    pub facts: PlanFacts,
    /// What it may do.
    pub allowed: Allowed,
}

/// What is expected, where the past is of this host, the oldest first.
#[must_use]
pub fn predict(asked: &Asked<'_>, past: &[Past]) -> Prediction {
    let facts = asked.facts;
    let guest = guest(&facts);
    let link = facts.link_bytes_per_s as f64;
    let course = reckon(&guest, link, &asked.allowed);
    let verdict = match (facts.writes, course.converges) {
        (None, _) => Convergence::Unknown,
        (Some(_), true) => Convergence::Converges,
        (Some(_), false) => Convergence::DoesNotConverge,
    };
    let telling = telling(past, asked.source, asked.target, facts.writes.is_some());
    let expected = course.converges.then(|| expected(&course, &telling, facts.writes.is_some()));
    let needs = if course.converges { Vec::new() } else { needs(&guest, link, &asked.allowed) };
    Prediction { verdict, by: course.by, expected, needs, facts }
}

fn guest(facts: &PlanFacts) -> Guest {
    let writes = facts.writes.map_or(Writes::NONE, |GuestWrites { bytes_per_s, set_bytes, .. }| Writes {
        bytes_per_s: bytes_per_s as f64,
        set_bytes: set_bytes as f64,
    });
    let percent = facts.writes.and_then(|writes| writes.delta_percent).unwrap_or(100);
    Guest {
        memory_bytes: facts.memory_bytes as f64,
        used_bytes: facts.used_bytes as f64,
        writes,
        delta: f64::from(percent.clamp(1, 100)) / 100.0,
    }
}

/// What was reckoned, each with its interval. Rounds and blackouts are missed by more than times and bytes are.
fn expected(course: &Course, past: &[&Past], known: bool) -> Expected {
    let spread = if known { 1.0 } else { 3.0 };
    let time_ms = BEFORE_MS + course.seconds * 1000.0 + HANDOVER_MS;
    let blackout_ms = course.blackout_s * 1000.0 + HANDOVER_MS;
    Expected {
        time_ms: interval(time_ms, past, |it| it.time_ms, spread),
        sent_bytes: interval(course.bytes + DEVICE_BYTES, past, |it| it.sent_bytes, 0.5 * spread),
        rounds: interval(course.rounds as f64, past, |it| it.rounds, 2.0 * spread),
        blackout_ms: interval(blackout_ms, past, |it| it.blackout_ms, 2.0 * spread),
    }
}

/// What would bring a migration to an end, each by itself, the least of it.
fn needs(guest: &Guest, link: f64, allowed: &Allowed) -> Vec<Need> {
    let ends = |link: f64, allowed: Allowed| reckon(guest, link, &allowed).converges;
    let at_link = |times: f64| ends(link * times, *allowed);
    let at_blackout = |ms: f64| ends(link, Allowed { blackout_bound_ms: ms as u64, ..*allowed });
    let at_throttle = |percent: f64| ends(link, Allowed { throttle_percent_max: percent as u8, ..*allowed });
    let blackout_ms = allowed.blackout_bound_ms.max(allowed.blackout_ms) as f64;
    let throttle = f64::from(allowed.throttle_percent_max);
    let link_need = least(1.0, PLAN_LINK_TIMES_MAX, at_link);
    let blackout = least(blackout_ms, PLAN_BLACKOUT_MS_MAX as f64, at_blackout);
    let throttle = least(throttle, 99.0, at_throttle);
    [
        link_need.map(|times| Need::Link { bytes_per_s: (link * times) as u64 }),
        blackout.map(|ms| Need::Blackout { ms: ms.ceil() as u64 }),
        throttle.map(|percent| Need::Throttle { percent: percent.ceil() as u8 }),
        (!allowed.postcopy).then_some(Need::Postcopy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The least of what is enough, above what is not; `None` where the most is not.
fn least(not_enough: f64, most: f64, enough: impl Fn(f64) -> bool) -> Option<f64> {
    if most <= not_enough || !enough(most) {
        return None;
    }
    let (mut low, mut high) = (not_enough, most);
    while high - low > (high * 0.01).max(0.5) {
        let middle = f64::midpoint(low, high);
        if enough(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::{Asked, predict};
    use crate::convergence::Allowed;
    use api::{Convergence, GuestWrites, LinkKnownBy, Mean, Need, PlanFacts, Prediction};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;
    const PLAIN: Allowed = Allowed {
        blackout_ms: 30,
        blackout_bound_ms: 30,
        xbzrle: false,
        throttle_percent_max: 0,
        deadline: None,
        postcopy: false,
    };

    fn facts(writes: Option<(u64, u64, u8)>) -> PlanFacts {
        PlanFacts {
            memory_bytes: 1024 * MIB,
            used_bytes: 400 * MIB,
            writes: writes.map(|(rate_mib, set_mib, delta)| GuestWrites {
                bytes_per_s: rate_mib * MIB,
                set_bytes: set_mib * MIB,
                delta_percent: Some(delta),
            }),
            link_bytes_per_s: 118_000_000,
            link_known_by: LinkKnownBy::Probe,
            round_trip_us: Some(200),
        }
    }

    fn asked(facts: PlanFacts, allowed: Allowed) -> Prediction {
        predict(&Asked { source: "kvm1", target: "kvm2", facts, allowed }, &[])
    }

    #[test]
    fn a_guest_that_rests_is_there_when_its_memory_is() {
        let prediction = asked(facts(Some((0, 0, 100))), PLAIN);
        assert_eq!((prediction.verdict, prediction.by.len()), (Convergence::Converges, 0));
        let expected = prediction.expected.unwrap();
        assert!((3500..4500).contains(&expected.time_ms.likely), "{expected:?}");
        assert_eq!(expected.rounds.likely, 2);
    }

    #[test]
    fn one_that_writes_too_fast_is_told_what_it_would_take() {
        let prediction = asked(facts(Some((160, 200, 100))), PLAIN);
        assert_eq!((prediction.verdict, &prediction.expected), (Convergence::DoesNotConverge, &None));
        let [Need::Link { bytes_per_s }, Need::Blackout { ms }, Need::Throttle { percent }, Need::Postcopy] =
            prediction.needs[..]
        else {
            panic!("{:?}", prediction.needs)
        };
        assert!((160 * MIB..240 * MIB).contains(&bytes_per_s), "{bytes_per_s}");
        assert!((500..2000).contains(&ms), "{ms}");
        assert!((29..60).contains(&percent), "{percent}");
        let forced = asked(facts(Some((160, 200, 100))), Allowed { throttle_percent_max: percent, ..PLAIN });
        assert_eq!((forced.verdict, forced.by), (Convergence::Converges, vec![Mean::Throttle]));
    }

    #[test]
    fn what_is_not_known_is_said_and_is_wide() {
        let (unknown, known) = (asked(facts(None), PLAIN), asked(facts(Some((0, 0, 100))), PLAIN));
        assert_eq!(unknown.verdict, Convergence::Unknown);
        let (unknown, known) = (unknown.expected.unwrap().time_ms, known.expected.unwrap().time_ms);
        assert!(unknown.low < known.low && unknown.high > known.high, "{unknown:?} {known:?}");
    }

    proptest! {
        #[test]
        fn needs_are_enough(rate in 130u64..2000, set in 20u64..400) {
            let prediction = asked(facts(Some((rate, set, 100))), PLAIN);
            for need in prediction.needs {
                let (facts, allowed) = match need {
                    Need::Link { bytes_per_s } => {
                        (PlanFacts { link_bytes_per_s: bytes_per_s + 1, ..facts(Some((rate, set, 100))) }, PLAIN)
                    }
                    Need::Blackout { ms } => (facts(Some((rate, set, 100))), Allowed { blackout_bound_ms: ms, ..PLAIN }),
                    Need::Throttle { percent } => {
                        (facts(Some((rate, set, 100))), Allowed { throttle_percent_max: percent, ..PLAIN })
                    }
                    Need::Postcopy => (facts(Some((rate, set, 100))), Allowed { postcopy: true, ..PLAIN }),
                };
                prop_assert_eq!(asked(facts, allowed).verdict, Convergence::Converges, "{:?}", need);
            }
        }
    }
}
