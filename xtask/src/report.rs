//! What a demo ends in: figures of every move, what must hold over all of them, and whether it held.
//! Main type: [`Report`]. Measures nothing itself.

use anyhow::{Result, bail};
use serde::{Serialize, Serializer};

/// One move from host to host; half of a round trip.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Move {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    /// The whole command.
    pub(crate) wall_s: f64,
    pub(crate) rounds: u64,
    pub(crate) bytes: u64,
    /// QEMU's own figure.
    pub(crate) downtime_ms: Option<u64>,
    /// The longest time without an answer to the client.
    pub(crate) gap_ms: f64,
    /// The longest time without a request of the client: when high, the machine was busy and `gap_ms` is doubtful.
    pub(crate) client_pause_ms: f64,
    pub(crate) ping_sent: u64,
    pub(crate) ping_lost: u64,
    pub(crate) guest_ping_lost: u64,
    /// Records written meanwhile.
    pub(crate) records: u64,
    /// Whether both QEMUs' event times are known.
    pub(crate) both_times: bool,
}

/// The whole demo. Serialized, `moves` become one list per figure, with one entry per move.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) outcome: String,
    pub(crate) trips: u32,
    pub(crate) ping_sent: u64,
    pub(crate) ping_lost: u64,
    pub(crate) guest_ping_lost: u64,
    #[serde(flatten, serialize_with = "lists")]
    pub(crate) moves: Vec<Move>,
    pub(crate) records_lost: u64,
    pub(crate) record_last: u64,
    pub(crate) memory_checked: u64,
    pub(crate) memory_errors: u64,
    pub(crate) boot_id_changed: bool,
    pub(crate) runners_seen_max: usize,
    pub(crate) guest_requests_repeated: u64,
    pub(crate) leaks: Vec<String>,
    /// How the QEMU ended that the guest shut itself down in; empty where it ended as it should.
    #[serde(skip)]
    pub(crate) qemu_died: Option<String>,
    /// Why the demo could not go on to its end.
    #[serde(skip)]
    pub(crate) broken_off: Option<String>,
    /// What does not hold.
    pub(crate) failures: Vec<String>,
}

