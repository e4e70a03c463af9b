//! One domain's task: it owns the domain's definition and, while the domain is here, its guest. Everyone else sends it
//! an [`Ask`]. During a migration the guest belongs to the migration's own task, which gives it back at its end.
//!
//! ```text
//!            start            migrate
//! ShutOff ──────────► Active ─────────► Leaving ──► ShutOff (tombstone) | Active (kept)
//!    ▲  ▲────────────────┘                          in doubt: Leaving, until there is a verdict
//!    │     exit
//!    └──── Arriving ◄── offer      Arriving ──► Active (moved here) | ShutOff or gone (refused)
//! ```

use std::sync::Arc;
use std::time::Duration;

use api::{DomainState, MigrationPhase, MigrationRequest, Outcome, SourceDefinition};
use domain::Definition;
use qemu::command::{Cont, QueryStatus, RunState, Stop, SystemPowerdown};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::drive::source::{self, Left};
use crate::drive::target::{self, Arrived, Coming};
use crate::failure::Failure;
use crate::guest::{self, Guest, GuestRecord};
use crate::limits::{DRIVE_QUEUE, KEEPER_QUEUE, QUIT_TIMEOUT, SHOW_TIMEOUT};
use crate::node::Node;
use crate::store::{DomainRecord, MovedTo};
use crate::tracker::{Tracker, now};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// What a domain's task can be asked.
pub(crate) enum Ask {
    Show(Reply<api::Domain>),
    Xml(Reply<String>),
    Start(Reply<api::Domain>),
    /// Answered when the guest has shut itself down, or at once.
    Shutdown {
        wait: bool,
        reply: Reply<api::Domain>,
    },
    Destroy(Reply<api::Domain>),
    Suspend(Reply<api::Domain>),
    Resume(Reply<api::Domain>),
    Redefine(Box<Definition>, Reply<api::Domain>),
    Undefine(Reply<()>),
    Migrate(MigrationRequest, Reply<Uuid>),
    Cancel(Reply<()>),
    Resolve(api::ResolveAs, Reply<()>),
    /// A checked offer and its definitions.
    Offer(Box<(api::Offer, Coming)>, Reply<api::Ticket>),
    /// For the task that takes a domain in.
    Arriving(target::Said),
}

/// A domain's task, for everyone else.
#[derive(Clone)]
pub(crate) struct KeeperHandle {
    pub(crate) name: String,
    asks: mpsc::Sender<Ask>,
}

