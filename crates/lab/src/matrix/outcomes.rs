//! What may come of a fault at a moment, for each kind of migration. A table without I/O; the tables of `docs/handover.md` are
//! made of it. Main function: [`outcomes`].

use super::Moment::{Copying, Granted, Loaded, Moved, Planned, Pledged, Reserved, Stopped, Streaming};
use super::{Fault, Kind, Moment, Outcome};

const NONE: &[Outcome] = &[];
const KEPT: &[Outcome] = &[Outcome::Kept];
const MOVED: &[Outcome] = &[Outcome::Moved];
const EITHER: &[Outcome] = &[Outcome::Kept, Outcome::Moved];
const LOST: &[Outcome] = &[Outcome::Lost];
const DIED: &[Outcome] = &[Outcome::MovedAndDied];

/// What may become of the domain; nothing where the fault cannot be at that moment.
pub fn outcomes(kind: Kind, fault: Fault, moment: Moment) -> &'static [Outcome] {
    match kind {
        Kind::Live => live(fault, moment),
        Kind::ShutOff => shut_off(fault, moment),
        Kind::WithDisks => with_disks(fault, moment),
    }
}

fn live(fault: Fault, moment: Moment) -> &'static [Outcome] {
    let at = |before, stopped, pledged| match moment {
        Planned | Reserved | Streaming => before,
        Stopped => stopped,
        Pledged | Granted | Moved => pledged,
        Copying | Loaded => NONE,
    };
    match fault {
        Fault::SourceAgent | Fault::SourceAgentTwice | Fault::BothAgents => at(KEPT, EITHER, MOVED),
        Fault::TargetAgent | Fault::TargetAgentTwice if moment == Planned => KEPT,
        // What the new agent hears of in time goes on.
        Fault::TargetAgent | Fault::TargetAgentTwice => at(EITHER, EITHER, MOVED),
        Fault::SourceQemu => at(LOST, LOST, MOVED),
        // The pledge is still in the kernel's hands: it arrives before the new agent's question, or after it.
        Fault::SourceHost if moment == Pledged => &[Outcome::Moved, Outcome::Lost],
        Fault::SourceHost => at(LOST, LOST, MOVED),
        // It may not be there yet.
        Fault::TargetQemu | Fault::BothQemus if moment == Planned => NONE,
        Fault::TargetQemu if moment == Pledged => KEPT,
        // The new agent has no proof that the guest never ran.
        Fault::TargetHost | Fault::BothQemus if moment == Pledged => LOST,
        Fault::TargetQemu | Fault::TargetHost => at(KEPT, KEPT, DIED),
        Fault::BothQemus => at(LOST, LOST, DIED),
        // A client that goes away before anything has begun takes its wish with it.
        Fault::Client if moment == Planned => KEPT,
        Fault::Cut | Fault::SourceDeaf | Fault::TargetDeaf | Fault::Slow => at(EITHER, EITHER, MOVED),
        // A journal that cannot be made keeps the guest; one that is there has room set aside.
        Fault::SourceFull | Fault::SourceReadOnly if moment == Planned => KEPT,
        Fault::TargetFull | Fault::TargetReadOnly if moment == Planned => EITHER,
        Fault::SourceFull | Fault::TargetFull | Fault::SourceReadOnly | Fault::TargetReadOnly => {
            at(MOVED, MOVED, MOVED)
        }
        Fault::Client | Fault::ClockForwards | Fault::ClockBackwards => at(MOVED, MOVED, MOVED),
        Fault::Cancel => at(KEPT, EITHER, MOVED),
        Fault::GuestOff if moment == Streaming => &[Outcome::ShutOff],
        Fault::WordKept if moment == Pledged => KEPT,
        Fault::WordLost if moment == Pledged => LOST,
        Fault::GuestOff | Fault::WordMoved | Fault::WordKept | Fault::WordLost => NONE,
        Fault::TargetStorageFull | Fault::TargetStorageReadOnly => NONE,
    }
}

