//! What a new agent does with what an earlier one left: definitions, QEMU processes, journals. A killed agent kills no
//! guest; this finds them again. Main function: [`recover`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use api::{Outcome, Role};
use domain::Definition;
use futures_util::future::join_all;
use migration::RunRight;
use migration::journal::{Offline, Opened, Side};
use migration::phase::Phase;
use qemu::process::{FindError, Process};
use uuid::Uuid;

use crate::drive::mirror::images;
use crate::drive::{source, target};
use crate::failure::Failure;
use crate::guest::{self, Guest, GuestRecord, frozen_uuid};
use crate::journal::{Journal, JournalError};
use crate::keeper::{self, Begin};
use crate::landing;
use crate::limits::FIND_EVERY;
use crate::node::Node;
use crate::store::{DomainRecord, StoreError};
use crate::tracker::{self, Tracker};

/// What was left cannot be read, and to go on without it could run a domain twice.
#[derive(Debug, thiserror::Error)]
#[error(
    "what an earlier agent left cannot be read; make it readable, or move it away if you know that no QEMU runs"
)]
pub(crate) enum RecoveryError {
    Store(#[from] StoreError),
    Journal(#[from] JournalError),
}

/// A run directory: a guest that was here when the last agent ended.
struct Found {
    record: GuestRecord,
    /// None where its QEMU has ended.
    process: Option<Process>,
}

/// A journal whose end was not tidied up.
struct Open {
    opened: Opened,
    last: Phase,
    reason: Option<String>,
    journal: Journal,
}

impl Open {
    /// Sorts the journals of one domain: each move begins a generation, and only the last attempt of a generation can be
    /// without an end.
    fn age(&self) -> (u64, bool, Uuid) {
        (self.opened.generation, !self.last.is_end(), self.opened.migration)
    }
}

/// Takes everything up, or says what cannot be read.
pub(crate) async fn recover(node: &Arc<Node>) -> Result<(), RecoveryError> {
    for place in node.store.shown_images()? {
        storage::clear_export(&place);
    }
    let mut reported = HashSet::new();
    for migration in node.store.reports()? {
        reported.insert(migration.report.id);
        let domain = migration.report.uuid;
        node.track(domain, &Tracker::ended(migration.role, migration.report));
    }
    let logs = node.store.copy_logs()?.into_iter().filter(|(migration, _)| reported.contains(migration));
    tokio::spawn(landing::sweep(logs.map(|(_, log)| log).collect()));
    let mut open = open_journals(node, &reported)?;
    let mut records = guest_records(node)?;
    let mut left = Vec::new();
    for (definition, record) in node.store.definitions()? {
        let uuid = frozen_uuid(definition.domain());
        let (guest, open) = (records.remove(&uuid), open.remove(&uuid));
        left.push(Left { uuid, definition: Some(definition), record, guest, open });
    }
    // Domains without a stored definition: transient ones, and those that are just coming here.
    let rest: HashSet<Uuid> = records.keys().chain(open.keys()).copied().collect();
    for uuid in rest {
        let (guest, open) = (records.remove(&uuid), open.remove(&uuid));
        left.push(Left { uuid, definition: None, record: DomainRecord::default(), guest, open });
    }
    // All at once: each QEMU that hangs keeps who looks for it waiting.
    let looking = left.iter().map(|left| look_for(node, left));
    for (found, left) in join_all(looking).await.into_iter().zip(left) {
        find_again(node, left, found).await;
    }
    Ok(())
}

/// What is left of one domain.
struct Left {
    uuid: Uuid,
    definition: Option<Definition>,
    record: DomainRecord,
    guest: Option<GuestRecord>,
    open: Option<Open>,
}

/// The domain's QEMU, where it had one and that lives.
async fn look_for(node: &Node, left: &Left) -> Result<Option<Process>, FindError> {
    match left.guest {
        Some(_) => Process::find(&node.store.run_directory(left.uuid)).await,
        None => Ok(None),
    }
}

/// Takes a domain up. While it is not known whether a QEMU of it lives, nothing may be done or said about it: the QEMU is
/// looked for until it is known.
async fn find_again(node: &Arc<Node>, left: Left, found: Result<Option<Process>, FindError>) {
    match found {
        Ok(process) => take_up(node, left, process).await,
        Err(error) => {
            tracing::error!(uuid = %left.uuid, "a QEMU lives and cannot be talked to; it is tried again: {error}");
            let node = Arc::clone(node);
            tokio::spawn(async move {
                let process = loop {
                    tokio::time::sleep(FIND_EVERY).await;
                    if let Ok(process) = look_for(&node, &left).await {
                        break process;
                    }
                };
                take_up(&node, left, process).await;
            });
        }
    }
}

/// The journals without a report, by domain. The newest one of a domain counts: the one before it had to end before it
/// began. Which is newer is not told by a clock, that may have been set back in between.
fn open_journals(node: &Node, reported: &HashSet<Uuid>) -> Result<HashMap<Uuid, Open>, RecoveryError> {
    let mut open: HashMap<Uuid, Open> = HashMap::new();
    for path in node.store.journals()? {
        let (journal, decoded) = Journal::open(&path)?;
        let Some(opened) = decoded.opened().cloned() else {
            // Torn in its first record: nothing had been done yet.
            journal.discard();
            continue;
        };
        if reported.contains(&opened.migration) {
            continue;
        }
        let first = if opened.side == Side::Source { Phase::Reserved } else { Phase::Offered };
        let (last, reason) = decoded.last_phase().unwrap_or((first, None));
        let reason = reason.map(str::to_owned);
        let domain = opened.domain;
        let mut newest = Open { opened, last, reason, journal };
        if let Some(other) = open.remove(&domain) {
            let older =
                if other.age() > newest.age() { std::mem::replace(&mut newest, other) } else { other };
            older.journal.discard();
        }
        open.insert(domain, newest);
    }
    Ok(open)
}

/// What is remembered of guests that had a QEMU. One that cannot be read stops the agent: to take its domain for shut off
/// could run it twice.
fn guest_records(node: &Node) -> Result<HashMap<Uuid, GuestRecord>, StoreError> {
    let mut records = HashMap::new();
    for uuid in node.store.run_directories()? {
        match node.store.read_run::<GuestRecord>(uuid, guest::RECORD)? {
            Some(record) => _ = records.insert(uuid, record),
            // The record is written before QEMU is started, so there is none.
            None => node.store.remove_run_directory(uuid)?,
        }
    }
    Ok(records)
}

async fn take_up(node: &Arc<Node>, left: Left, process: Option<Process>) {
    let Left { uuid, definition, record, guest, open } = left;
    let open = open.filter(|open| of_this_life(node, open, guest.as_ref()));
    let live = guest.as_ref().and_then(|guest| Definition::parse(&guest.xml).ok());
    let arriving = || open.as_ref().and_then(|open| node.store.read_arrival(open.opened.migration).0);
    let Some(described) = live.or_else(arriving).or_else(|| definition.clone()) else {
        if let Some(open) = open {
            forget(node, open).await;
        }
        return;
    };
    let name = described.domain().name.clone();
    let found = guest.map(|record| Found { record: record.with_owner_path(described.domain()), process });
    let begin = match (open, found) {
        (Some(open), found) => migrating(node, described, record, found, open),
        (None, Some(Found { record: guest, process: Some(process) })) => {
            let right = RunRight::found_running(uuid, guest.generation);
            tracing::info!(domain = name, pid = process.pid(), "found running");
            Begin::Active(Box::new(Guest { process, right, record: guest, definition: described }), record)
        }
        (None, Some(Found { record: guest, process: None })) => {
            guest::give_back(node, &guest, None).await;
            if definition.is_none() {
                return;
            }
            Begin::ShutOff(record)
        }
        (None, None) => Begin::ShutOff(record),
    };
    let admitted = node.admit(uuid, &name, || keeper::begin(node, uuid, name.clone(), definition, begin));
    if let Err(error) = admitted {
        tracing::error!(domain = name, "left alone: {}", error.chain());
    }
}

/// Whether a journal is about the guest that was found. One that is not ended long ago, and only its report is missing:
/// the domain has been elsewhere since.
fn of_this_life(node: &Node, open: &Open, guest: Option<&GuestRecord>) -> bool {
    let expected = match open.opened.side {
        Side::Source => open.opened.generation,
        Side::Target => open.opened.generation + 1,
    };
    let same = guest.is_none_or(|guest| guest.generation == expected);
    if !same {
        tracing::warn!(migration = %open.opened.migration, "its journal is about an earlier life of the domain");
        close(node, open, open.last, None);
    }
    same
}

/// A domain in the middle of a migration.
fn migrating(
    node: &Arc<Node>,
    definition: Definition,
    record: DomainRecord,
    found: Option<Found>,
    open: Open,
) -> Begin {
    let Open { opened, last, reason, journal } = open;
    let tracker = begin_again(&opened, last);
    node.track(opened.domain, &tracker);
    let (guest, process) = match found {
        Some(found) => (found.record, found.process),
        None => (gone(node, &definition, &opened), None),
    };
    match opened.side {
        Side::Source => {
            let resumed =
                source::Resumed { opened, last, reason, journal, process, record: guest, definition };
            Begin::Leaving(Box::new(resumed), tracker, record)
        }
        Side::Target => {
            let (_live, inactive) = node.store.read_arrival(opened.migration);
            let (older, kept) = (BTreeSet::new(), BTreeMap::new());
            let coming = target::Coming { live: definition, inactive, warnings: Vec::new(), older, kept };
            let resumed = target::Resumed { opened, last, reason, journal, process, record: guest, coming };
            Begin::Arriving(Box::new(resumed), tracker, record)
        }
    }
}

/// What is left to say of a guest whose run directory is gone too, as after a reboot.
fn gone(node: &Node, definition: &Definition, opened: &Opened) -> GuestRecord {
    let domain = definition.domain();
    // A target's: a source's QEMU had its own.
    let came = opened.mirrored.as_ref().filter(|_| opened.side == Side::Target);
    GuestRecord {
        uuid: opened.domain,
        generation: opened.generation,
        emulator: node.default_emulator().to_owned(),
        kvm: domain.kind == domain::Kind::Kvm,
        taps: Vec::new(),
        owner_record: guest::owner_path(domain),
        made: came.map(images).unwrap_or_default(),
        copied: came.map(Offline::disk_names).unwrap_or_default(),
        started_at: tracker::now(),
        xml: definition.xml().to_owned(),
    }
}

/// A journal of a domain of which nothing else is left: an offer that was not answered yet, or a transient domain whose
/// host was rebooted. Nothing of it can run here; the other side is told so when it asks.
async fn forget(node: &Node, open: Open) {
    let end = match (open.opened.side, open.last) {
        (_, ended) if ended.is_end() => ended,
        // A ticket is given only after `Receiving` is in the journal, so this was never granted anything.
        (Side::Target, Phase::Offered) => Phase::Refused,
        (Side::Target | Side::Source, _) => Phase::Lost,
    };
    let reason = "nothing was left of it after a restart".to_owned();
    if let Err(error) = open.journal.enter(end, Some(reason.clone())).await {
        tracing::error!("{}", Failure::from(error).chain());
    }
    close(node, &open, end, Some(reason));
}

/// Tells the end of a migration of which nothing is left to do.
fn close(node: &Node, open: &Open, end: Phase, reason: Option<String>) {
    let tracker = begin_again(&open.opened, open.last);
    let outcome = match end {
        Phase::Running | Phase::Moved => Outcome::Moved,
        Phase::Refused | Phase::Kept => Outcome::Kept,
        _ => Outcome::Lost,
    };
    tracker.end(end, outcome, reason, None);
    node.track(open.opened.domain, &tracker);
    if let Err(error) = node.store.write_report(&tracker.migration()) {
        tracing::warn!("a report was not kept: {error}");
    }
}

/// The story of a migration that an earlier agent had begun.
fn begin_again(opened: &Opened, last: Phase) -> Tracker {
    let role = if opened.side == Side::Source { Role::Source } else { Role::Target };
    Tracker::begin(tracker::Begin {
        id: opened.migration,
        role,
        domain: opened.name.clone(),
        uuid: opened.domain,
        source: opened.source.clone(),
        target: opened.target.clone(),
        phase: last,
        encrypted: false,
        suspended: opened.suspended,
        offline: opened.offline.is_some(),
        skipped: opened.skipped.clone(),
    })
}
