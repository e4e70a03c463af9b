//! What was measured of moves: samples in rows, rows in groups, Ferry's goals, and how good its predictions were. Main type:
//! [`Group`]. Pure.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::contestant::{Contestant, Means};
use crate::bench::figures::{Goal, Link, Spread};

/// Who has not ended so often, and never otherwise, does not take part any more.
const ENDLESS_RUNS_MAX: usize = 2;

/// What the guest does, and over which link it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// Nothing, over a link as fast as this machine moves packets
    Idle,
    /// Rewrites a few bytes of many pages, over 1 Gbit/s
    Words,
    /// Rewrites whole pages with what does not compress, over 1 Gbit/s
    Pages,
}

impl Load {
    /// What it moves over.
    pub(crate) fn link(self) -> Link {
        match self {
            Load::Idle => Link::Unshaped,
            Load::Words | Load::Pages => Link::Gigabit,
        }
    }

    /// How often each takes part where nobody says otherwise.
    pub(crate) fn runs(self) -> usize {
        match self {
            Load::Idle => 15,
            Load::Words | Load::Pages => 5,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub(crate) enum End {
    /// The guest runs on the target.
    Moved,
    /// It was cancelled after a long time.
    Cancelled,
    /// The command failed.
    Failed {
        /// What it said.
        said: String,
    },
}

/// What Ferry expected of a move before memory went over, and what came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Predicted {
    /// One outcome of ten is below.
    pub(crate) low_ms: u64,
    /// As many are below as above.
    pub(crate) likely_ms: u64,
    /// One outcome of ten is above.
    pub(crate) high_ms: u64,
    /// The migration's time.
    pub(crate) came_ms: u64,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    #[serde(flatten)]
    pub(crate) end: End,
    /// The whole command.
    pub(crate) wall_s: f64,
    /// The longest time without a beat of the guest, from the command's start on, in milliseconds.
    pub(crate) blackout_ms: f64,
    /// Into the management network by the source, and by the target.
    pub(crate) sent_bytes: u64,
    pub(crate) back_bytes: u64,
    /// What the guest did from the command's start to its end, as a share of what it does in that time undisturbed.
    pub(crate) work: f64,
    /// The same until the longest time without a beat began.
    pub(crate) work_before: f64,
    /// What all that ran on this machine took meanwhile, in seconds of processors: the guest and the kernel, too.
    pub(crate) cpu_s: f64,
    /// How the guest was just before.
    pub(crate) undisturbed: Undisturbed,
    /// How much of its time Ferry took from the guest at most, in per cent; of others nobody tells.
    #[serde(default)]
    pub(crate) throttle_percent_max: u8,
    /// By Ferry, where it knew enough.
    #[serde(default)]
    pub(crate) predicted: Option<Predicted>,
}

/// The guest and the machine while nothing is moved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Undisturbed {
    /// Pages that it changes in a second; beats, where it changes none.
    pub(crate) work_per_s: f64,
    /// The longest time without a beat, in milliseconds: nothing shorter can be told from chance.
    pub(crate) gap_ms: f64,
    /// Processors at work, of all that ran on this machine.
    pub(crate) processors: f64,
}

impl Sample {
    pub(crate) fn moved(&self) -> bool {
        self.end == End::Moved
    }

    /// What the move took beside the guest's work, in seconds of processors: work that is not done takes nothing.
    fn cpu_beside_s(&self) -> f64 {
        self.cpu_s - self.undisturbed.processors * self.wall_s * self.work
    }
}

/// What one contestant took, several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) contestant: Contestant,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    /// How often the guest was moved.
    pub(crate) fn moves(&self) -> usize {
        self.samples.iter().filter(|sample| sample.moved()).count()
    }

