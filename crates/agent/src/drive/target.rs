//! The target of one live migration, as a list of steps. Before the pledge it can give everything back at any time, for it
//! has no right to run; after it the guest runs here, or nobody has its memory.
//!
//! ```text
//! prepare → wait ──pledge──► grant → running     (the verdict goes back right after RESUME)
//!    └────────┴→ refuse, with a proof  └→ lose
//! ```

mod cold;
mod fill;
mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use api::{Finding, Listening, Offer, Outcome, ResolveAs, Role, Settlement, Ticket, Verdict};
use backon::Retryable;
use domain::Definition;
use migration::handover::{
    NeverRan, OnPledge, TargetKnowledge, TargetQemu, TargetRecovery, on_abandon, on_pledge, recover_target,
};
use migration::journal::{Offline, Opened, Side};
use migration::owner::OwnerRecord;
use migration::phase::Phase;
use migration::source::Pledge;
use migration::target::{Offered, Receiving, Running};
use network::Port;
use qemu::command::{Cont, MigrationStatus};
use qemu::migrate::{Events, EventsError, Means, Side as End, Tls, What};
use qemu::process::Process;
use qemu::qmp::QmpError;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::known::{takes_memory, target_qemu, wait_loaded};
use super::mirror::{self, came_with, make_images};
use crate::failure::Failure;
use crate::guest::{self, Guest, GuestRecord, frozen_uuid, give_back, launch, read_owner, watch_balloon};
use crate::journal::Journal;
use crate::keeper::Reply;
use crate::landing::Landing;
use crate::limits::{
    ANNOUNCE, DRIVE_QUEUE, FORWARDING_GRACE, OWNER_TRIES_MAX, RESUME_TIMEOUT, SETTLEMENT_EVERY,
    SETTLEMENT_UNKNOWN_MAX,
};
use crate::networks::bridge_of;
use crate::node::Node;
use crate::nonvolatile;
use crate::store::blocking;
use crate::tracker::{Begin, Tracker, rfc3339, unix_ms};

/// What the task is told while it works.
pub(crate) enum Said {
    /// The source's irrevocable word.
    Pledge { token: Uuid, nothing_left: bool, reply: Reply<Verdict> },
    /// The connection for memory broke: where is the rest to be sent?
    Listen { token: Uuid, reply: Reply<Listening> },
    /// The domain stays on the source.
    Abandon { reply: Reply<Verdict> },
    /// An operator's word.
    Resolve(ResolveAs, Reply<()>),
}

/// How it ended.
pub(crate) enum Arrived {
    /// The guest runs here.
    Running { guest: Box<Guest>, inactive: Option<Box<Definition>> },
    /// The domain is this host's, and its QEMU has ended since.
    Owned { inactive: Option<Box<Definition>> },
    /// The domain is this host's, shut off as it was.
    ShutOff { definition: Box<Definition> },
    /// Nothing is here.
    Gone,
}

/// What comes: two definitions of one domain.
pub(crate) struct Coming {
    /// As the guest runs.
    pub(crate) live: Definition,
    /// As this host keeps it for the next start, where it keeps one.
    pub(crate) inactive: Option<Definition>,
    /// Findings that do not forbid it.
    pub(crate) warnings: Vec<Finding>,
    /// Paths at which older copies of its files lie.
    pub(crate) older: BTreeSet<PathBuf>,
    /// Images that its own stand on, by path, which are used as they lie here, and the other domains that use them.
    pub(crate) kept: BTreeMap<PathBuf, Vec<String>>,
}

/// What every task of a target has.
pub(crate) struct Begun {
    pub(crate) node: Arc<Node>,
    pub(crate) tracker: Tracker,
    pub(crate) heard: mpsc::Receiver<Said>,
}

/// A target that is taken up again by a new agent.
pub(crate) struct Resumed {
    pub(crate) opened: Opened,
    pub(crate) last: Phase,
    pub(crate) reason: Option<String>,
    pub(crate) journal: Journal,
    pub(crate) process: Option<Process>,
    pub(crate) record: GuestRecord,
    pub(crate) coming: Coming,
}

