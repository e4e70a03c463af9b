//! Empties this host: each domain that runs here goes to the host with the most room that can take it, and to the next one
//! where that fails. Some are prepared while others are on their way; how many of these go over at once is [`crate::turns`]'.
//! An agent that is restarted does not go on with it: what is under way ends by itself. Main function: [`begin`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{
    CheckRequest, Drain, DrainRequest, DrainState, DrainedDomain, MigrationEvent, MigrationRequest, NotThere,
    Outcome, StopDrain,
};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use migration::drain::Rooms;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::departure::depart;
use crate::failure::{DrainFailure, Failure};
use crate::http::finish::finish;
use crate::keeper::Ask;
use crate::limits::{DRAIN_PREPARED_AHEAD, HOST_TIMEOUT};
use crate::node::Node;
use crate::preflight;

/// The last time that this host was emptied.
#[derive(Default)]
pub(crate) struct Drains {
    last: Mutex<Option<Arc<Emptying>>>,
}

/// One time that this host is emptied, for all who watch and stop it.
pub(crate) struct Emptying {
    pub(crate) table: watch::Sender<Drain>,
    /// No further domain is begun with.
    stopped: CancellationToken,
    /// What is under way is cancelled, too.
    cancelled: CancellationToken,
}

impl Drains {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Emptying>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn last(&self, host: &str) -> Result<Arc<Emptying>, Failure> {
        let last = self.lock().clone();
        last.ok_or_else(|| DrainFailure::None { host: host.to_owned() }.into())
    }

    /// Whether domains leave now, so that none may come.
    pub(crate) fn is_emptying(&self) -> bool {
        self.lock().as_ref().is_some_and(|last| {
            let table = last.table.borrow();
            !table.ended && !table.dry_run
        })
    }

    fn begin(&self, table: Drain) -> Result<Arc<Emptying>, Failure> {
        let mut last = self.lock();
        if last.as_ref().is_some_and(|last| !last.table.borrow().ended) {
            return Err(DrainFailure::Runs { host: table.host }.into());
        }
        let begun = Arc::new(Emptying {
            table: watch::Sender::new(table),
            stopped: CancellationToken::new(),
            cancelled: CancellationToken::new(),
        });
        *last = Some(Arc::clone(&begun));
        Ok(begun)
    }
}

impl Emptying {
    pub(crate) fn stop(&self, how: StopDrain) {
        self.table.send_modify(|table| table.stopping = true);
        self.stopped.cancel();
        if how.cancel {
            self.cancelled.cancel();
        }
    }

    fn change(&self, row: usize, change: impl FnOnce(&mut DrainedDomain)) {
        self.table.send_modify(|table| change(&mut table.domains[row]));
    }

    /// It did not go there.
    fn not_there(&self, row: usize, host: Option<String>, reason: String) {
        self.change(row, |domain| domain.not_there.push(NotThere { host, reason }));
    }

    /// How it ended.
    fn end(&self, row: usize, state: DrainState) {
        self.change(row, |domain| {
            domain.state = state;
            domain.progress = None;
            if state == DrainState::Stays {
                domain.target = None;
            }
        });
    }
}

/// Begins to empty this host; the rest goes on by itself.
pub(crate) async fn begin(node: &Arc<Node>, request: DrainRequest) -> Result<Drain, Failure> {
    let here = &node.config.host;
    if request.host != *here {
        return Err(DrainFailure::OtherHost { asked: request.host, here: here.clone() }.into());
    }
    let targets = targets(node, &request)?;
    let domains = domains(node).await;
    let table = Drain { host: here.clone(), dry_run: request.dry_run, domains, ..Drain::default() };
    let emptying = node.drains.begin(table.clone())?;
    tokio::spawn(empty(Arc::clone(node), emptying, request, targets));
    Ok(table)
}

fn targets(node: &Node, request: &DrainRequest) -> Result<Vec<String>, Failure> {
    if request.to.is_empty() {
        let known: Vec<String> = node.neighbours.list().into_iter().map(|host| host.name).collect();
        return if known.is_empty() { Err(DrainFailure::NoTargets.into()) } else { Ok(known) };
    }
    for host in &request.to {
        node.neighbours.client(host)?;
    }
    Ok(request.to.clone())
}

/// The domains that have a QEMU here, the largest first.
async fn domains(node: &Node) -> Vec<DrainedDomain> {
    let mut domains: Vec<DrainedDomain> = node
        .domains()
        .await
        .into_iter()
        .filter(|domain| domain.pid.is_some())
        .map(|domain| DrainedDomain {
            domain: domain.name,
            uuid: domain.uuid,
            memory_bytes: domain.memory_bytes,
            state: DrainState::Waiting,
            target: None,
            migration: None,
            progress: None,
            not_there: Vec::new(),
        })
        .collect();
    domains.sort_by(|one, other| {
        other.memory_bytes.cmp(&one.memory_bytes).then_with(|| one.domain.cmp(&other.domain))
    });
    domains
}

