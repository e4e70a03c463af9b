//! The source of one live migration, as a list of steps. Each step takes a state and gives the next; what breaks before
//! the pledge keeps the guest here. After [`Stopped::pledge`] there is no `?`: only a verdict ends it.
//!
//! ```text
//! reserve → stream (disks that are not shared, then memory) → stop → complete → pledge → settle
//!    └─────────┴────────────────────────────────────────────────┴────────┴→ stay   └→ moved | kept | lost | in doubt until one of them
//! ```

use std::sync::Arc;

use api::{Finding, MigrationRequest, Offer, Role, SourceFacts, TargetPhase, Ticket};
use client::Client;
use domain::Definition;
use migration::RunRight;
use migration::handover::{SourceQemu, SourceRecovery, recover_source};
use migration::journal::{Carried, Offline, Opened, Record, Side};
use migration::phase::Phase;
use migration::placement::Placed;
use migration::source::{Kept, Planned, Pledged, Reserved, Stopped, Streaming};
use qemu::capabilities::cpu::unavailable_features;
use qemu::command::{MigrateContinue, MigrationStatus, QueryMigrate, QueryStatus, RunState};
use qemu::migrate::{Events, Means, Side as End, Tls, What};
use qemu::process::Process;
use qemu::qmp::QmpError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::converge::{Converging, Equipment, Steer};
use super::mirror::{Mirroring, broken_off, mirror};
use super::postcopy::{self, Switch};
use super::settle::settle;
use super::stay::{lose, stay};
use super::turn::take_turn;
use super::watch::{Waited, Watch};
use crate::failure::{ConvergeFailure, Failure};
use crate::guest::{Guest, GuestRecord, change_owner, mend_owner};
use crate::journal::{Journal, JournalError};
use crate::keeper::Reply;
use crate::limits::{ASK_QEMU_EVERY, FRESHEN_TIMEOUT, SWITCHOVER_TIMEOUT};
use crate::node::Node;
use crate::placement::Placing;
use crate::plan;
use crate::tracker::{Begin, Tracker, unix_ms};
use crate::turns::Leave;

/// What the task is told while it works.
pub(crate) enum Said {
    /// An operator's word about a migration in doubt.
    Resolve(api::ResolveAs, Reply<()>),
    /// What somebody wants while memory goes over; later it is too late for it.
    Steer(Steer),
    /// The same: the guest is to be handed over, and its memory to follow.
    Postcopy,
}

/// How it ended.
pub(crate) enum Left {
    /// The guest is here as before.
    Kept(Box<Guest>),
    /// The domain is here as before, shut off.
    Stays,
    /// The domain belongs to the target.
    Moved,
    /// The guest's memory is gone; the domain is shut off here.
    Lost(String),
}

/// What every task of a source has.
pub(crate) struct Begun {
    pub(crate) node: Arc<Node>,
    pub(crate) tracker: Tracker,
    pub(crate) cancelled: CancellationToken,
    pub(crate) switch: Arc<Switch>,
    pub(crate) heard: mpsc::Receiver<Said>,
}

/// What was asked for.
pub(crate) struct Wish {
    pub(crate) request: MigrationRequest,
    /// The definition that the target keeps, where it keeps one.
    pub(crate) inactive_xml: Option<String>,
    /// What its check found that does not forbid it.
    pub(crate) warnings: Vec<Finding>,
    /// What a domain whose guest works is on the target, where something is called otherwise there or disks go with it.
    pub(crate) placing: Option<Box<Placing>>,
}

/// A source that is taken up again by a new agent.
pub(crate) struct Resumed {
    pub(crate) opened: Opened,
    pub(crate) last: Phase,
    pub(crate) reason: Option<String>,
    pub(crate) journal: Journal,
    pub(crate) process: Option<Process>,
    pub(crate) record: GuestRecord,
    pub(crate) definition: Definition,
}

