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
        let mut all: Vec<f64> = self.samples.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        let middle = all.len() / 2;
        match all.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => all[middle],
            _ => (all[middle - 1] + all[middle]) / 2.0,
        }
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
}
