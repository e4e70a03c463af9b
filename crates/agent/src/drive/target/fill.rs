//! Post-copy at the target: the guest runs, and what it lacks comes from the source. It ends when all has come, or when a QEMU
//! has ended before that: then the guest is lost. A connection that breaks ends nothing. Main function: [`fill`].
//!
//! QEMU may answer nothing while the guest waits for memory that does not come, so what it does is heard from its events.

use std::sync::Arc;

use api::{Listening, Outcome, ResolveAs, Settlement, Verdict};
use migration::handover::{TargetQemu, is_cut_off};
use migration::phase::Phase;
use migration::target::{Filling, Granted, Receiving};
use qemu::command::MigrationStatus;
use qemu::migrate::{Events, EventsError, What};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::known::lacks_memory;
use super::{
    Arrived, Live, Said, announce, answer, ask_source, end, enter, is_owner, own, settle_in, unmute,
};
use crate::failure::Failure;
use crate::guest::give_back;
use crate::keeper::Reply;
use crate::limits::DRIVE_QUEUE;

/// Why a guest is lost whose source cannot serve it any more.
const NOTHING_LEFT: &str = "the source's QEMU has ended, and had memory that had not come";

/// The events of a guest whose memory has not all come; none where it has. To be asked before the guest runs, as QEMU may not
/// answer afterwards.
pub(super) async fn lacking(live: &Live) -> Option<Events> {
    let process = live.process.as_ref().filter(|_| live.opened.postcopy)?;
    let events = Events::of(&process.qmp);
    lacks_memory(process).await.then_some(events)
}

/// What is answered to a pledge when the guest runs.
pub(super) fn verdict(lacks: bool, resumed_at: Option<String>) -> Verdict {
    match lacks {
        true => Verdict::Filling { resumed_at, cut: false },
        false => Verdict::Running { resumed_at },
    }
}

/// The guest runs: what is still to come is waited for, then it is settled.
pub(super) async fn go_on(granted: Granted<Box<Live>>, lacking: Option<Events>) -> Arrived {
    match lacking {
        Some(events) => fill(granted.filling(), events).await,
        None => settle_in(granted.running()).await,
    }
}

/// Takes up what an earlier agent had seen running here with memory still to come.
pub(super) async fn recover(receiving: Receiving<Box<Live>>) -> Arrived {
    let pledge = receiving.live.pledge();
    let granted = receiving.loaded().grant(pledge);
    if granted.live.process.is_none() {
        let reason = "its QEMU ended while memory was still to come";
        return lost(granted.filling().lost().live, reason, None).await;
    }
    let lacking = lacking(&granted.live).await;
    go_on(granted, lacking).await
}

/// What comes first.
enum Came {
    Said(Option<Said>),
    Status(MigrationStatus),
    /// Events were missed: QEMU is asked.
    Missed,
    Gone(String),
    Source(Settlement),
}

/// Waits until all memory has come.
pub(super) async fn fill(mut filling: Filling<Box<Live>>, mut events: Events) -> Arrived {
    settle_meanwhile(&filling).await;
    let (asks, mut settlements) = mpsc::channel(DRIVE_QUEUE);
    let asking = ask_source(Arc::clone(&filling.live.begun.node), filling.live.opened.clone(), asks);
    let _asking = AbortOnDropHandle::new(tokio::spawn(asking));
    let mut cut = false;
    loop {
        match came(&mut filling.live, &mut events, &mut settlements).await {
            Came::Status(MigrationStatus::Completed) => return settle_in(filling.running()).await,
            Came::Status(MigrationStatus::PostcopyPaused) => {
                cut = true;
                let note =
                    "the connection for memory broke: the guest stands where it needs what is not here";
                filling.live.begun.tracker.note(note.to_owned());
            }
            Came::Status(MigrationStatus::PostcopyActive) => {
                if std::mem::take(&mut cut) {
                    filling.live.begun.tracker.note("memory comes in again".to_owned());
                }
            }
            Came::Status(_) => {}
            Came::Missed => {
                let process = filling.live.process.clone();
                if let Some(process) = process
                    && !lacks_memory(&process).await
                {
                    return settle_in(filling.running()).await;
                }
            }
            Came::Gone(exit) => {
                let reason = format!("its QEMU ended while memory was still to come: {exit}");
                return lost(filling.lost().live, &reason, None).await;
            }
            Came::Said(said) => match hear(&filling.live, said, cut).await {
                Heard::Nothing => {}
                Heard::Lost => return lost(filling.lost().live, "an operator's word", None).await,
                Heard::NothingLeft(reply) => {
                    return lost(filling.lost().live, NOTHING_LEFT, Some(reply)).await;
                }
            },
            Came::Source(settlement) => {
                // A source that does not know the migration any more may have a QEMU that serves.
                let has_ended = match settlement {
                    Settlement::Open | Settlement::Unknown => false,
                    Settlement::Moved | Settlement::Kept | Settlement::Lost => true,
                };
                if is_cut_off(TargetQemu::Filling, has_ended) {
                    return lost(filling.lost().live, NOTHING_LEFT, None).await;
                }
            }
        }
    }
}

