//! The domain arrives: a migration's task takes it in and hands the guest over.

use std::sync::Arc;

use api::{EventKind, Outcome};
use domain::Definition;
use tokio::sync::mpsc;

use super::{Keeper, Reply, State};
use crate::drive::target::{self, Arrived, Coming};
use crate::limits::DRIVE_QUEUE;
use crate::tracker::Tracker;

impl Keeper {
    pub(super) fn offer(&mut self, offered: (api::Offer, Coming), reply: Reply<api::Ticket>) {
        let free = self.free().and_then(|()| match &self.state {
            State::ShutOff { .. } => Ok(()),
            State::Lent { .. } | State::Active { .. } | State::Leaving { .. } | State::Arriving { .. } => {
                Err(self.wrong_state("running here already", "look at both hosts: it must not run twice"))
            }
        });
        if let Err(failure) = free {
            _ = reply.send(Err(failure));
            return;
        }
        let (offer, coming) = offered;
        let tracker = target::begin(&self.node, &self.name, self.uuid, &offer);
        self.tell(EventKind::Arriving, format!("from {}", tracker.migration().report.source));
        self.arrive(tracker, |begun| target::run(begun, offer, coming, reply));
    }

    pub(super) fn resume_arriving(&mut self, resumed: target::Resumed, tracker: Tracker) {
        self.arrive(tracker, |begun| target::recover(begun, resumed));
    }

    pub(super) fn arrive<F: Future<Output = Arrived> + Send + 'static>(
        &mut self,
        tracker: Tracker,
        drive: impl FnOnce(target::Begun) -> F,
    ) {
        let (says, heard) = mpsc::channel(DRIVE_QUEUE);
        let begun = target::Begun { node: Arc::clone(&self.node), tracker: tracker.clone(), heard };
        let end = tokio::spawn(drive(begun));
        self.state = State::Arriving { tracker, says, end };
    }

    pub(super) async fn arriving(&mut self, said: target::Said) {
        // Where nothing is arriving, the dropped reply tells the asker to look at the migration's end.
        if let State::Arriving { says, .. } = &self.state {
            _ = says.send(said).await;
        }
    }

    pub(super) async fn arrived(&mut self, arrived: Arrived) {
        let shut_off = State::ShutOff { reason: None };
        let State::Arriving { tracker, .. } = std::mem::replace(&mut self.state, shut_off) else { return };
        self.node.turns.ended(tracker.id());
        match arrived {
            Arrived::Running { guest, inactive } => {
                self.settle_in(inactive);
                self.activate(guest);
                self.tell(EventKind::Arrived, format!("from {}", tracker.migration().report.source));
                self.catch_up().await;
            }
            Arrived::Owned { inactive } => {
                self.settle_in(inactive);
                let reason = "its QEMU ended after it had come here".to_owned();
                self.state = State::ShutOff { reason: Some(reason.clone()) };
                self.tell(EventKind::Lost, reason);
            }
            Arrived::ShutOff { definition } => {
                self.settle_in(Some(definition));
                self.tell(
                    EventKind::Arrived,
                    format!("from {}, shut off", tracker.migration().report.source),
                );
            }
            Arrived::Gone => {
                let report = tracker.migration().report;
                let said =
                    if report.outcome == Some(Outcome::Lost) { EventKind::Lost } else { EventKind::Kept };
                self.tell(said, report.reason);
            }
        }
        if tracker.is_settled() {
            self.write_down(tracker).await;
        }
    }

    /// The definition of a domain that came here; a tombstone of it means nothing any more.
    fn settle_in(&mut self, inactive: Option<Box<Definition>>) {
        let was_tombstone = self.record.moved.take().is_some();
        if inactive.is_some() || was_tombstone {
            self.definition = inactive.map(|definition| *definition);
        }
    }
}
