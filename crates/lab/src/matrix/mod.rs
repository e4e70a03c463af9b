//! The crash matrix: what happens to a migration when something fails, for every kind of migration, moment and fault. This
//! file names them, without I/O; [`outcomes`] says what may come of them, and `docs/handover.md` holds that as tables.
//! [`attempt`] brings a migration to a moment, [`fault`] makes the fault and mends it, [`play`] does both and judges.
//!
//! Main types: [`Cell`], which is a [`Kind`], a [`Moment`], a [`Fault`] and a [`Way`]; [`Outcome`].

pub mod attempt;
pub mod chaos;
mod disks;
pub mod fault;
mod outcomes;
pub mod play;

use std::fmt;

pub use outcomes::outcomes;

/// What kind of migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The guest works, and its disks are where both hosts see them.
    Live,
    /// The domain is shut off, and its disks are copied.
    ShutOff,
    /// The guest works, and takes its disks along.
    WithDisks,
}

/// All of them.
pub const KINDS: [Kind; 3] = [Kind::Live, Kind::ShutOff, Kind::WithDisks];

/// How far the migration is when the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// The offer is with the target, which makes room.
    Planned,
    /// The target has made room, and QEMU has not begun to send.
    Reserved,
    /// Files or disks go over.
    Copying,
    /// Every file is on the target's disk, proven, and the source has not heard of the last one.
    Loaded,
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
    /// The file system of the target on which the disks come is full, until the migration has ended.
    TargetStorageFull,
    /// Where the disks come on the target becomes read-only, until the migration has ended.
    TargetStorageReadOnly,
    /// The wall clocks of both agents jump a day forwards.
    ClockForwards,
    /// The wall clocks of both agents jump a day backwards.
    ClockBackwards,
    /// The guest shuts itself down.
    GuestOff,
    /// An operator cancels.
    Cancel,
    /// The target is gone, agent and QEMU; an operator says `moved` in the doubt, and the target comes back.
    WordMoved,
    /// The target is gone for good, agent and QEMU; an operator says `kept` in the doubt.
    WordKept,
    /// The target is gone for good, agent and QEMU; an operator says `lost` in the doubt.
    WordLost,
}

/// All of them, in the order of the table.
pub const FAULTS: [Fault; 28] = [
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
    Fault::TargetStorageFull,
    Fault::TargetStorageReadOnly,
    Fault::ClockForwards,
    Fault::ClockBackwards,
    Fault::GuestOff,
    Fault::Cancel,
    Fault::WordMoved,
    Fault::WordKept,
    Fault::WordLost,
];

/// What has become of the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It works on the source as if nothing had happened, or is shut off there as it was.
    Kept,
    /// It works on the target, or is the target's, shut off as it was.
    Moved,
    /// It belongs to the target, where its QEMU has died since; it boots afresh there.
    MovedAndDied,
    /// It has shut itself down on the source.
    ShutOff,
    /// Its memory is gone, if it had any; it belongs to the source, and boots afresh there.
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

impl Way {
    /// The other one.
    pub(crate) fn turned(self) -> Way {
        match self {
            Way::There => Way::Back,
            Way::Back => Way::There,
        }
    }
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Of what.
    pub kind: Kind,
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
    for kind in KINDS {
        for (moment, fault) in kind.moments().iter().flat_map(|moment| FAULTS.map(|fault| (*moment, fault))) {
            if outcomes(kind, fault, moment).is_empty() {
                continue;
            }
            if fault.kills_one_process() {
                cells.extend([Way::There, Way::Back].map(|way| Cell { kind, moment, fault, way }));
            } else {
                cells.extend(ways.next().map(|way| Cell { kind, moment, fault, way }));
            }
        }
    }
    cells
}

