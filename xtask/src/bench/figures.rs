//! What was measured: samples in rows, rows in groups, and the goals that Ferry has. Main type: [`Group`]. Pure.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::image::Kind;
use super::tool::{Sample, Tool, Trip};

/// What is between the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Link {
    /// As fast as this machine moves packets
    Unshaped,
    /// 1 Gbit/s each way
    #[value(name = "1gbit")]
    Gigabit,
}

impl Link {
    /// What a host may send, where that is bounded.
    pub(crate) fn bytes_per_s(self) -> Option<u64> {
        match self {
            Link::Unshaped => None,
            Link::Gigabit => Some(125_000_000),
        }
    }
}

/// Something that Ferry is to reach: a figure that is at most another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) figure: f64,
    pub(crate) figure_max: f64,
}

impl Goal {
    /// Whether it is reached.
    pub(crate) fn met(&self) -> bool {
        self.figure <= self.figure_max
    }
}

/// The middle of some figures, and what half of them lie between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Quartiles, between neighbours in proportion; of no figures there are none (NaN).
    pub(crate) fn of(mut figures: Vec<f64>) -> Spread {
        figures.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * figures.len().saturating_sub(1) as f64;
            let (below, above) = (figures.get(place.floor() as usize), figures.get(place.ceil() as usize));
            below.zip(above).map_or(f64::NAN, |(below, above)| below + (above - below) * place.fract())
        };
        Spread { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

/// One image over one link: what can be compared, since it was measured in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) link: Link,
    pub(crate) image: Kind,
    pub(crate) virtual_bytes: u64,
    pub(crate) allocated_bytes: u64,
    /// Before each second trip.
    pub(crate) changed_bytes: u64,
    /// Whether images and copies lay on a disk, and not in memory.
    pub(crate) on_disk: bool,
    /// What it ran on, and with which versions.
    pub(crate) machine: Vec<String>,
    /// When it began, RFC 3339.
    pub(crate) began_at: String,
    pub(crate) rows: Vec<Row>,
}

/// What one tool took for one trip, several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) tool: Tool,
    pub(crate) trip: Trip,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    /// The median of one figure.
    pub(crate) fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        Spread::of(self.samples.iter().map(figure).collect()).median
    }

    /// From the start of the command to a durable copy, in seconds.
    pub(crate) fn wall_s(&self) -> f64 {
        self.median(|sample| sample.spent.wall_s)
    }

    /// What the source sent, in bytes.
    pub(crate) fn sent_bytes(&self) -> f64 {
        self.median(|sample| sample.sent_bytes as f64)
    }
}

impl Group {
    /// The row of a tool for a trip, where it was measured.
    pub(crate) fn row(&self, tool: Tool, trip: Trip) -> Option<&Row> {
        self.rows.iter().find(|row| row.tool == tool && row.trip == trip)
    }

    /// Ferry's goals here, as far as there are figures: encrypted and verified against what others need.
    pub(crate) fn goals(&self) -> Vec<Goal> {
        let Some(ferry) = self.row(Tool::Ferry, Trip::First) else { return Vec::new() };
        let wall = |tool: Tool, share: f64, what: &str| {
            let figure_max = self.row(tool, Trip::First)?.wall_s() * share;
            Some(Goal { what: format!("wall in s, at most {what}"), figure: ferry.wall_s(), figure_max })
        };
        let megabytes = |row: &Row, bytes: u64, share: f64, what: &str| {
            let figure_max = bytes as f64 * share / 1e6;
            Goal { what: format!("MB sent, at most {what}"), figure: row.sent_bytes() / 1e6, figure_max }
        };
        let mut goals: Vec<Goal> = match (self.link, self.image) {
            (Link::Unshaped, Kind::Sparse) => vec![wall(Tool::Scp, 1.0 / 12.0, "1/12 of scp's")],
            (Link::Unshaped, Kind::Qcow2 | Kind::Full) => vec![
                wall(Tool::Scp, 1.0 / 1.5, "2/3 of scp's"),
                wall(Tool::Nbd, 1.4, "1.4 of convert's over NBD in the clear"),
            ],
            (Link::Gigabit, _) => vec![
                wall(Tool::RsyncZstd, 0.95, "0.95 of rsync's with zstd"),
                Some(megabytes(ferry, self.allocated_bytes, 0.62, "0.62 of what is allocated")),
            ],
        }
        .into_iter()
        .flatten()
        .collect();
        if let Some(second) = self.row(Tool::Ferry, Trip::Second) {
            goals.push(megabytes(second, self.changed_bytes, 1.3, "1.3 of what changed, on the second trip"));
        }
        goals
    }