impl KeeperHandle {
    /// Asks; `None` where the task has ended.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Option<Result<T, Failure>> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// What a domain's task begins with.
pub(crate) enum Begin {
    /// Defined, no QEMU.
    ShutOff(DomainRecord),
    /// A QEMU of it was found.
    Active(Box<Guest>, DomainRecord),
    /// It comes here for the first time.
    Offered,
    /// A migration away from here was under way when the agent ended.
    Leaving(Box<source::Resumed>, Tracker, DomainRecord),
    /// A migration to here was under way when the agent ended.
    Arriving(Box<target::Resumed>, Tracker, DomainRecord),
}

struct Keeper {
    node: Arc<Node>,
    uuid: Uuid,
    name: String,
    /// The definition that outlives the guest, if there is one.
    definition: Option<Definition>,
    record: DomainRecord,
    state: State,
}

enum State {
    ShutOff {
        reason: Option<String>,
    },
    Active {
        guest: Box<Guest>,
        shutdowns: Vec<Reply<api::Domain>>,
    },
    Leaving {
        record: GuestRecord,
        pid: Option<u32>,
        keep_definition: bool,
        tracker: Tracker,
        cancel: CancellationToken,
        says: mpsc::Sender<source::Said>,
        end: JoinHandle<Left>,
    },
    Arriving {
        tracker: Tracker,
        says: mpsc::Sender<target::Said>,
        end: JoinHandle<Arrived>,
    },
}

/// What happens to a domain without being asked.
enum Happened {
    Exited(String),
    Left(Left),
    Arrived(Arrived),
}

/// Begins a domain's task. `definition` is the one that outlives the guest.
pub(crate) fn begin(
    node: &Arc<Node>,
    uuid: Uuid,
    name: String,
    definition: Option<Definition>,
    begin: Begin,
) -> KeeperHandle {
    let (asks, inbox) = mpsc::channel(KEEPER_QUEUE);
    let handle = KeeperHandle { name: name.clone(), asks };
    let shut_off = State::ShutOff { reason: None };
    let mut keeper = Keeper {
        node: Arc::clone(node),
        uuid,
        name,
        definition,
        record: DomainRecord::default(),
        state: shut_off,
    };
    match begin {
        Begin::ShutOff(record) => keeper.record = record,
        Begin::Offered => {}
        Begin::Active(guest, record) => {
            keeper.record = record;
            keeper.activate(guest);
        }
        Begin::Leaving(resumed, tracker, record) => {
            keeper.record = record;
            keeper.resume_leaving(*resumed, tracker);
        }
        Begin::Arriving(resumed, tracker, record) => {
            keeper.record = record;
            keeper.resume_arriving(*resumed, tracker);
        }
    }
    tokio::spawn(keeper.run(inbox));
    handle
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        loop {
            tokio::select! {
                ask = inbox.recv() => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => break,
                },
                happened = happening(&mut self.state) => self.happened(happened).await,
            }
            if self.definition.is_none() && matches!(self.state, State::ShutOff { .. }) {
                break;
            }
        }
        self.node.dismiss(self.uuid);
    }

    async fn answer(&mut self, ask: Ask) {
        // A receiver that is gone has lost interest; what was asked is done all the same.
        match ask {
            Ask::Show(reply) => _ = reply.send(Ok(self.show().await)),
            Ask::Xml(reply) => _ = reply.send(Ok(self.xml())),
            Ask::Start(reply) => _ = reply.send(self.start().await),
            Ask::Shutdown { wait, reply } => self.shutdown(wait, reply).await,
            Ask::Destroy(reply) => _ = reply.send(self.destroy().await),
            Ask::Suspend(reply) => _ = reply.send(self.suspend().await),
            Ask::Resume(reply) => _ = reply.send(self.resume().await),
            Ask::Redefine(definition, reply) => _ = reply.send(self.redefine(*definition).await),
            Ask::Undefine(reply) => _ = reply.send(self.undefine().await),
            Ask::Migrate(request, reply) => self.migrate(request, reply),
            Ask::Cancel(reply) => _ = reply.send(self.cancel()),
            Ask::Resolve(word, reply) => self.resolve(word, reply).await,
            Ask::Offer(offered, reply) => self.offer(*offered, reply),
            Ask::Arriving(said) => self.arriving(said).await,
        }
    }

    async fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Exited(reason) => self.exited(reason).await,
            Happened::Left(left) => self.left(left).await,
            Happened::Arrived(arrived) => self.arrived(arrived).await,
        }
    }

    // --- what it is ------------------------------------------------------------------------------------------

    /// The definition that describes it best now.
    fn described(&self) -> Option<Definition> {
        match &self.state {
            State::Active { guest, .. } => Some(guest.definition.clone()),
            State::ShutOff { .. } | State::Leaving { .. } | State::Arriving { .. } => self.definition.clone(),
        }
    }

    fn xml(&self) -> String {
        match &self.state {
            State::Leaving { record, .. } => record.xml.clone(),
            State::Active { guest, .. } => guest.definition.xml().to_owned(),
            State::ShutOff { .. } | State::Arriving { .. } => {
                self.definition.as_ref().map(|definition| definition.xml().to_owned()).unwrap_or_default()
            }
        }
    }

    async fn show(&self) -> api::Domain {
        let definition = self.described().or_else(|| Definition::parse(&self.xml()).ok());
        let domain = definition.as_ref().map(Definition::domain);
        let (state, reason) = self.shown_state().await;
        let (record, pid, migration) = match &self.state {
            State::ShutOff { .. } => (None, None, self.record.moved.as_ref().map(|moved| moved.migration)),
            State::Active { guest, .. } => (Some(&guest.record), Some(guest.process.pid()), None),
            State::Leaving { record, pid, tracker, .. } => (Some(record), *pid, Some(tracker.id())),
            State::Arriving { tracker, .. } => (None, None, Some(tracker.id())),
        };
        let taps = record.map_or(&[][..], |record| &record.taps[..]);
        let disk = |disk: &domain::Disk| api::Disk {
            target: disk.target.clone(),
            source: disk.source.display().to_string(),
            format: disk.format.as_str().to_owned(),
            readonly: disk.readonly,
        };
        let interface = |(index, interface): (usize, &domain::Interface)| api::Interface {
            mac: interface.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            bridge: interface.bridge.clone(),
            tap: taps.get(index).cloned(),
        };
        api::Domain {
            name: self.name.clone(),
            uuid: self.uuid,
            state,
            reason,
            persistent: self.definition.is_some(),
            memory_bytes: domain.map_or(0, |domain| domain.memory.0),
            vcpus: domain.map_or(0, |domain| domain.vcpus_current),
            machine: domain.map(|domain| domain.os.machine.clone()).unwrap_or_default(),
            pid,
            started_at: record.map(|record| record.started_at.clone()),
            migration,
            owner: self.record.moved.as_ref().map(|moved| moved.host.clone()),
            disks: domain.map(|domain| domain.disks.iter().map(disk).collect()).unwrap_or_default(),
            interfaces: domain
                .map(|domain| domain.interfaces.iter().enumerate().map(interface).collect())
                .unwrap_or_default(),
            console: self.console().await,
            log: self.node.store.log_path(&self.name).display().to_string(),
        }
    }

    async fn shown_state(&self) -> (DomainState, Option<String>) {
        match &self.state {
            State::ShutOff { reason } => match &self.record.moved {
                Some(moved) => (DomainState::Moved, Some(format!("moved to {} at {}", moved.host, moved.at))),
                None => (DomainState::ShutOff, reason.clone()),
            },
            State::Active { guest, .. } => {
                match guest.process.qmp.execute_within(QueryStatus, SHOW_TIMEOUT).await {
                    Ok(status) if status.running => (DomainState::Running, None),
                    Ok(status) => match status.status {
                        RunState::Paused | RunState::Prelaunch | RunState::Postmigrate => {
                            (DomainState::Suspended, None)
                        }
                        other => (DomainState::Stopped, Some(format!("QEMU says {}", other.as_str()))),
                    },
                    Err(error) => (DomainState::Stopped, Some(error.to_string())),
                }
            }
            State::Leaving { tracker, .. } => match tracker.migration().report.outcome {
                Some(Outcome::InDoubt) => (DomainState::InDoubt, tracker.migration().report.reason),
                Some(Outcome::Moved | Outcome::Kept | Outcome::Lost) | None => (DomainState::Leaving, None),
            },
            State::Arriving { tracker, .. } => {
                (DomainState::Arriving, Some(format!("from {}", tracker.migration().report.source)))
            }
        }
    }

    /// The pty or socket of the first serial port.
    async fn console(&self) -> Option<String> {
        let State::Active { guest, .. } = &self.state else { return None };
        let chardevs =
            guest.process.qmp.execute_within(qemu::command::QueryChardev, SHOW_TIMEOUT).await.ok()?;
        let serial = chardevs.into_iter().find(|chardev| chardev.label.contains("serial0"))?;
        serial.filename
    }

    /// What stands against changing it now.
    fn free(&self) -> Result<(), Failure> {
        match &self.state {
            State::ShutOff { .. } | State::Active { .. } => Ok(()),
            State::Leaving { tracker, .. } | State::Arriving { tracker, .. } => {
                Err(Failure::Migrating { domain: self.name.clone(), migration: tracker.id() })
            }
        }
    }

    fn wrong_state(&self, state: &'static str, mend: &'static str) -> Failure {
        Failure::WrongState { domain: self.name.clone(), state, mend }
    }

    fn active(&mut self) -> Result<&mut Guest, Failure> {
        self.free()?;
        let shut_off = self.wrong_state("shut off", "`ferry start` starts it");
        match &mut self.state {
            State::Active { guest, .. } => Ok(guest),
            State::ShutOff { .. } | State::Leaving { .. } | State::Arriving { .. } => Err(shut_off),
        }
    }

    // --- the daily verbs -------------------------------------------------------------------------------------

    fn activate(&mut self, guest: Box<Guest>) {
        self.state = State::Active { guest, shutdowns: Vec::new() };
    }

    async fn start(&mut self) -> Result<api::Domain, Failure> {
        self.free()?;
        if let State::Active { .. } = self.state {
            return Err(self.wrong_state("running already", "`ferry info` shows it"));
        }
        if let Some(moved) = &self.record.moved {
            return Err(Failure::MovedAway { domain: self.name.clone(), to: moved.host.clone() });
        }
        let definition = self.definition.as_ref().ok_or_else(|| Failure::DomainNotFound {
            domain: self.name.clone(),
            host: self.node.config.host.clone(),
        })?;
        let guest = guest::start(&self.node, definition).await?;
        tracing::info!(domain = self.name, pid = guest.process.pid(), "started");
        self.activate(Box::new(guest));
        Ok(self.show().await)
    }

    async fn shutdown(&mut self, wait: bool, reply: Reply<api::Domain>) {
        let asked = match self.active() {
            Ok(guest) => guest.process.qmp.execute(SystemPowerdown).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match (asked, &mut self.state) {
            (Ok(_), State::Active { shutdowns, .. }) if wait => shutdowns.push(reply),
            (Ok(_), _) => _ = reply.send(Ok(self.show().await)),
            (Err(failure), _) => _ = reply.send(Err(failure)),
        }
    }

    async fn destroy(&mut self) -> Result<api::Domain, Failure> {
        let guest = self.active()?;
        guest.process.kill();
        if timeout(QUIT_TIMEOUT, guest.process.exited()).await.is_err() {
            return Err(self
                .wrong_state("not ending: QEMU hangs in the kernel", "look at its storage, then ask again"));
        }
        self.exited("destroyed".into()).await;
        Ok(self.show().await)
    }

    async fn suspend(&mut self) -> Result<api::Domain, Failure> {
        self.active()?.process.qmp.execute(Stop).await?;
        Ok(self.show().await)
    }

    async fn resume(&mut self) -> Result<api::Domain, Failure> {
        self.active()?.process.qmp.execute(Cont).await?;
        Ok(self.show().await)
    }

    async fn redefine(&mut self, definition: Definition) -> Result<api::Domain, Failure> {
        self.free()?;
        if let Some(moved) = &self.record.moved {
            return Err(Failure::MovedAway { domain: self.name.clone(), to: moved.host.clone() });
        }
        self.node.store.write_definition(&definition, &self.record)?;
        self.definition = Some(definition);
        Ok(self.show().await)
    }

    async fn undefine(&mut self) -> Result<(), Failure> {
        self.free()?;
        self.node.store.remove_definition(&self.name)?;
        let definition = self.definition.take();
        // As in libvirt, a running domain goes on, and is forgotten when it ends.
        let shut_off = matches!(self.state, State::ShutOff { .. });
        if let (true, None, Some(definition)) = (shut_off, &self.record.moved, &definition) {
            self.release_ownership(definition).await;
        }
        Ok(())
    }

    /// Removes the owner record of a domain that is forgotten, where it names this host and nothing is open.
    async fn release_ownership(&self, definition: &Definition) {
        let Some(path) = guest::owner_path(definition.domain()) else { return };
        let ours = match guest::read_owner(&path).await {
            Ok(Some(record)) => {
                record.domain == self.uuid && record.host == self.node.config.host && record.offered.is_none()
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(path = %path.display(), "an owner record is left alone: {error}");
                false
            }
        };
        if ours && let Err(error) = storage::remove_record(&path).await {
            tracing::warn!(path = %path.display(), "an owner record was left behind: {error}");
        }
    }

    async fn exited(&mut self, reason: String) {
        let shut_off = State::ShutOff { reason: Some(reason.clone()) };
        let State::Active { guest, shutdowns } = std::mem::replace(&mut self.state, shut_off) else { return };
        tracing::info!(domain = self.name, reason, "its QEMU has ended");
        guest::give_back(&self.node, &guest.record, None).await;
        if self.definition.is_none() {
            self.release_ownership(&guest.definition).await;
        }
        for reply in shutdowns {
            let shown = self.show().await;
            _ = reply.send(Ok(shown));
        }
    }

    // --- leaving ---------------------------------------------------------------------------------------------

    fn migrate(&mut self, request: MigrationRequest, reply: Reply<Uuid>) {
        let refusal = self.active().map(|_| ()).and_then(|()| {
            if self.node.neighbours.knows(&request.to) || request.to == self.node.config.host {
                return Ok(());
            }
            self.node.neighbours.client(&request.to).map(drop)
        });
        if let Err(failure) = refusal {
            _ = reply.send(Err(failure));
            return;
        }
        let State::Active { guest, .. } = std::mem::replace(&mut self.state, State::ShutOff { reason: None })
        else {
            unreachable!("active() has just said so");
        };
        let keep_definition = request.source_definition == SourceDefinition::Keep;
        let kept = self.definition.as_ref().filter(|_| !request.transient);
        let inactive_xml = kept.map(|definition| definition.xml().to_owned());
        let tracker = source::begin(&self.node, &self.name, self.uuid, &request);
        let (record, pid) = (guest.record.clone(), guest.process.pid());
        let wish = source::Wish { request, inactive_xml };
        self.leave(record, Some(pid), keep_definition, tracker, |begun| {
            source::run(begun, *guest, wish, reply)
        });
    }

    fn resume_leaving(&mut self, resumed: source::Resumed, tracker: Tracker) {
        let (record, pid) =
            (resumed.record.clone(), resumed.process.as_ref().map(qemu::process::Process::pid));
        let keep_definition = resumed.opened.keep_definition;
        self.leave(record, pid, keep_definition, tracker, |begun| source::recover(begun, resumed));
    }

    /// Hands the guest to a task that drives it away.
    fn leave<F: Future<Output = Left> + Send + 'static>(
        &mut self,
        record: GuestRecord,
        pid: Option<u32>,
        keep_definition: bool,
        tracker: Tracker,
        drive: impl FnOnce(source::Begun) -> F,
    ) {
        let (says, heard) = mpsc::channel(DRIVE_QUEUE);
        let cancel = CancellationToken::new();
        let begun = source::Begun {
            node: Arc::clone(&self.node),
            tracker: tracker.clone(),
            cancelled: cancel.clone(),
            heard,
        };
        let end = tokio::spawn(drive(begun));
        self.state = State::Leaving { record, pid, keep_definition, tracker, cancel, says, end };
    }

    fn cancel(&mut self) -> Result<(), Failure> {
        match &self.state {
            State::Leaving { cancel, tracker, .. } => {
                let phase = tracker.migration().report.phase;
                if matches!(
                    phase,
                    MigrationPhase::Pledged | MigrationPhase::Serving | MigrationPhase::InDoubt
                ) {
                    return Err(self.wrong_state(
                        "pledged to the target: that cannot be taken back",
                        "wait for the verdict; `ferry migrations resolve` ends a doubt by your word",
                    ));
                }
                cancel.cancel();
                Ok(())
            }
            State::Arriving { .. } => Err(Failure::WrongSide { role: "target" }),
            State::ShutOff { .. } | State::Active { .. } => {
                Err(Failure::MigrationEnded { phase: "nothing is moving" })
            }
        }
    }

    async fn resolve(&mut self, word: api::ResolveAs, reply: Reply<()>) {
        match &self.state {
            State::Leaving { tracker, .. }
                if tracker.migration().report.outcome != Some(Outcome::InDoubt) =>
            {
                let not_yet = "not in doubt: it ends by itself";
                _ = reply
                    .send(Err(self.wrong_state(not_yet, "`ferry migrations watch` shows how it goes on")));
            }
            State::Leaving { says, .. } => {
                // The task answers; where it has just ended, the reply is dropped and the asker looks again.
                _ = says.send(source::Said::Resolve(word, reply)).await;
            }
            State::Arriving { says, .. } => _ = says.send(target::Said::Resolve(word, reply)).await,
            State::ShutOff { .. } | State::Active { .. } => {
                _ = reply.send(Err(Failure::MigrationEnded { phase: "it has a known end" }));
            }
        }
    }

    async fn left(&mut self, left: Left) {
        let shut_off = State::ShutOff { reason: None };
        let State::Leaving { keep_definition, tracker, .. } = std::mem::replace(&mut self.state, shut_off)
        else {
            return;
        };
        match left {
            Left::Kept(guest) => self.activate(guest),
            Left::Lost(reason) => self.state = State::ShutOff { reason: Some(reason) },
            Left::Moved => self.bury(&tracker, keep_definition),
        }
        if tracker.is_settled() {
            report(&self.node, &tracker);
        }
    }

    /// The domain belongs to another host now.
    fn bury(&mut self, tracker: &Tracker, keep_definition: bool) {
        let Some(definition) = &self.definition else { return };
        // Without an owner record beside a disk, the tombstone is all that fences it here.
        if keep_definition && guest::owner_path(definition.domain()).is_some() {
            return;
        }
        let moved = MovedTo { host: tracker.migration().report.target, migration: tracker.id(), at: now() };
        self.record.moved = Some(moved);
        if let Err(error) = self.node.store.write_definition(definition, &self.record) {
            // The owner record fences it all the same.
            tracing::error!(domain = self.name, "the tombstone was not written: {error}");
        }
    }

    // --- arriving --------------------------------------------------------------------------------------------

    fn offer(&mut self, offered: (api::Offer, Coming), reply: Reply<api::Ticket>) {
        let free = self.free().and_then(|()| match &self.state {
            State::ShutOff { .. } => Ok(()),
            State::Active { .. } | State::Leaving { .. } | State::Arriving { .. } => {
                Err(self.wrong_state("running here already", "look at both hosts: it must not run twice"))
            }
        });
        if let Err(failure) = free {
            _ = reply.send(Err(failure));
            return;
        }
        let (offer, coming) = offered;
        let tracker = target::begin(&self.node, &self.name, self.uuid, &offer);
        self.arrive(tracker, |begun| target::run(begun, offer, coming, reply));
    }

    fn resume_arriving(&mut self, resumed: target::Resumed, tracker: Tracker) {
        self.arrive(tracker, |begun| target::recover(begun, resumed));
    }

    fn arrive<F: Future<Output = Arrived> + Send + 'static>(
        &mut self,
        tracker: Tracker,
        drive: impl FnOnce(target::Begun) -> F,
    ) {
        let (says, heard) = mpsc::channel(DRIVE_QUEUE);
        let begun = target::Begun { node: Arc::clone(&self.node), tracker: tracker.clone(), heard };
        let end = tokio::spawn(drive(begun));
        self.state = State::Arriving { tracker, says, end };
    }

    async fn arriving(&mut self, said: target::Said) {
        // Where nothing is arriving, the dropped reply tells the asker to look at the migration's end.
        if let State::Arriving { says, .. } = &self.state {
            _ = says.send(said).await;
        }
    }

    async fn arrived(&mut self, arrived: Arrived) {
        let shut_off = State::ShutOff { reason: None };
        let State::Arriving { tracker, .. } = std::mem::replace(&mut self.state, shut_off) else { return };
        match arrived {
            Arrived::Running { guest, inactive } => {
                self.settle_in(inactive);
                self.activate(guest);
            }
            Arrived::Owned { inactive } => {
                self.settle_in(inactive);
                let reason = "its QEMU ended after it had come here".to_owned();
                self.state = State::ShutOff { reason: Some(reason) };
            }
            Arrived::Gone => {}
        }
        if tracker.is_settled() {
            report(&self.node, &tracker);
            self.node.store.remove_arrival(tracker.id());
        }
    }

    /// Remembers the definition of a domain that came here.
    fn settle_in(&mut self, inactive: Option<Box<Definition>>) {
        let was_tombstone = std::mem::take(&mut self.record).moved.is_some();
        let stored = if let Some(definition) = inactive {
            let stored = self.node.store.write_definition(&definition, &self.record);
            self.definition = Some(*definition);
            stored
        } else if !was_tombstone {
            Ok(())
        } else {
            self.definition = None;
            self.node.store.remove_definition(&self.name)
        };
        if let Err(error) = stored {
            tracing::error!(domain = self.name, "its definition was not stored: {error}");
        }
    }
}

