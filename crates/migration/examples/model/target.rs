//! What the target's agent does; as [`crate::source`] for the source's. Main type: [`TargetStep`].

use migration::handover::{
    OnPledge, TargetQemu, TargetRecovery, Verdict, is_cut_off, on_abandon, on_pledge, recover_target,
};
use migration::owner::OwnerRecord;
use migration::phase::Phase;
use migration::source::Pledge;
use migration::target::Receiving;

use crate::world::{
    Breach, DOMAIN, GENERATION, Host, Message, Record, SourceProcess, TargetAgent, TargetProcess, World,
};

/// One step of the target's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetStep {
    /// Its QEMU died in its own life: it ends the migration by what it knows.
    NoticeGone,
    /// Owner record: this host's, after the guest ran.
    WriteRecord,
    /// Journal: running; after the owner record, so that the end stands only where the ownership does.
    WriteRunning,
    /// Ends a QEMU that must not run any more.
    EndQemu,
    /// Asks the source how it ended.
    Ask,
}

impl World {
    /// The steps that the target's agent can take now, without a message.
    pub(crate) fn target_steps(&self, steps: &mut Vec<TargetStep>) {
        let TargetAgent::Up { made_qemu, continued } = self.target else { return };
        let view = self.target_view();
        let open = self.target_end().is_none();
        let gone = view == TargetQemu::Gone;
        let adopts = !made_qemu && recover_target(view) == TargetRecovery::Adopt;
        let saw_it_run = open && self.history.ran_on_target && (continued || adopts);
        if open && made_qemu && gone {
            steps.push(TargetStep::NoticeGone);
        }
        if saw_it_run && self.handed().is_some() {
            steps.push(TargetStep::WriteRecord);
        }
        if open && self.target_owns() && !self.is_unfilled() {
            steps.push(TargetStep::WriteRunning);
        }
        if matches!(self.target_end(), Some(Verdict::Refused | Verdict::Lost))
            && matches!(view, TargetQemu::Incoming | TargetQemu::Loaded)
        {
            steps.push(TargetStep::EndQemu);
        }
    }

    /// What the target's agent says (again) now.
    pub(crate) fn target_says(&self) -> Option<TargetStep> {
        let TargetAgent::Up { made_qemu, .. } = self.target else { return None };
        let view = self.target_view();
        let is_unserved = self.postcopy.cut || self.source_qemu != SourceProcess::Serving;
        let asks = match recover_target(view) {
            TargetRecovery::AskSource => !made_qemu,
            TargetRecovery::Adopt => view == TargetQemu::Filling && is_unserved,
            TargetRecovery::Wait => false,
        };
        let asks = asks && self.target_end().is_none() && !self.network.has(Message::Question);
        asks.then_some(TargetStep::Ask)
    }

    pub(crate) fn target_step(&mut self, step: TargetStep) {
        match step {
            TargetStep::NoticeGone => {
                let known = self.known().expect("the step needs an agent");
                self.answer(on_abandon(&known));
            }
            TargetStep::WriteRecord => {
                let pledge = Pledge { generation: GENERATION + 1 };
                let granted = Receiving::recovered(DOMAIN, ()).loaded().grant(pledge);
                let record = self.handed().expect("the step asked for it");
                let of_right = OwnerRecord::of(&granted.running().right, Host::Target.name());
                assert_eq!(record, Record::of(&of_right));
                self.record = record;
            }
            TargetStep::WriteRunning => self.target_journal = Phase::Running,
            TargetStep::EndQemu => self.target_qemu = TargetProcess::Gone,
            TargetStep::Ask => self.network.add(Message::Question),
        }
    }

    pub(crate) fn restart_target(&mut self) {
        self.target = TargetAgent::Up { made_qemu: false, continued: false };
    }

    pub(crate) fn target_hears(&mut self, message: Message) {
        let Some(known) = self.known() else { return };
        match message {
            Message::Pledge => self.answer(on_pledge(&known)),
            Message::Abandon => self.answer(on_abandon(&known)),
            Message::NothingLeft if is_cut_off(known.qemu, true) => self.answer(OnPledge::Lose),
            Message::NothingLeft => self.answer(on_pledge(&known)),
            Message::Question | Message::Answer(_) => unreachable!("{message:?} goes to the source"),
        }
    }

    fn answer(&mut self, decision: OnPledge) {
        match decision {
            OnPledge::Continue => self.send_cont(),
            // The source says it again.
            OnPledge::Wait => {}
            // The journal comes first and forbids every `cont`; QEMU ends afterwards, also after a crash.
            OnPledge::Refuse(proof) => {
                let _given_back = Receiving::recovered(DOMAIN, ()).refuse(proof);
                self.target_journal = Phase::Refused;
                self.network.add(Message::Answer(Verdict::Refused));
            }
            OnPledge::Answer(verdict) => self.network.add(Message::Answer(verdict)),
            // Here QEMU ends first: a `cont` may lie in its socket.
            OnPledge::Lose => {
                self.target_qemu = TargetProcess::Gone;
                self.target_journal = Phase::Lost;
                self.network.add(Message::Answer(Verdict::Lost));
            }
        }
    }

    fn send_cont(&mut self) {
        if let TargetAgent::Up { continued, .. } = &mut self.target {
            *continued = true;
        }
        match self.target_qemu {
            TargetProcess::Loaded => self.target_qemu = TargetProcess::LoadedContinuing,
            TargetProcess::Incoming => {
                self.target_qemu = TargetProcess::IncomingContinued;
                self.breach(Breach::ContinuedWhileIncoming);
            }
            TargetProcess::IncomingContinued
            | TargetProcess::LoadedContinuing
            | TargetProcess::Ran
            | TargetProcess::Fresh
            | TargetProcess::Gone => {}
        }
    }
}