/// The live resources of a target.
struct Live {
    begun: Begun,
    opened: Opened,
    journal: Journal,
    record: GuestRecord,
    coming: Coming,
    /// None only where a new agent found it gone.
    process: Option<Process>,
    /// Whether this agent made the QEMU.
    alive_since_prepared: bool,
    /// The files that come with a domain that is shut off; none for one whose guest works.
    landing: Option<Arc<Landing>>,
    /// Of such a domain: how far this side is, as the journal has it.
    reached: Phase,
    /// Whether disks are still taken in that go with a guest that works.
    taking_disks: bool,
}

impl Live {
    /// What is known now.
    async fn knowledge(&self, continued: bool) -> TargetKnowledge {
        let qemu = match &self.landing {
            Some(landing) => cold::shut_off(landing, self.reached),
            None => target_qemu(self.process.as_ref(), self.alive_since_prepared && !continued).await,
        };
        TargetKnowledge {
            qemu,
            may_still_load: self.opened.postcopy
                && qemu == TargetQemu::Incoming
                && takes_memory(self.process.as_ref()).await,
            alive_since_prepared: self.alive_since_prepared,
            continued,
            ended: None,
        }
    }

    fn pledge(&self) -> Pledge {
        Pledge { generation: self.opened.generation + 1 }
    }
}

/// Begins the story of a migration.
pub(crate) fn begin(node: &Node, domain: &str, uuid: Uuid, offer: &Offer) -> Tracker {
    let tracker = Tracker::begin(Begin {
        id: offer.migration,
        role: Role::Target,
        domain: domain.to_owned(),
        uuid,
        source: offer.source.clone(),
        target: node.config.host.clone(),
        phase: Phase::Offered,
        encrypted: offer.encrypted,
        suspended: offer.suspended,
        offline: offer.offline,
        skipped: offer.skip.clone(),
    });
    node.track(uuid, &tracker);
    tracker
}

/// Takes one domain in. The reply is the ticket, as soon as everything stands ready.
pub(crate) async fn run(begun: Begun, offer: Offer, coming: Coming, reply: Reply<Ticket>) -> Arrived {
    let tracker = begun.tracker.clone();
    match prepare(begun, offer, coming).await {
        Ok((receiving, ticket)) => {
            if reply.send(Ok(ticket)).is_err() {
                tracing::warn!(migration = %tracker.id(), "the source went away while room was made");
            }
            wait(receiving).await
        }
        Err(failure) => {
            tracker.end(Phase::Refused, Outcome::Kept, Some(failure.chain()), None);
            _ = reply.send(Err(failure));
            Arrived::Gone
        }
    }
}

/// Takes up a migration that an earlier agent had begun.
pub(crate) async fn recover(begun: Begun, resumed: Resumed) -> Arrived {
    let Resumed { opened, last, reason, journal, process, record, coming } = resumed;
    let landing = match cold::land(&begun.node, &opened) {
        Ok(landing) => landing,
        Err(failure) => {
            tracing::error!(migration = %opened.migration, "its files cannot come any more: {}", failure.chain());
            None
        }
    };
    let taking_disks = !record.copied.is_empty();
    let live = Live {
        begun,
        opened,
        journal,
        record,
        coming,
        process,
        alive_since_prepared: false,
        landing,
        reached: last,
        taking_disks,
    };
    let live = Box::new(live);
    match last {
        Phase::Refused => return end(live, Phase::Refused, reason.unwrap_or_default(), None).await,
        Phase::Lost => return end(live, Phase::Lost, reason.unwrap_or_default(), None).await,
        _not_given_back => {}
    }
    if live.opened.offline.is_some() {
        return cold::recover_shut_off(live, last).await;
    }
    if last == Phase::Filling {
        return fill::recover(Receiving::recovered(live.record.uuid, live)).await;
    }
    // A guest that stands for a reason of its own may have run here or not: the source is asked, nothing is taken up.
    let qemu = target_qemu(live.process.as_ref(), true).await;
    let decided = recover_target(qemu);
    tracing::info!(migration = %live.opened.migration, ?last, ?qemu, ?decided, "taken up again");
    if last == Phase::Running && qemu == TargetQemu::Gone {
        return owned(live, None).await;
    }
    let receiving = Receiving::recovered(live.record.uuid, live);
    if decided == TargetRecovery::Adopt || last == Phase::Running {
        return adopt(receiving, None).await;
    }
    wait(receiving).await
}

