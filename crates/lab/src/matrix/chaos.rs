//! Migrations without end, with faults at random instants. All that is random comes from a seed: the same seed gives the
//! same plan, though not the same instants of the machine. Main types: [`Plan`], [`Step`]; main function: [`play`].

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::attempt::Attempt;
use super::fault::{make, mend, prepare};
use super::play::{Player, settled};
use super::{Fault, Kind, Outcome};
use crate::Lab;

/// Faults that come first. What an operator says, and what a guest does, is no matter of chance.
const FIRST: [Fault; 22] = [
    Fault::SourceAgent,
    Fault::TargetAgent,
    Fault::SourceQemu,
    Fault::TargetQemu,
    Fault::Client,
    Fault::SourceAgentTwice,
    Fault::TargetAgentTwice,
    Fault::BothAgents,
    Fault::SourceHost,
    Fault::TargetHost,
    Fault::BothQemus,
    Fault::Cut,
    Fault::SourceDeaf,
    Fault::TargetDeaf,
    Fault::Slow,
    Fault::SourceFull,
    Fault::TargetFull,
    Fault::SourceReadOnly,
    Fault::TargetReadOnly,
    Fault::ClockForwards,
    Fault::ClockBackwards,
    Fault::Cancel,
];
/// Faults that may follow before anything is mended.
const SECOND: [Fault; 6] = [
    Fault::SourceAgent,
    Fault::TargetAgent,
    Fault::SourceQemu,
    Fault::TargetQemu,
    Fault::Client,
    Fault::Cancel,
];
/// What the source may send into the management network: as much as it can, or so little that some phases take longer.
const LINKS: [Option<u64>; 3] = [None, Some(25_000_000), Some(12_000_000)];
/// The fault comes within so many milliseconds after the source has told a phase. Were all times counted from the
/// beginning, a busy machine would have them all in the first phase.
const INSTANTS: [(&str, u64); 3] = [("planned", 2000), ("streaming", 4000), ("stopped", 1500)];
/// A second fault comes within this time of the first one.
const SECOND_MS: u64 = 2000;

/// One migration of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its number; the first is 1.
    pub number: u64,
    /// Bytes per second that the source may send; `None` as many as it can.
    link: Option<u64>,
    /// What fails, and how long after which phase was told.
    first: (Fault, Duration),
    since: &'static str,
    /// What fails besides, and how long after the first.
    second: Option<(Fault, Duration)>,
}

/// Steps without end.
#[derive(Debug)]
pub struct Plan {
    state: u64,
    number: u64,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The phase that the source had told when the first fault came.
    pub phase: String,
    /// The faults that could be made: a QEMU may be gone by then.
    pub made: Vec<Fault>,
    /// What became of the guest.
    pub outcome: Outcome,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        Plan { state: seed, number: 0 }
    }

    /// A number below a bound: the generator `SplitMix64`, which needs nothing but its state.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.below(choice.len() as u64)).unwrap_or_default()]
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.number += 1;
        let link = self.one_of(&LINKS);
        let (since, within_ms) = self.one_of(&INSTANTS);
        let first = (self.one_of(&FIRST), Duration::from_millis(self.below(within_ms)));
        let second = (self.one_of(&SECOND), Duration::from_millis(self.below(SECOND_MS)));
        // A disk is mended by starting its agent again, which a second fault would be mixed up with.
        let follows = self.below(3) == 0 && !is_of_a_disk(first.0);
        Some(Step { number: self.number, link, first, since, second: follows.then_some(second) })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, after) = self.first;
        let since = self.since;
        write!(formatter, "step {}: {fault} {} ms after {since}", self.number, after.as_millis())?;
        if let Some((fault, after)) = self.second {
            write!(formatter, ", {fault} {} ms later", after.as_millis())?;
        }
        match self.link {
            Some(bytes) => write!(formatter, ", {} MB/s", bytes / 1_000_000),
            None => Ok(()),
        }
    }
}

/// Plays one step; afterwards the guest works, wherever it is.
///
/// # Errors
/// What does not hold.
pub fn play(player: &mut Player<'_>, step: &Step) -> Result<Hit> {
    let (first, after) = step.first;
    let source = player.source();
    let lab = player.trial().lab;
    prepare(player.trial(), first)?;
    if let Some(bytes_per_s) = step.link {
        lab.shape(source, bytes_per_s)?;
    }
    let mut attempt = Attempt::begin(player.trial(), source, player.words())?;
    attempt.wait_for(step.since);
    thread::sleep(after);
    let phase = attempt.phases().pop().unwrap_or_else(|| "planned".to_owned());
    let mut made = Vec::new();
    if make(&mut attempt, first, None).is_ok() {
        made.push(first);
    }
    if let Some((second, after)) = step.second {
        thread::sleep(after);
        if make(&mut attempt, second, None).is_ok() {
            made.push(second);
        }
    }
    for fault in made.iter().rev() {
        mend(&mut attempt, *fault)?;
    }
    bring_back(lab)?;
    let outcome = settled(&attempt, Kind::Live)?;
    drop(attempt);
    if step.link.is_some() {
        // A network that was slow meanwhile is not shaped any more.
        let _ = lab.unshape(source);
    }
    // Also where only a part of the fault could be made.
    let memory_died = kills_a_qemu(first) || step.second.is_some_and(|(second, _)| kills_a_qemu(second));
    ensure!(
        memory_died || matches!(outcome, Outcome::Kept | Outcome::Moved),
        "no QEMU was killed, and the outcome is {outcome:?}; made were {made:?}"
    );
    player.look_back(outcome)?;
    Ok(Hit { phase, made, outcome })
}

/// Starts agents that a fault has killed which could be made only in part.
fn bring_back(lab: &Lab) -> Result<()> {
    lab.hosts().iter().filter(|host| !host.agent_runs()).try_for_each(|host| host.start_agent())
}

fn is_of_a_disk(fault: Fault) -> bool {
    matches!(fault, Fault::SourceFull | Fault::TargetFull | Fault::SourceReadOnly | Fault::TargetReadOnly)
}

fn kills_a_qemu(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::SourceQemu | Fault::TargetQemu | Fault::BothQemus | Fault::SourceHost | Fault::TargetHost
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let plan = |seed| Plan::new(seed).take(50).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let faults: std::collections::BTreeSet<Fault> =
            Plan::new(1).take(500).map(|step| step.first.0).collect();
        assert_eq!(faults.len(), FIRST.len());
    }
}
