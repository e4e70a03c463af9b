//! The guest stays on the source: what was under way is taken back, and the guest goes on as if nothing had happened. And
//! the case where there is no guest left. Nothing here stops at its first error. Main functions: [`stay`], [`lose`].

use api::Outcome;
use migration::phase::Phase;
use migration::source::Kept;
use qemu::command::{
    Cont, MigrateCancel, MigrationStatus, QueryMigrate, QueryStatus, RunState, Yank, YankInstance,
};
use qemu::migrate::postcopy::has_switched;
use qemu::migrate::{Events, EventsError};
use qemu::process::Process;
use tokio::time::timeout;

use super::settle::is_handed;
use super::source::{Left, Live, ask_again, back};
use crate::failure::Failure;
use crate::guest::{change_owner, give_back};
use crate::limits::{ABANDON_TIMEOUT, CANCEL_TIMEOUT, QUIT_TIMEOUT};

/// The guest stays here because of `failure`; nothing was pledged.
pub(crate) async fn stay(kept: Kept<Box<Live>>, failure: Failure) -> Left {
    // A journal that cannot be written is no harm here: the next agent sees that QEMU has not completed.
    enter(&kept.live, Phase::Kept, &failure.chain()).await;
    go_back(kept, failure).await
}

/// Continues the guest here, or leaves it as it is where it has shut itself down or stands for a reason of its own. *Kept* is in the journal already: a guest that goes on while its pledge still stands in the
/// journal would be pledged again.
pub(crate) async fn go_back(kept: Kept<Box<Live>>, failure: Failure) -> Left {
    let Kept { right, live } = kept;
    let reason = failure.chain();
    if live.offline.is_some() {
        return stay_shut_off(&live, right.generation(), reason, &failure).await;
    }
    let living = |process: &Process| process.exit().is_none() || matches!(failure, Failure::GuestShutDown);
    let Some(process) = live.process.clone().filter(living) else {
        return lose(live, right.generation(), failure).await;
    };
    if live.mirrored.is_some()
        && process.exit().is_none()
        && let Err(error) = qemu::mirror::abort(&process.qmp).await
    {
        tracing::error!(
            "QEMU keeps something of the disks that did not go over: {}",
            crate::failure::chain(&error)
        );
    }
    stop_stream(&process).await;
    let shut_down = matches!(failure, Failure::GuestShutDown);
    if shut_down {
        // QEMU goes with its guest, unless it was told to stay.
        _ = timeout(QUIT_TIMEOUT, process.exited()).await;
    }
    while !shut_down && !live.suspended && !go_on(&process).await {
        if process.exit().is_some() {
            return lose(live, right.generation(), failure).await;
        }
        // A target's QEMU may hold the image: it goes first.
        live.begun.tracker.note("the guest cannot go on yet; it is tried again");
        abandon(&live).await;
        ask_again(&process).await;
    }
    abandon(&live).await;
    withdraw(&live, right.generation()).await;
    let tracker = live.begun.tracker.clone();
    let guest = back(right, *live);
    tracker.end(Phase::Kept, Outcome::Kept, Some(reason), crate::http::problem::problem(&failure).mend);
    Left::Kept(Box::new(guest))
}

/// The domain was shut off all the time: only the target has something to give back.
async fn stay_shut_off(live: &Live, generation: u64, reason: String, failure: &Failure) -> Left {
    abandon(live).await;
    withdraw(live, generation).await;
    let mend = crate::http::problem::problem(failure).mend;
    live.begun.tracker.end(Phase::Kept, Outcome::Kept, Some(reason), mend);
    Left::Stays
}

/// The guest's memory is gone. The domain belongs to this host, shut off. `generation` is that of the right it had.
pub(crate) async fn lose(live: Box<Live>, generation: u64, failure: Failure) -> Left {
    let reason = failure.chain();
    enter(&live, Phase::Lost, &reason).await;
    abandon(&live).await;
    withdraw(&live, generation).await;
    give_back(&live.begun.node, &live.record, live.process.as_ref()).await;
    let place = match is_handed(&live, generation).await {
        true => format!(" on {}", live.target),
        false => String::new(),
    };
    let mend = format!("the disks are intact: `ferry start` boots the domain afresh{place}");
    live.begun.tracker.end(Phase::Lost, Outcome::Lost, Some(reason.clone()), Some(mend));
    Left::Lost(reason)
}