/// Makes room: journal, QEMU, muted taps, an address for memory. What was made is given back when a step fails.
async fn prepare(
    begun: Begun,
    offer: Offer,
    coming: Coming,
) -> Result<(Receiving<Box<Live>>, Ticket), Failure> {
    let node = Arc::clone(&begun.node);
    let definition = &coming.live;
    let mut record = GuestRecord::new(&node, definition, offer.generation)?;
    record.made = match offer.offline {
        // Its files are the landing's.
        true => Vec::new(),
        false => nonvolatile::made_by_arrival(&node, definition.domain(), record.uuid),
    };
    let offline = offer.offline.then(|| cold::carried(&node, record.uuid, &offer, &coming));
    let mirrored = mirror::coming(&node, &offer, &coming.older).await?;
    let opened = opened(&node, definition, &offer, offline, mirrored);
    let id = opened.migration;
    let offered = Offered::new(opened.domain, ());
    let journal = Journal::create(node.store.journal_path(id), opened.clone()).await?;
    let ready = async {
        let (store, live, inactive) = (node.store.clone(), definition.clone(), coming.inactive.clone());
        blocking(move || store.write_arrival(id, &live, inactive.as_ref())).await?;
        if offer.offline {
            let landing = cold::land(&node, &opened)?;
            journal.enter(Phase::Receiving, None).await?;
            return Ok(Ready { process: None, address: String::new(), landing });
        }
        if let Some(mirrored) = &opened.mirrored {
            make_images(mirrored, &coming.older, &mut record).await?;
        }
        let process = launch(&node, definition, &record, Port::Muted, true).await?;
        let opening = async {
            mirror::take(&node, definition.domain(), &record, &process).await?;
            let address = open_door(&node, definition, &record, &process, &offer).await?;
            journal.enter(Phase::Receiving, None).await?;
            Ok(address)
        };
        match opening.await {
            Ok(address) => Ok(Ready { process: Some(process), address: address.to_string(), landing: None }),
            Err(failure) => {
                give_back(&node, &record, Some(&process)).await;
                Err(failure)
            }
        }
    };
    let Ready { process, address, landing } = match ready.await {
        Ok(ready) => ready,
        Err(failure) => {
            nonvolatile::withdraw(&node, &record);
            node.landings.close(id);
            node.store.remove_arrival(id);
            journal.discard();
            return Err(failure);
        }
    };
    begun.tracker.enter(Phase::Prepared);
    let prepared = offered.prepared(|()| {
        Box::new(Live {
            begun,
            opened,
            journal,
            taking_disks: !record.copied.is_empty(),
            record,
            coming,
            process,
            alive_since_prepared: true,
            landing,
            reached: Phase::Receiving,
        })
    });
    let receiving = prepared.receiving();
    receiving.live.begun.tracker.enter(Phase::Receiving);
    let ticket = ticket(&receiving.live, address);
    Ok((receiving, ticket))
}

fn ticket(live: &Live, address: String) -> Ticket {
    Ticket {
        address,
        tls_hostname: live.begun.node.config.host.clone(),
        token: live.opened.token,
        warnings: live.coming.warnings.clone(),
        postcopy: live.opened.postcopy,
    }
}

