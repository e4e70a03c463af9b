//! What was decided about a migration, as a sentence for the people who watch. Main function: [`sentence`].

use api::{Decided, Decision, Reason};

/// What was decided, and why.
#[must_use]
pub fn sentence(decided: &Decided) -> String {
    let what = match decided.decision {
        Decision::Blackout { ms } => format!("memory may now take {ms} ms of the blackout"),
        Decision::SwitchoverBandwidth { bytes_per_s: 0 } => {
            "memory is reckoned to go over as fast as the network shows".to_owned()
        }
        Decision::SwitchoverBandwidth { bytes_per_s } => {
            format!("memory is reckoned to go over at {} MiB/s", mib(bytes_per_s))
        }
        Decision::Throttle { percent: 0 } => "the guest is not slowed down any more".to_owned(),
        Decision::Throttle { percent } => format!("{percent} % of its time is taken from the guest"),
        Decision::Suspend => "the guest is paused until it is on the target".to_owned(),
        Decision::Keep => "the guest stays".to_owned(),
    };
    match because(&decided.reason) {
        Some(why) => format!("round {}: {what}, {why}", decided.round),
        None => format!("round {}: {what}", decided.round),
    }
}

/// Why, as the end of a sentence; none for what is said often and needs no word.
fn because(reason: &Reason) -> Option<String> {
    Some(match reason {
        Reason::Rounds | Reason::Uncompressed => return None,
        Reason::NoProgress { left_bytes, blackout_ms } => {
            format!("since rounds leave no less than {} MiB, {blackout_ms} ms", mib(*left_bytes))
        }
        Reason::Compressed => "since only what has changed of a page is sent".to_owned(),
        Reason::Exhausted { .. } | Reason::Deadline { .. } | Reason::Stalled { .. } => {
            format!("since {}", stuck(reason))
        }
        Reason::Asked => "as somebody wants it".to_owned(),
    })
}

/// Why a migration came to no end, as a clause.
#[must_use]
pub fn stuck(reason: &Reason) -> String {
    match reason {
        Reason::Exhausted { left_bytes, blackout_ms, dirty_bytes_per_s, rate_bytes_per_s } => format!(
            "the guest writes {} MiB/s and {} MiB/s go over: rounds leave no less than {} MiB, {blackout_ms} ms, with all \
             that is allowed",
            mib(*dirty_bytes_per_s),
            mib(*rate_bytes_per_s),
            mib(*left_bytes),
        ),
        Reason::Deadline { seconds } => format!("its memory has gone over for {seconds} s"),
        Reason::Stalled { seconds } => format!("nothing of its memory has gone over for {seconds} s"),
        Reason::NoProgress { .. } => "rounds leave no less".to_owned(),
        Reason::Rounds | Reason::Compressed | Reason::Uncompressed | Reason::Asked => {
            "somebody wants it".to_owned()
        }
    }
}

fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 10.0 { format!("{mib:.1}") } else { format!("{mib:.0}") }
}

#[cfg(test)]
mod tests {
    use super::sentence;
    use api::{Decided, Decision, Reason};

    #[track_caller]
    fn check(decision: Decision, reason: Reason, expect: &str) {
        assert_eq!(sentence(&Decided { round: 7, elapsed_ms: 1, decision, reason }), expect);
    }

    #[test]
    fn what_was_decided_and_why() {
        let idle = Reason::NoProgress { left_bytes: 12 << 20, blackout_ms: 107 };
        check(
            Decision::Blackout { ms: 15 },
            Reason::Rounds,
            "round 7: memory may now take 15 ms of the blackout",
        );
        check(
            Decision::Blackout { ms: 134 },
            idle,
            "round 7: memory may now take 134 ms of the blackout, since rounds leave no less than 12 MiB, 107 ms",
        );
        check(
            Decision::Throttle { percent: 50 },
            idle,
            "round 7: 50 % of its time is taken from the guest, since rounds leave no less than 12 MiB, 107 ms",
        );
        check(
            Decision::SwitchoverBandwidth { bytes_per_s: 300 << 20 },
            Reason::Compressed,
            "round 7: memory is reckoned to go over at 300 MiB/s, since only what has changed of a page is sent",
        );
        check(
            Decision::Suspend,
            Reason::Deadline { seconds: 60 },
            "round 7: the guest is paused until it is on the target, since its memory has gone over for 60 s",
        );
        let exhausted = Reason::Exhausted {
            left_bytes: 200 << 20,
            blackout_ms: 1775,
            dirty_bytes_per_s: 160 << 20,
            rate_bytes_per_s: 113 << 20,
        };
        check(
            Decision::Keep,
            exhausted,
            "round 7: the guest stays, since the guest writes 160 MiB/s and 113 MiB/s go over: rounds leave no less than \
             200 MiB, 1775 ms, with all that is allowed",
        );
        check(
            Decision::Throttle { percent: 0 },
            Reason::Asked,
            "round 7: the guest is not slowed down any more, as somebody wants it",
        );
    }
}
