//! Who dies, and when: the cases beside the sample of `lab_crash`.

mod crash;

crash::cases! {
    File:
    source_agent_dies_after_the_pledge: SourceAgent at Pledged => ["moved"];
    source_agent_dies_while_streaming: SourceAgent at Streaming => ["kept"];
    source_agent_dies_while_stopped: SourceAgent at Stopped => ["kept", "moved"];
    target_agent_dies_while_streaming: TargetAgent at Streaming => ["kept"];
    target_agent_dies_after_the_pledge: TargetAgent at Pledged => ["moved"];
    source_qemu_dies_while_streaming: SourceQemu at Streaming => ["lost"];
    source_qemu_dies_after_the_pledge: SourceQemu at Pledged => ["moved"];
    target_qemu_dies_while_stopped: TargetQemu at Stopped => ["kept"];
    network_is_cut_while_streaming: Cut at Streaming => ["kept"];
    network_is_cut_while_stopped: Cut at Stopped => ["kept"];
}

crash::cases! {
    Nfs:
    source_agent_dies_while_stopped_over_nfs: SourceAgent at Stopped => ["kept", "moved"];
    target_agent_dies_after_the_pledge_over_nfs: TargetAgent at Pledged => ["moved"];
    target_qemu_dies_after_the_pledge_over_nfs: TargetQemu at Pledged => ["kept"];
}
