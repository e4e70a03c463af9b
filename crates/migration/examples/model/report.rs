//! Runs the checker and says what it found. Main type: [`Report`].

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::properties::Handover;
use crate::surroundings::Action;
use crate::world::{Faults, World};

/// What the checker found.
pub(crate) struct Report {
    pub(crate) holds: bool,
    unique: usize,
    total: usize,
    depth: usize,
    took: Duration,
    /// Each property: its name, what was wanted of it, whether it came out so.
    results: Vec<(&'static str, Expectation, bool)>,
    /// The shortest way to a violation; several, where one state violates several properties.
    ways: Vec<String>,
}

/// Checks every state that `faults` allow.
pub(crate) fn check(faults: Faults, threads: usize) -> Report {
    let mut report = explore(faults, threads, HasDiscoveries::All);
    if !report.ways.is_empty() {
        // Only one thread alone finds the shortest way, and one way is enough to read.
        report.ways = explore(faults, 1, HasDiscoveries::AnyFailures).ways;
    }
    report
}

fn explore(faults: Faults, threads: usize, until: HasDiscoveries) -> Report {
    let began = Instant::now();
    let checker = Handover::new(faults).checker().threads(threads).finish_when(until).spawn_bfs().join();
    let found = checker.discoveries();
    let results: Vec<_> = Handover::new(faults)
        .properties()
        .into_iter()
        .map(|property| {
            let wanted = !matches!(property.expectation, Expectation::Always);
            let holds = found.contains_key(property.name) == wanted;
            (property.name, property.expectation, holds)
        })
        .collect();
    let ways =
        results.iter().filter(|(_, expectation, holds)| !holds && matches!(expectation, Expectation::Always));
    let ways = ways.filter_map(|(name, ..)| Some((name, found.get(name)?.clone().into_vec())));
    Report {
        holds: results.iter().all(|(_, _, holds)| *holds),
        unique: checker.unique_state_count(),
        total: checker.state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        ways: ways.map(|(name, steps)| way(name, &steps)).collect(),
        results,
    }
}

fn way(name: &str, steps: &[(World, Option<Action>)]) -> String {
    let mut text = format!("violated: {name}\n");
    for (number, (world, action)) in steps.iter().enumerate() {
        text += &format!("{number:>3}  {world}\n");
        if let Some(action) = action {
            text += &format!("     → {action:?}\n");
        }
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, expectation, holds) in &self.results {
            let result = match (expectation, holds) {
                (Expectation::Always, true) => "holds",
                (Expectation::Always, false) => "VIOLATED",
                (Expectation::Sometimes | Expectation::Eventually, true) => "reached",
                (Expectation::Sometimes | Expectation::Eventually, false) => "NOT REACHED",
            };
            writeln!(f, "{result:<12} {name}")?;
        }
        for way in &self.ways {
            writeln!(f, "\n{way}")?;
        }
        let Report { unique, total, depth, took, .. } = self;
        write!(f, "{unique} states ({total} visits), depth {depth}, {:.1} s", took.as_secs_f64())
    }
}
