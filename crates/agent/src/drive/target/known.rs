//! What a target knows by asking its QEMU. It decides nothing and changes nothing. Main function: [`target_qemu`].

use migration::handover::TargetQemu;
use qemu::command::{QueryStatus, RunState};
use qemu::process::Process;

use crate::drive::source::ask_again;

/// What the target's QEMU is doing. One that lives and does not answer is asked until it does. `untouched`: nobody can have
/// continued it, so a guest that stands for a reason of its own brought that from the source.
pub(super) async fn target_qemu(process: Option<&Process>, untouched: bool) -> TargetQemu {
    let Some(process) = process else { return TargetQemu::Gone };
    loop {
        if process.exit().is_some() {
            return TargetQemu::Gone;
        }
        match process.qmp.execute(QueryStatus).await {
            Ok(status) => {
                return match status.status {
                    RunState::Running => TargetQemu::Ran,
                    RunState::Paused => TargetQemu::Loaded,
                    RunState::Prelaunch | RunState::Inmigrate => TargetQemu::Incoming,
                    _ if untouched => TargetQemu::Incoming,
                    _ => TargetQemu::Ran,
                };
            }
            Err(error) => tracing::warn!("QEMU does not say what it does: {error}"),
        }
        ask_again(process).await;
    }
}
