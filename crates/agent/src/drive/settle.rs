//! After the pledge: the verdict, or the doubt until there is one. There is no way back here but the target's *refused* or
//! an operator's word; no time-out decides anything. Main function: [`settle`].

use std::path::Path;

use api::{CopyRole, Outcome, ResolveAs, SourceDisks};
use backon::BackoffBuilder;
use client::Client;
use migration::handover::{Settled, SourceQemu, Verdict, Word, resolve};
use migration::journal::Offline;
use migration::phase::Phase;
use migration::source::{End, Pledged};
use qemu::command::{QueryMigrate, Quit};
use storage::DiskKind;
use tokio::time::timeout;

use super::postcopy::serve;
use super::source::{Left, Live, Said};
use super::stay::{enter, go_back, lose};
use crate::failure::{Failure, chain};
use crate::guest::{change_owner, give_back, read_owner};
use crate::keeper::Reply;
use crate::limits::{QUIT_TIMEOUT, SETTLE_PAUSE_MAX, SETTLE_PAUSE_MIN, VERDICT_TIMEOUT};
use crate::nonvolatile;
use crate::volumes::users::others;

/// What a target answered, and when its guest resumed.
pub(super) struct Heard {
    pub(super) verdict: Verdict,
    resumed_at: Option<String>,
    pub(super) reason: Option<String>,
    /// Of *filling*: the target knows that the connection for memory is broken.
    pub(super) cut: bool,
}

/// Sends the pledge and waits for the verdict.
pub(crate) async fn settle(mut pledged: Pledged<Box<Live>>) -> Left {
    // Everything is over; a doubt, which may last for days, keeps no other domain from leaving.
    pledged.live.leave = None;
    pledged.live.begun.tracker.enter(Phase::Pledged);
    let word = pledged.live.reserved.as_ref().and_then(|room| room.word.clone());
    let first = match &word {
        Some(word) => put(Question::Pledge, word, &pledged.live).await,
        None => Err("the target is not in this host's configuration any more".to_owned()),
    };
    match first {
        Ok(heard) => end(pledged, heard).await,
        Err(reason) => {
            enter(&pledged.live, Phase::InDoubt, &reason).await;
            in_doubt(&pledged.live, &reason);
            doubt(pledged, Question::Pledge).await
        }
    }
}

/// What the target is asked, until it answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question {
    /// The pledge stands: it is given again.
    Pledge,
    /// The same, of a source that has nothing left to serve the guest with.
    NothingLeft,
    /// The source's QEMU is gone and nobody knows whether a pledge was given: only what already happened counts.
    Abandon,
}

/// Takes up a migration whose QEMU is gone here, where it is not known whether a pledge was given.
pub(crate) async fn ask(pledged: Pledged<Box<Live>>) -> Left {
    let reason = "this host's QEMU is gone, and it is not known whether the guest was handed over";
    in_doubt(&pledged.live, reason);
    doubt(pledged, Question::Abandon).await
}

/// Asks once. An error decides nothing.
pub(super) async fn put(question: Question, target: &Client, live: &Live) -> Result<Heard, String> {
    let Some(room) = &live.reserved else { return Err("there is no ticket".to_owned()) };
    let id = live.begun.tracker.id();
    let asked = async {
        match question {
            Question::Pledge => target.pledge(id, room.token).await,
            Question::NothingLeft => target.nothing_left(id, room.token).await,
            Question::Abandon => target.abandon(id).await,
        }
    };
    match timeout(VERDICT_TIMEOUT, asked).await {
        Ok(Ok(verdict)) => Ok(heard(verdict)),
        Ok(Err(error)) => Err(format!("{error}")),
        Err(_elapsed) => Err(format!("no verdict within {VERDICT_TIMEOUT:?}")),
    }
}

fn heard(verdict: api::Verdict) -> Heard {
    let (verdict, resumed_at, reason, cut) = match verdict {
        api::Verdict::Running { resumed_at } => (Verdict::Running, resumed_at, None, false),
        api::Verdict::Filling { resumed_at, cut } => (Verdict::Filling, resumed_at, None, cut),
        api::Verdict::Refused { reason } => (Verdict::Refused, None, Some(reason), false),
        api::Verdict::Lost { reason } => (Verdict::Lost, None, Some(reason), false),
    };
    Heard { verdict, resumed_at, reason, cut }
}

/// What the owner record says: the target wrote it when the guest ran there, which is before it has everything.
async fn handed(live: &Live, generation: u64) -> Option<Heard> {
    if !is_handed(live, generation).await {
        return None;
    }
    Some(heard(match live.qemu().await {
        SourceQemu::Serving => api::Verdict::Filling { resumed_at: None, cut: false },
        _nothing_to_serve => api::Verdict::Running { resumed_at: None },
    }))
}

