//! Who ran when. Main type: [`Run`]. Reads no clock: times come from QEMU's events.

/// A time in which one QEMU ran the guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The host, or the QEMU.
    pub host: String,
    /// When the vCPUs started, in microseconds since 1970: QEMU's RESUME event.
    pub from_us: i64,
    /// When they stopped: QEMU's STOP event; `None` while they run.
    pub to_us: Option<i64>,
}

/// The most QEMUs that ran the guest at one moment. A run that begins when another ends does not overlap it.
pub fn runners_seen_max(runs: &[Run]) -> usize {
    let mut changes: Vec<(i64, i32)> = Vec::new();
    for run in runs {
        changes.push((run.from_us, 1));
        changes.push((run.to_us.unwrap_or(i64::MAX), -1));
    }
    // Ends sort before starts of the same moment.
    changes.sort_unstable();
    let mut running = 0;
    let mut most = 0;
    for (_, change) in changes {
        running += change;
        most = most.max(running);
    }
    usize::try_from(most).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runs: &[(i64, Option<i64>)], expect: usize) {
        let runs: Vec<Run> = runs
            .iter()
            .map(|(from_us, to_us)| Run { host: "h".to_owned(), from_us: *from_us, to_us: *to_us })
            .collect();
        assert_eq!(runners_seen_max(&runs), expect, "{runs:?}");
    }

    #[test]
    fn overlaps_are_seen() {
        check(&[], 0);
        check(&[(0, None)], 1);
        check(&[(0, Some(5)), (5, Some(9)), (9, None)], 1);
        check(&[(0, Some(6)), (5, None)], 2);
        check(&[(0, None), (5, Some(6)), (6, None)], 2);
        check(&[(0, None), (1, None), (2, Some(3))], 3);
    }
}