/// The live resources of a source.
pub(crate) struct Live {
    pub(crate) begun: Begun,
    /// The guest's QEMU; none only where a new agent found it gone.
    pub(crate) process: Option<Process>,
    pub(crate) record: GuestRecord,
    pub(crate) definition: Definition,
    pub(crate) suspended: bool,
    pub(crate) target: String,
    /// Set once the target has made room.
    pub(crate) reserved: Option<Room>,
    /// What goes with a domain that is shut off; none for one whose guest works.
    pub(crate) offline: Option<Offline>,
    /// The disks that go with a guest while it works; none where both hosts see them.
    pub(crate) mirrored: Option<Offline>,
    /// Its place among those on their way, once it has one.
    pub(crate) leave: Option<Leave>,
}

impl Live {
    /// What the source's QEMU is doing, where the domain has one.
    pub(crate) async fn qemu(&self) -> SourceQemu {
        match &self.offline {
            Some(_) => SourceQemu::ShutOff,
            None => source_qemu(self.process.as_ref()).await,
        }
    }

    /// Tells what the check of both hosts found that does not forbid it.
    pub(crate) fn tell_warnings(&self, wish: &Wish, ticket: &Ticket) {
        let known = |warning: &&Finding| !wish.warnings.iter().any(|known| known.code == warning.code);
        for warning in wish.warnings.iter().chain(ticket.warnings.iter().filter(known)) {
            self.begun.tracker.note(format!("{}; {}", warning.message, warning.mend));
        }
    }
}

/// What there is once the target has made room.
pub(crate) struct Room {
    pub(crate) token: Uuid,
    pub(crate) journal: Journal,
    /// The connection that the pledge goes over; open, and used for nothing else meanwhile. None where the target is not
    /// in the configuration any more.
    pub(crate) word: Option<Client>,
}

/// The guest stays, because of a failure.
pub(crate) type Broken = Box<(Kept<Box<Live>>, Failure)>;

/// Begins the story of a migration.
pub(crate) fn begin(node: &Node, domain: &str, uuid: Uuid, request: &MigrationRequest) -> Tracker {
    Tracker::begin(Begin {
        id: Uuid::now_v7(),
        role: Role::Source,
        domain: domain.to_owned(),
        uuid,
        source: node.config.host.clone(),
        target: request.to.clone(),
        phase: Phase::Planned,
        encrypted: !request.plaintext,
        suspended: false,
        offline: request.offline,
        skipped: request.skip.clone(),
    })
}

/// Drives one migration to its end. The reply is given as soon as the target has made room, or refuses.
pub(crate) async fn run(begun: Begun, guest: Guest, wish: Wish, reply: Reply<Uuid>) -> Left {
    let id = begun.tracker.id();
    let Guest { process, right, record, definition } = guest;
    let events = Events::of(&process.qmp);
    let live = Live {
        begun,
        process: Some(process),
        record,
        definition,
        suspended: false,
        target: wish.request.to.clone(),
        reserved: None,
        offline: None,
        mirrored: mirrored(&wish),
        leave: None,
    };
    live.begun.node.track(live.record.uuid, &live.begun.tracker);
    if live.mirrored.is_none()
        && let Some(process) = live.process.clone()
    {
        let (node, tracker) = (Arc::clone(&live.begun.node), live.begun.tracker.clone());
        plan::forecast(node, tracker, process, wish.request.clone());
    }
    let (reserved, ticket) = match reserve(Planned::new(right, Box::new(live)), &wish).await {
        Ok(reserved) => reserved,
        Err(broken) => {
            // Nothing was changed, so there is no migration to remember: the answer says why.
            let (kept, failure) = *broken;
            kept.live.begun.node.untrack(id);
            _ = reply.send(Err(failure));
            return Left::Kept(Box::new(back(kept.right, *kept.live)));
        }
    };
    if reply.send(Ok(id)).is_err() {
        // Whoever asked for it has gone away before it began.
        reserved.live.begun.cancelled.cancel();
    }
    reserved.live.tell_warnings(&wish, &ticket);
    match towards_the_pledge(reserved, &wish, &ticket, events).await {
        Ok(stopped) => {
            let (_pledge, pledged) = stopped.pledge();
            settle(pledged).await
        }
        Err(broken) => {
            let (kept, failure) = *broken;
            stay(kept, failure).await
        }
    }
}