/// What the journal begins with.
fn opened(
    node: &Node,
    definition: &Definition,
    offer: &Offer,
    offline: Option<Offline>,
    mirrored: Option<Offline>,
) -> Opened {
    Opened {
        migration: offer.migration,
        side: Side::Target,
        domain: frozen_uuid(definition.domain()),
        name: definition.domain().name.clone(),
        source: offer.source.clone(),
        target: node.config.host.clone(),
        generation: offer.generation.saturating_sub(1),
        suspended: offer.suspended,
        postcopy: offer.postcopy,
        offline,
        mirrored,
        keep_definition: false,
        skipped: offer.skip.clone(),
        token: Uuid::new_v4(),
        at_ms: unix_ms(),
    }
}

/// The disks that came are the guest's alone from now on.
async fn give_disks(live: &mut Live) {
    if let Some(process) = live.process.as_ref().filter(|_| std::mem::take(&mut live.taking_disks)) {
        mirror::give(process, live.coming.live.domain(), &live.record).await;
    }
}

/// What stands ready.
struct Ready {
    process: Option<Process>,
    address: String,
    landing: Option<Arc<Landing>>,
}

/// Waits until the taps forward, and lets QEMU listen.
async fn open_door(
    node: &Node,
    definition: &Definition,
    record: &GuestRecord,
    process: &Process,
    offer: &Offer,
) -> Result<std::net::SocketAddr, Failure> {
    let listen = node.neighbours.listen().ok_or(Failure::NotListening)?;
    let means = Means {
        multifd_channels: (offer.channels > 1).then_some(offer.channels),
        validate_uuid: true,
        dirty_bitmaps: !record.copied.is_empty(),
        postcopy: offer.postcopy,
        tls: offer.encrypted.then(|| Tls {
            directory: node.config.tls_dir.clone(),
            hostname: None,
            authorized: None,
        }),
        ..Means::default()
    };
    let capabilities = node.capabilities(&record.emulator).await?;
    qemu::migrate::prepare(&process.qmp, &capabilities, End::Target, &means).await?;
    // A port that joins an STP bridge forwards only after twice its delay: that time must not lie in the blackout.
    for (tap, interface) in record.taps.iter().zip(&definition.domain().interfaces) {
        let Some(bridge) = bridge_of(&node.config, &interface.source)? else { continue };
        let bridge = node.network.bridge(&bridge).await?;
        let delay = if bridge.stp { bridge.forward_delay * 2 } else { std::time::Duration::ZERO };
        node.network.forwarding(tap, delay + FORWARDING_GRACE).await?;
    }
    Ok(qemu::migrate::listen(&process.qmp, &capabilities, listen.ip()).await?)
}

/// What comes first while memory comes in.
enum Came {
    Said(Option<Said>),
    Loaded,
    Failed(String),
    Source(Settlement),
}

