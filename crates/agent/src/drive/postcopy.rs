//! Post-copy at the source: the switch, while memory goes over; and after the pledge the service, until the target has all
//! memory. Main functions: [`order`], [`serve`].
//!
//! ```text
//! stop: … order ── due, or asked for ──► Pledging is durable, QEMU stops the guest and goes to pre-switchover
//! complete: migrate-continue ──► postcopy-active ──► pledge ──► filling ──► serve
//! serve: the pledge again ──► filling ──► again      a broken connection is taken up
//!                        ├──► running ──► moved
//!                        └──► lost
//! ```
//!
//! From `postcopy-active` on there is no way back, so nothing that fails after `migrate-continue` keeps the guest before QEMU
//! has said what came of it.

use std::sync::atomic::{AtomicBool, Ordering};

use api::{MigrationRequest, Ticket};
use migration::handover::{SourceQemu, Verdict, has_nothing_left};
use migration::phase::Phase;
use migration::postcopy::is_due;
use migration::source::{Served, Serving};
use qemu::command::{MigrationStatus, QueryMigrate};
use qemu::migrate::postcopy;
use qemu::migrate::{Events, EventsError, What};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::settle::{Heard, Question, moved, put, take_word};
use super::source::{Left, Live, Said};
use super::stay::{enter, lose, stop_stream};
use super::watch::{Waited, show_figures};
use crate::failure::{Failure, chain};
use crate::limits::{PULSE_EVERY, PULSE_FAILURES_MAX, PULSE_TIMEOUT};

/// What QEMU says when it is time to ask the target.
const TURNS: [MigrationStatus; 3] =
    [MigrationStatus::Completed, MigrationStatus::PostcopyPaused, MigrationStatus::Failed];

/// Whether a migration may switch to post-copy, and was told to; for its task and its domain's.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    allowed: AtomicBool,
    ordered: AtomicBool,
}

impl Switch {
    /// Whether both sides are ready for it.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed.load(Ordering::Relaxed)
    }

    fn may(&self) -> bool {
        self.is_allowed() && !self.is_ordered()
    }

    /// Why it is to be done now that this came, where it is.
    pub(super) fn is_due(&self, waited: &Waited) -> Option<String> {
        match waited {
            Waited::Qemu(What::Pass(round)) if self.may() && is_due(*round) => {
                Some(format!("the guest writes faster than memory goes over, in {} rounds", round - 1))
            }
            Waited::Qemu(_) | Waited::Failed(_) => None,
        }
    }

    fn is_ordered(&self) -> bool {
        self.ordered.load(Ordering::Relaxed)
    }
}

/// Whether a target is to be asked for it. A suspended guest writes nothing that would have to be sent again.
pub(super) fn is_possible(live: &Live, request: &MigrationRequest) -> bool {
    request.allow_postcopy && request.channels == 1 && live.mirrored.is_none() && !live.suspended
}

/// The target has made room.
pub(super) fn allow(live: &Live, request: &MigrationRequest, ticket: &Ticket) {
    if request.allow_postcopy && !ticket.postcopy {
        let note = "it goes without post-copy: the target's agent is too old for it, or the guest is suspended, or there are \
                    several connections or disks that go with it";
        live.begun.tracker.note(note.to_owned());
    }
    live.begun.switch.allowed.store(ticket.postcopy, Ordering::Relaxed);
}

/// Tells QEMU to switch, once. A new agent has to find that a pledge may follow, so that is durable first.
pub(super) async fn order(live: &Live, why: &str) -> Result<(), Failure> {
    let switch = &live.begun.switch;
    if !switch.may() {
        return Ok(());
    }
    let room = live.reserved.as_ref().ok_or(Failure::Stopping)?;
    let process = live.process.as_ref().ok_or(Failure::SourceQemuGone)?;
    room.journal.enter(Phase::Pledging, None).await?;
    live.begun.tracker.note(format!("post-copy: the guest is handed over, its memory follows; {why}"));
    switch.ordered.store(true, Ordering::Relaxed);
    Ok(postcopy::switch(&process.qmp).await?)
}

/// What became of a switch that something interrupted, once QEMU has been stopped from going on with it.
pub(super) async fn outcome(live: &Live) -> SourceQemu {
    if let Some(process) = &live.process {
        stop_stream(process).await;
    }
    live.qemu().await
}

/// Whether a switch was ordered and there is no way back.
pub(super) async fn has_switched(live: &Live) -> bool {
    live.begun.switch.is_ordered() && outcome(live).await == SourceQemu::Serving
}

