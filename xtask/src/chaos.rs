//! `cargo xtask chaos`: migrations without end, with faults at random instants, until the time is over; then what was
//! done and what did not hold. Main type: [`ChaosArguments`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::Args;
use lab::LabOptions;
use lab::matrix::Kind;
use lab::matrix::chaos::{Hit, Plan, Step, play};
use lab::matrix::play::Player;
use lab::trial::play_in;

use crate::setup::{self, Purpose};
use crate::{build_ferry, guest};

/// So many steps are played in one lab before a new one is made, so that what is seen stays readable.
const STEPS_PER_LAB: usize = 30;

/// Options of the chaos.
#[derive(Debug, Args)]
pub(crate) struct ChaosArguments {
    /// The plan; the same number gives the same faults after the same times [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How long it goes on
    #[arg(long, value_name = "MINUTES", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Play only this step of the plan, once
    #[arg(long, value_name = "STEP")]
    step: Option<u64>,
}

/// What has been seen.
#[derive(Debug, Default)]
struct Seen {
    migrations: u64,
    faults: u64,
    by_phase: BTreeMap<String, u64>,
    by_outcome: BTreeMap<String, u64>,
    violations: Vec<String>,
}

/// Sets everything up and goes on until the time is over.
pub(crate) fn run(root: &Path, target: &Path, arguments: &ChaosArguments) -> Result<()> {
    setup::run(target, Purpose::All)?;
    ensure!(setup::is_root(), "the lab makes network namespaces and taps, and only root may do that");
    guest::run(root, target)?;
    build_ferry(root)?;
    play_plan(arguments).map(drop)
}

/// Goes on for so long with a plan of its own, and returns what was done. Everything that is needed is there.
pub(crate) fn play_for(minutes: u64) -> Result<String> {
    play_plan(&ChaosArguments { seed: None, minutes, step: None })
}

fn play_plan(arguments: &ChaosArguments) -> Result<String> {
    let of_the_clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seed = arguments.seed.unwrap_or_else(of_the_clock);
    let end = Instant::now() + Duration::from_secs(60 * arguments.minutes);
    eprintln!("chaos: seed {seed}, {} min", arguments.minutes);
    let chosen = |step: &Step| arguments.step.is_none_or(|only| step.number == only);
    let most = if arguments.step.is_some() { 1 } else { usize::MAX };
    let mut plan = Plan::new(seed).filter(chosen).take(most).peekable();
    let mut seen = Seen::default();
    while Instant::now() < end && plan.peek().is_some() {
        let mut at = None;
        let options = LabOptions { watched: true, ..LabOptions::find()? };
        let scene = play_in(options, |lab| {
            let mut player = Player::begin(lab, Kind::Live)?;
            for step in plan.by_ref().take(STEPS_PER_LAB) {
                at = Some(step);
                let began = Instant::now();
                seen.take(&step, play(&mut player, &step)?, began.elapsed());
                if Instant::now() >= end {
                    break;
                }
            }
            Ok(())
        });
        if let Err(error) = scene {
            let step = at.map_or("before the first step".to_owned(), |step| step.to_string());
            eprintln!("chaos: VIOLATION in {step}: {error:#}");
            seen.violations.push(format!("{step}: {error:#}"));
        }
    }
    seen.tell(seed)
}

impl Seen {
    fn take(&mut self, step: &Step, hit: Hit, took: Duration) {
        self.migrations += 1;
        self.faults += hit.made.len() as u64;
        *self.by_outcome.entry(hit.outcome.to_string()).or_default() += 1;
        if !hit.made.is_empty() {
            *self.by_phase.entry(hit.phase.clone()).or_default() += 1;
        }
        let what = if hit.made.is_empty() { "too late" } else { hit.phase.as_str() };
        eprintln!("chaos: {:5.1} s  {step}: {what}: {}", took.as_secs_f64(), hit.outcome);
    }

    /// Tells what was seen, and returns the first line of it; an error where something did not hold.
    fn tell(&self, seed: u64) -> Result<String> {
        let done = format!("seed {seed}: {} migrations, {} faults", self.migrations, self.faults);
        eprintln!("\nchaos: {done}");
        for (what, counts) in [("hit while the source told", &self.by_phase), ("ended", &self.by_outcome)] {
            let words: Vec<String> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
            eprintln!("chaos: {what}: {}", words.join(", "));
        }
        eprintln!("chaos: {} violations", self.violations.len());
        let again = format!("again with: cargo xtask chaos --seed {seed} --step NUMBER");
        ensure!(
            self.violations.is_empty(),
            "something did not hold; {again}\n{}",
            self.violations.join("\n")
        );
        Ok(done)
    }
}
