//! What is expected of a migration, in words, and how good such expectations were. Pure text. Main functions: [`prediction`],
//! [`accuracy`].

use api::{
    Accuracy, Convergence, Expected, GuestWrites, Interval, LinkKnownBy, Mean, Migration, Need, PlanFacts,
    Prediction,
};

use crate::measure::{bytes, milliseconds, rate};
use crate::printer::{Facts, table, wrap};
use crate::story;

/// What is expected, and what it rests on.
pub(crate) fn prediction(prediction: &Prediction, width: usize) -> String {
    let Prediction { expected, needs, facts, .. } = prediction;
    let mut lines = Facts::default();
    lines.add("it ends", &verdict(prediction));
    if let Some(Expected { time_ms, sent_bytes, rounds, blackout_ms }) = expected {
        lines.add("time", &range(time_ms, milliseconds));
        lines.add("blackout", &range(blackout_ms, milliseconds));
        lines.add("sent", &range(sent_bytes, bytes));
        lines.add("rounds", &range(rounds, |rounds| rounds.to_string()));
    }
    let takes: Vec<String> = needs.iter().map(need).collect();
    if !takes.is_empty() {
        lines.add("it takes", &takes.join("; or "));
    }
    lines.add("memory", &format!("{}, {} of it in use", bytes(facts.memory_bytes), bytes(facts.used_bytes)));
    if let Some(writes) = &facts.writes {
        lines.add("guest", &self::writes(writes));
    }
    lines.add("link", &link(facts));
    let bounds = match expected {
        Some(_) => "In brackets: what four migrations of five stay within.\n",
        None => "",
    };
    lines.render(width) + &wrap(bounds, "", "", width)
}

fn verdict(prediction: &Prediction) -> String {
    let by: Vec<&str> = prediction.by.iter().map(|mean| self::mean(*mean)).collect();
    match (prediction.verdict, by.is_empty()) {
        (Convergence::Unknown, _) => {
            "how fast the guest writes is not known; this is of one that does not write".to_owned()
        }
        (Convergence::Converges, true) => "yes, by itself".to_owned(),
        (Convergence::Converges, false) => format!("yes, by {}", by.join(", then ")),
        (Convergence::DoesNotConverge, true) => {
            "no: the guest writes faster than the link carries".to_owned()
        }
        (Convergence::DoesNotConverge, false) => format!("no, not even by {}", by.join(", then ")),
    }
}

fn mean(mean: Mean) -> &'static str {
    match mean {
        Mean::Xbzrle => "sending only what changes of a page",
        Mean::LongerBlackout => "a longer blackout within its bound",
        Mean::Throttle => "slowing the guest down",
        Mean::Postcopy => "post-copy",
    }
}

fn need(need: &Need) -> String {
    match need {
        Need::Link { bytes_per_s } => format!("a link of {}", rate(*bytes_per_s)),
        Need::Blackout { ms } => format!("a blackout of {}", milliseconds(*ms)),
        Need::Throttle { percent } => format!("{percent} % of the guest's time"),
        Need::Postcopy => "post-copy".to_owned(),
    }
}

fn range(interval: &Interval, unit: fn(u64) -> String) -> String {
    format!("{} ({} to {})", unit(interval.likely), unit(interval.low), unit(interval.high))
}

fn writes(writes: &GuestWrites) -> String {
    if writes.bytes_per_s == 0 {
        return "writes nothing that was seen".to_owned();
    }
    let delta = match writes.delta_percent {
        Some(percent) => format!("; {percent} % of such a page changes"),
        None => String::new(),
    };
    format!("writes {} to {} again and again{delta}", rate(writes.bytes_per_s), bytes(writes.set_bytes))
}

fn link(facts: &PlanFacts) -> String {
    let known = match facts.link_known_by {
        LinkKnownBy::Probe => "as the agents' own encrypted connection carries",
        LinkKnownBy::History => "as memory went before",
        LinkKnownBy::Assumed => "assumed: it could not be tried",
        LinkKnownBy::Limit => "the limit that was asked for",
    };
    let there_and_back = match facts.round_trip_us {
        Some(us) => format!("; there and back in {:.1} ms", us as f64 / 1000.0),
        None => String::new(),
    };
    format!("{}, {known}{there_and_back}", rate(facts.link_bytes_per_s))
}