/// Nothing of it is in anybody's memory: what has begun goes on, whoever was killed.
fn shut_off(fault: Fault, moment: Moment) -> &'static [Outcome] {
    let at = |reserved, copying, loaded, pledged| match moment {
        Reserved => reserved,
        Copying => copying,
        Loaded => loaded,
        Pledged | Granted | Moved => pledged,
        Planned | Streaming | Stopped => NONE,
    };
    match fault {
        // It has begun when the source has heard the answer to its offer, and written its journal.
        Fault::SourceAgent
        | Fault::SourceAgentTwice
        | Fault::TargetAgent
        | Fault::TargetAgentTwice
        | Fault::BothAgents
        | Fault::Client
        | Fault::Cut
        | Fault::SourceDeaf
        | Fault::TargetDeaf
        | Fault::Slow
        | Fault::SourceFull
        | Fault::SourceReadOnly => at(EITHER, MOVED, MOVED, MOVED),
        // What is held of a file is written there too.
        Fault::TargetFull | Fault::TargetReadOnly => at(EITHER, EITHER, MOVED, MOVED),
        // An older copy may have the room, or be open already.
        Fault::TargetStorageFull | Fault::TargetStorageReadOnly => at(EITHER, EITHER, MOVED, MOVED),
        Fault::ClockForwards | Fault::ClockBackwards => at(MOVED, MOVED, MOVED, MOVED),
        // At *moved* the source's agent is held, and asks nobody anything.
        Fault::Cancel if moment == Moved => NONE,
        Fault::Cancel => at(KEPT, KEPT, KEPT, MOVED),
        Fault::WordMoved if moment == Pledged => MOVED,
        Fault::WordKept if moment == Pledged => KEPT,
        Fault::WordLost if moment == Pledged => LOST,
        Fault::WordMoved | Fault::WordKept | Fault::WordLost => NONE,
        Fault::SourceQemu
        | Fault::TargetQemu
        | Fault::BothQemus
        | Fault::SourceHost
        | Fault::TargetHost
        | Fault::GuestOff => NONE,
    }
}

/// Until the mirrors have ended, whatever dies or is cut ends the migration.
fn with_disks(fault: Fault, moment: Moment) -> &'static [Outcome] {
    let at = |before, stopped, pledged| match moment {
        Copying | Streaming => before,
        Stopped => stopped,
        Pledged | Granted | Moved => pledged,
        Planned | Reserved | Loaded => NONE,
    };
    match fault {
        Fault::SourceAgent
        | Fault::SourceAgentTwice
        | Fault::TargetAgent
        | Fault::TargetAgentTwice
        | Fault::BothAgents
        | Fault::Cancel => at(KEPT, EITHER, MOVED),
        Fault::SourceQemu => at(LOST, LOST, MOVED),
        Fault::SourceHost if moment == Pledged => &[Outcome::Moved, Outcome::Lost],
        Fault::SourceHost => at(LOST, LOST, MOVED),
        Fault::TargetQemu if moment == Pledged => KEPT,
        Fault::BothQemus if moment == Pledged => LOST,
        // Where nothing is proven after the pledge, the disks that came are the newer ones.
        Fault::TargetQemu | Fault::TargetHost => at(KEPT, KEPT, DIED),
        Fault::BothQemus => at(LOST, LOST, DIED),
        Fault::Cut | Fault::SourceDeaf | Fault::TargetDeaf | Fault::Slow => at(EITHER, EITHER, MOVED),
        Fault::Client
        | Fault::SourceFull
        | Fault::TargetFull
        | Fault::SourceReadOnly
        | Fault::TargetReadOnly
        | Fault::ClockForwards
        | Fault::ClockBackwards => at(MOVED, MOVED, MOVED),
        // Later it is the guest that finds no room.
        Fault::TargetStorageFull if moment == Copying => KEPT,
        Fault::GuestOff if moment == Streaming => &[Outcome::ShutOff],
        Fault::WordMoved if moment == Pledged => DIED,
        Fault::WordKept if moment == Pledged => KEPT,
        Fault::WordLost if moment == Pledged => LOST,
        Fault::GuestOff | Fault::WordMoved | Fault::WordKept | Fault::WordLost => NONE,
        Fault::TargetStorageFull | Fault::TargetStorageReadOnly => NONE,
    }
}
