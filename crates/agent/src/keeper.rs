//! One domain's task: it owns the domain's definition and, while the domain is here, its guest. Everyone else sends it
//! an [`Ask`]. During a migration the guest belongs to the migration's own task, which gives it back at its end.
//! What it can be asked is answered in `keeper/`, a file a subject.
//!
//! ```text
//!            start            migrate
//! ShutOff ──────────► Active ─────────► Leaving ──► ShutOff (tombstone) | Active (kept)
//!    ▲  ▲────────────────┘                          in doubt: Leaving, until there is a verdict
//!    │     exit
//!    └──── Arriving ◄── offer      Arriving ──► Active (moved here) | ShutOff or gone (refused)
//! ```

mod arrive;
mod define;
mod figures;
mod leave;
mod lend;
mod look;
mod plug;
mod power;
mod reboot;
mod show;
mod survey;
mod told;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::{AttachRequest, DetachRequest, MediaRequest, MigrationRequest, Nvram, SizeRequest};
use domain::Definition;
use qemu::process::Process;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::drive::converge::Steer;
use crate::drive::postcopy::Switch;
use crate::drive::source::{self, Left};
use crate::drive::target::{self, Arrived, Coming};
use crate::failure::Failure;
use crate::guest::{Guest, GuestRecord};
use crate::limits::{KEEPER_QUEUE, WRITE_AGAIN_EVERY};
use crate::metrics::Figures;
use crate::node::Node;
use crate::placement::Placing;
use crate::store::{DomainRecord, StoreError, blocking};
use crate::tracker::Tracker;
use reboot::{Reboot, Seen};

pub(crate) use lend::Loan;
pub(crate) use look::Looked;
pub(crate) use power::shutdown;
pub(crate) use survey::Surveyed;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// What a domain's task can be asked.
pub(crate) enum Ask {
    Show(Reply<api::Domain>),
    /// The definition that outlives the guest, or the one that it runs with.
    Xml {
        inactive: bool,
        reply: Reply<String>,
    },
    /// For who only looks at the guest.
    Look(Reply<Looked>),
    /// Start it without keeping its definition.
    Create(Box<Definition>, Reply<api::Domain>),
    Figures(Reply<Figures>),
    Start(Reply<api::Domain>),
    /// Answered when the guest has shut itself down, or at once.
    Shutdown {
        wait: bool,
        reply: Reply<api::Domain>,
    },
    /// Answered when the guest has been booted again, or at once where the time is zero.
    Reboot(Duration, Reply<api::Domain>),
    Reset(Reply<api::Domain>),
    Destroy(Reply<api::Domain>),
    Suspend(Reply<api::Domain>),
    Resume(Reply<api::Domain>),
    Redefine(Box<Definition>, Reply<api::Domain>),
    /// Replace a definition, which is given, by another one.
    Edit(Box<Definition>, String, Reply<api::Domain>),
    Resize(SizeRequest, Reply<api::Domain>),
    Autostart(bool, Reply<api::Domain>),
    Rename(String, Reply<api::Domain>),
    /// What becomes of its UEFI variables must be said where there are some.
    Undefine(Option<Nvram>, Reply<()>),
    Attach(AttachRequest, Reply<api::Domain>),
    ChangeMedia(MediaRequest, Reply<api::Domain>),
    /// Answered when the guest has let go of it.
    Detach(DetachRequest, Reply<api::Domain>),
    /// The disks of a domain that is shut off, for a while.
    Lend(Reply<Loan>),
    /// Whether and how it can move.
    Survey(Reply<Surveyed>),
    /// With the warnings of its check, and as what it goes, where something is called otherwise or disks go along.
    Migrate(Box<MigrationRequest>, Vec<api::Finding>, Option<Box<Placing>>, Reply<Uuid>),
    /// The same of a domain that is shut off, and as what it goes.
    MigrateOffline(Box<MigrationRequest>, Vec<api::Finding>, Box<Placing>, Reply<Uuid>),
    Cancel(Reply<()>),
    Postcopy(Reply<()>),
    /// For the task that takes a domain away while it runs.
    Steer(Steer, Reply<()>),
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
    /// Nothing of it was here before: it comes here, or is started without being kept.
    New,
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
    /// A migration that has ended, while the disk does not take what it changed.
    unwritten: Option<Tracker>,
}

