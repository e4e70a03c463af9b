//! A sample of who dies, and when: each process and the network once, each moment at least once. `all_crash` has the other
//! cases, and the crash matrix every one that there is.

mod crash;

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
