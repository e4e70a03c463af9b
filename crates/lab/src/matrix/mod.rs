//! The crash matrix: what happens to a migration when something fails, for every moment and every fault. This file is the
//! table of what may come of it, without I/O; `docs/handover.md` holds it too. [`attempt`] brings a migration to a moment,
//! [`fault`] makes the fault and mends it, [`play`] does both and judges.
//!
//! Main types: [`Cell`], which is a [`Moment`], a [`Fault`] and a [`Way`]; [`Outcome`].

pub mod attempt;
pub mod chaos;
pub mod fault;
pub mod play;

use std::fmt;

/// How far the migration is when the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// The offer is with the target, which makes room.
    Planned,
    /// The target has made room, and QEMU has not begun to send.
    Reserved,
    /// Memory goes over.
    Streaming,
    /// The guest stands still, and the last memory goes over.
    Stopped,
    /// The pledge was sent, and has not arrived.
    Pledged,
    /// The guest runs on the target, and the verdict has not arrived.
    Granted,
    /// The verdict has arrived, and the source still gives back what it has.
    Moved,
}

/// All of them, in order.
pub const MOMENTS: [Moment; 7] = [
    Moment::Planned,
    Moment::Reserved,
    Moment::Streaming,
    Moment::Stopped,
    Moment::Pledged,
    Moment::Granted,
    Moment::Moved,
];

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The source's agent is killed, and started again.
    SourceAgent,
    /// The target's agent is killed, and started again.
    TargetAgent,
    /// The source's QEMU is killed.
    SourceQemu,
    /// The target's QEMU is killed.
    TargetQemu,
    /// `ferry migrate` is killed.
    Client,
    /// The source's agent is killed, and again while the new one takes up what it finds.
    SourceAgentTwice,
    /// The target's agent is killed, and again while the new one takes up what it finds.
    TargetAgentTwice,
    /// Both agents are killed, and started again.
    BothAgents,
    /// Agent and QEMU of the source are killed; the agent is started again.
    SourceHost,
    /// Agent and QEMU of the target are killed; the agent is started again.
    TargetHost,
    /// Both QEMUs are killed.
    BothQemus,
    /// Nothing goes through the management network of the target, for a while.
    Cut,
    /// The source does not hear the target, which hears the source, for a while.
    SourceDeaf,
    /// The target does not hear the source, which hears the target, for a while.
    TargetDeaf,
    /// The management network is very slow both ways, for a while.
    Slow,
    /// The file system of the source's state is full, until the migration has ended.
    SourceFull,
    /// The file system of the target's state is full, until the migration has ended.
    TargetFull,
    /// The source's state becomes read-only, until the migration has ended.
    SourceReadOnly,
    /// The target's state becomes read-only, until the migration has ended.
    TargetReadOnly,
    /// The wall clocks of both agents jump a day forwards.
    ClockForwards,
    /// The wall clocks of both agents jump a day backwards.
    ClockBackwards,
    /// The guest shuts itself down.
    GuestOff,
    /// An operator cancels.
    Cancel,
    /// The target is gone for good, agent and QEMU; an operator says `kept` in the doubt.
    WordKept,
    /// The target is gone for good, agent and QEMU; an operator says `lost` in the doubt.
    WordLost,
}

/// All of them, in the order of the table.
pub const FAULTS: [Fault; 25] = [
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
    Fault::GuestOff,
    Fault::Cancel,
    Fault::WordKept,
    Fault::WordLost,
];

/// What has become of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It works on the source as if nothing had happened.
    Kept,
    /// It works on the target.
    Moved,
    /// It belongs to the target, where its QEMU has died since; it boots afresh there.
    MovedAndDied,
    /// It has shut itself down on the source.
    ShutOff,
    /// Its memory is gone; it belongs to the source, and boots afresh there.
    Lost,
}

/// From which host to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From `kvm1` to `kvm2`.
    There,
    /// From `kvm2` to `kvm1`.
    Back,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// When.
    pub moment: Moment,
    /// What.
    pub fault: Fault,
    /// Where to.
    pub way: Way,
}

/// Every cell. Deaths of single processes are tried both ways; what stands in the way is the same on both, so everything
/// else goes one way, one cell there and the next one back.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut ways = [Way::There, Way::Back].into_iter().cycle();
    for moment in MOMENTS {
        for fault in FAULTS {
            if outcomes(fault, moment).is_empty() {
                continue;
            }
            if fault.kills_one_process() {
                cells.extend([Way::There, Way::Back].map(|way| Cell { moment, fault, way }));
            } else {
                cells.extend(ways.next().map(|way| Cell { moment, fault, way }));
            }
        }
    }
    cells
}