/// Takes up a migration that an earlier agent had begun.
pub(crate) async fn recover(begun: Begun, resumed: Resumed) -> Left {
    let Resumed { opened, last, reason, journal, process, record, definition } = resumed;
    let word = begun.node.neighbours.client(&opened.target);
    let suspended = opened.suspended;
    let live = Live {
        begun,
        process,
        record,
        definition,
        suspended,
        target: opened.target.clone(),
        reserved: Some(Room { token: opened.token, journal, word: word.ok() }),
        offline: opened.offline.clone(),
        mirrored: opened.mirrored.clone(),
        leave: None,
    };
    let qemu = match live.qemu().await {
        // It may be on its way to where there is no way back, so it is decided when it has come there, or not.
        SourceQemu::Migrating if opened.postcopy && last == Phase::Pledging => postcopy::outcome(&live).await,
        qemu => qemu,
    };
    let live = Box::new(live);
    let restarted = || Failure::AgentRestarted { before: reason.clone() };
    let decided = recover_source(last, qemu);
    tracing::info!(migration = %opened.migration, ?last, ?qemu, ?decided, "taken up again");
    let keep = |live: Box<Live>| {
        let right = RunRight::found_running(opened.domain, opened.generation);
        Planned::new(right, live).keep()
    };
    match decided {
        SourceRecovery::Keep => stay(keep(live), restarted()).await,
        SourceRecovery::CleanUp(Phase::Kept) if qemu != SourceQemu::Gone => {
            stay(keep(live), restarted()).await
        }
        SourceRecovery::Resume => {
            let right = RunRight::found_unpledged(opened.domain, opened.generation);
            super::cold::resume(live, right).await
        }
        SourceRecovery::Lose | SourceRecovery::CleanUp(Phase::Kept | Phase::Lost) => {
            lose(live, opened.generation, restarted()).await
        }
        SourceRecovery::Ask => {
            super::settle::ask(Pledged::recovered(opened.domain, opened.generation, live)).await
        }
        SourceRecovery::Settle => settle(Pledged::recovered(opened.domain, opened.generation, live)).await,
        SourceRecovery::CleanUp(_moved) => super::settle::moved(live, opened.generation).await,
    }
}

/// Every step before the pledge.
async fn towards_the_pledge(
    reserved: Reserved<Box<Live>>,
    wish: &Wish,
    ticket: &Ticket,
    events: Events,
) -> Result<Stopped<Box<Live>>, Broken> {
    let mut watch = Watch::new(&reserved.live, events);
    let reserved = take_turn(reserved, watch.failed()).await?;
    postcopy::allow(&reserved.live, &wish.request, ticket);
    let streaming = open_stream(reserved, wish).await?;
    let (streaming, mirroring) = send_disks(streaming, &mut watch).await?;
    let (streaming, converging) = send_memory(streaming, wish, ticket).await?;
    let (stopped, ahead) = stop(streaming, converging, &mut watch).await?;
    complete(stopped, ahead, mirroring, &mut watch).await
}

fn carried(placed: &Placed) -> Carried {
    Carried { from: placed.from.clone(), file: placed.file.clone(), over: false, kept: None }
}

/// The disks that go with the guest.
fn mirrored(wish: &Wish) -> Option<Offline> {
    let placing = wish.placing.as_ref().filter(|placing| !placing.files.is_empty())?;
    let storage = wish.request.copy_storage.clone().unwrap_or_default();
    Some(Offline {
        files: placing.files.iter().map(carried).collect(),
        source_disks: storage.source_disks,
        bandwidth_bytes_per_s: wish.request.bandwidth_bytes_per_s,
        ..Offline::default()
    })
}

/// Asks the target to make room; every finding of both hosts comes back at once.
async fn reserve(
    mut planned: Planned<Box<Live>>,
    wish: &Wish,
) -> Result<(Reserved<Box<Live>>, Ticket), Broken> {
    let generation = planned.generation();
    match make_room(&mut planned.live, generation, wish).await {
        Ok(ticket) => {
            let reserved = planned.reserved();
            reserved.live.begun.tracker.enter(Phase::Reserved);
            Ok((reserved, ticket))
        }
        Err(failure) => {
            if target_may_wait(&failure) {
                super::stay::abandon(&planned.live).await;
            }
            Err(Box::new((planned.keep(), failure)))
        }
    }
}