/// Waits for the pledge, or for a reason to give everything back.
async fn wait(mut receiving: Receiving<Box<Live>>) -> Arrived {
    let mut events = receiving.live.process.as_ref().map(|process| Events::of(&process.qmp));
    let (asks, mut settlements) = mpsc::channel(DRIVE_QUEUE);
    let live = &receiving.live;
    let asking = ask_source(Arc::clone(&live.begun.node), live.opened.clone(), asks);
    let _asking = AbortOnDropHandle::new(tokio::spawn(asking));
    loop {
        match came(&mut receiving.live, events.as_mut(), &mut settlements).await {
            Came::Said(None) => return give_up(receiving, "the agent forgot the domain".into(), None).await,
            Came::Said(Some(Said::Pledge { token, reply, .. })) if token != receiving.live.opened.token => {
                _ = reply.send(Err(Failure::WrongToken));
            }
            Came::Said(Some(Said::Pledge { reply, .. })) => {
                return pledged(receiving, events, Some(reply)).await;
            }
            Came::Said(Some(Said::Listen { reply, .. })) => {
                _ = reply.send(Err(Failure::MigrationEnded { phase: "the guest does not run here yet" }));
            }
            Came::Said(Some(Said::Abandon { reply })) => {
                return give_up(receiving, "the source keeps the domain".into(), Some(reply)).await;
            }
            Came::Said(Some(Said::Resolve(ResolveAs::Kept, reply))) => {
                _ = reply.send(Ok(()));
                return give_up(receiving, "an operator's word: it stays on the source".into(), None).await;
            }
            Came::Said(Some(Said::Resolve(ResolveAs::Moved | ResolveAs::Lost, reply))) => {
                _ = reply.send(Err(Failure::WrongSide { role: "target" }));
            }
            Came::Loaded if receiving.live.landing.is_some() => {
                if let Err(failure) = cold::touch_down(&mut receiving.live).await {
                    return give_up(receiving, failure.chain(), None).await;
                }
            }
            Came::Loaded => {
                give_disks(&mut receiving.live).await;
                receiving.live.begun.tracker.enter(Phase::Loaded);
            }
            Came::Failed(reason) => return give_up(receiving, reason, None).await,
            Came::Source(Settlement::Open) => {}
            // The source has given its word durably and may be gone since: it is the pledge.
            Came::Source(Settlement::Moved) => {
                return match receiving.live.knowledge(true).await.qemu {
                    TargetQemu::Gone => owned(receiving.live, None).await,
                    TargetQemu::Incoming | TargetQemu::Loaded | TargetQemu::Filling | TargetQemu::Ran => {
                        pledged(receiving, events, None).await
                    }
                };
            }
            Came::Source(Settlement::Kept | Settlement::Lost | Settlement::Unknown) => {
                return give_up(receiving, "the source says that it stays there".into(), None).await;
            }
        }
    }
}