    /// The row for one more sample.
    pub(crate) fn row_mut(&mut self, tool: Tool, trip: Trip) -> &mut Row {
        let there = self.rows.iter().position(|row| row.tool == tool && row.trip == trip);
        let place = there.unwrap_or_else(|| {
            self.rows.push(Row { tool, trip, samples: Vec::new() });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::usage::{Spent, Usage};

    /// A group in which each tool has taken so long, in seconds, and sent so much, in MB.
    pub(crate) fn group(link: Link, image: Kind, rows: &[(Tool, Trip, &[f64], u64)]) -> Group {
        let sample = |wall_s: f64, sent_mb: u64| Sample {
            spent: Spent {
                wall_s,
                source: Usage { cpu_s: 1.5, memory_bytes: 10 << 20 },
                target: Usage { cpu_s: 2.0, memory_bytes: 20 << 20 },
                machine_cpu_s: 4.0,
            },
            sent_bytes: sent_mb * 1_000_000,
            back_bytes: 100_000,
            allocated_bytes: 2048 << 20,
        };
        let rows = rows.iter().map(|(tool, trip, walls, sent_mb)| Row {
            tool: *tool,
            trip: *trip,
            samples: walls.iter().map(|wall_s| sample(*wall_s, *sent_mb)).collect(),
        });
        Group {
            link,
            image,
            virtual_bytes: 20 << 30,
            allocated_bytes: 2048 << 20,
            changed_bytes: 328 << 16,
            on_disk: false,
            machine: vec!["2 × a processor".into()],
            began_at: "2026-01-01T00:00:00Z".into(),
            rows: rows.collect(),
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let wall_s = |walls: &[f64]| {
            let group = group(Link::Unshaped, Kind::Full, &[(Tool::Scp, Trip::First, walls, 1)]);
            group.row(Tool::Scp, Trip::First).map(Row::wall_s)
        };
        assert_eq!(wall_s(&[3.0]), Some(3.0));
        assert_eq!(wall_s(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(wall_s(&[4.0, 9.0, 1.0, 2.0]), Some(3.0));
    }

    #[test]
    fn quartiles_lie_between_neighbours() {
        let check = |figures: &[f64], low, median, high| {
            assert_eq!(Spread::of(figures.to_vec()), Spread { low, median, high }, "{figures:?}");
        };
        check(&[7.0], 7.0, 7.0, 7.0);
        check(&[4.0, 1.0], 1.75, 2.5, 3.25);
        check(&[5.0, 1.0, 3.0, 2.0, 4.0], 2.0, 3.0, 4.0);
        assert!(Spread::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn goals_are_met_or_not_by_who_took_part() {
        let check = |link, image, rows: &[(Tool, Trip, &[f64], u64)], expect: &[(f64, f64, bool)]| {
            let goals = group(link, image, rows).goals();
            let rounded = |figure: f64| (figure * 100.0).round() / 100.0;
            let found: Vec<_> =
                goals.iter().map(|goal| (goal.figure, rounded(goal.figure_max), goal.met())).collect();
            assert_eq!(found, expect, "{goals:?}");
        };
        let (first, second) = (Trip::First, Trip::Second);
        let ferry = (Tool::Ferry, first, &[4.0][..], 1300);
        let scp = (Tool::Scp, first, &[60.0][..], 1);
        check(Link::Unshaped, Kind::Sparse, &[ferry, scp], &[(4.0, 5.0, true)]);
        check(Link::Unshaped, Kind::Sparse, &[scp], &[]);
        check(Link::Unshaped, Kind::Full, &[ferry, (Tool::Nbd, first, &[2.0], 1)], &[(4.0, 2.8, false)]);
        let back = (Tool::Ferry, second, &[1.0][..], 30);
        let zstd = (Tool::RsyncZstd, first, &[5.0][..], 1);
        let expect = [(4.0, 4.75, true), (1300.0, 1331.44, true), (30.0, 27.94, false)];
        check(Link::Gigabit, Kind::Qcow2, &[ferry, back, zstd], &expect);
    }
}