async fn empty(node: Arc<Node>, emptying: Arc<Emptying>, request: DrainRequest, targets: Vec<String>) {
    let at_once = request.at_once.map_or_else(
        || node.config.transfers_out_max.get() + DRAIN_PREPARED_AHEAD,
        |at_once| usize::try_from(at_once).unwrap_or(usize::MAX).max(1),
    );
    let rooms = Mutex::new(rooms(&node, targets).await);
    let count = emptying.table.borrow().domains.len();
    let (node, emptying_of, request, rooms) = (&node, &emptying, &request, &rooms);
    stream::iter(0..count)
        .for_each_concurrent(at_once, |row| async move {
            let one = One { node, emptying: emptying_of, request, rooms, row };
            emptying_of.end(row, one.go().await);
        })
        .await;
    emptying.table.send_modify(|table| table.ended = true);
}

/// What the targets have, asked all at once. One that does not answer, or is emptied itself, is tried last: it may answer by then,
/// and says why not where it refuses.
async fn rooms(node: &Node, targets: Vec<String>) -> Rooms {
    let asked = targets.into_iter().map(|host| async move {
        let asking = async { node.neighbours.client(&host).ok()?.room().await.ok() };
        let room = timeout(HOST_TIMEOUT, asking).await.ok().flatten();
        let free = room.filter(|room| !room.draining).map(|room| room.memory_available_bytes);
        (host, free)
    });
    Rooms::new(join_all(asked).await)
}

/// One domain that leaves.
struct One<'a> {
    node: &'a Arc<Node>,
    emptying: &'a Emptying,
    request: &'a DrainRequest,
    rooms: &'a Mutex<Rooms>,
    row: usize,
}

impl One<'_> {
    /// Tries one host after the other, until one takes it or somebody stops the drain.
    async fn go(&self) -> DrainState {
        let (uuid, memory_bytes) = {
            let table = self.emptying.table.borrow();
            (table.domains[self.row].uuid, table.domains[self.row].memory_bytes)
        };
        let mut tried = BTreeSet::new();
        while !self.emptying.stopped.is_cancelled() {
            let Some(target) = self.rooms().take(memory_bytes, &tried) else { return DrainState::Stays };
            self.emptying.change(self.row, |domain| {
                domain.state = DrainState::Checking;
                domain.target = Some(target.clone());
            });
            let went = match self.request.dry_run {
                true => self.fits(uuid, &target).await,
                false => self.moves(uuid, &target).await,
            };
            match went {
                Ok(state) => return state,
                Err(reason) => {
                    self.rooms().give_back(&target, memory_bytes);
                    self.emptying.not_there(self.row, Some(target.clone()), reason);
                    tried.insert(target);
                }
            }
        }
        if tried.is_empty() {
            let reason = "it was not begun with: somebody stopped the drain".to_owned();
            self.emptying.not_there(self.row, None, reason);
        }
        DrainState::Stays
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn migration(&self, target: &str) -> MigrationRequest {
        MigrationRequest { to: target.to_owned(), ..self.request.migration.clone() }
    }

    async fn fits(&self, uuid: Uuid, target: &str) -> Result<DrainState, String> {
        let asked = CheckRequest::of(&self.migration(target));
        let checking = preflight::check(Arc::clone(self.node), uuid.to_string(), asked);
        let checked = finish(checking).await.and_then(preflight::permitted);
        checked.map(|_warnings| DrainState::Fits).map_err(|failure| reason(&failure))
    }

    /// Moves it, and waits for the end.
    async fn moves(&self, uuid: Uuid, target: &str) -> Result<DrainState, String> {
        let name = uuid.to_string();
        let departing = depart(self.node, &name, self.migration(target));
        let id = tokio::select! {
            begun = departing => begun.map_err(|failure| reason(&failure))?,
            () = self.emptying.cancelled.cancelled() => return Err(Failure::Cancelled.to_string()),
        };
        self.emptying.change(self.row, |domain| {
            domain.state = DrainState::Moving;
            domain.migration = Some(id);
        });
        let (_domain, tracker) = self.node.migration(id).map_err(|failure| failure.chain())?;
        let mut events = std::pin::pin!(tracker.events());
        let mut cancelled = std::pin::pin!(self.emptying.cancelled.cancelled());
        let mut asked = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = &mut cancelled, if !asked => {
                    asked = true;
                    // After the pledge it is too late: then it moves.
                    _ = self.node.ask(&name, Ask::Cancel).await;
                    continue;
                }
            };
            match event {
                Some(MigrationEvent::Progress(progress)) => {
                    self.emptying.change(self.row, |domain| domain.progress = Some(progress));
                }
                Some(MigrationEvent::Ended(report)) => {
                    let why = report.reason.unwrap_or_default();
                    return match report.outcome {
                        Some(Outcome::Moved | Outcome::Copied) => Ok(DrainState::Moved),
                        Some(Outcome::InDoubt) => Ok(DrainState::InDoubt),
                        Some(Outcome::Lost) => Ok(DrainState::Lost),
                        Some(Outcome::Kept) | None => Err(why),
                    };
                }
                Some(_other) => {}
                None => return Err(Failure::Stopping.to_string()),
            }
        }
    }
}

/// Why a domain does not go to a host, in one line.
fn reason(failure: &Failure) -> String {
    let Failure::Preflight { findings, .. } = failure else { return failure.chain() };
    let fatal = findings.iter().filter(|finding| finding.fatal);
    fatal.map(|finding| format!("{}: {}", finding.code, finding.message)).collect::<Vec<_>>().join("; ")
}
