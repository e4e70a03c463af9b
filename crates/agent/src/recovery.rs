//! What a new agent does with what an earlier one left: definitions, QEMU processes, journals. A killed agent kills no
//! guest; this finds them again. Main function: [`recover`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::{Outcome, Role};
use domain::Definition;
use migration::RunRight;
use migration::journal::{Opened, Side};
use migration::phase::Phase;
use qemu::process::Process;
use uuid::Uuid;

use crate::drive::{source, target};
use crate::failure::Failure;
use crate::guest::{self, Guest, GuestRecord, frozen_uuid};
use crate::journal::Journal;
use crate::keeper::{self, Begin};
use crate::node::Node;
use crate::store::{DomainRecord, StoreError};
use crate::tracker::{self, Tracker};

/// A QEMU that may be there.
struct Found {
    record: GuestRecord,
    process: Option<Process>,
}

/// A journal whose end was not tidied up.
struct Open {
    opened: Opened,
    last: Phase,
    reason: Option<String>,
    journal: Journal,
}

/// Takes everything up. Problems with one domain are logged and do not stop the others.
pub(crate) async fn recover(node: &Arc<Node>) -> Result<(), StoreError> {
    let mut reported = HashSet::new();
    for migration in node.store.reports()? {
        reported.insert(migration.report.id);
        let domain = migration.report.uuid;
        node.track(domain, &Tracker::ended(migration.role, migration.report));
    }
    let mut open = open_journals(node, &reported)?;
    let mut found = find_guests(node).await?;
    for (definition, record) in node.store.definitions()? {
        let uuid = frozen_uuid(definition.domain());
        take_up(node, uuid, Some(definition), record, found.remove(&uuid), open.remove(&uuid)).await;
    }
    // Domains without a stored definition: transient ones, and those that are just coming here.
    let rest: HashSet<Uuid> = found.keys().chain(open.keys()).copied().collect();
    for uuid in rest {
        take_up(node, uuid, None, DomainRecord::default(), found.remove(&uuid), open.remove(&uuid)).await;
    }
    Ok(())
}

/// The journals without a report, by domain. The last one of a domain counts; it had to end before the next began.
fn open_journals(node: &Node, reported: &HashSet<Uuid>) -> Result<HashMap<Uuid, Open>, StoreError> {
    let mut open = HashMap::new();
    for path in node.store.journals()? {
        let (journal, decoded) = match Journal::open(&path) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!("{}", Failure::from(error).chain());
                continue;
            }
        };
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
        open.insert(opened.domain, Open { opened, last, reason, journal });
    }
    Ok(open)
}

/// QEMU processes that live, and run directories of those that do not.
async fn find_guests(node: &Node) -> Result<HashMap<Uuid, Found>, StoreError> {
    let mut found = HashMap::new();
    for uuid in node.store.run_directories()? {
        let record = match node.store.read_run::<GuestRecord>(uuid, guest::RECORD) {
            Ok(Some(record)) => record,
            Ok(None) => {
                _ = node.store.remove_run_directory(uuid);
                continue;
            }
            Err(error) => {
                tracing::error!(%uuid, "a guest is left alone: {error}");
                continue;
            }
        };
        match Process::find(&node.store.run_directory(uuid)).await {
            Ok(process) => _ = found.insert(uuid, Found { record, process }),
            Err(error) => tracing::error!(%uuid, "a guest is left alone: {error}"),
        }
    }
    Ok(found)
}

async fn take_up(
    node: &Arc<Node>,
    uuid: Uuid,
    definition: Option<Definition>,
    record: DomainRecord,
    found: Option<Found>,
    open: Option<Open>,
) {
    let live = found.as_ref().and_then(|found| Definition::parse(&found.record.xml).ok());
    let arriving = || open.as_ref().and_then(|open| node.store.read_arrival(open.opened.migration));
    let Some(described) = live.or_else(arriving).or_else(|| definition.clone()) else {
        if let Some(open) = open {
            forget(node, open).await;
        }
        return;
    };
    let name = described.domain().name.clone();
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

/// A domain in the middle of a migration.
fn migrating(
    node: &Arc<Node>,
    definition: Definition,
    record: DomainRecord,
    found: Option<Found>,
    open: Open,
) -> Begin {
    let Open { opened, last, reason, journal } = open;
    let role = if opened.side == Side::Source { Role::Source } else { Role::Target };
    let tracker = begin_again(&opened, role, last);
    node.track(opened.domain, &tracker);
    let (guest, process) = match found {
        Some(found) => (found.record, found.process),
        None => (gone(node, &definition, &opened), None),
    };
    match opened.side {
        Side::Source => Begin::Leaving(
            Box::new(source::Resumed {
                opened,
                last,
                reason,
                journal,
                process,
                record: guest,
                definition,
                tracker,
            }),
            record,
        ),
        Side::Target => Begin::Arriving(
            Box::new(target::Resumed { opened, journal, process, record: guest, definition, tracker }),
            record,
        ),
    }
}

/// What is left to say of a guest whose run directory is gone too, as after a reboot.
fn gone(node: &Node, definition: &Definition, opened: &Opened) -> GuestRecord {
    let domain = definition.domain();
    GuestRecord {
        uuid: opened.domain,
        generation: opened.generation,
        emulator: node.default_emulator().to_owned(),
        kvm: domain.kind == domain::Kind::Kvm,
        taps: Vec::new(),
        owner_record: guest::owner_path(domain),
        started_at: tracker::now(),
        persistent: opened.persistent,
        xml: definition.xml().to_owned(),
    }
}

/// A journal of a domain of which nothing else is left: an offer that was not answered yet, or a transient domain whose
/// host was rebooted. Nothing of it can run here; the other side is told so when it asks.
async fn forget(node: &Node, open: Open) {
    let Open { opened, last, journal, .. } = open;
    let (role, end, outcome) = match (opened.side, last) {
        // A ticket is given only after `Receiving` is in the journal, so this was never granted anything.
        (Side::Target, Phase::Offered) => (Role::Target, Phase::Refused, Outcome::Kept),
        (Side::Target, _) => (Role::Target, Phase::Lost, Outcome::Lost),
        (Side::Source, _) => (Role::Source, Phase::Lost, Outcome::Lost),
    };
    let reason = "nothing was left of it after a restart".to_owned();
    if let Err(error) = journal.enter(end, Some(reason.clone())).await {
        tracing::error!("{}", Failure::from(error).chain());
    }
    let tracker = begin_again(&opened, role, last);
    tracker.end(end, outcome, Some(reason), None);
    node.track(opened.domain, &tracker);
    if let Err(error) = node.store.write_report(&tracker.migration()) {
        tracing::warn!("a report was not kept: {error}");
    }
}

/// The story of a migration that an earlier agent had begun.
fn begin_again(opened: &Opened, role: Role, last: Phase) -> Tracker {
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
    })
}