impl Kind {
    /// The moments of such a migration at which something fails, in order.
    pub fn moments(self) -> &'static [Moment] {
        use Moment::{Copying, Granted, Loaded, Moved, Planned, Pledged, Reserved, Stopped, Streaming};
        match self {
            Kind::Live => &[Planned, Reserved, Streaming, Stopped, Pledged, Granted, Moved],
            // An offer is answered at once, since no QEMU is made, and nobody stands still.
            Kind::ShutOff => &[Reserved, Copying, Loaded, Pledged, Granted, Moved],
            Kind::WithDisks => &[Copying, Streaming, Stopped, Pledged, Granted, Moved],
        }
    }

    /// What `ferry migrate` is told besides where to. A domain that comes back shut off leaves its disks behind and finds older
    /// copies when it goes there again: so both are tried, files that are made and files that are brought up to date.
    pub(crate) fn words(self, way: Way) -> &'static [&'static str] {
        match (self, way) {
            // The guest may stand still so long: the last round needs most of a second.
            (Kind::Live, _) => &["--max-blackout", "2s"],
            (Kind::ShutOff, Way::There) => &["--offline", "--copy-storage", "--source-disks", "delete"],
            (Kind::ShutOff, Way::Back) => &["--offline", "--copy-storage"],
            (Kind::WithDisks, _) => &["--copy-storage", "--source-disks", "delete", "--max-blackout", "2s"],
        }
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
            | Fault::TargetStorageFull
            | Fault::TargetStorageReadOnly
            | Fault::ClockForwards
            | Fault::ClockBackwards
            | Fault::GuestOff
            | Fault::Cancel
            | Fault::WordMoved
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
            Fault::TargetStorageFull => "target's storage full",
            Fault::TargetStorageReadOnly => "target's storage read-only",
            Fault::ClockForwards => "clocks a day forwards",
            Fault::ClockBackwards => "clocks a day backwards",
            Fault::GuestOff => "guest shuts itself down",
            Fault::Cancel => "cancelled",
            Fault::WordMoved => "target gone, resolved as moved",
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
            Moment::Copying | Moment::Loaded | Moment::Streaming => "streaming",
            Moment::Stopped => "stopped",
            // The source has sent its pledge, and does not know more.
            Moment::Pledged | Moment::Granted | Moment::Moved => "pledged",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Moment::Planned => "planned",
            Moment::Reserved => "reserved",
            Moment::Copying => "copying",
            Moment::Loaded => "loaded",
            Moment::Streaming => "streaming",
            Moment::Stopped => "stopped",
            Moment::Pledged => "pledged",
            Moment::Granted => "granted",
            Moment::Moved => "moved",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Kind::Live => "live",
            Kind::ShutOff => "shut off",
            Kind::WithDisks => "with disks",
        })
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
        formatter.pad(&format!("{}, {}: {}, {way}", self.kind, self.moment, self.fault))
    }
}

/// The table of a kind of migration as `docs/handover.md` holds it.
pub fn table(kind: Kind) -> String {
    let moments = kind.moments();
    let heads: String = moments.iter().map(|moment| format!(" {moment} |")).collect();
    let mut text = format!("| what fails |{heads}\n|---|{}", "---|".repeat(moments.len()));
    for fault in FAULTS {
        let cells: Vec<_> = moments.iter().map(|moment| outcomes(kind, fault, *moment)).collect();
        if cells.iter().all(|outcomes| outcomes.is_empty()) {
            continue;
        }
        text += &format!("\n| {fault} |");
        for outcomes in cells {
            let words: Vec<String> = outcomes.iter().map(Outcome::to_string).collect();
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
        for kind in KINDS {
            for (fault, moment) in
                FAULTS.into_iter().flat_map(|fault| kind.moments().iter().map(move |moment| (fault, *moment)))
            {
                let is_it = |cell: &&Cell| (cell.kind, cell.fault, cell.moment) == (kind, fault, moment);
                let both_ways = if fault.kills_one_process() { 2 } else { 1 };
                let expect = if outcomes(kind, fault, moment).is_empty() { 0 } else { both_ways };
                assert_eq!(cells.iter().filter(is_it).count(), expect, "{kind:?}: {fault} at {moment}");
            }
        }
    }

    #[test]
    fn the_handovers_document_holds_these_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/handover.md");
        let text = std::fs::read_to_string(path).expect("the document is there");
        for table in KINDS.map(table) {
            assert!(text.contains(&table), "docs/handover.md is to hold this table:\n{table}");
        }
    }
}