/// What may become of the guest; nothing where the fault cannot be at that moment.
pub fn outcomes(fault: Fault, moment: Moment) -> &'static [Outcome] {
    use Moment::{Granted, Moved, Planned, Pledged, Reserved, Stopped, Streaming};
    const KEPT: &[Outcome] = &[Outcome::Kept];
    const MOVED: &[Outcome] = &[Outcome::Moved];
    const EITHER: &[Outcome] = &[Outcome::Kept, Outcome::Moved];
    const LOST: &[Outcome] = &[Outcome::Lost];
    const DIED: &[Outcome] = &[Outcome::MovedAndDied];
    match (fault, moment) {
        (Fault::SourceAgent | Fault::SourceAgentTwice | Fault::BothAgents, moment) => match moment {
            Planned | Reserved | Streaming => KEPT,
            Stopped => EITHER,
            Pledged | Granted | Moved => MOVED,
        },
        // What the new agent hears of in time goes on.
        (Fault::TargetAgent | Fault::TargetAgentTwice, moment) => match moment {
            Planned => KEPT,
            Reserved | Streaming | Stopped => EITHER,
            Pledged | Granted | Moved => MOVED,
        },
        (Fault::SourceQemu, moment) => match moment {
            Planned | Reserved | Streaming | Stopped => LOST,
            Pledged | Granted | Moved => MOVED,
        },
        (Fault::SourceHost, moment) => match moment {
            Planned | Reserved | Streaming | Stopped => LOST,
            // The pledge is still in the kernel's hands: it arrives before the new agent's question, or after it.
            Pledged => &[Outcome::Moved, Outcome::Lost],
            Granted | Moved => MOVED,
        },
        (Fault::TargetQemu, moment) => match moment {
            // It may not be there yet.
            Planned => &[],
            Reserved | Streaming | Stopped | Pledged => KEPT,
            Granted | Moved => DIED,
        },
        (Fault::TargetHost, moment) => match moment {
            Planned | Reserved | Streaming | Stopped => KEPT,
            // The new agent has no proof that the guest never ran.
            Pledged => LOST,
            Granted | Moved => DIED,
        },
        (Fault::BothQemus, moment) => match moment {
            Planned => &[],
            Reserved | Streaming | Stopped | Pledged => LOST,
            Granted | Moved => DIED,
        },
        // A client that goes away before anything has begun takes its wish with it.
        (Fault::Client, Planned) => KEPT,
        (Fault::Client, Reserved | Streaming | Stopped | Pledged | Granted | Moved) => MOVED,
        (Fault::Cut | Fault::SourceDeaf | Fault::TargetDeaf | Fault::Slow, moment) => match moment {
            Planned | Reserved | Streaming | Stopped => EITHER,
            Pledged | Granted | Moved => MOVED,
        },
        // A journal that cannot be made keeps the guest; one that is there has room set aside.
        (Fault::SourceFull | Fault::SourceReadOnly, Planned) => KEPT,
        (Fault::TargetFull | Fault::TargetReadOnly, Planned) => EITHER,
        (
            Fault::SourceFull | Fault::TargetFull | Fault::SourceReadOnly | Fault::TargetReadOnly,
            Reserved | Streaming | Stopped | Pledged | Granted | Moved,
        ) => MOVED,
        (Fault::ClockForwards | Fault::ClockBackwards, _) => MOVED,
        (Fault::Cancel, moment) => match moment {
            Planned | Reserved | Streaming => KEPT,
            Stopped => EITHER,
            Pledged | Granted | Moved => MOVED,
        },
        (Fault::GuestOff, Streaming) => &[Outcome::ShutOff],
        (Fault::WordKept, Pledged) => KEPT,
        (Fault::WordLost, Pledged) => LOST,
        (Fault::GuestOff | Fault::WordKept | Fault::WordLost, _) => &[],
    }
}