enum State {
    ShutOff {
        reason: Option<String>,
    },
    /// Shut off, and somebody works on its disks.
    Lent {
        back: oneshot::Receiver<()>,
    },
    Active {
        guest: Box<Guest>,
        ears: told::Ears,
        detaching: Vec<plug::Detaching>,
        shutdowns: Vec<Reply<api::Domain>>,
        reboot: Option<Reboot>,
    },
    Leaving {
        record: GuestRecord,
        pid: Option<u32>,
        keep_definition: bool,
        tracker: Tracker,
        cancel: CancellationToken,
        switch: Arc<Switch>,
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
    Told(qemu::qmp::Event),
    Exited(qemu::process::Exit),
    Rebooting(Seen),
    Returned,
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
        unwritten: None,
    };
    match begin {
        Begin::ShutOff(record) => keeper.record = record,
        Begin::New => {}
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
    tokio::spawn(keeper.run(Inbox { asks: inbox, waiting: VecDeque::new() }));
    handle
}

/// What the domain's task is asked, in order.
struct Inbox {
    asks: mpsc::Receiver<Ask>,
    /// What was asked while something else was being done.
    waiting: VecDeque<Ask>,
}

impl Inbox {
    /// Cancel safe.
    async fn next(&mut self) -> Option<Ask> {
        match self.waiting.pop_front() {
            Some(ask) => Some(ask),
            None => self.asks.recv().await,
        }
    }

    /// Does something while more is asked. A guest that is to be destroyed does not wait until its QEMU has answered
    /// what is being done, which may hang: it is killed at once, and that ends the other thing too. The answer comes
    /// in its turn.
    async fn meanwhile(&mut self, guest: Option<Process>, work: impl Future<Output = ()>) {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = &mut work => return,
                Some(ask) = self.asks.recv(), if self.waiting.len() < KEEPER_QUEUE => {
                    if let (Ask::Destroy(_), Some(guest)) = (&ask, &guest) {
                        guest.kill();
                    }
                    self.waiting.push_back(ask);
                }
            }
        }
    }
}

