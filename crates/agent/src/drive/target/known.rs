//! What a target knows by asking its QEMU. It decides nothing and changes nothing. Main function: [`target_qemu`].

use migration::handover::TargetQemu;
use qemu::command::{MigrationStatus, QueryMigrate, QueryStatus, RunState};
use qemu::migrate::{Events, EventsError};
use qemu::process::Process;
use tokio::time::timeout;

use crate::drive::source::ask_again;
use crate::limits::{LOADED_PAUSE, LOADED_TIMEOUT};

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
                    RunState::Running => ran(process).await,
                    RunState::Paused => TargetQemu::Loaded,
                    RunState::Prelaunch | RunState::Inmigrate => TargetQemu::Incoming,
                    _ if untouched => TargetQemu::Incoming,
                    _ => ran(process).await,
                };
            }
            Err(error) => tracing::warn!("QEMU does not say what it does: {error}"),
        }
        ask_again(process).await;
    }
}

/// Its guest runs, or ran: whether all its memory is there.
async fn ran(process: &Process) -> TargetQemu {
    if lacks_memory(process).await { TargetQemu::Filling } else { TargetQemu::Ran }
}

/// Whether memory is still to come in post-copy. A QEMU that does not answer stands where it needs memory.
pub(super) async fn lacks_memory(process: &Process) -> bool {
    match process.qmp.execute(QueryMigrate).await {
        Ok(info) => info.status.is_some_and(|status| qemu::migrate::postcopy::has_switched(&status)),
        Err(_gone_or_silent) => process.exit().is_none(),
    }
}

/// Whether a QEMU that is incoming has not failed.
pub(super) async fn takes_memory(process: Option<&Process>) -> bool {
    let Some(process) = process else { return false };
    match process.qmp.execute(QueryMigrate).await {
        Ok(info) => !matches!(info.status, Some(MigrationStatus::Failed | MigrationStatus::Cancelled)),
        Err(_gone_or_silent) => process.exit().is_none(),
    }
}

/// Waits until a QEMU that is incoming has loaded, failed or ended; not for ever.
pub(super) async fn wait_loaded(process: Option<&Process>, untouched: bool) {
    let Some(process) = process else { return };
    let mut events = Events::of(&process.qmp);
    let loading = async {
        while target_qemu(Some(process), untouched).await == TargetQemu::Incoming
            && takes_memory(Some(process)).await
        {
            // Of a load in post-copy no event tells.
            if timeout(LOADED_PAUSE, events.next()).await == Ok(Err(EventsError::Gone)) {
                return;
            }
        }
    };
    if timeout(LOADED_TIMEOUT, loading).await.is_err() {
        tracing::error!("QEMU does not say that the guest is loaded");
    }
}
