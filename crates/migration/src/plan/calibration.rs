//! How reckonings turned out before, and what that makes of the next one: a figure that was reckoned is multiplied by how such
//! figures were missed. Main types: [`Past`], [`Figures`]; main function: [`interval`].

use api::{Accuracy, Expected, FigureAccuracy, Interval, Migration, Outcome, Role};

use crate::limits::{PLAN_PAIR_MIN, PLAN_PAST_MAX};

/// What is predicted of a migration, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Milliseconds from its beginning until the domain runs on the target.
    pub time_ms: f64,
    /// Bytes that were sent.
    pub sent_bytes: f64,
    /// Rounds over memory.
    pub rounds: f64,
    /// Milliseconds in which the guest stood still.
    pub blackout_ms: f64,
}

/// A migration that was predicted and that ended on its target.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// The host that it left.
    pub source: String,
    /// The host that it went to.
    pub target: String,
    /// Whether memory went encrypted.
    pub encrypted: bool,
    /// Whether it was known how its guest writes.
    pub known: bool,
    /// What its link was taken for.
    pub link_bytes_per_s: f64,
    /// What it was, of all that went over; `None` where that is not known.
    pub streamed_bytes_per_s: Option<f64>,
    /// What was reckoned.
    pub reckoned: Figures,
    /// What came.
    pub came: Figures,
}

/// How far figures are missed as long as nothing is known of that, as logarithms of came ÷ reckoned. Each counts as one
/// migration, so that they matter less and less.
const PRIOR: [f64; 6] = [-0.5, -0.3, -0.12, 0.12, 0.3, 0.5];

/// What was predicted of a migration and came, where both are there to be compared.
#[must_use]
pub fn past(migration: &Migration) -> Option<Past> {
    let report = &migration.report;
    let (predicted, expected) = expected(migration)?;
    let came = Figures {
        time_ms: report.wall_ms as f64,
        sent_bytes: report.memory.sent_bytes as f64,
        rounds: report.memory.rounds as f64,
        blackout_ms: report.downtime.stop_to_resume_ms?,
    };
    let reckoned = Figures {
        time_ms: expected.time_ms.reckoned as f64,
        sent_bytes: expected.sent_bytes.reckoned as f64,
        rounds: expected.rounds.reckoned as f64,
        blackout_ms: expected.blackout_ms.reckoned as f64,
    };
    let streamed_ms = report.memory.streamed_ms;
    Some(Past {
        source: report.source.clone(),
        target: report.target.clone(),
        encrypted: report.encrypted,
        known: predicted.facts.writes.is_some(),
        link_bytes_per_s: predicted.facts.link_bytes_per_s as f64,
        streamed_bytes_per_s: (streamed_ms > 0).then(|| came.sent_bytes * 1000.0 / streamed_ms as f64),
        reckoned,
        came,
    })
}

/// What was expected of a guest that has moved from this host.
fn expected(migration: &Migration) -> Option<(&api::Prediction, &Expected)> {
    let report = &migration.report;
    let moved = migration.role == Role::Source && report.outcome == Some(Outcome::Moved);
    let predicted = report.prediction.as_deref().filter(|_| moved)?;
    Some((predicted, predicted.expected.as_ref()?))
}

/// Those of the past, the oldest first, that tell something about the next migration between two hosts: between the same two
/// if there were enough, the latest ones.
#[must_use]
pub fn telling<'a>(past: &'a [Past], source: &str, target: &str, known: bool) -> Vec<&'a Past> {
    let alike: Vec<&Past> = past.iter().filter(|past| past.known == known).collect();
    let between = |past: &&&Past| past.source == source && past.target == target;
    let pair: Vec<&Past> = alike.iter().filter(between).copied().collect();
    let chosen = if pair.len() >= PLAN_PAIR_MIN { pair } else { alike };
    chosen[chosen.len().saturating_sub(PLAN_PAST_MAX)..].to_vec()
}

/// The interval that contains four outcomes of five, of a figure that was reckoned, by how it was missed before. `spread` is how
/// uncertain it is where nothing is known, beside a time.
#[must_use]
pub fn interval(reckoned: f64, past: &[&Past], figure: fn(&Figures) -> f64, spread: f64) -> Interval {
    let missed = past.iter().map(|past| (figure(&past.came), figure(&past.reckoned)));
    let missed = missed.filter(|(came, reckoned)| *came > 0.0 && *reckoned > 0.0);
    let mut errors: Vec<f64> = missed.map(|(came, reckoned)| (came / reckoned).ln()).collect();
    errors.extend(PRIOR.map(|error| error * spread));
    errors.sort_by(f64::total_cmp);
    let at = |share| (reckoned * quantile(&errors, share).exp()).max(0.0);
    Interval {
        low: at(0.1).floor() as u64,
        likely: at(0.5).round() as u64,
        high: at(0.9).ceil() as u64,
        reckoned: reckoned.max(0.0).round() as u64,
    }
}

/// Of sorted values, of which there is one at least; between two of them where the share falls between them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * part
}