impl Keeper {
    async fn run(mut self, mut inbox: Inbox) {
        // Boxed: what is done for an ask is a hundred times what a domain needs while nothing is asked.
        Box::pin(self.catch_up()).await;
        loop {
            tokio::select! {
                ask = inbox.next() => match ask {
                    Some(ask) => {
                        let guest = self.running();
                        inbox.meanwhile(guest, Box::pin(self.answer(ask))).await;
                    }
                    None => break,
                },
                happened = happening(&mut self.state) => {
                    let guest = self.running();
                    inbox.meanwhile(guest, Box::pin(self.happened(happened))).await;
                }
                () = sleep(WRITE_AGAIN_EVERY), if self.unwritten.is_some() => {
                    if let Some(tracker) = self.unwritten.take() {
                        Box::pin(self.write_down(tracker)).await;
                    }
                }
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
            Ask::Xml { inactive: true, reply } => _ = reply.send(self.inactive_xml()),
            Ask::Xml { inactive: false, reply } => _ = reply.send(Ok(self.xml())),
            Ask::Look(reply) => _ = reply.send(self.look()),
            Ask::Create(definition, reply) => _ = reply.send(self.create(*definition).await),
            Ask::Figures(reply) => _ = reply.send(Ok(self.figures().await)),
            Ask::Start(reply) => _ = reply.send(self.start().await),
            Ask::Shutdown { wait, reply } => self.shutdown(wait, reply).await,
            Ask::Reboot(within, reply) => self.reboot(within, reply).await,
            Ask::Reset(reply) => _ = reply.send(self.reset().await),
            Ask::Destroy(reply) => _ = reply.send(self.destroy().await),
            Ask::Suspend(reply) => _ = reply.send(self.suspend().await),
            Ask::Resume(reply) => _ = reply.send(self.resume().await),
            Ask::Redefine(definition, reply) => _ = reply.send(self.redefine(*definition).await),
            Ask::Edit(definition, replaces, reply) => {
                _ = reply.send(self.edit(*definition, &replaces).await);
            }
            Ask::Resize(size, reply) => _ = reply.send(self.resize(size).await),
            Ask::Autostart(enabled, reply) => _ = reply.send(self.set_autostart(enabled).await),
            Ask::Rename(name, reply) => _ = reply.send(self.rename(name).await),
            Ask::Lend(reply) => _ = reply.send(self.lend().await),
            Ask::Undefine(nvram, reply) => _ = reply.send(self.undefine(nvram).await),
            Ask::Attach(request, reply) => _ = reply.send(self.attach(request).await),
            Ask::ChangeMedia(request, reply) => _ = reply.send(self.change_media(&request).await),
            Ask::Detach(request, reply) => self.detach(request, reply).await,
            Ask::Survey(reply) => _ = reply.send(self.survey()),
            Ask::Migrate(request, warnings, placing, reply) => {
                self.migrate(*request, warnings, placing, reply)
            }
            Ask::MigrateOffline(request, warnings, placing, reply) => {
                self.migrate_offline(*request, warnings, *placing, reply).await;
            }
            Ask::Cancel(reply) => _ = reply.send(self.cancel()),
            Ask::Postcopy(reply) => _ = reply.send(self.postcopy()),
            Ask::Steer(steer, reply) => _ = reply.send(self.steer(steer)),
            Ask::Resolve(word, reply) => self.resolve(word, reply).await,
            Ask::Offer(offered, reply) => self.offer(*offered, reply),
            Ask::Arriving(said) => self.arriving(said).await,
        }
    }

    async fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Told(event) => self.told(event).await,
            Happened::Exited(exit) => {
                let (kind, reason) = self.last_words(exit).await;
                self.exited(kind, reason).await;
            }
            Happened::Returned => self.state = State::ShutOff { reason: None },
            Happened::Rebooting(seen) => self.rebooting(seen).await,
            Happened::Left(left) => self.left(left).await,
            Happened::Arrived(arrived) => self.arrived(arrived).await,
        }
    }

    /// Writes down what an ended migration made of the definition, and then its report. A disk that does not take them is
    /// tried again; until then the journal has no report, so that the next agent takes the migration up once more.
    async fn write_down(&mut self, tracker: Tracker) {
        let (store, name, report) = (self.node.store.clone(), self.name.clone(), tracker.migration());
        let kept = self.definition.clone().map(|definition| (definition, self.record.clone()));
        let writing = move || {
            match &kept {
                Some((definition, record)) => store.write_definition(definition, record)?,
                None => store.remove_definition(&name)?,
            }
            store.write_report(&report)?;
            store.remove_arrival(report.report.id);
            Ok::<(), StoreError>(())
        };
        if let Err(error) = blocking(writing).await {
            tracing::error!(domain = self.name, migration = %tracker.id(), "not written down yet: {error}");
            self.unwritten = Some(tracker);
        }
    }

    /// The guest's QEMU, where the domain's task has it.
    fn running(&self) -> Option<Process> {
        match &self.state {
            State::Active { guest, .. } => Some(guest.process.clone()),
            State::ShutOff { .. } | State::Lent { .. } | State::Leaving { .. } | State::Arriving { .. } => {
                None
            }
        }
    }

    /// What stands against changing it now.
    fn free(&self) -> Result<(), Failure> {
        match &self.state {
            State::ShutOff { .. } | State::Active { .. } => Ok(()),
            State::Lent { .. } => {
                Err(self
                    .wrong_state("being copied, or its snapshots are worked on", "wait until that has ended"))
            }
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
            State::ShutOff { .. } | State::Lent { .. } | State::Leaving { .. } | State::Arriving { .. } => {
                Err(shut_off)
            }
        }
    }
}

/// Waits for what happens without being asked.
async fn happening(state: &mut State) -> Happened {
    match state {
        State::ShutOff { .. } => std::future::pending().await,
        State::Lent { back } => {
            // The loan is dropped, which says all.
            _ = back.await;
            Happened::Returned
        }
        State::Active { guest, ears, reboot, .. } => tokio::select! {
            event = ears.next() => Happened::Told(event),
            exit = guest.process.exited() => Happened::Exited(exit),
            seen = Reboot::seen(reboot) => Happened::Rebooting(seen),
        },
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

#[cfg(test)]
mod tests;