/// Whether the target may have made room though the source did not hear of it.
pub(crate) fn target_may_wait(failure: &Failure) -> bool {
    match failure {
        Failure::Cancelled | Failure::Journal(_) => true,
        Failure::Neighbour { source, .. } => source.may_have_arrived(),
        _nothing_was_made => false,
    }
}

async fn make_room(live: &mut Live, generation: u64, wish: &Wish) -> Result<Ticket, Failure> {
    let node = Arc::clone(&live.begun.node);
    let id = live.begun.tracker.id();
    let process = live.process.clone().ok_or(Failure::SourceQemuGone)?;
    let status = process.qmp.execute(QueryStatus).await?;
    live.suspended = match status.status {
        RunState::Running => false,
        RunState::Paused => true,
        _other => {
            return Err(Failure::WrongState {
                domain: live.definition.domain().name.clone(),
                state: "stopped by an error of its own",
                mend: "`ferry info` says which; a guest that does not work cannot be moved live",
            });
        }
    };
    let suspended = live.suspended;
    live.begun.tracker.record(|report| report.suspended = suspended);
    mend_owner(&node, &live.record).await?;
    let word = node.neighbours.client(&live.target)?;
    let offer = offer(&node, live, generation, wish).await?;
    let ticket = tokio::select! {
        answer = word.offer(&offer) => answer.map_err(|error| Failure::of_host(&live.target, error))?,
        () = live.begun.cancelled.cancelled() => return Err(Failure::Cancelled),
    };
    let opened = Opened {
        migration: id,
        side: Side::Source,
        domain: live.record.uuid,
        name: live.definition.domain().name.clone(),
        source: node.config.host.clone(),
        target: live.target.clone(),
        generation,
        suspended,
        postcopy: offer.postcopy && ticket.postcopy,
        offline: None,
        mirrored: live.mirrored.clone(),
        keep_definition: wish.request.source_definition == api::SourceDefinition::Keep,
        skipped: wish.request.skip.clone(),
        token: ticket.token,
        at_ms: unix_ms(),
    };
    let journal = Journal::create(node.store.journal_path(id), opened).await?;
    live.reserved = Some(Room { token: ticket.token, journal, word: Some(word) });
    Ok(ticket)
}

async fn offer(node: &Node, live: &Live, generation: u64, wish: &Wish) -> Result<Offer, Failure> {
    let facts = host::Facts::read()?;
    let capabilities = node.capabilities(&live.record.emulator).await?;
    let cpu_unavailable = match &live.process {
        Some(process) => unavailable_features(&process.qmp).await.ok(),
        None => None,
    };
    Ok(Offer {
        migration: live.begun.tracker.id(),
        source: node.config.host.clone(),
        xml: wish.placing.as_ref().map_or(&live.definition, |placing| &placing.definition).xml().to_owned(),
        generation: generation + 1,
        suspended: live.suspended,
        inactive_xml: wish.inactive_xml.clone(),
        encrypted: !wish.request.plaintext,
        channels: wish.request.channels,
        postcopy: postcopy::is_possible(live, &wish.request),
        skip: wish.request.skip.clone(),
        offline: false,
        files: live.mirrored.iter().flat_map(|it| &it.files).map(|carried| carried.file.clone()).collect(),
        verify: api::Verify::default(),
        formerly: None,
        source_facts: SourceFacts {
            arch: facts.machine_arch,
            cpu_vendor: facts.cpu_vendor,
            nx: facts.nx,
            kvm: live.record.kvm,
            migrate_capabilities: capabilities.migrate_capability_names().map(str::to_owned).collect(),
            cpu_unavailable,
        },
    })
}

