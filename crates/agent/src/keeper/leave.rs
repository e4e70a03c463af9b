//! The domain leaves: its guest is handed to a migration's task, which gives it back or says where it went.

use std::sync::Arc;

use api::{EventKind, Finding, MigrationPhase, MigrationRequest, Outcome, SourceDefinition};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Keeper, Reply, State};
use crate::drive::converge::Steer;
use crate::drive::source::{self, Left};
use crate::drive::{cold, target};
use crate::failure::Failure;
use crate::guest::{self, GuestRecord};
use crate::limits::DRIVE_QUEUE;
use crate::placement::Placing;
use crate::store::MovedTo;
use crate::tracker::{Tracker, now};
use crate::verify;

impl Keeper {
    pub(super) fn migrate(
        &mut self,
        request: MigrationRequest,
        warnings: Vec<Finding>,
        placing: Option<Box<Placing>>,
        reply: Reply<Uuid>,
    ) {
        let refusal = self.active().map(|_| ()).and_then(|()| {
            if matches!(&self.state, State::Active { reboot: Some(_), .. }) {
                return Err(self.wrong_state("rebooting", "migrate it when it has booted"));
            }
            if self.node.neighbours.knows(&request.to) || request.to == self.node.config.host {
                return Ok(());
            }
            self.node.neighbours.client(&request.to).map(drop)
        });
        let refusal = refusal.and_then(|()| match &self.state {
            // Nobody knows yet whether the target's machine has it.
            State::Active { detaching, .. } if detaching.iter().any(|asked| !asked.reply.is_closed()) => {
                Err(self.wrong_state("giving up a device", "migrate it when that has ended"))
            }
            State::Active { .. }
            | State::ShutOff { .. }
            | State::Lent { .. }
            | State::Leaving { .. }
            | State::Arriving { .. } => Ok(()),
        });
        let kept = self.definition.as_ref().filter(|_| !request.transient);
        let inactive = kept.map(|definition| match &placing {
            Some(placing) => definition.mapped(&placing.elsewhere).map_err(Failure::Definition),
            None => Ok(definition.clone()),
        });
        let inactive = refusal.and_then(|()| inactive.transpose());
        let inactive_xml = match inactive {
            Ok(inactive) => inactive.map(|definition| definition.xml().to_owned()),
            Err(failure) => {
                _ = reply.send(Err(failure));
                return;
            }
        };
        let State::Active { guest, .. } = std::mem::replace(&mut self.state, State::ShutOff { reason: None })
        else {
            unreachable!("active() has just said so");
        };
        let keep_definition = request.source_definition == SourceDefinition::Keep;
        let tracker = source::begin(&self.node, &self.name, self.uuid, &request);
        self.tell(EventKind::Leaving, format!("to {}", request.to));
        let (record, pid) = (guest.record.clone(), guest.process.pid());
        let wish = source::Wish { request, inactive_xml, warnings, placing };
        self.leave(record, Some(pid), keep_definition, tracker, |begun| {
            source::run(begun, *guest, wish, reply)
        });
    }

    /// Moves the domain shut off.
    pub(super) async fn migrate_offline(
        &mut self,
        request: MigrationRequest,
        warnings: Vec<Finding>,
        placing: Placing,
        reply: Reply<Uuid>,
    ) {
        let leaving = match self.leaving(placing).await {
            Ok(leaving) => leaving,
            Err(failure) => {
                _ = reply.send(Err(failure));
                return;
            }
        };
        let keep_definition = request.source_definition == SourceDefinition::Keep;
        let tracker = source::begin(&self.node, &self.name, self.uuid, &request);
        self.tell(EventKind::Leaving, format!("to {}", request.to));
        let record = leaving.record.clone();
        let wish = source::Wish { request, inactive_xml: None, warnings, placing: None };
        self.leave(record, None, keep_definition, tracker, |begun| cold::run(begun, leaving, wish, reply));
    }

    /// The right to run the domain, for a move; it must be shut off, and this host's.
    async fn leaving(&mut self, placing: Placing) -> Result<cold::Leaving, Failure> {
        let definition = self.kept()?.clone();
        if let State::Active { .. } = self.state {
            let mend = "shut it down first (`ferry shutdown`), or migrate it live, without --offline";
            return Err(self.wrong_state("running", mend));
        }
        let right = guest::claim(&self.node, definition.domain()).await?;
        let record = GuestRecord::new(&self.node, &definition, right.generation())?;
        Ok(cold::Leaving { right, record, definition, placing })
    }

    pub(super) fn resume_leaving(&mut self, resumed: source::Resumed, tracker: Tracker) {
        let (record, pid) =
            (resumed.record.clone(), resumed.process.as_ref().map(qemu::process::Process::pid));
        let keep_definition = resumed.opened.keep_definition;
        self.leave(record, pid, keep_definition, tracker, |begun| source::recover(begun, resumed));
    }