/// The target's guest needs memory from here: waits until it has all, and takes up what breaks.
pub(super) async fn serve(mut serving: Serving<Box<Live>>) -> Left {
    enter(&serving.live, Phase::Serving, "the guest runs on the target and fetches memory from here").await;
    serving.live.begun.tracker.enter(Phase::Serving);
    let generation = serving.generation();
    let mut events = serving.live.process.as_ref().map(|process| Events::of(&process.qmp));
    let figures = |process| tokio::spawn(show_figures(process, serving.live.begun.tracker.clone()));
    let _figures = serving.live.process.clone().map(figures).map(AbortOnDropHandle::new);
    let (mut question, mut silent) = (Question::Pledge, 0);
    loop {
        let mut why = String::new();
        let mut served = match ask(&serving.live, question).await {
            Ok(heard) => {
                silent = 0;
                let qemu = serving.live.qemu().await;
                if has_nothing_left(qemu) {
                    question = Question::NothingLeft;
                } else if qemu == SourceQemu::Serving && heard.verdict == Verdict::Filling {
                    take_up(&serving.live, heard.cut).await;
                }
                why = heard.reason.unwrap_or_default();
                serving.settle(heard.verdict, qemu)
            }
            Err(reason) => {
                silent += 1;
                if silent == PULSE_FAILURES_MAX {
                    let_go(&serving.live, &reason).await;
                }
                Served::Serving(serving)
            }
        };
        if let Served::Serving(still) = served {
            served = pause(still, &mut events, generation).await;
        }
        match served {
            Served::Serving(still) => serving = still,
            Served::Moved(done) => return moved(done.live, generation).await,
            Served::Lost(lost) => {
                let host = lost.live.target.clone();
                return lose(lost.live, generation, Failure::VerdictLost { host, reason: why }).await;
            }
        }
    }
}

/// Says the pledge again: the answer is how far the target is.
async fn ask(live: &Live, question: Question) -> Result<Heard, String> {
    let client = live.begun.node.neighbours.client(&live.target).map_err(|failure| failure.chain())?;
    match timeout(PULSE_TIMEOUT, put(question, &client, live)).await {
        Ok(heard) => heard,
        Err(_elapsed) => Err(format!("no answer within {PULSE_TIMEOUT:?}")),
    }
}

/// Waits for something to happen, at most until the next question; an operator's word may end it.
async fn pause(
    mut serving: Serving<Box<Live>>,
    events: &mut Option<Events>,
    generation: u64,
) -> Served<Box<Live>> {
    let turned = async {
        match events {
            Some(events) => events.status(&TURNS).await.map(drop),
            None => Err(EventsError::Gone),
        }
    };
    let waited = timeout(PULSE_EVERY, async {
        // Without a QEMU nothing is told any more.
        if turned.await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let said = tokio::select! {
        _ = waited => None,
        said = serving.live.begun.heard.recv() => said,
    };
    let Some(Said::Resolve(word, reply)) = said else { return Served::Serving(serving) };
    match take_word(&serving.live, generation, Question::Pledge, word).await {
        Ok((settled, _heard)) => {
            serving.live.begun.tracker.note(format!("resolved by an operator's word: {settled:?}"));
            _ = reply.send(Ok(()));
            serving.resolved(settled)
        }
        Err(failure) => {
            _ = reply.send(Err(failure));
            Served::Serving(serving)
        }
    }
}

/// Takes a broken connection up again. What does not work is tried again at the next answer.
async fn take_up(live: &Live, cut_there: bool) {
    let Some(process) = &live.process else { return };
    let status = process.qmp.execute(QueryMigrate).await.ok().and_then(|info| info.status);
    let is_cut = status == Some(MigrationStatus::PostcopyPaused)
        // What is being taken up is given time.
        || (cut_there && status == Some(MigrationStatus::PostcopyActive));
    if !is_cut {
        return;
    }
    let taking = async {
        postcopy::pause(&process.qmp).await?;
        let room = live.reserved.as_ref().ok_or(Failure::Stopping)?;
        let client = live.begun.node.neighbours.client(&live.target)?;
        let listening = client.listen_again(live.begun.tracker.id(), room.token).await;
        let address = listening.map_err(|error| Failure::of_host(&live.target, error))?.address;
        let address = address.parse().map_err(|_| Failure::TicketAddress { address })?;
        postcopy::resume(&process.qmp, address).await?;
        Ok::<_, Failure>(address)
    };
    match taking.await {
        Ok(address) => {
            live.begun.tracker.note(format!("the connection for memory is taken up again, to {address}"))
        }
        Err(failure) => tracing::warn!("memory does not go over yet: {}", failure.chain()),
    }
}

/// The target does not answer: QEMU would send into a cut connection until TCP gives it up.
async fn let_go(live: &Live, reason: &str) {
    let host = &live.target;
    live.begun.tracker.note(format!(
        "{host} gives no sign of life ({reason}): memory goes on as soon as it does; if it never will, \
         `ferry migrations resolve {} --as lost`",
        live.begun.tracker.id()
    ));
    let Some(process) = &live.process else { return };
    match postcopy::pause(&process.qmp).await {
        Ok(()) => live.begun.tracker.note("QEMU has let go of the connection for memory".to_owned()),
        Err(error) => tracing::warn!("the connection for memory is not let go of: {}", chain(&error)),
    }
}
