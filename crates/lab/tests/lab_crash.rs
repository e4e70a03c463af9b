//! A sample of who dies, and when: each process and the network once, each moment at least once; of a domain that is shut off,
//! and of a guest that takes its disks along, some cells of the crash matrix. `all_crash` has the other cases, and the crash
//! matrix every one that there is.

mod crash;

use anyhow::{Result, ensure};
use lab::matrix::play::play_all;
use lab::matrix::{Fault, Kind, Moment, cells};

crash::cases! {
    File:
    target_agent_dies_while_stopped: TargetAgent at Stopped => ["moved", "kept"];
    source_qemu_dies_while_stopped: SourceQemu at Stopped => ["lost"];
    target_qemu_dies_while_streaming: TargetQemu at Streaming => ["kept"];
    target_qemu_dies_after_the_pledge: TargetQemu at Pledged => ["kept"];
    network_is_cut_after_the_pledge: Cut at Pledged => ["moved"];
}

// Where no lock of QEMU's stands between two runners.
crash::cases! {
    Nfs:
    source_agent_dies_after_the_pledge_over_nfs: SourceAgent at Pledged => ["moved"];
}

/// Plays cells of one kind, in one lab for all of them, since most of each would be its beginning.
fn play(kind: Kind, sample: &[(Fault, Moment)]) -> Result<()> {
    let chosen = cells().into_iter().filter(|cell| sample.contains(&(cell.fault, cell.moment)));
    let chosen: Vec<_> = chosen.filter(|cell| cell.kind == kind).collect();
    ensure!(chosen.len() >= sample.len(), "no such cells: {chosen:?}");
    play_all(chosen, 1, |_| {}).into_iter().try_for_each(|played| played.result.map(drop))
}

#[test]
fn what_is_shut_off_arrives_whoever_dies() -> Result<()> {
    play(
        Kind::ShutOff,
        &[
            (Fault::TargetAgent, Moment::Copying),
            (Fault::SourceAgent, Moment::Loaded),
            (Fault::Cancel, Moment::Loaded),
            (Fault::BothAgents, Moment::Pledged),
        ],
    )
}

#[test]
fn a_guest_that_takes_its_disks_along_has_them_whoever_dies() -> Result<()> {
    play(
        Kind::WithDisks,
        &[
            (Fault::TargetAgent, Moment::Copying),
            (Fault::Cancel, Moment::Streaming),
            (Fault::BothAgents, Moment::Pledged),
        ],
    )
}