    /// One figure of the runs in which the guest was moved.
    pub(crate) fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().filter(|sample| sample.moved()).map(figure).collect())
    }

    /// The whole command, in seconds.
    pub(crate) fn wall_s(&self) -> Spread {
        self.spread(|sample| sample.wall_s)
    }

    /// The longest time without a beat, in milliseconds.
    pub(crate) fn blackout_ms(&self) -> Spread {
        self.spread(|sample| sample.blackout_ms)
    }

    /// What it took beside the guest's work, in seconds of processors.
    pub(crate) fn cpu_beside_s(&self) -> Spread {
        self.spread(Sample::cpu_beside_s)
    }

    /// Whether it has never ended, and does not take part any more.
    pub(crate) fn is_endless(&self) -> bool {
        self.samples.len() >= ENDLESS_RUNS_MAX
            && self.samples.iter().all(|sample| sample.end == End::Cancelled)
    }

    /// Whether it can be relied on: every run ended with the guest on the target.
    fn always_moves(&self) -> bool {
        self.moves() > 0 && self.moves() == self.samples.len()
    }
}

/// Everyone with the same load: what can be compared, since it was measured in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) load: Load,
    pub(crate) memory_mib: u32,
    /// How much of it the guest rewrites, and how fast it is told to.
    pub(crate) pattern_mib: u32,
    pub(crate) rate_pages: u32,
    /// What takes longer is cancelled.
    pub(crate) limit_s: u64,
    /// What it ran on, and with which versions.
    pub(crate) machine: Vec<String>,
    /// When it began, RFC 3339.
    pub(crate) began_at: String,
    pub(crate) rows: Vec<Row>,
}

impl Group {
    /// The row of a contestant, where it took part.
    pub(crate) fn row(&self, contestant: Contestant) -> Option<&Row> {
        self.rows.iter().find(|row| row.contestant == contestant)
    }

    /// The row for one more sample.
    pub(crate) fn row_mut(&mut self, contestant: Contestant) -> &mut Row {
        let there = self.rows.iter().position(|row| row.contestant == contestant);
        let place = there.unwrap_or_else(|| {
            self.rows.push(Row { contestant, samples: Vec::new() });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }

    /// The fastest of virsh's flags that always move the guest, with such blackouts.
    pub(crate) fn virsh_best(&self, blackout_ms_max: f64) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| row.contestant.is_virsh() && row.always_moves());
        let short = rows.filter(|row| row.blackout_ms().median <= blackout_ms_max);
        short.min_by(|one, other| one.wall_s().median.total_cmp(&other.wall_s().median))
    }

    /// Ferry's goals here, as far as there are figures: of its default, and of what can be compared with virsh over TCP.
    pub(crate) fn goals(&self) -> Vec<Goal> {
        let rows = self.rows.iter().filter(|row| matches!(row.contestant.means(), Means::Ferry(_)));
        rows.flat_map(|row| self.goals_of(row)).collect()
    }

    fn goals_of(&self, ferry: &Row) -> Vec<Goal> {
        let goal = |what: &str, figure: f64, figure_max: Option<f64>| {
            let what = format!("{}: {what}", ferry.contestant.name());
            Some(Goal { what, figure, figure_max: figure_max? })
        };
        let stayed = (ferry.samples.len() - ferry.moves()) as f64;
        let throttled = ferry.samples.iter().filter(|sample| sample.throttle_percent_max > 0).count() as f64;
        let (wall_s, blackout_ms) = (ferry.wall_s().median, ferry.blackout_ms().median);
        let of = |contestant, figure: fn(&Row) -> Spread, share: f64| {
            let row = self.row(contestant).filter(|row| row.moves() > 0)?;
            Some(figure(row).median * share)
        };
        let best =
            |blackout_ms_max, share: f64| Some(self.virsh_best(blackout_ms_max)?.wall_s().median * share);
        let goals = match self.load {
            Load::Idle => vec![
                goal("wall in s, at most 0.35 of virsh's", wall_s, of(Contestant::Virsh, Row::wall_s, 0.35)),
                goal("wall in s, at most 0.45 of virsh's best flags", wall_s, best(f64::INFINITY, 0.45)),
                goal(
                    "blackout in ms, at most 0.7 of virsh's",
                    blackout_ms,
                    of(Contestant::Virsh, Row::blackout_ms, 0.7),
                ),
                goal(
                    "blackout in ms, at most 1.2 of QEMU's by hand",
                    blackout_ms,
                    of(Contestant::Qemu, Row::blackout_ms, 1.2),
                ),
            ],
            Load::Words => vec![
                goal("runs in which the guest stayed", stayed, Some(0.0)),
                goal("runs in which the guest was throttled", throttled, Some(0.0)),
                goal("blackout in ms", blackout_ms, Some(100.0)),
                goal(
                    "wall in s, at most that of virsh's fastest flags with a blackout of at most 150 ms",
                    wall_s,
                    best(150.0, 1.0),
                ),
            ],
            Load::Pages => vec![
                goal("runs in which the guest stayed", stayed, Some(0.0)),
                goal("blackout in ms", blackout_ms, Some(200.0)),
                goal(
                    "% of its speed that the guest loses until the switchover",
                    100.0 * (1.0 - ferry.spread(|sample| sample.work_before).median),
                    Some(30.0),
                ),
            ],
        };
        goals.into_iter().flatten().collect()
    }
}

