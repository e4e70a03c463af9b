//! The source of a migration of a domain that is shut off, as a list of steps: the same states, pledge and verdict as of a
//! live one, with files in place of memory. A cut ends nothing: the files go on from where the target stands, after a
//! restart of either agent too.
//!
//! ```text
//! reserve → stream (files) → stop → pledge → settle → moved | stays
//!    └────────┴───────────────┴→ stays       a copy with an identity of its own: stream → hand out → copied
//! ```

use std::sync::Arc;

use api::{CopyRole, Offer, Outcome, SourceDefinition, SourceFacts, Ticket, Verdict};
use domain::Definition;
use migration::RunRight;
use migration::journal::{Carried, Offline, Opened, Side};
use migration::phase::Phase;
use migration::placement::Placed;
use migration::source::{Kept, Planned, Reserved, Streaming};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::carry::carry;
use super::settle::settle;
use super::source::{Begun, Broken, Left, Live, Room, Wish};
use super::stay::{abandon, stay};
use super::turn::take_turn;
use crate::failure::Failure;
use crate::guest::{GuestRecord, change_owner};
use crate::journal::Journal;
use crate::keeper::Reply;
use crate::limits::{SETTLE_PAUSE_MAX, VERDICT_TIMEOUT};
use crate::node::Node;
use crate::placement::Placing;
use crate::tracker::unix_ms;

/// What leaves.
pub(crate) struct Leaving {
    pub(crate) right: RunRight,
    pub(crate) record: GuestRecord,
    pub(crate) definition: Definition,
    /// As it will be on the target, with the files that go.
    pub(crate) placing: Placing,
}

/// Drives one migration to its end. The reply is given as soon as the target has made room, or refuses.
pub(crate) async fn run(begun: Begun, leaving: Leaving, wish: Wish, reply: Reply<Uuid>) -> Left {
    let Leaving { right, record, definition, placing } = leaving;
    let (id, keep_source) = (begun.tracker.id(), wish.request.identity.keep_source);
    let storage = wish.request.copy_storage.clone().unwrap_or_default();
    let formerly = (placing.definition.domain().uuid != definition.domain().uuid).then_some(record.uuid);
    let offline = Offline {
        files: placing.files.iter().map(|placed| carried(&begun.node, record.uuid, placed)).collect(),
        verify: storage.verify,
        source_disks: storage.source_disks,
        keep_source,
        bandwidth_bytes_per_s: wish.request.bandwidth_bytes_per_s,
        formerly,
    };
    let live = Live {
        begun,
        process: None,
        record,
        definition,
        suspended: false,
        target: wish.request.to.clone(),
        reserved: None,
        offline: Some(offline),
        mirrored: None,
        leave: None,
    };
    live.begun.node.track(live.record.uuid, &live.begun.tracker);
    let (reserved, ticket) = match reserve(Planned::new(right, Box::new(live)), &wish, &placing).await {
        Ok(reserved) => reserved,
        Err(broken) => {
            let (kept, failure) = *broken;
            kept.live.begun.node.untrack(id);
            _ = reply.send(Err(failure));
            return Left::Stays;
        }
    };
    if reply.send(Ok(id)).is_err() {
        // Whoever asked for it has gone away before it began.
        reserved.live.begun.cancelled.cancel();
    }
    reserved.live.tell_warnings(&wish, &ticket);
    go_on(reserved).await
}

/// A file with its whole path here.
fn carried(node: &Node, domain: Uuid, placed: &Placed) -> Carried {
    let from = match &placed.file.role {
        CopyRole::Tpm { name } => node.store.tpm_directory(domain).join(name).display().to_string(),
        CopyRole::Disk { .. } | CopyRole::Backing { .. } | CopyRole::Nvram => placed.from.clone(),
    };
    Carried { from, file: placed.file.clone(), over: false, kept: None }
}

/// Takes up a migration that an earlier agent had begun and not pledged.
pub(crate) async fn resume(live: Box<Live>, right: RunRight) -> Left {
    live.begun.tracker.note("the agent was restarted; the copy goes on from where the target stands");
    go_on(Planned::new(right, live).reserved()).await
}

/// Everything after the target has made room.
async fn go_on(reserved: Reserved<Box<Live>>) -> Left {
    let cancelled = reserved.live.begun.cancelled.clone();
    let broken = async {
        cancelled.cancelled().await;
        Failure::Cancelled
    };
    let begun = async { stream(take_turn(reserved, broken).await?).await };
    let streaming = match begun.await {
        Ok(streaming) => streaming,
        Err(broken) => {
            let (kept, failure) = *broken;
            return stay(kept, failure).await;
        }
    };
    if streaming.live.offline.as_ref().is_some_and(|offline| offline.keep_source) {
        return hand_out(streaming).await;
    }
    let journal = streaming.live.reserved.as_ref().map(|room| room.journal.clone());
    let stopped = streaming.stopped();
    stopped.live.begun.tracker.enter(Phase::Stopped);
    // Written ahead: a pledge that is not in the journal would be forgotten in a crash.
    let written = match &journal {
        Some(journal) => journal.enter(Phase::Pledging, None).await,
        None => Ok(()),
    };
    match written {
        Ok(()) if stopped.live.begun.cancelled.is_cancelled() => {
            stay(stopped.keep(), Failure::Cancelled).await
        }
        Ok(()) => {
            let (_pledge, pledged) = stopped.pledge();
            settle(pledged).await
        }
        Err(error) => stay(stopped.keep(), error.into()).await,
    }
}