/// Writes down that something goes over from now on.
async fn open_stream(reserved: Reserved<Box<Live>>, wish: &Wish) -> Result<Streaming<Box<Live>>, Broken> {
    match announce_stream(&reserved.live, &wish.request).await {
        Ok(()) => {
            let streaming = reserved.streaming();
            streaming.live.begun.tracker.enter(Phase::Streaming);
            Ok(streaming)
        }
        Err(failure) => Err(Box::new((reserved.keep(), failure))),
    }
}

async fn announce_stream(live: &Live, request: &MigrationRequest) -> Result<(), Failure> {
    let room = live.reserved.as_ref().ok_or(Failure::Stopping)?;
    let attempt = Record::Attempt { number: 1, channels: request.channels, encrypted: !request.plaintext };
    room.journal.append(attempt).await?;
    room.journal.enter(Phase::Streaming, None).await?;
    change_owner(live.record.owner_record.as_deref(), |record| Some(record.offer(&live.target))).await
}

/// Lets the disks go over that are not shared, and waits until they are equal.
async fn send_disks(
    streaming: Streaming<Box<Live>>,
    watch: &mut Watch,
) -> Result<(Streaming<Box<Live>>, Option<Mirroring>), Broken> {
    match mirror(&streaming.live, watch).await {
        Ok(mirroring) => Ok((streaming, mirroring)),
        Err(failure) => Err(Box::new((streaming.keep(), failure))),
    }
}

/// Lets QEMU send memory.
async fn send_memory(
    streaming: Streaming<Box<Live>>,
    wish: &Wish,
    ticket: &Ticket,
) -> Result<(Streaming<Box<Live>>, Converging), Broken> {
    match begin_memory(&streaming.live, &wish.request, ticket).await {
        Ok(converging) => Ok((streaming, converging)),
        Err(failure) => Err(Box::new((streaming.keep(), failure))),
    }
}

async fn begin_memory(
    live: &Live,
    request: &MigrationRequest,
    ticket: &Ticket,
) -> Result<Converging, Failure> {
    let node = &live.begun.node;
    let process = live.process.as_ref().ok_or(Failure::SourceQemuGone)?;
    let capabilities = node.capabilities(&live.record.emulator).await?;
    let equipment = Equipment::of(&capabilities, request, live.definition.domain().memory.0)?;
    let means = Means {
        xbzrle: equipment.xbzrle_cache_bytes.is_some(),
        auto_converge: equipment.auto_converge,
        multifd_channels: (request.channels > 1).then_some(request.channels),
        validate_uuid: true,
        dirty_bitmaps: live.mirrored.is_some(),
        postcopy: live.begun.switch.is_allowed(),
        tls: (!request.plaintext).then(|| Tls {
            directory: node.config.tls_dir.clone(),
            hostname: Some(ticket.tls_hostname.clone()),
            authorized: None,
        }),
    };
    qemu::migrate::prepare(&process.qmp, &capabilities, End::Source, &means).await?;
    let converging = Converging::begin(live, request, equipment).await?;
    let address =
        ticket.address.parse().map_err(|_| Failure::TicketAddress { address: ticket.address.clone() })?;
    qemu::migrate::start(&process.qmp, address).await?;
    Ok(converging)
}

/// What is done while memory still goes over, so that it does not lie in the blackout. The pledge waits for both.
struct Ahead {
    /// The journal's `Pledging`.
    pledging: JoinHandle<Result<(), JournalError>>,
    /// The connection for the pledge has been used.
    freshened: Option<JoinHandle<()>>,
}

