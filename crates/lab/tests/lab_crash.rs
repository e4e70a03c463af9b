//! A sample of who dies, and when: each process and the network once, each moment at least once; of a domain that is shut off,
//! some cells of the crash matrix. `all_crash` has the other cases, and the crash matrix every one that there is.

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

/// One lab for all of them, since most of each is its beginning.
#[test]
fn what_is_shut_off_arrives_whoever_dies() -> Result<()> {
    const SAMPLE: [(Fault, Moment); 4] = [
        (Fault::TargetAgent, Moment::Copying),
        (Fault::SourceAgent, Moment::Loaded),
        (Fault::Cancel, Moment::Loaded),
        (Fault::BothAgents, Moment::Pledged),
    ];
    let chosen = cells().into_iter().filter(|cell| SAMPLE.contains(&(cell.fault, cell.moment)));
    let chosen: Vec<_> = chosen.filter(|cell| cell.kind == Kind::ShutOff).collect();
    ensure!(chosen.len() >= SAMPLE.len(), "no such cells: {chosen:?}");
    play_all(chosen, 1, |_| {}).into_iter().try_for_each(|played| played.result.map(drop))
}
