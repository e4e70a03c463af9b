//! Runs the checker and says what it found. Main type: [`Report`].

use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

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

/// What a state of a model can do.
pub(crate) trait World: Clone + Eq + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static {}

impl<W: Clone + Eq + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static> World for W {}

/// Checks every state of a model. It is made anew each time that it is explored.
pub(crate) fn check<M>(model: impl Fn() -> M, threads: usize) -> Report
where
    M: Model<State: World, Action: Clone + PartialEq + fmt::Debug> + Send + Sync + 'static,
{
    let mut report = explore(&model, threads, HasDiscoveries::All);
    if !report.ways.is_empty() {
        // Only one thread alone finds the shortest way, and one way is enough to read.
        report.ways = explore(&model, 1, HasDiscoveries::AnyFailures).ways;
    }
    report
}

fn explore<M>(model: impl Fn() -> M, threads: usize, until: HasDiscoveries) -> Report
where
    M: Model<State: World, Action: Clone + PartialEq + fmt::Debug> + Send + Sync + 'static,
{
    let began = Instant::now();
    let checker = model().checker().threads(threads).finish_when(until).spawn_bfs().join();
    let found = checker.discoveries();
    let results: Vec<_> = model()
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

fn way(name: &str, steps: &[(impl fmt::Display, Option<impl fmt::Debug>)]) -> String {
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