/// Shows the doubt to people.
fn in_doubt(live: &Live, reason: &str) {
    let target = &live.target;
    let mend = format!(
        "it ends by itself as soon as {target} answers; if {target} will never answer again, find out whether the guest \
         ran there, make sure that no QEMU of it is left there, and say what is true with \
         `ferry migrations resolve {} --as moved|kept|lost`",
        live.begun.tracker.id()
    );
    live.begun.tracker.end(Phase::InDoubt, Outcome::InDoubt, Some(reason.to_owned()), Some(mend));
}

/// Asks until the target answers, or an operator says what is true.
async fn doubt(mut pledged: Pledged<Box<Live>>, question: Question) -> Left {
    let pauses = || {
        backon::ExponentialBuilder::default()
            .with_min_delay(SETTLE_PAUSE_MIN)
            .with_max_delay(SETTLE_PAUSE_MAX)
            .without_max_times()
            .build()
    };
    let mut pause = pauses();
    loop {
        let client = pledged.live.begun.node.neighbours.client(&pledged.live.target);
        if let Ok(client) = &client
            && let Ok(heard) = put(question, client, &pledged.live).await
        {
            return end(pledged, heard).await;
        }
        if let Some(heard) = handed(&pledged.live, pledged.generation()).await {
            return end(pledged, heard).await;
        }
        let wait = tokio::time::sleep(pause.next().unwrap_or(SETTLE_PAUSE_MAX));
        let said = tokio::select! {
            () = wait => None,
            said = pledged.live.begun.heard.recv() => said,
        };
        if let Some(Said::Resolve(word, reply)) = said {
            match take_word(&pledged.live, pledged.generation(), question, word).await {
                Ok((settled, heard)) => return resolved(pledged, settled, heard, reply).await,
                Err(failure) => _ = reply.send(Err(failure)),
            }
            pause = pauses();
        }
    }
}

/// Whether the owner record beside the disk says that the target has run the guest. The target wrote it, so it is an answer.
pub(super) async fn is_handed(live: &Live, generation: u64) -> bool {
    let Some(path) = &live.record.owner_record else { return false };
    let record = read_owner(path).await.ok().flatten();
    record.is_some_and(|record| record.host == live.target && record.generation == generation + 1)
}

/// An operator's word, held against what the target says now.
pub(super) async fn take_word(
    live: &Live,
    generation: u64,
    question: Question,
    word: ResolveAs,
) -> Result<(Settled, Option<Heard>), Failure> {
    // A pledge that was asked for anew could still arrive after the guest went on here.
    let question = match word {
        ResolveAs::Moved => question,
        ResolveAs::Kept | ResolveAs::Lost => Question::Abandon,
    };
    let heard = match live.begun.node.neighbours.client(&live.target) {
        Ok(client) => put(question, &client, live).await.ok(),
        Err(_not_in_the_configuration) => None,
    };
    let heard = match heard {
        None => handed(live, generation).await,
        heard => heard,
    };
    let word = match word {
        ResolveAs::Moved => Word::Moved,
        ResolveAs::Kept => Word::Kept,
        ResolveAs::Lost => Word::Lost,
    };
    let qemu = live.qemu().await;
    let settled = resolve(word, heard.as_ref().map(|heard| heard.verdict), qemu).map_err(Failure::Word)?;
    Ok((settled, heard))
}

async fn resolved(
    pledged: Pledged<Box<Live>>,
    settled: Settled,
    heard: Option<Heard>,
    reply: Reply<()>,
) -> Left {
    pledged.live.begun.tracker.note(format!("resolved by an operator's word: {settled:?}"));
    let reason = heard.and_then(|heard| heard.reason).unwrap_or_else(|| "an operator's word".to_owned());
    let generation = pledged.generation();
    let left = ended(pledged.resolved(settled), generation, reason).await;
    _ = reply.send(Ok(()));
    left
}

async fn end(pledged: Pledged<Box<Live>>, heard: Heard) -> Left {
    if let Some(at) = &heard.resumed_at {
        let at = at.clone();
        pledged.live.begun.tracker.record(|report| {
            report.downtime.stop_to_resume_ms =
                report.downtime.source_stopped_at.as_deref().and_then(|stopped| between_ms(stopped, &at));
            report.downtime.target_resumed_at = Some(at);
        });
    }
    let qemu = match heard.verdict {
        // What the source's QEMU does is of no matter any more, and asking it would only take time.
        Verdict::Running | Verdict::Lost => SourceQemu::Completed,
        Verdict::Refused | Verdict::Filling => pledged.live.qemu().await,
    };
    let generation = pledged.generation();
    let reason = heard.reason.unwrap_or_default();
    ended(pledged.settle(heard.verdict, qemu), generation, reason).await
}