    /// Hands the guest to a task that drives it away.
    pub(super) fn leave<F: Future<Output = Left> + Send + 'static>(
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
            switch: Arc::default(),
            heard,
        };
        let switch = Arc::clone(&begun.switch);
        let end = tokio::spawn(drive(begun));
        self.state = State::Leaving { record, pid, keep_definition, tracker, cancel, switch, says, end };
    }

    /// An operator wants the guest handed over before all its memory is on the target.
    pub(super) fn postcopy(&mut self) -> Result<(), Failure> {
        match &self.state {
            State::Leaving { switch, tracker, says, .. } => match tracker.migration().report.phase {
                MigrationPhase::Streaming if switch.is_allowed() => {
                    self.pass_on(says, source::Said::Postcopy)
                }
                MigrationPhase::Streaming => Err(self.wrong_state(
                    "moving without post-copy",
                    "cancel it and begin it again with --allow-postcopy",
                )),
                _before_or_after => Err(self.wrong_state(
                    "at another point of its migration",
                    "a guest is handed over while its memory goes over",
                )),
            },
            State::Arriving { .. } => Err(Failure::WrongSide { role: "target" }),
            State::ShutOff { .. } | State::Lent { .. } | State::Active { .. } => {
                Err(Failure::MigrationEnded { phase: "nothing is moving" })
            }
        }
    }

    pub(super) fn cancel(&mut self) -> Result<(), Failure> {
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
            State::ShutOff { .. } | State::Lent { .. } | State::Active { .. } => {
                Err(Failure::MigrationEnded { phase: "nothing is moving" })
            }
        }
    }

    /// Passes on what somebody wants of a live migration; it is done while memory goes over.
    pub(super) fn steer(&mut self, steer: Steer) -> Result<(), Failure> {
        match &self.state {
            State::Leaving { says, tracker, .. } => {
                let report = tracker.migration().report;
                if report.offline {
                    return Err(self.wrong_state("moving shut off", "`ferry migrations cancel` stops it"));
                }
                let going = [MigrationPhase::Planned, MigrationPhase::Reserved, MigrationPhase::Streaming];
                if !going.contains(&report.phase) {
                    let over = "already stopped for its last round";
                    return Err(self.wrong_state(over, "`ferry migrations watch` shows how it ends"));
                }
                self.pass_on(says, source::Said::Steer(steer))
            }
            State::Arriving { .. } => Err(Failure::WrongSide { role: "target" }),
            State::ShutOff { .. } | State::Lent { .. } | State::Active { .. } => {
                Err(Failure::MigrationEnded { phase: "nothing is moving" })
            }
        }
    }

    fn pass_on(&self, says: &mpsc::Sender<source::Said>, said: source::Said) -> Result<(), Failure> {
        let busy = |_full| self.wrong_state("being told other things", "try again in a second");
        says.try_send(said).map_err(busy)
    }

    pub(super) async fn resolve(&mut self, word: api::ResolveAs, reply: Reply<()>) {
        match &self.state {
            State::Leaving { tracker, .. }
                if tracker.migration().report.outcome != Some(Outcome::InDoubt)
                    && tracker.migration().report.phase != MigrationPhase::Serving =>
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
            State::ShutOff { .. } | State::Lent { .. } | State::Active { .. } => {
                _ = reply.send(Err(Failure::MigrationEnded { phase: "it has a known end" }));
            }
        }
    }

    pub(super) async fn left(&mut self, left: Left) {
        let shut_off = State::ShutOff { reason: None };
        let State::Leaving { keep_definition, tracker, .. } = std::mem::replace(&mut self.state, shut_off)
        else {
            return;
        };
        let moved = matches!(left, Left::Moved);
        match left {
            Left::Kept(guest) => {
                self.activate(guest);
                self.tell(EventKind::Kept, tracker.migration().report.reason);
                self.catch_up().await;
            }
            Left::Stays => {
                let report = tracker.migration().report;
                let said = if report.outcome == Some(Outcome::Copied) {
                    Some(format!("a copy of it is on {}", report.target))
                } else {
                    report.reason
                };
                self.tell(EventKind::Kept, said);
            }
            Left::Lost(reason) => {
                self.state = State::ShutOff { reason: Some(reason.clone()) };
                self.tell(EventKind::Lost, reason);
            }
            Left::Moved => {
                self.bury(&tracker, keep_definition).await;
                self.tell(EventKind::Moved, format!("to {}", tracker.migration().report.target));
            }
        }
        if tracker.is_settled() {
            self.write_down(tracker.clone()).await;
        }
        if moved && tracker.migration().report.offline {
            tracker.tell_end();
        } else if moved {
            // Where it is not written down yet, its report is written with the rest.
            let written = self.unwritten.is_none();
            tokio::spawn(verify::complete(Arc::clone(&self.node), tracker, written));
        }
    }

    /// The domain belongs to another host now.
    async fn bury(&mut self, tracker: &Tracker, keep_definition: bool) {
        let Some(definition) = &self.definition else { return };
        // Where no owner record beside its disk says so, the tombstone is all that fences it here.
        if keep_definition && matches!(self.own(definition.domain()).await, Err(Failure::Fenced { .. })) {
            return;
        }
        let moved = MovedTo { host: tracker.migration().report.target, migration: tracker.id(), at: now() };
        self.record.moved = Some(moved);
    }
}