/// Waits for what happens without being asked.
async fn happening(state: &mut State) -> Happened {
    match state {
        State::ShutOff { .. } => std::future::pending().await,
        State::Active { guest, .. } => Happened::Exited(guest.process.exited().await.to_string()),
        State::Leaving { end, .. } => Happened::Left(joined(end).await),
        State::Arriving { end, .. } => Happened::Arrived(joined(end).await),
    }
}

async fn joined<T>(end: &mut JoinHandle<T>) -> T {
    match end.await {
        Ok(value) => value,
        // A broken invariant in the task that holds a guest is the agent's own; the next agent recovers from the journal.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_cancelled) => std::future::pending().await,
    }
}

/// Keeps the report of an ended migration.
fn report(node: &Node, tracker: &Tracker) {
    if let Err(error) = node.store.write_report(&tracker.migration()) {
        tracing::warn!(migration = %tracker.id(), "its report was not kept: {error}");
    }
}

/// Waits for a shutdown, but not for ever.
pub(crate) async fn shutdown(node: &Node, domain: &str, after: Duration) -> Result<api::Domain, Failure> {
    let wait = !after.is_zero();
    let asked = node.ask(domain, |reply| Ask::Shutdown { wait, reply });
    if !wait {
        return asked.await;
    }
    let waited = timeout(after, asked).await;
    waited.unwrap_or_else(|_elapsed| Err(Failure::ShutdownTimedOut { domain: domain.to_owned(), after }))
}