async fn came(
    live: &mut Live,
    events: Option<&mut Events>,
    settlements: &mut mpsc::Receiver<Settlement>,
) -> Came {
    let process = live.process.clone();
    let gone = async {
        match &process {
            // Without a QEMU of its own making there is nothing to prove: only the source can tell.
            Some(process) if live.alive_since_prepared => process.exited().await,
            Some(_) | None => std::future::pending().await,
        }
    };
    let landing = live.landing.clone().filter(|_| live.reached == Phase::Receiving);
    let event = async {
        if let Some(landing) = landing {
            landing.whole().await;
            return Came::Loaded;
        }
        match events {
            Some(events) => match loaded_or_failed(events).await {
                Ok(came) => came,
                Err(_gone_or_lost) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        said = live.begun.heard.recv() => Came::Said(said),
        exit = gone => Came::Failed(format!("its QEMU ended: {exit}")),
        came = event => came,
        Some(settlement) = settlements.recv() => Came::Source(settlement),
    }
}

async fn loaded_or_failed(events: &mut Events) -> Result<Came, EventsError> {
    events
        .find(|happened| match &happened.what {
            What::Migration(MigrationStatus::Completed) => Some(Came::Loaded),
            What::Migration(MigrationStatus::Failed) => {
                Some(Came::Failed("memory did not come in whole".into()))
            }
            _ => None,
        })
        .await
}

/// Asks the source, now and then, what became of the migration: it may have ended while nobody here could hear.
async fn ask_source(node: Arc<Node>, opened: Opened, tell: mpsc::Sender<Settlement>) {
    let mut unknown = 0;
    loop {
        tokio::time::sleep(SETTLEMENT_EVERY).await;
        // A host that was removed may join again, and only it can say what became of the migration.
        let Ok(client) = node.neighbours.client(&opened.source) else { continue };
        let Ok(settlement) = client.settlement(opened.migration).await else { continue };
        // A source that has just been given the ticket does not know the migration yet.
        unknown = if settlement == Settlement::Unknown { unknown + 1 } else { 0 };
        if settlement == Settlement::Unknown && unknown < SETTLEMENT_UNKNOWN_MAX {
            continue;
        }
        if tell.send(settlement).await.is_err() {
            return;
        }
    }
}

/// The right to run is given to this host; also when the same pledge comes to a new agent.
async fn pledged(
    mut receiving: Receiving<Box<Live>>,
    events: Option<Events>,
    reply: Option<Reply<Verdict>>,
) -> Arrived {
    give_disks(&mut receiving.live).await;
    let mut known = receiving.live.knowledge(false).await;
    // The source hears *completed* a moment before this QEMU has tidied up after the load.
    let mut waits = known.qemu == TargetQemu::Incoming;
    while waits {
        wait_loaded(receiving.live.process.as_ref(), receiving.live.alive_since_prepared).await;
        known = receiving.live.knowledge(false).await;
        waits = on_pledge(&known) == OnPledge::Wait;
    }
    match on_pledge(&known) {
        OnPledge::Continue => grant(receiving, events, reply).await,
        OnPledge::Wait => unreachable!("it has been waited for"),
        OnPledge::Refuse(proof) => {
            refuse(receiving, proof, "memory had not come in whole".into(), reply).await
        }
        OnPledge::Answer(_running) => adopt(receiving, reply).await,
        OnPledge::Lose => died(receiving.live, reply).await,
    }
}

/// Takes up a guest that runs here already.
async fn adopt(receiving: Receiving<Box<Live>>, reply: Option<Reply<Verdict>>) -> Arrived {
    let pledge = receiving.live.pledge();
    let granted = receiving.loaded().grant(pledge);
    let lacking = fill::lacking(&granted.live).await;
    answer(reply, Ok(fill::verdict(lacking.is_some(), None)));
    fill::go_on(granted, lacking).await
}

/// Continues the guest, then answers, then tidies up: the guest runs before anybody hears of it.
async fn grant(
    receiving: Receiving<Box<Live>>,
    events: Option<Events>,
    reply: Option<Reply<Verdict>>,
) -> Arrived {
    let pledge = receiving.live.pledge();
    if receiving.live.landing.is_some() {
        return cold::take_over(receiving, reply).await;
    }
    if receiving.live.opened.suspended {
        return grant_suspended(receiving, reply).await;
    }
    let Some(mut events) = events else { return died(receiving.live, reply).await };
    let lacking = fill::lacking(&receiving.live).await;
    match let_go(&receiving.live, &mut events).await {
        Continued::Runs { resumed_at } => {
            answer(reply, Ok(fill::verdict(lacking.is_some(), resumed_at.clone())));
            let granted = receiving.loaded().grant(pledge);
            granted.live.begun.tracker.enter(Phase::Granted);
            granted.live.begun.tracker.record(|report| report.downtime.target_resumed_at = resumed_at);
            fill::go_on(granted, lacking).await
        }
        Continued::Refused { proof, reason } => refuse(receiving, proof, reason, reply).await,
        Continued::Gone => died(receiving.loaded().grant(pledge).lost().live, reply).await,
    }
}

/// What became of `cont`.
enum Continued {
    /// The guest runs; the time stamp where its RESUME was heard.
    Runs { resumed_at: Option<String> },
    /// QEMU refused, and is as it was.
    Refused { proof: NeverRan, reason: String },
    /// QEMU ended.
    Gone,
}

/// Sends `cont`, again where it was not heard, until QEMU says that the guest runs, refuses, or is gone.
async fn let_go(live: &Live, events: &mut Events) -> Continued {
    let Some(process) = &live.process else { return Continued::Gone };
    let (mut continued, ()) = tokio::join!(process.qmp.execute(Cont), unmute(live));
    loop {
        match continued {
            Ok(_) => {
                let resumed = events.find(|happened| (happened.what == What::Resumed).then_some(happened.at));
                if let Ok(Ok(at)) = timeout(RESUME_TIMEOUT, resumed).await {
                    return Continued::Runs { resumed_at: Some(rfc3339(at)) };
                }
            }
            Err(QmpError::Refused { .. }) => {
                let reason = continued.map_or_else(|error| error.to_string(), |_| String::new());
                if let OnPledge::Refuse(proof) = on_abandon(&live.knowledge(false).await) {
                    return Continued::Refused { proof, reason };
                }
            }
            Err(error) => tracing::warn!("cont was not answered: {error}"),
        }
        match on_pledge(&live.knowledge(true).await) {
            OnPledge::Continue => continued = process.qmp.execute(Cont).await,
            OnPledge::Answer(_running) => return Continued::Runs { resumed_at: None },
            OnPledge::Refuse(_) | OnPledge::Lose | OnPledge::Wait => return Continued::Gone,
        }
    }
}

/// A suspended domain stays suspended, so its QEMU cannot prove later that the right came here: the journal does.
async fn grant_suspended(receiving: Receiving<Box<Live>>, reply: Option<Reply<Verdict>>) -> Arrived {
    let pledge = receiving.live.pledge();
    let running = receiving.loaded().grant(pledge).running();
    if let Err(error) = running.live.journal.enter(Phase::Running, None).await {
        answer(reply, Err(error.into()));
        return lost(running.live, None).await;
    }
    unmute(&running.live).await;
    answer(reply, Ok(Verdict::Running { resumed_at: None }));
    settle_in(running).await
}

async fn unmute(live: &Live) {
    let interfaces = &live.coming.live.domain().interfaces;
    let on_bridge = live.record.taps.iter().zip(interfaces).filter(|(_, it)| it.source.has_tap());
    for (tap, _) in on_bridge {
        if let Err(error) = live.begun.node.network.open(tap).await {
            tracing::error!(tap, "its port stays muted: {error}");
        }
    }
}

async fn announce(process: &Process) {
    if let Err(error) = process.qmp.execute(ANNOUNCE).await {
        tracing::warn!("the guest was not announced; switches learn of it by its own packets: {error}");
    }
}

/// The guest is here for good: announced, written down, owned.
async fn settle_in(running: Running<Box<Live>>) -> Arrived {
    let Running { right, live } = running;
    if live.opened.offline.is_some() {
        return cold::arrive_shut_off(*live).await;
    }
    unmute(&live).await;
    if let Some(process) = &live.process {
        announce(process).await;
        watch_balloon(process, live.coming.live.domain()).await;
    }
    // First the owner record, then the journal: an end in the journal says that nothing is left to do.
    if own(&live, right.generation()).await {
        enter(&live, Phase::Running, None).await;
    }
    live.begun.tracker.end(Phase::Running, Outcome::Moved, None, None);
    let Live { record, coming: Coming { live: definition, inactive, .. }, process, .. } = *live;
    let inactive = inactive.map(Box::new);
    match process.filter(|process| process.exit().is_none()) {
        Some(process) => {
            Arrived::Running { guest: Box::new(Guest { process, right, record, definition }), inactive }
        }
        None => Arrived::Owned { inactive },
    }
}

/// Writes this host into the owner record; what fails is tried again.
async fn own(live: &Live, generation: u64) -> bool {
    let host = live.begun.node.config.host.clone();
    let holder = OwnerRecord { domain: live.record.uuid, host, generation, offered: None };
    let write = || write_owner(live, &holder);
    let tries = backon::ExponentialBuilder::default().with_max_times(OWNER_TRIES_MAX);
    match write.retry(tries).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(
                "the owner record does not name this host; the source writes it too: {}",
                error.chain()
            );
            false
        }
    }
}