/// Takes the offer back in the owner record. A record that cannot be written keeps the domain from being started afresh,
/// here and there, until somebody looks: the safe side.
async fn withdraw(live: &Live, generation: u64) {
    let host = &live.begun.node.config.host;
    let withdrawn =
        change_owner(live.record.owner_record.as_deref(), |record| record.withdrawn(host, generation));
    if let Err(error) = withdrawn.await {
        tracing::error!("the owner record still shows an offer: {}", error.chain());
    }
}

/// Writes an end to the journal, and says whether it is there.
pub(crate) async fn enter(live: &Live, phase: Phase, reason: &str) -> bool {
    let Some(room) = &live.reserved else { return true };
    match room.journal.enter(phase, Some(reason.to_owned())).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(?phase, "the end is not in the journal: {}", Failure::from(error).chain());
            false
        }
    }
}

/// Tells the target to give everything back; a target that does not hear it asks by itself later.
pub(crate) async fn abandon(live: &Live) {
    let id = live.begun.tracker.id();
    let client = match live.begun.node.neighbours.client(&live.target) {
        Ok(client) => client,
        Err(failure) => {
            tracing::warn!(migration = %id, "the target cannot be told and will ask: {}", failure.chain());
            return;
        }
    };
    match timeout(ABANDON_TIMEOUT, client.abandon(id)).await {
        Ok(Ok(verdict @ (api::Verdict::Running { .. } | api::Verdict::Filling { .. }))) => {
            tracing::error!(migration = %id, ?verdict, "the target says that the guest runs there: look at both hosts");
        }
        Ok(Ok(verdict)) => tracing::info!(migration = %id, ?verdict, "the target gives everything back"),
        Ok(Err(error)) => {
            tracing::warn!(migration = %id, "the target did not hear of it and will ask: {error}")
        }
        Err(_elapsed) => tracing::warn!(migration = %id, "the target did not answer and will ask"),
    }
}

/// Cancels QEMU's migration and waits for it to be over. A QEMU that sends the last memory into a cut link answers nothing
/// but out-of-band commands, so the time is measured from the first question on; then `yank` breaks its connections.
///
/// A QEMU that sends over several encrypted connections can die of a cancel, see `Means::multifd_channels`. Another order
/// of commands would not help it: a target that dies does the same to it.
pub(super) async fn stop_stream(process: &Process) {
    let mut events = Events::of(&process.qmp);
    let cancelling = async {
        if !over(process).await {
            _ = process.qmp.execute(MigrateCancel).await;
            until_over(process, &mut events).await;
        }
    };
    if timeout(CANCEL_TIMEOUT, cancelling).await.is_err() {
        tracing::warn!("migrate_cancel hangs; its connections are broken");
        _ = process.qmp.execute_oob(Yank { instances: vec![YankInstance::Migration] }).await;
        if timeout(CANCEL_TIMEOUT, until_over(process, &mut events)).await.is_err() {
            tracing::error!("QEMU does not leave its migration");
        }
    }
    // Neither reaches a connection that is still being made, and the next migration would wait for it.
    match process.break_off_connecting() {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "connections that the target did not answer are broken off"),
        Err(error) => tracing::warn!(%error, "a connection may hold the next migration up for two minutes"),
    }
}

async fn until_over(process: &Process, events: &mut Events) {
    while !over(process).await {
        match events.next().await {
            // Whatever it was, the question is asked again.
            Ok(_) | Err(EventsError::Lost { .. }) => {}
            Err(EventsError::Gone) => return,
        }
    }
}

/// Whether no migration is under way that could be cancelled.
async fn over(process: &Process) -> bool {
    match process.qmp.execute(QueryMigrate).await {
        Ok(info) => info.status.is_none_or(|status| {
            matches!(
                status,
                MigrationStatus::None
                    | MigrationStatus::Completed
                    | MigrationStatus::Failed
                    | MigrationStatus::Cancelled
            ) || has_switched(&status)
        }),
        Err(_gone) => process.exit().is_some(),
    }
}

/// Whether a guest stands for a reason of its own, which it brought to the migration: that is not to be overruled here.
fn stands_by_itself(state: &RunState) -> bool {
    matches!(
        state,
        RunState::InternalError
            | RunState::IoError
            | RunState::Debug
            | RunState::Shutdown
            | RunState::Suspended
            | RunState::Watchdog
            | RunState::GuestPanicked
    )
}

/// Continues the guest, unless it runs already: after `failed` and `cancelled` QEMU continues it by itself.
async fn go_on(process: &Process) -> bool {
    match process.qmp.execute(QueryStatus).await {
        Ok(status) if status.running || stands_by_itself(&status.status) => true,
        Ok(_) => match process.qmp.execute(Cont).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!("the guest was not continued: {error}");
                false
            }
        },
        Err(_gone) => false,
    }
}