/// How good Ferry's predictions of time were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forecast {
    pub(crate) runs: usize,
    /// Share of the runs whose time lay in its interval.
    pub(crate) coverage: f64,
    /// The median of how far the time was from the likely one, as a share of that.
    pub(crate) median_error: f64,
}

impl Forecast {
    /// Of all runs of Ferry that moved the guest and were predicted; `None` where there are none.
    pub(crate) fn of(groups: &[Group]) -> Option<Forecast> {
        let samples = groups.iter().flat_map(|group| &group.rows).flat_map(|row| &row.samples);
        let all: Vec<Predicted> =
            samples.filter(|sample| sample.moved()).filter_map(|sample| sample.predicted).collect();
        let inside = |one: &&Predicted| (one.low_ms..=one.high_ms).contains(&one.came_ms);
        let error =
            |one: &Predicted| one.came_ms.abs_diff(one.likely_ms) as f64 / one.likely_ms.max(1) as f64;
        (!all.is_empty()).then(|| Forecast {
            runs: all.len(),
            coverage: all.iter().filter(inside).count() as f64 / all.len() as f64,
            median_error: Spread::of(all.iter().map(error).collect()).median,
        })
    }

    /// What it is to reach.
    pub(crate) fn goals(self) -> Vec<Goal> {
        let goal = |what: &str, figure, figure_max| Goal { what: what.to_owned(), figure, figure_max };
        vec![
            goal("% of outcomes outside of the interval", 100.0 * (1.0 - self.coverage), 30.0),
            goal("median error of the predicted time in %", 100.0 * self.median_error, 30.0),
        ]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(end: End, wall_s: f64, blackout_ms: f64) -> Sample {
        Sample {
            end,
            wall_s,
            blackout_ms,
            sent_bytes: 394_000_000,
            back_bytes: 1_000_000,
            work: 0.9,
            work_before: 0.95,
            cpu_s: 2.0 * wall_s,
            undisturbed: Undisturbed { work_per_s: 40_000.0, gap_ms: 9.0, processors: 1.5 },
            throttle_percent_max: 0,
            predicted: None,
        }
    }

    /// A group in which everyone has taken so long, in seconds, and been silent so long, in milliseconds.
    pub(crate) fn group(load: Load, rows: &[(Contestant, &[(f64, f64)])]) -> Group {
        let rows = rows.iter().map(|(contestant, figures)| Row {
            contestant: *contestant,
            samples: figures.iter().map(|(wall, blackout)| sample(End::Moved, *wall, *blackout)).collect(),
        });
        Group {
            load,
            memory_mib: 1024,
            pattern_mib: 192,
            rate_pages: 40_000,
            limit_s: 60,
            machine: vec!["2 × a processor".into()],
            began_at: "2026-01-01T00:00:00Z".into(),
            rows: rows.collect(),
        }
    }

    #[test]
    fn only_runs_that_moved_the_guest_have_figures() {
        let mut row = Row { contestant: Contestant::Virsh, samples: vec![sample(End::Moved, 3.0, 80.0)] };
        assert!(row.always_moves());
        row.samples.push(sample(End::Cancelled, 60.0, 9.0));
        assert_eq!((row.moves(), row.wall_s().median, row.always_moves()), (1, 3.0, false));
        row.samples.push(sample(End::Cancelled, 60.0, 9.0));
        assert!(!row.is_endless(), "it ended once");
        row.samples.remove(0);
        assert!(row.is_endless());
        row.samples.pop();
        assert!(!row.is_endless(), "once is chance");
    }

    #[test]
    fn what_a_move_takes_is_what_the_guest_did_not() {
        let sample = Sample { work: 0.5, ..sample(End::Moved, 4.0, 1.0) };
        assert_eq!((sample.cpu_s, sample.cpu_beside_s()), (8.0, 5.0));
    }

    #[test]
    fn the_best_flags_are_fast_and_always_move_the_guest() {
        let mut all = group(
            Load::Words,
            &[
                (Contestant::Ferry, &[(1.0, 50.0)]),
                (Contestant::Virsh, &[(9.0, 60.0)]),
                (Contestant::VirshParallel, &[(2.0, 310.0)]),
                (Contestant::VirshTls, &[(3.0, 70.0)]),
            ],
        );
        let best = |group: &Group, ms| group.virsh_best(ms).map(|row| row.contestant);
        assert_eq!(best(&all, f64::INFINITY), Some(Contestant::VirshParallel));
        assert_eq!(best(&all, 150.0), Some(Contestant::VirshTls));
        all.row_mut(Contestant::VirshTls).samples.push(sample(End::Cancelled, 60.0, 1.0));
        assert_eq!(best(&all, 150.0), Some(Contestant::Virsh));
        assert_eq!(best(&all, 10.0), None);
    }

    #[test]
    fn goals_are_met_or_not_by_who_took_part() {
        let check = |group: &Group, expect: &[(f64, f64, bool)]| {
            let rounded = |figure: f64| (figure * 100.0).round() / 100.0;
            let goals = group.goals();
            let found: Vec<_> = goals
                .iter()
                .map(|goal| (rounded(goal.figure), rounded(goal.figure_max), goal.met()))
                .collect();
            assert_eq!(found, expect, "{goals:?}");
        };
        let ferry = (Contestant::Ferry, &[(1.0, 50.0)][..]);
        let (virsh, by_hand) = (Contestant::Virsh, (Contestant::Qemu, &[(0.9, 45.0)][..]));
        let parallel = (Contestant::VirshParallel, &[(2.0, 200.0)][..]);
        let idle = group(Load::Idle, &[ferry, (virsh, &[(4.0, 80.0)]), parallel, by_hand]);
        check(&idle, &[(1.0, 1.4, true), (1.0, 0.9, false), (50.0, 56.0, true), (50.0, 54.0, true)]);
        check(&group(Load::Idle, &[ferry, by_hand]), &[(50.0, 54.0, true)]);
        check(&group(Load::Idle, &[(virsh, &[(4.0, 80.0)])]), &[]);
        let words = group(Load::Words, &[ferry, parallel, (virsh, &[(0.8, 140.0)])]);
        check(&words, &[(0.0, 0.0, true), (0.0, 0.0, true), (50.0, 100.0, true), (1.0, 0.8, false)]);
        let mut words = group(Load::Words, &[ferry]);
        words.row_mut(Contestant::Ferry).samples[0].throttle_percent_max = 20;
        check(&words, &[(0.0, 0.0, true), (1.0, 0.0, false), (50.0, 100.0, true)]);
        let mut pages = group(Load::Pages, &[ferry]);
        check(&pages, &[(0.0, 0.0, true), (50.0, 200.0, true), (5.0, 30.0, true)]);
        pages.row_mut(Contestant::Ferry).samples.push(sample(End::Cancelled, 60.0, 9.0));
        check(&pages, &[(1.0, 0.0, false), (50.0, 200.0, true), (5.0, 30.0, true)]);
    }

    #[test]
    fn predictions_are_held_against_what_came() {
        let mut group = group(Load::Idle, &[(Contestant::Ferry, &[(1.0, 50.0); 4])]);
        assert_eq!(Forecast::of(std::slice::from_ref(&group)), None);
        let samples = &mut group.row_mut(Contestant::Ferry).samples;
        for (sample, came_ms) in samples.iter_mut().zip([500, 1000, 1500, 3000]) {
            sample.predicted = Some(Predicted { low_ms: 800, likely_ms: 1000, high_ms: 1500, came_ms });
        }
        let forecast = Forecast::of(&[group]).expect("four were predicted");
        assert_eq!((forecast.runs, forecast.coverage, forecast.median_error), (4, 0.5, 0.5));
        assert_eq!(forecast.goals().iter().map(Goal::met).collect::<Vec<_>>(), [false, false]);
    }
}