async fn write_owner(live: &Live, holder: &OwnerRecord) -> Result<(), Failure> {
    let path = live.record.owner_record.as_deref();
    match path.filter(|path| came_with(live.coming.live.domain(), &live.record, path)) {
        Some(path) => Ok(storage::write_record(path, &holder.to_bytes()).await?),
        None => guest::own(path, holder).await,
    }
}

/// Gives everything back, where the guest never ran here.
async fn give_up(receiving: Receiving<Box<Live>>, reason: String, reply: Option<Reply<Verdict>>) -> Arrived {
    let known = receiving.live.knowledge(false).await;
    match on_abandon(&known) {
        OnPledge::Refuse(proof) => refuse(receiving, proof, reason, reply).await,
        OnPledge::Answer(_running) => adopt(receiving, reply).await,
        OnPledge::Lose => lost(receiving.live, reply).await,
        OnPledge::Continue | OnPledge::Wait => unreachable!("nobody is continued when it is given up"),
    }
}

async fn refuse(
    receiving: Receiving<Box<Live>>,
    proof: NeverRan,
    reason: String,
    reply: Option<Reply<Verdict>>,
) -> Arrived {
    end(receiving.refuse(proof).live, Phase::Refused, reason, reply).await
}

/// Gives everything back. First the journal says so, for good; then its QEMU goes; then the source hears it.
async fn end(live: Box<Live>, phase: Phase, reason: String, reply: Option<Reply<Verdict>>) -> Arrived {
    enter(&live, phase, Some(reason.clone())).await;
    give_back(&live.begun.node, &live.record, live.process.as_ref()).await;
    nonvolatile::withdraw(&live.begun.node, &live.record);
    live.begun.node.landings.close(live.opened.migration);
    if let Some(landing) = &live.landing {
        landing.discard().await;
    }
    let (outcome, verdict) = match phase {
        Phase::Refused => (Outcome::Kept, Verdict::Refused { reason: reason.clone() }),
        _lost => (Outcome::Lost, Verdict::Lost { reason: reason.clone() }),
    };
    live.begun.tracker.end(phase, outcome, Some(reason), None);
    answer(reply, Ok(verdict));
    Arrived::Gone
}