/// Waits until QEMU has stopped the guest for the last round. Meanwhile `Pledging` is written to the journal, so that
/// no fsync lies in the blackout.
async fn stop(
    mut streaming: Streaming<Box<Live>>,
    mut converging: Converging,
    watch: &mut Watch,
) -> Result<(Stopped<Box<Live>>, Ahead), Broken> {
    let (mut pledging, mut freshened) = (None, None);
    let waited = loop {
        let waited = tokio::select! {
            // What QEMU says comes first: the guest may stand still already.
            biased;
            waited = watch.next() => waited,
            Some(said) = streaming.live.begun.heard.recv() => {
                match told(&streaming.live, said, &mut converging, watch).await {
                    Ok(()) => continue,
                    Err(failure) => break Err(failure),
                }
            }
            () = converging.due() => match going_on(converging.look(), watch).await {
                Ok(()) => continue,
                Err(failure) => break Err(failure),
            },
        };
        if let Some(why) = streaming.live.begun.switch.is_due(&waited)
            && let Err(failure) = postcopy::order(&streaming.live, &why).await
        {
            break Err(failure);
        }
        match waited {
            Waited::Qemu(What::Pass(round)) => {
                if round == 1 {
                    pledging = Some(write_pledging(&streaming.live));
                } else if round == 2 {
                    freshened = Some(freshen(&streaming.live));
                }
                converging.passed(round);
            }
            Waited::Qemu(What::Migration(MigrationStatus::PreSwitchover)) => break Ok(()),
            Waited::Qemu(What::Migration(status)) if has_failed(&status) => {
                break Err(stream_failed(&streaming.live, &status).await);
            }
            Waited::Qemu(What::Mirror { disk, told }) => {
                if let Some(failure) = broken_off(&streaming.live, disk, told) {
                    break Err(failure);
                }
            }
            Waited::Qemu(_) => {}
            Waited::Failed(failure) => break Err(failure),
        }
    };
    match waited {
        Ok(()) => {
            let pledging = pledging.unwrap_or_else(|| write_pledging(&streaming.live));
            let stopped = streaming.stopped();
            stopped.live.begun.tracker.enter(Phase::Stopped);
            Ok((stopped, Ahead { pledging, freshened }))
        }
        Err(failure) => Err(Box::new((streaming.keep(), failure))),
    }
}

/// Lets something be asked of QEMU while memory goes over. A QEMU that ends or does not answer is no failure of what was asked: what is
/// watched tells more of it.
async fn going_on(
    asked: impl Future<Output = Result<(), Failure>>,
    watch: &mut Watch,
) -> Result<(), Failure> {
    let asked = tokio::select! {
        asked = asked => asked,
        failure = watch.broken() => Err(failure),
    };
    match asked {
        Err(Failure::Qmp(error @ (QmpError::Gone | QmpError::TimedOut { .. }))) => {
            tracing::warn!("what a round left was not seen: {error}");
            Ok(())
        }
        asked => asked,
    }
}

/// Does what somebody wants while memory goes over.
async fn told(
    live: &Live,
    said: Said,
    converging: &mut Converging,
    watch: &mut Watch,
) -> Result<(), Failure> {
    match said {
        Said::Steer(steer) => going_on(converging.steer(steer), watch).await,
        // A switch is not left in the middle.
        Said::Postcopy => postcopy::order(live, "asked for").await,
        Said::Resolve(_, reply) => {
            _ = reply.send(Err(Failure::MigrationEnded { phase: "it is not in doubt" }));
            Ok(())
        }
    }
}

fn write_pledging(live: &Live) -> JoinHandle<Result<(), JournalError>> {
    let journal = live.reserved.as_ref().map(|room| room.journal.clone());
    tokio::spawn(async move {
        match journal {
            Some(journal) => journal.enter(Phase::Pledging, None).await,
            None => Ok(()),
        }
    })
}