/// Each migration that was predicted, and how good that was.
pub(crate) fn accuracy(accuracy: &Accuracy, width: usize) -> String {
    if accuracy.migrations.is_empty() {
        return "No migration from this host was predicted yet.\n".to_owned();
    }
    let rows = accuracy.migrations.iter().map(row).collect();
    let mut text = table(["MIGRATION", "DOMAIN", "EXPECTED", "CAME"], rows, width);
    for figure in &accuracy.figures {
        let name = match figure.figure.as_str() {
            "time_ms" => "time",
            "sent_bytes" => "sent",
            "blackout_ms" => "blackout",
            other => other,
        };
        let (inside, off) = (figure.coverage * 100.0, figure.median_error * 100.0);
        let line = format!(
            "{name}: {inside:.0} % of {} as expected, half of them within {off:.0} % of what was likely",
            figure.runs
        );
        text += &wrap(&line, "", "  ", width);
    }
    text
}

fn row(migration: &Migration) -> [String; 4] {
    let report = &migration.report;
    let expected = report.prediction.as_ref().map(|prediction| match &prediction.expected {
        Some(expected) => range(&expected.time_ms, milliseconds),
        None => "no end".to_owned(),
    });
    let came = match report.outcome {
        Some(api::Outcome::Moved) => milliseconds(report.wall_ms),
        Some(_) | None => story::phase_name(report.phase).to_owned(),
    };
    [report.id.to_string(), report.domain.clone(), expected.unwrap_or_default(), came]
}

#[cfg(test)]
mod tests {
    use super::prediction;
    use api::{Convergence, Expected, GuestWrites, Interval, LinkKnownBy, Mean, Need, PlanFacts, Prediction};
    use insta::assert_snapshot;

    fn facts(writes: Option<GuestWrites>) -> PlanFacts {
        PlanFacts {
            memory_bytes: 1 << 30,
            used_bytes: 400 << 20,
            writes,
            link_bytes_per_s: 118_000_000,
            link_known_by: LinkKnownBy::Probe,
            round_trip_us: Some(210),
        }
    }

    fn busy() -> Option<GuestWrites> {
        Some(GuestWrites { bytes_per_s: 160 << 20, set_bytes: 200 << 20, delta_percent: Some(2) })
    }

    fn expected() -> Expected {
        let of = |likely| Interval { low: likely / 2, likely, high: likely * 2, reckoned: likely };
        Expected { time_ms: of(4000), sent_bytes: of(400 << 20), rounds: of(4), blackout_ms: of(40) }
    }

    #[test]
    fn an_end_is_told_with_its_ranges() {
        let converges = Prediction {
            verdict: Convergence::Converges,
            by: vec![Mean::Xbzrle, Mean::Throttle],
            expected: Some(expected()),
            needs: Vec::new(),
            facts: facts(busy()),
        };
        assert_snapshot!(prediction(&converges, 80), @r"
          it ends   yes, by sending only what changes of a page, then slowing the guest
                    down
          time      4.0 s (2.0 s to 8.0 s)
          blackout  40 ms (20 ms to 80 ms)
          sent      400 MiB (200 MiB to 800 MiB)
          rounds    4 (2 to 8)
          memory    1.00 GiB, 400 MiB of it in use
          guest     writes 160 MiB/s to 200 MiB again and again; 2 % of such a page
                    changes
          link      113 MiB/s, as the agents' own encrypted connection carries; there
                    and back in 0.2 ms
        In brackets: what four migrations of five stay within.
        ");
        let rests = GuestWrites { bytes_per_s: 0, set_bytes: 0, delta_percent: None };
        let by_itself = Prediction { by: Vec::new(), facts: facts(Some(rests)), ..converges };
        assert_snapshot!(prediction(&by_itself, 80), @r"
          it ends   yes, by itself
          time      4.0 s (2.0 s to 8.0 s)
          blackout  40 ms (20 ms to 80 ms)
          sent      400 MiB (200 MiB to 800 MiB)
          rounds    4 (2 to 8)
          memory    1.00 GiB, 400 MiB of it in use
          guest     writes nothing that was seen
          link      113 MiB/s, as the agents' own encrypted connection carries; there
                    and back in 0.2 ms
        In brackets: what four migrations of five stay within.
        ");
    }

    #[test]
    fn no_end_is_told_with_what_it_would_take() {
        let never = Prediction {
            verdict: Convergence::DoesNotConverge,
            by: Vec::new(),
            expected: None,
            needs: vec![
                Need::Link { bytes_per_s: 200_000_000 },
                Need::Blackout { ms: 1200 },
                Need::Throttle { percent: 42 },
                Need::Postcopy,
            ],
            facts: facts(busy()),
        };
        assert_snapshot!(prediction(&never, 80), @r"
          it ends   no: the guest writes faster than the link carries
          it takes  a link of 191 MiB/s; or a blackout of 1.2 s; or 42 % of the guest's
                    time; or post-copy
          memory    1.00 GiB, 400 MiB of it in use
          guest     writes 160 MiB/s to 200 MiB again and again; 2 % of such a page
                    changes
          link      113 MiB/s, as the agents' own encrypted connection carries; there
                    and back in 0.2 ms
        ");
    }
}