/// How good predictions were.
#[must_use]
pub fn accuracy(migrations: Vec<Migration>) -> Accuracy {
    let of = |figure: &str, interval: fn(&Expected) -> Interval, came: fn(&Migration) -> Option<u64>| {
        let pairs = migrations.iter().filter_map(|it| Some((interval(expected(it)?.1), came(it)?)));
        judged(figure, &pairs.collect::<Vec<_>>())
    };
    let figures: Vec<FigureAccuracy> = [
        of("time_ms", |it| it.time_ms, |it| Some(it.report.wall_ms)),
        of("sent_bytes", |it| it.sent_bytes, |it| Some(it.report.memory.sent_bytes)),
        of("rounds", |it| it.rounds, |it| Some(it.report.memory.rounds)),
        of(
            "blackout_ms",
            |it| it.blackout_ms,
            |it| Some(it.report.downtime.stop_to_resume_ms?.round() as u64),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let time = figures.iter().find(|it| it.figure == "time_ms");
    let (runs, coverage, median_error) =
        (time.map_or(0, |it| it.runs), time.map(|it| it.coverage), time.map(|it| it.median_error));
    let migrations = migrations.into_iter().filter(|it| it.report.prediction.is_some()).collect();
    Accuracy { runs, coverage, median_error, figures, migrations }
}

/// How often an outcome lay in its interval, and how far the middle one was from what was likely.
fn judged(figure: &str, pairs: &[(Interval, u64)]) -> Option<FigureAccuracy> {
    let inside = pairs.iter().filter(|(interval, came)| interval.contains(*came)).count();
    let off =
        |(interval, came): &(Interval, u64)| came.abs_diff(interval.likely) as f64 / (*came).max(1) as f64;
    let mut errors: Vec<f64> = pairs.iter().map(off).collect();
    errors.sort_by(f64::total_cmp);
    (!pairs.is_empty()).then(|| FigureAccuracy {
        figure: figure.to_owned(),
        runs: pairs.len() as u64,
        coverage: inside as f64 / pairs.len() as f64,
        median_error: quantile(&errors, 0.5),
    })
}

#[cfg(test)]
mod tests {
    use super::{Figures, Past, interval, judged, quantile, telling};
    use api::Interval;
    use proptest::prelude::*;

    fn past(target: &str, known: bool, factor: f64) -> Past {
        let figures = |ms| Figures { time_ms: ms, sent_bytes: 1.0, rounds: 1.0, blackout_ms: 1.0 };
        let reckoned = figures(1000.0);
        Past {
            source: "kvm1".into(),
            target: target.into(),
            encrypted: true,
            known,
            link_bytes_per_s: 1e8,
            streamed_bytes_per_s: None,
            reckoned,
            came: figures(1000.0 * factor),
        }
    }

    fn time(reckoned: f64, past: &[Past]) -> Interval {
        interval(reckoned, &past.iter().collect::<Vec<_>>(), |it| it.time_ms, 1.0)
    }

    #[test]
    fn without_a_past_it_is_as_reckoned_and_wide() {
        let without = time(1000.0, &[]);
        assert_eq!((without.likely, without.reckoned), (1000, 1000));
        assert!(without.low < 700 && without.high > 1400, "{without:?}");
    }

    #[test]
    fn a_past_corrects_and_narrows_it() {
        let with = time(1000.0, &vec![past("kvm2", true, 2.0); 100]);
        assert_eq!((with.low, with.likely, with.reckoned), (2000, 2000, 1000));
        assert!(with.high.abs_diff(2000) <= 1, "{with:?}");
    }

    #[test]
    fn the_same_two_hosts_count_once_there_are_enough() {
        let mut all = vec![past("kvm3", true, 1.0); 20];
        all.extend(vec![past("kvm2", false, 1.0); 20]);
        all.extend(vec![past("kvm2", true, 1.0); 7]);
        assert_eq!(telling(&all, "kvm1", "kvm2", true).len(), 27);
        all.push(past("kvm2", true, 1.0));
        assert_eq!(telling(&all, "kvm1", "kvm2", true).len(), 8);
        assert_eq!(telling(&all, "kvm1", "kvm3", true).len(), 20);
        assert_eq!(telling(&all, "kvm1", "kvm9", false).len(), 20);
    }

    #[test]
    fn outcomes_are_judged() {
        let of = |low, likely, high| Interval { low, likely, high, reckoned: likely };
        let pairs = [(of(80, 100, 120), 100), (of(80, 100, 120), 200), (of(80, 100, 120), 80)];
        let judged = judged("time_ms", &pairs).unwrap();
        assert!(
            (judged.coverage - 2.0 / 3.0).abs() < 1e-9 && (judged.median_error - 0.25).abs() < 1e-9,
            "{judged:?}"
        );
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
    }

    /// Errors that lie evenly between a third and three times, the small and the large in turn.
    fn errors(count: u32) -> impl Iterator<Item = f64> {
        (0..count).map(move |number| {
            let error = f64::from(number / 2) / f64::from(count / 2);
            if number % 2 == 0 { error } else { -error }
        })
    }

    #[test]
    fn four_of_five_are_inside() {
        let known: Vec<Past> = errors(80).map(|error| past("kvm2", true, error.exp())).collect();
        let expected = time(1000.0, &known);
        let inside = errors(400).filter(|error| expected.contains((1000.0 * error.exp()) as u64)).count();
        assert!((300..=340).contains(&inside), "{inside} of 400, {expected:?}");
    }

    proptest! {
        #[test]
        fn an_interval_is_in_order(reckoned in 0.0f64..1e15, factors in prop::collection::vec(1e-6f64..1e6, 0..50)) {
            let known: Vec<Past> = factors.iter().map(|factor| past("kvm2", true, *factor)).collect();
            let Interval { low, likely, high, .. } = time(reckoned, &known);
            prop_assert!(low <= likely && likely <= high);
        }
    }
}