fn lists<S: Serializer>(moves: &[Move], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Lists {
        longest_gap_ms: Vec<f64>,
        downtime_ms: Vec<Option<u64>>,
        wall_s: Vec<f64>,
        rounds: Vec<u64>,
        bytes: Vec<u64>,
        records_written: Vec<u64>,
        client_pause_ms: Vec<f64>,
    }
    Lists {
        longest_gap_ms: moves.iter().map(|one| rounded(one.gap_ms, 10.0)).collect(),
        downtime_ms: moves.iter().map(|one| one.downtime_ms).collect(),
        wall_s: moves.iter().map(|one| rounded(one.wall_s, 1000.0)).collect(),
        rounds: moves.iter().map(|one| one.rounds).collect(),
        bytes: moves.iter().map(|one| one.bytes).collect(),
        records_written: moves.iter().map(|one| one.records).collect(),
        client_pause_ms: moves.iter().map(|one| rounded(one.client_pause_ms, 10.0)).collect(),
    }
    .serialize(serializer)
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

impl Report {
    pub(crate) fn new(trips: u32) -> Report {
        Report { trips, ..Report::default() }
    }

    /// The report of a demo that could not go on; it knows no more than why.
    pub(crate) fn broken_off(trips: u32, error: &anyhow::Error) -> Report {
        let broken_off = Some(format!("{error:#}"));
        let mut report = Report { broken_off, ..Report::new(trips) };
        report.judge();
        report
    }

    /// Sets the outcome, and collects everything that does not hold.
    pub(crate) fn judge(&mut self) {
        let failed = self.moves.iter().find(|one| one.outcome != "moved");
        self.outcome = match failed {
            Some(one) => one.outcome.clone(),
            None if self.moves.len() == 2 * self.trips as usize => "moved".to_owned(),
            None => "unfinished".to_owned(),
        };
        if let Some(error) = &self.broken_off {
            self.outcome = "broken off".to_owned();
            self.failures = vec![error.clone()];
            self.failures.extend(self.leaks.iter().map(|leak| format!("left behind: {leak}")));
            return;
        }
        let mut failures = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                failures.push(what);
            }
        };
        must(self.outcome == "moved", format!("the guest was to be moved, and was {}", self.outcome));
        for one in &self.moves {
            if let Some(reason) = &one.reason {
                must(one.outcome == "moved", format!("{} to {}: {reason}", one.source, one.target));
            }
            let known = one.outcome != "moved" || (one.both_times && one.downtime_ms.is_some());
            must(known, format!("{} to {}: a time is missing in the report", one.source, one.target));
            must(
                one.records > 0,
                format!("{} to {}: the guest wrote nothing meanwhile", one.source, one.target),
            );
        }
        must(self.ping_sent > 0, "no ping was sent".to_owned());
        must(self.record_last > 0, "the guest wrote no record".to_owned());
        must(self.memory_checked > 0, "the guest checked no memory".to_owned());
        must(self.records_lost == 0, format!("{} records are lost", self.records_lost));
        must(self.memory_errors == 0, format!("{} pages of memory are wrong", self.memory_errors));
        must(!self.boot_id_changed, "the guest was booted again".to_owned());
        must(self.runners_seen_max == 1, format!("{} QEMUs ran the guest at once", self.runners_seen_max));
        must(
            self.guest_requests_repeated == 0,
            format!("the client heard {} requests of the guest twice", self.guest_requests_repeated),
        );
        if let Some(how) = &self.qemu_died {
            must(false, format!("QEMU died when the guest shut itself down: {how}"));
        }
        must(self.leaks.is_empty(), format!("{} things are left behind", self.leaks.len()));
        self.failures = failures;
    }

    /// An error when something does not hold.
    pub(crate) fn verdict(&self) -> Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        bail!("what does not hold:\n  {}", self.failures.join("\n  "))
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{:13} {:8} {:>7} {:>6} {:>9} {:>8} {:>8} {:>6} {:>7} {:>7}\n\
             {:13} {:8} {:>7} {:>6} {:>9} {:>8} {:>8} {:>6} {:>7} {:>7}\n",
            "",
            "",
            "",
            "",
            "",
            "QEMU's",
            "longest",
            "pings",
            "guest's",
            "records",
            "move",
            "outcome",
            "wall",
            "rounds",
            "sent",
            "downtime",
            "gap",
            "lost",
            "lost",
            "written",
        );
        for one in &self.moves {
            text += &format!(
                "{:13} {:8} {:>7} {:>6} {:>9} {:>8} {:>8} {:>6} {:>7} {:>7}\n",
                format!("{} to {}", one.source, one.target),
                one.outcome,
                format!("{:.2} s", one.wall_s),
                one.rounds,
                format!("{:.1} MB", one.bytes as f64 / 1e6),
                one.downtime_ms.map_or("?".to_owned(), |downtime| format!("{downtime} ms")),
                format!("{:.0} ms", one.gap_ms),
                one.ping_lost,
                one.guest_ping_lost,
                one.records,
            );
        }
        text += &format!(
            "\nPings: client {} of {} lost, guest {} lost. Records: {} synced, {} lost. Memory: {} pages checked, \
             {} wrong.\nSame boot: {}. Most QEMUs that ran the guest at once: {}. Left behind: {}.",
            self.ping_lost,
            self.ping_sent,
            self.guest_ping_lost,
            self.record_last,
            self.records_lost,
            self.memory_checked,
            self.memory_errors,
            if self.boot_id_changed { "no" } else { "yes" },
            self.runners_seen_max,
            if self.leaks.is_empty() {
                "nothing".to_owned()
            } else {
                format!("\n  {}", self.leaks.join("\n  "))
            },
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        let one = Move {
            outcome: "moved".to_owned(),
            downtime_ms: Some(20),
            records: 5,
            both_times: true,
            gap_ms: 41.26,
            ..Move::default()
        };
        Report {
            trips: 1,
            moves: vec![one.clone(), one],
            ping_sent: 9,
            record_last: 9,
            memory_checked: 9,
            runners_seen_max: 1,
            ..Report::default()
        }
    }

    /// Spoils a good report in one way, and sees that this is noticed.
    fn check(expect: &str, spoil: impl FnOnce(&mut Report)) {
        let mut report = good();
        spoil(&mut report);
        report.judge();
        assert_eq!(report.failures.join("; "), expect);
        assert_eq!(report.verdict().is_err(), !expect.is_empty());
    }

    #[test]
    fn everything_that_must_hold_is_looked_at() {
        check("", |_| {});
        check("the guest was to be moved, and was kept; a to b: full", |report| {
            let reason = Some("full".to_owned());
            let (source, target) = ("a".to_owned(), "b".to_owned());
            report.moves[1] =
                Move { outcome: "kept".to_owned(), reason, source, target, ..report.moves[1].clone() };
        });
        check("the guest was to be moved, and was unfinished", |report| drop(report.moves.pop()));
        check("no ping was sent", |report| report.ping_sent = 0);
        check("2 records are lost", |report| report.records_lost = 2);
        check("1 pages of memory are wrong", |report| report.memory_errors = 1);
        check("the guest was booted again", |report| report.boot_id_changed = true);
        check("2 QEMUs ran the guest at once", |report| report.runners_seen_max = 2);
        check("the client heard 3 requests of the guest twice", |report| report.guest_requests_repeated = 3);
        check("QEMU died when the guest shut itself down: signal: 11", |report| {
            report.qemu_died = Some("signal: 11".to_owned());
        });
        check("1 things are left behind", |report| report.leaks.push("tap".to_owned()));
        check(" to : a time is missing in the report", |report| report.moves[0].both_times = false);
        check(" to : the guest wrote nothing meanwhile", |report| report.moves[0].records = 0);
    }

    #[test]
    fn a_demo_that_broke_off_says_why_and_fails() {
        let report = Report::broken_off(2, &anyhow::anyhow!("no host").context("the lab"));
        assert_eq!(report.outcome, "broken off");
        assert_eq!(report.failures, ["the lab: no host"]);
        assert!(report.verdict().is_err());
    }

    #[test]
    fn lists_have_one_entry_per_move() {
        let mut report = good();
        report.judge();
        let value = serde_json::to_value(&report).expect("a report is plain data");
        assert_eq!(value["outcome"], "moved");
        assert_eq!(value["longest_gap_ms"], serde_json::json!([41.3, 41.3]));
        assert_eq!(value["downtime_ms"], serde_json::json!([20, 20]));
        assert_eq!(value["leaks"], serde_json::json!([]));
        assert!(value.get("moves").is_none());
    }
}