async fn ended(end: End<Box<Live>>, generation: u64, reason: String) -> Left {
    match end {
        End::Moved(done) => moved(done.live, generation).await,
        End::Serving(serving) => serve(serving).await,
        End::Kept(kept) => {
            let failure = Failure::VerdictRefused { host: kept.live.target.clone(), reason };
            // The guest goes on only when no later agent can pledge it again.
            while !enter(&kept.live, Phase::Kept, &failure.chain()).await {
                tokio::time::sleep(SETTLE_PAUSE_MAX).await;
            }
            go_back(kept, failure).await
        }
        End::Lost(lost) => {
            let failure = Failure::VerdictLost { host: lost.live.target.clone(), reason };
            lose(lost.live, generation, failure).await
        }
    }
}

/// The domain runs on the target: everything here is given back.
/// `generation` is that of the right that was given away.
pub(crate) async fn moved(live: Box<Live>, generation: u64) -> Left {
    let tracker = live.begun.tracker.clone();
    if let Some(room) = &live.reserved
        && let Err(error) = room.journal.enter(Phase::Moved, None).await
    {
        tracing::error!(
            "the end is not in the journal; the next agent asks again: {}",
            Failure::from(error).chain()
        );
    }
    if let Some(process) = live.process.as_ref().filter(|process| process.exit().is_none()) {
        if let Ok(info) = process.qmp.execute(QueryMigrate).await {
            tracker.record(|report| {
                report.downtime.qemu_ms = info.downtime;
                if let Some(ram) = info.ram {
                    report.memory = api::Memory {
                        total_bytes: ram.total,
                        sent_bytes: ram.transferred,
                        rounds: ram.dirty_sync_count.unwrap_or(0),
                        normal_pages: ram.normal.unwrap_or(0),
                        zero_pages: ram.duplicate.unwrap_or(0),
                        streamed_ms: info.total_time.unwrap_or(0),
                    };
                }
            });
        }
        _ = process.qmp.execute(Quit).await;
        _ = timeout(QUIT_TIMEOUT, process.exited()).await;
    }
    give_back(&live.begun.node, &live.record, live.process.as_ref()).await;
    nonvolatile::forget_tpm(&live.begun.node, live.record.uuid);
    hand(&live, generation + 1).await;
    let carried = live.offline.as_ref().or(live.mirrored.as_ref());
    if let Some(carried) = carried.filter(|it| it.source_disks == SourceDisks::Delete) {
        delete(&live, carried).await;
    }
    // All is done. What the target sees is asked by `verify::complete`, and not counted as the migration's time.
    tracker.enter(Phase::Moved);
    tracker.settle(Outcome::Moved);
    Left::Moved
}

/// Writes the new owner where the target has not done it yet: it may have been ended since.
async fn hand(live: &Live, generation: u64) {
    let handed =
        change_owner(live.record.owner_record.as_deref(), |record| record.handed(&live.target, generation));
    if let Err(error) = handed.await {
        tracing::warn!("the owner record was left to the target: {}", error.chain());
    }
}

/// Removes what the domain had here for itself, as it was asked to be. Images that others may stand on stay.
async fn delete(live: &Live, offline: &Offline) {
    let own = |role: &CopyRole| matches!(role, CopyRole::Disk { .. } | CopyRole::Nvram);
    for carried in offline.files.iter().filter(|carried| own(&carried.file.role)) {
        let path = Path::new(&carried.from);
        // A device is not removed with what is on it; what is gone already was removed by an agent that was killed since.
        let is_file = storage::open_check(path, false).await.is_ok_and(|disk| disk.kind == DiskKind::File);
        if !is_file {
            continue;
        }
        // Another domain may have been made of it, or stand on it.
        match others(&live.begun.node, path, live.record.uuid).await {
            Ok(users) if users.is_empty() => {}
            Ok(users) => {
                live.begun.tracker.note(format!("{} stays: {} uses it", carried.from, users.join(", ")));
                continue;
            }
            Err(failure) => {
                live.begun.tracker.note(format!("{} stays: {}", carried.from, failure.chain()));
                continue;
            }
        }
        if let Err(error) = storage::remove(path).await {
            live.begun.tracker.note(format!("{} was left behind: {}", carried.from, chain(&error)));
        }
    }
    let Some(record) = &live.record.owner_record else { return };
    if let Err(error) = storage::remove_record(record).await {
        tracing::warn!("an owner record was left behind: {}", chain(&error));
    }
}

/// Milliseconds between two RFC 3339 time stamps.
fn between_ms(from: &str, to: &str) -> Option<f64> {
    let (from, to): (jiff::Timestamp, jiff::Timestamp) = (from.parse().ok()?, to.parse().ok()?);
    Some(to.duration_since(from).as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::between_ms;

    #[test]
    fn time_stamps_differ_in_milliseconds() {
        let between = between_ms("2026-11-22T10:00:00.000500Z", "2026-11-22T10:00:00.031Z").unwrap();
        assert!((between - 30.5).abs() < 1e-6, "{between}");
        assert_eq!(between_ms("x", "y"), None);
    }
}