/// Asks the target to make room; every finding of both hosts comes back at once.
async fn reserve(
    mut planned: Planned<Box<Live>>,
    wish: &Wish,
    placing: &Placing,
) -> Result<(Reserved<Box<Live>>, Ticket), Broken> {
    let generation = planned.generation();
    match make_room(&mut planned.live, generation, wish, placing).await {
        Ok(ticket) => {
            let reserved = planned.reserved();
            reserved.live.begun.tracker.enter(Phase::Reserved);
            Ok((reserved, ticket))
        }
        Err(failure) => {
            if super::source::target_may_wait(&failure) {
                abandon(&planned.live).await;
            }
            Err(Box::new((planned.keep(), failure)))
        }
    }
}

async fn make_room(
    live: &mut Live,
    generation: u64,
    wish: &Wish,
    placing: &Placing,
) -> Result<Ticket, Failure> {
    let node = Arc::clone(&live.begun.node);
    let Some(offline) = live.offline.clone() else { return Err(Failure::Stopping) };
    // What is another domain begins its own generations.
    let generation = if offline.keep_source { 0 } else { generation };
    let word = node.neighbours.client(&live.target)?;
    let offer = offer(live, generation, wish, placing, &offline)?;
    let ticket = tokio::select! {
        answer = word.offer(&offer) => answer.map_err(|error| Failure::of_host(&live.target, error))?,
        () = live.begun.cancelled.cancelled() => return Err(Failure::Cancelled),
    };
    let opened = Opened {
        migration: live.begun.tracker.id(),
        side: Side::Source,
        domain: live.record.uuid,
        name: live.definition.domain().name.clone(),
        source: node.config.host.clone(),
        target: live.target.clone(),
        generation: live.record.generation,
        suspended: false,
        postcopy: false,
        offline: Some(offline),
        mirrored: None,
        keep_definition: wish.request.source_definition == SourceDefinition::Keep,
        skipped: wish.request.skip.clone(),
        token: ticket.token,
        at_ms: unix_ms(),
    };
    let journal = Journal::create(node.store.journal_path(opened.migration), opened).await?;
    live.reserved = Some(Room { token: ticket.token, journal, word: Some(word) });
    Ok(ticket)
}

fn offer(
    live: &Live,
    generation: u64,
    wish: &Wish,
    placing: &Placing,
    offline: &Offline,
) -> Result<Offer, Failure> {
    let facts = host::Facts::read()?;
    Ok(Offer {
        migration: live.begun.tracker.id(),
        source: live.begun.node.config.host.clone(),
        xml: placing.definition.xml().to_owned(),
        generation: generation + 1,
        suspended: false,
        inactive_xml: Some(placing.definition.xml().to_owned()),
        encrypted: true,
        channels: 1,
        postcopy: false,
        skip: wish.request.skip.clone(),
        offline: true,
        files: offline.files.iter().map(|carried| carried.file.clone()).collect(),
        verify: offline.verify,
        formerly: offline.formerly,
        source_facts: SourceFacts {
            arch: facts.machine_arch,
            cpu_vendor: facts.cpu_vendor,
            nx: facts.nx,
            kvm: live.record.kvm,
            migrate_capabilities: Vec::new(),
            cpu_unavailable: None,
        },
    })
}

/// Sends the files.
async fn stream(reserved: Reserved<Box<Live>>) -> Result<Streaming<Box<Live>>, Broken> {
    let begun = begin_stream(&reserved.live).await;
    if let Err(failure) = begun {
        return Err(Box::new((reserved.keep(), failure)));
    }
    let streaming = reserved.streaming();
    streaming.live.begun.tracker.enter(Phase::Streaming);
    let Some(offline) = streaming.live.offline.clone() else { return Ok(streaming) };
    match carry(&streaming.live, &offline).await {
        Ok(copied) if offline.files.is_empty() => {
            drop(copied);
            Ok(streaming)
        }
        Ok(copied) => {
            streaming.live.begun.tracker.record(|report| report.copied = Some(copied));
            Ok(streaming)
        }
        Err(failure) => Err(Box::new((streaming.keep(), failure))),
    }
}

async fn begin_stream(live: &Live) -> Result<(), Failure> {
    let room = live.reserved.as_ref().ok_or(Failure::Stopping)?;
    room.journal.enter(Phase::Streaming, None).await?;
    let keeps = live.offline.as_ref().is_some_and(|offline| offline.keep_source);
    if !keeps {
        change_owner(live.record.owner_record.as_deref(), |record| Some(record.offer(&live.target))).await?;
    }
    Ok(())
}

/// Gives a copy its word. The domain itself stays whatever becomes of it, so nothing is pledged.
async fn hand_out(streaming: Streaming<Box<Live>>) -> Left {
    let (id, token) = {
        let live = &streaming.live;
        (live.begun.tracker.id(), live.reserved.as_ref().map(|room| room.token))
    };
    let verdict = loop {
        let live = &streaming.live;
        if live.begun.cancelled.is_cancelled() {
            return stay(streaming.keep(), Failure::Cancelled).await;
        }
        let asked = async {
            let client = live.begun.node.neighbours.client(&live.target).ok()?;
            client.pledge(id, token?).await.ok()
        };
        if let Ok(Some(verdict)) = timeout(VERDICT_TIMEOUT, asked).await {
            break verdict;
        }
        sleep(SETTLE_PAUSE_MAX).await;
    };
    let kept = streaming.keep();
    match verdict {
        Verdict::Running { .. } | Verdict::Filling { .. } => copied(kept).await,
        Verdict::Refused { reason } | Verdict::Lost { reason } => {
            let host = kept.live.target.clone();
            stay(kept, Failure::VerdictRefused { host, reason }).await
        }
    }
}

/// The copy is there.
async fn copied(kept: Kept<Box<Live>>) -> Left {
    super::stay::enter(&kept.live, Phase::Kept, "a copy of it is on the target").await;
    kept.live.begun.tracker.end(Phase::Kept, Outcome::Copied, None, None);
    Left::Stays
}