/// Makes the disks equal for good and sends the rest; with the return path on, *completed* means that the target has loaded everything.
async fn complete(
    stopped: Stopped<Box<Live>>,
    ahead: Ahead,
    mirroring: Option<Mirroring>,
    watch: &mut Watch,
) -> Result<Stopped<Box<Live>>, Broken> {
    let completing = async {
        let process = stopped.live.process.as_ref().ok_or(Failure::SourceQemuGone)?;
        if let Some(mirroring) = mirroring {
            mirroring.finish(&stopped.live, watch).await?;
        }
        process.qmp.execute(MigrateContinue { state: MigrationStatus::PreSwitchover }).await?;
        loop {
            match watch.next().await {
                Waited::Qemu(What::Migration(
                    MigrationStatus::Completed | MigrationStatus::PostcopyActive,
                )) => break,
                Waited::Qemu(What::Migration(status)) if has_failed(&status) => {
                    return Err(stream_failed(&stopped.live, &status).await);
                }
                Waited::Qemu(_) => {}
                Waited::Failed(failure) => return Err(failure),
            }
        }
        // Written long ago; a pledge without it would be forgotten in a crash.
        ahead.pledging.await.map_err(|_stopping| Failure::Stopping)??;
        if let Some(freshened) = ahead.freshened {
            // It ended long ago; where it has not, the link is slow or cut, and the pledge will find out.
            _ = timeout(FRESHEN_TIMEOUT, freshened).await;
        }
        Ok(())
    };
    let completed = timeout(SWITCHOVER_TIMEOUT, completing).await;
    let late = ConvergeFailure::SwitchoverTimedOut { after: SWITCHOVER_TIMEOUT };
    match completed.unwrap_or(Err(late.into())) {
        Ok(()) => Ok(stopped),
        Err(_) if postcopy::has_switched(&stopped.live).await => Ok(stopped),
        Err(failure) => Err(Box::new((stopped.keep(), failure))),
    }
}

fn has_failed(status: &MigrationStatus) -> bool {
    matches!(status, MigrationStatus::Failed | MigrationStatus::Cancelled | MigrationStatus::Cancelling)
}

/// Uses the connection for the pledge once, so that the pledge finds it open and alive. A failure shows in the pulse.
fn freshen(live: &Live) -> JoinHandle<()> {
    let word = live.reserved.as_ref().and_then(|room| room.word.clone());
    let id = live.begun.tracker.id();
    tokio::spawn(async move {
        if let Some(word) = word {
            _ = word.target_status(id).await;
        }
    })
}

async fn stream_failed(live: &Live, status: &MigrationStatus) -> Failure {
    let said = match &live.process {
        Some(process) => process.qmp.execute(QueryMigrate).await.ok().and_then(|info| info.error_desc),
        None => None,
    };
    Failure::StreamFailed { reason: said.unwrap_or_else(|| format!("QEMU says {}", status.as_str())) }
}

/// What the source's QEMU is doing. One that lives and does not answer is asked until it does: to guess would be to decide
/// by a time-out.
async fn source_qemu(process: Option<&Process>) -> SourceQemu {
    let Some(process) = process else { return SourceQemu::Gone };
    let (status, migration) = loop {
        if process.exit().is_some() {
            return SourceQemu::Gone;
        }
        match tokio::join!(process.qmp.execute(QueryStatus), process.qmp.execute(QueryMigrate)) {
            (Ok(status), Ok(migration)) => break (status.status, migration.status),
            (Err(error), _) | (_, Err(error)) => tracing::warn!("QEMU does not say what it does: {error}"),
        }
        ask_again(process).await;
    };
    match (status, migration) {
        (RunState::Postmigrate, _) | (RunState::FinishMigrate, Some(MigrationStatus::Completed)) => {
            SourceQemu::Completed
        }
        (_, None | Some(MigrationStatus::None | MigrationStatus::Failed | MigrationStatus::Cancelled)) => {
            SourceQemu::Here
        }
        // It was continued after it had completed.
        (_, Some(MigrationStatus::Completed)) => SourceQemu::Here,
        (_, Some(status)) if qemu::migrate::postcopy::has_switched(&status) => SourceQemu::Serving,
        (_, Some(_)) => SourceQemu::Migrating,
    }
}

/// A pause before a QEMU is asked again, cut short by its end.
pub(crate) async fn ask_again(process: &Process) {
    _ = timeout(ASK_QEMU_EVERY, process.exited()).await;
}

/// The guest as it was.
pub(crate) fn back(right: RunRight, live: Live) -> Guest {
    let process = live.process.expect("a guest that is kept has a QEMU");
    Guest { process, right, record: live.record, definition: live.definition }
}

/// What the target says of itself when it has given up.
pub(crate) fn target_phase(phase: TargetPhase) -> &'static str {
    match phase {
        TargetPhase::Receiving => "receiving",
        TargetPhase::Granted => "granted",
        TargetPhase::Running => "running",
        TargetPhase::Refused => "refused",
        TargetPhase::Lost => "lost",
    }
}