/// Its QEMU is gone after the pledge, and the guest may have run here. Disks that came with it are at least as new here as on
/// the source, for their mirrors had ended before the pledge: the domain is this host's, shut off.
async fn died(live: Box<Live>, reply: Option<Reply<Verdict>>) -> Arrived {
    if live.record.copied.is_empty() { lost(live, reply).await } else { owned(live, reply).await }
}

async fn lost(live: Box<Live>, reply: Option<Reply<Verdict>>) -> Arrived {
    if is_owner(&live).await {
        return owned(live, reply).await;
    }
    let reason = "its QEMU ended, and nobody can say that the guest never ran there".to_owned();
    end(live, Phase::Lost, reason, reply).await
}

/// The guest ran here and its QEMU ended before this agent could take it up: the domain is this host's, shut off.
async fn owned(live: Box<Live>, reply: Option<Reply<Verdict>>) -> Arrived {
    give_back(&live.begun.node, &live.record, live.process.as_ref()).await;
    if own(&live, live.pledge().generation).await {
        enter(&live, Phase::Running, None).await;
    }
    live.begun.tracker.end(Phase::Running, Outcome::Moved, None, None);
    answer(reply, Ok(Verdict::Running { resumed_at: None }));
    Arrived::Owned { inactive: live.coming.inactive.map(Box::new) }
}

/// Whether the owner record already names this host.
async fn is_owner(live: &Live) -> bool {
    let Some(path) = &live.record.owner_record else { return false };
    let record = read_owner(path).await.ok().flatten();
    record.is_some_and(|record| {
        record.host == live.begun.node.config.host && record.generation == live.pledge().generation
    })
}

async fn enter(live: &Live, phase: Phase, reason: Option<String>) {
    if let Err(error) = live.journal.enter(phase, reason).await {
        tracing::error!(?phase, "the end is not in the journal: {}", Failure::from(error).chain());
    }
}

fn answer(reply: Option<Reply<Verdict>>, verdict: Result<Verdict, Failure>) {
    if let Some(reply) = reply
        && reply.send(verdict).is_err()
    {
        tracing::warn!("the source was gone before it heard the verdict; it will ask again");
    }
}