impl Fault {
    fn kills_one_process(self) -> bool {
        match self {
            Fault::SourceAgent
            | Fault::TargetAgent
            | Fault::SourceQemu
            | Fault::TargetQemu
            | Fault::Client => true,
            Fault::SourceAgentTwice
            | Fault::TargetAgentTwice
            | Fault::BothAgents
            | Fault::SourceHost
            | Fault::TargetHost
            | Fault::BothQemus
            | Fault::Cut
            | Fault::SourceDeaf
            | Fault::TargetDeaf
            | Fault::Slow
            | Fault::SourceFull
            | Fault::TargetFull
            | Fault::SourceReadOnly
            | Fault::TargetReadOnly
            | Fault::ClockForwards
            | Fault::ClockBackwards
            | Fault::GuestOff
            | Fault::Cancel
            | Fault::WordKept
            | Fault::WordLost => false,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Fault::SourceAgent => "source's agent killed",
            Fault::TargetAgent => "target's agent killed",
            Fault::SourceQemu => "source's QEMU killed",
            Fault::TargetQemu => "target's QEMU killed",
            Fault::Client => "client killed",
            Fault::SourceAgentTwice => "source's agent killed twice",
            Fault::TargetAgentTwice => "target's agent killed twice",
            Fault::BothAgents => "both agents killed",
            Fault::SourceHost => "source's agent and QEMU killed",
            Fault::TargetHost => "target's agent and QEMU killed",
            Fault::BothQemus => "both QEMUs killed",
            Fault::Cut => "network cut",
            Fault::SourceDeaf => "source does not hear the target",
            Fault::TargetDeaf => "target does not hear the source",
            Fault::Slow => "network slow",
            Fault::SourceFull => "source's disk full",
            Fault::TargetFull => "target's disk full",
            Fault::SourceReadOnly => "source's disk read-only",
            Fault::TargetReadOnly => "target's disk read-only",
            Fault::ClockForwards => "clocks a day forwards",
            Fault::ClockBackwards => "clocks a day backwards",
            Fault::GuestOff => "guest shuts itself down",
            Fault::Cancel => "cancelled",
            Fault::WordKept => "target gone, resolved as kept",
            Fault::WordLost => "target gone, resolved as lost",
        }
    }
}

impl Moment {
    /// The phase that the source tells at this moment.
    pub fn told(self) -> &'static str {
        match self {
            Moment::Planned => "planned",
            Moment::Reserved => "reserved",
            Moment::Streaming => "streaming",
            Moment::Stopped => "stopped",
            // The source has sent its pledge, and does not know more.
            Moment::Pledged | Moment::Granted | Moment::Moved => "pledged",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Moment::Planned => "planned",
            Moment::Reserved => "reserved",
            Moment::Streaming => "streaming",
            Moment::Stopped => "stopped",
            Moment::Pledged => "pledged",
            Moment::Granted => "granted",
            Moment::Moved => "moved",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Outcome::Kept => "kept",
            Outcome::Moved => "moved",
            Outcome::MovedAndDied => "died there",
            Outcome::ShutOff => "kept, shut off",
            Outcome::Lost => "lost",
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::There => "there",
            Way::Back => "back",
        };
        formatter.pad(&format!("{}: {}, {way}", self.moment, self.fault))
    }
}

/// The table as `docs/handover.md` holds it.
pub fn table() -> String {
    let mut text = format!("| what fails |{}\n|---|", MOMENTS.map(|moment| format!(" {moment} |")).concat());
    text += &"---|".repeat(MOMENTS.len());
    for fault in FAULTS {
        text += &format!("\n| {fault} |");
        for moment in MOMENTS {
            let words: Vec<String> = outcomes(fault, moment).iter().map(Outcome::to_string).collect();
            text += &format!(" {} |", if words.is_empty() { "–".to_owned() } else { words.join(", ") });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_cell_is_there_once_and_has_a_name_of_its_own() {
        let cells = cells();
        let names: BTreeSet<String> = cells.iter().map(Cell::to_string).collect();
        assert_eq!(names.len(), cells.len());
        for (fault, moment) in FAULTS.into_iter().flat_map(|fault| MOMENTS.map(|moment| (fault, moment))) {
            let here = cells.iter().filter(|cell| (cell.fault, cell.moment) == (fault, moment)).count();
            let both_ways = if fault.kills_one_process() { 2 } else { 1 };
            let expect = if outcomes(fault, moment).is_empty() { 0 } else { both_ways };
            assert_eq!(here, expect, "{fault} at {moment}");
        }
    }

    #[test]
    fn the_handovers_document_holds_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/handover.md");
        let text = std::fs::read_to_string(path).expect("the document is there");
        let table = table();
        assert!(text.contains(&table), "docs/handover.md is to hold this table:\n{table}");
    }
}