/// What is done while the guest runs already: it is announced, owned and written down.
async fn settle_meanwhile(filling: &Filling<Box<Live>>) {
    let live = &filling.live;
    live.begun.tracker.enter(Phase::Filling);
    unmute(live).await;
    if let Some(process) = live.process.clone() {
        // QEMU may answer nothing now.
        tokio::spawn(async move { announce(&process).await });
    }
    if own(live, filling.generation()).await {
        enter(live, Phase::Filling, None).await;
    }
}

async fn came(live: &mut Live, events: &mut Events, settlements: &mut mpsc::Receiver<Settlement>) -> Came {
    let process = live.process.clone();
    let gone = async {
        match &process {
            Some(process) => process.exited().await.to_string(),
            None => std::future::pending().await,
        }
    };
    let status = async {
        loop {
            match events.next().await {
                Ok(happened) => {
                    if let What::Migration(status) = happened.what {
                        return Came::Status(status);
                    }
                }
                Err(EventsError::Lost { .. }) => return Came::Missed,
                Err(EventsError::Gone) => return std::future::pending().await,
            }
        }
    };
    tokio::select! {
        // All may have come before the source ended.
        biased;
        came = status => came,
        exit = gone => Came::Gone(exit),
        said = live.begun.heard.recv() => Came::Said(said),
        Some(settlement) = settlements.recv() => Came::Source(settlement),
    }
}

/// What was said comes to.
enum Heard {
    Nothing,
    /// An operator says so.
    Lost,
    /// The source has nothing left that the guest needs.
    NothingLeft(Reply<Verdict>),
}

async fn hear(live: &Live, said: Option<Said>, cut: bool) -> Heard {
    let resumed_at = || live.begun.tracker.migration().report.downtime.target_resumed_at;
    match said {
        // The agent is stopping, and nobody hears the end of this task.
        None => std::future::pending().await,
        Some(Said::Pledge { token, reply, .. }) if token != live.opened.token => {
            _ = reply.send(Err(Failure::WrongToken));
        }
        Some(Said::Listen { token, reply }) if token != live.opened.token => {
            _ = reply.send(Err(Failure::WrongToken));
        }
        Some(Said::Pledge { nothing_left, reply, .. }) if is_cut_off(TargetQemu::Filling, nothing_left) => {
            return Heard::NothingLeft(reply);
        }
        Some(Said::Pledge { reply, .. } | Said::Abandon { reply }) => {
            answer(Some(reply), Ok(Verdict::Filling { resumed_at: resumed_at(), cut }));
        }
        Some(Said::Listen { token: _, reply }) => _ = reply.send(listen(live).await),
        Some(Said::Resolve(ResolveAs::Lost, reply)) => {
            _ = reply.send(Ok(()));
            return Heard::Lost;
        }
        Some(Said::Resolve(ResolveAs::Moved | ResolveAs::Kept, reply)) => {
            _ = reply.send(Err(Failure::WrongSide { role: "target" }));
        }
    }
    Heard::Nothing
}

async fn listen(live: &Live) -> Result<Listening, Failure> {
    let process = live.process.as_ref().ok_or(Failure::MigrationEnded { phase: "its QEMU is gone" })?;
    let address = live.begun.node.neighbours.listen().ok_or(Failure::NotListening)?.ip();
    let address = qemu::migrate::postcopy::listen_again(&process.qmp, address).await?;
    Ok(Listening { address: address.to_string() })
}

/// Part of the guest's memory is nowhere any more. The domain is shut off, here where the owner record says so already.
async fn lost(live: Box<Live>, reason: &str, reply: Option<Reply<Verdict>>) -> Arrived {
    // Its QEMU goes before anybody hears that the guest is lost: the source may boot it afresh then.
    give_back(&live.begun.node, &live.record, live.process.as_ref()).await;
    if !is_owner(&live).await {
        return end(live, Phase::Lost, reason.to_owned(), reply).await;
    }
    enter(&live, Phase::Lost, Some(reason.to_owned())).await;
    let mend = "the disks are intact: `ferry start` boots the domain afresh, here".to_owned();
    live.begun.tracker.end(Phase::Lost, Outcome::Lost, Some(reason.to_owned()), Some(mend));
    answer(reply, Ok(Verdict::Lost { reason: reason.to_owned() }));
    Arrived::Owned { inactive: live.coming.inactive.map(Box::new) }
}
