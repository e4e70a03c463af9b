//! How fast memory will go over: as fast as the agents' own connection when they tried it, or as memory went before. Main
//! function: [`rate`].

use api::LinkKnownBy;

use super::calibration::Past;

/// Bytes per second of a link of which nothing is known: a gigabit network's.
const ASSUMED_BYTES_PER_S: f64 = 117e6;

/// Below this share of what the agents' connection carried it was not the link that held memory up, but processors or QEMU.
const HELD_UP: f64 = 0.7;

/// Most rounds of a migration whose rate tells something: more of them, and QEMU had other things to do than to send.
const PLAIN_ROUNDS_MAX: f64 = 3.0;

/// Past migrations that are looked at, the latest.
const LOOKED_AT: usize = 20;

/// Bytes per second that memory goes over with, and how that is known. `past` is of the same two hosts and the same encryption,
/// the oldest first; `limit_bytes_per_s` is the migration's own, 0 for none.
#[must_use]
pub fn rate(probed_bytes_per_s: Option<u64>, past: &[&Past], limit_bytes_per_s: u64) -> (u64, LinkKnownBy) {
    let latest = past.iter().rev().take(LOOKED_AT).filter(|past| past.came.rounds <= PLAIN_ROUNDS_MAX);
    let seen: Vec<(f64, f64)> =
        latest.filter_map(|past| Some((past.streamed_bytes_per_s?, past.link_bytes_per_s))).collect();
    let held_up =
        seen.iter().filter(|(streamed, link)| *streamed < link * HELD_UP).map(|(streamed, _)| *streamed);
    let ceiling = held_up.reduce(f64::max);
    let (rate, known_by) = match (probed_bytes_per_s.map(|probed| probed as f64), ceiling) {
        (Some(probed), Some(ceiling)) if ceiling < probed => (ceiling, LinkKnownBy::History),
        (Some(probed), _) => (probed, LinkKnownBy::Probe),
        (None, _) => match seen.first() {
            Some((streamed, _)) => (*streamed, LinkKnownBy::History),
            None => (ASSUMED_BYTES_PER_S, LinkKnownBy::Assumed),
        },
    };
    if limit_bytes_per_s > 0 && (limit_bytes_per_s as f64) < rate {
        return (limit_bytes_per_s, LinkKnownBy::Limit);
    }
    (rate.max(1.0) as u64, known_by)
}

#[cfg(test)]
mod tests {
    use super::rate;
    use crate::plan::calibration::{Figures, Past};
    use api::LinkKnownBy;

    fn past(link: f64, streamed: f64) -> Past {
        let figures = Figures { time_ms: 1.0, sent_bytes: 1.0, rounds: 2.0, blackout_ms: 1.0 };
        Past {
            source: "kvm1".into(),
            target: "kvm2".into(),
            encrypted: true,
            known: true,
            link_bytes_per_s: link,
            streamed_bytes_per_s: Some(streamed),
            reckoned: figures,
            came: figures,
        }
    }

    #[track_caller]
    fn check(probed: Option<u64>, past: &[Past], limit: u64, expect: (u64, LinkKnownBy)) {
        assert_eq!(rate(probed, &past.iter().collect::<Vec<_>>(), limit), expect);
    }

    #[test]
    fn what_is_known_best_counts() {
        check(None, &[], 0, (117_000_000, LinkKnownBy::Assumed));
        check(Some(1000), &[], 0, (1000, LinkKnownBy::Probe));
        check(Some(1000), &[], 500, (500, LinkKnownBy::Limit));
        check(Some(1000), &[], 2000, (1000, LinkKnownBy::Probe));
        // The latest one counts where nobody could try.
        check(None, &[past(100.0, 90.0), past(50.0, 45.0)], 0, (45, LinkKnownBy::History));
        // Memory was once held up by something else than the link: it will be again, on a link that is as fast.
        let seen = [past(1000.0, 400.0), past(100.0, 95.0)];
        check(Some(1000), &seen, 0, (400, LinkKnownBy::History));
        check(Some(100), &seen, 0, (100, LinkKnownBy::Probe));
    }
}
