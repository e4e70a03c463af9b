//! What the source's agent does. Every decision is `migration`'s own; here is only the order of its steps, one
//! durable write or one command each, so that a crash can come between any two. Main type: [`SourceStep`].

use migration::RunRight;
use migration::handover::{Settled, SourceQemu, SourceRecovery, Verdict, has_nothing_left, recover_source};
use migration::owner::OwnerRecord;
use migration::phase::Phase;
use migration::source::{End, Planned, Pledged};

use crate::world::{
    Breach, DOMAIN, GENERATION, Host, Message, Record, SourceAgent, SourceProcess, TargetAgent,
    TargetProcess, World,
};

/// One step of the source's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceStep {
    /// Journal: streaming; then `migrate`.
    Migrate,
    /// Owner record: offered to the target.
    WriteOffer,
    /// Journal: pledging, while memory still goes over.
    WritePledging,
    /// `migrate-continue`.
    SwitchOver,
    /// Post-copy: `stop`, `migrate-start-postcopy`, `migrate-continue`.
    SwitchToPostcopy,
    /// Post-copy: the broken stream is taken up again, by both agents.
    Mend,
    /// The switch to post-copy was cancelled too late: decides again.
    DecideAgain,
    /// The right to run goes to the target.
    Pledge,
    /// Somebody cancels, or something failed before the pledge.
    BreakOff,
    /// `migrate_cancel`, in time.
    Cancel,
    /// `migrate_cancel`, but QEMU completes first.
    CancelTooLate,
    /// `cont`.
    ContinueGuest,
    /// Journal: kept.
    WriteKept,
    /// Journal: pledged; nobody waits for it.
    WritePledged,
    /// Journal: in doubt.
    WriteInDoubt,
    /// Ends a QEMU that has completed.
    EndQemu,
    /// Owner record: the offer is taken back.
    WriteWithdrawn,
    /// Owner record: the target's.
    WriteHanded,
    /// The pledge, once more.
    PledgeAgain,
    /// The pledge, and that nothing is left here to serve the guest with.
    SayNothingLeft,
    /// Tells the target that the domain stays.
    Abandon,
}

impl World {
    /// The steps that the source's agent can take now, without a message.
    pub(crate) fn source_steps(&self, steps: &mut Vec<SourceStep>) {
        let view = self.source_view();
        match self.source {
            SourceAgent::Dead => {}
            SourceAgent::Driving => self.driving_steps(steps),
            SourceAgent::Keeping => match view {
                SourceQemu::Migrating => {
                    steps.push(SourceStep::Cancel);
                    let is_switching = matches!(
                        self.source_qemu,
                        SourceProcess::Switching | SourceProcess::SwitchingPostcopy
                    );
                    if is_switching && self.sent {
                        steps.push(SourceStep::CancelTooLate);
                    }
                }
                SourceQemu::Serving => steps.push(SourceStep::DecideAgain),
                SourceQemu::Completed => steps.push(SourceStep::ContinueGuest),
                SourceQemu::Here => steps.push(SourceStep::WriteKept),
                SourceQemu::Gone => steps.push(SourceStep::BreakOff),
                SourceQemu::ShutOff => unreachable!("every guest of the model runs"),
            },
            SourceAgent::Asking => {}
            SourceAgent::Settling => {
                if self.source_journal == Phase::Pledging {
                    steps.push(SourceStep::WritePledged);
                }
                if matches!(self.source_journal, Phase::Pledging | Phase::Pledged) {
                    steps.push(SourceStep::WriteInDoubt);
                }
                if self.source_journal == Phase::Serving && self.can_be_mended() {
                    steps.push(SourceStep::Mend);
                }
            }
            SourceAgent::Ended { .. } => self.clean_up_steps(steps),
        }
    }

    /// What the source's agent says (again) now.
    pub(crate) fn source_says(&self) -> Option<SourceStep> {
        let (word, step) = match self.source {
            SourceAgent::Settling
                if self.source_journal == Phase::Serving && has_nothing_left(self.source_view()) =>
            {
                (Message::NothingLeft, SourceStep::SayNothingLeft)
            }
            SourceAgent::Settling => (Message::Pledge, SourceStep::PledgeAgain),
            // A target that has given up cannot take a switch that comes too late to be cancelled.
            SourceAgent::Keeping if self.is_under_way() => return None,
            SourceAgent::Keeping | SourceAgent::Asking => (Message::Abandon, SourceStep::Abandon),
            SourceAgent::Ended { heard: false } if self.source_journal != Phase::Moved => {
                (Message::Abandon, SourceStep::Abandon)
            }
            SourceAgent::Dead | SourceAgent::Driving | SourceAgent::Ended { .. } => return None,
        };
        (!self.network.has(word)).then_some(step)
    }

    fn is_under_way(&self) -> bool {
        matches!(self.source_view(), SourceQemu::Migrating | SourceQemu::Serving)
    }

    fn can_be_mended(&self) -> bool {
        self.postcopy.cut
            && self.source_qemu == SourceProcess::Serving
            && self.target != TargetAgent::Dead
            && self.target_qemu == TargetProcess::Ran
    }

    fn driving_steps(&self, steps: &mut Vec<SourceStep>) {
        if self.source_journal == Phase::Reserved {
            if self.source_qemu == SourceProcess::Here {
                steps.push(SourceStep::Migrate);
            }
        } else if !self.record.offered {
            steps.push(SourceStep::WriteOffer);
        } else if self.source_journal == Phase::Streaming {
            steps.push(SourceStep::WritePledging);
        }
        if self.source_qemu == SourceProcess::PreSwitchover {
            steps.push(SourceStep::SwitchOver);
        }
        let is_streaming = self.source_qemu == SourceProcess::Streaming;
        if is_streaming && self.postcopy.allowed && self.source_journal == Phase::Pledging {
            steps.push(SourceStep::SwitchToPostcopy);
        }
        let is_over = matches!(self.source_qemu, SourceProcess::Completed | SourceProcess::Serving);
        if is_over && self.source_journal == Phase::Pledging {
            steps.push(SourceStep::Pledge);
        }
        steps.push(SourceStep::BreakOff);
    }

    fn clean_up_steps(&self, steps: &mut Vec<SourceStep>) {
        let kept = self.source_journal == Phase::Kept;
        let moved = self.source_journal == Phase::Moved;
        match self.source_qemu {
            SourceProcess::Completed | SourceProcess::Halted if kept => steps.push(SourceStep::ContinueGuest),
            SourceProcess::Completed | SourceProcess::Halted | SourceProcess::Serving => {
                steps.push(SourceStep::EndQemu);
            }
            SourceProcess::Here
            | SourceProcess::Streaming
            | SourceProcess::PreSwitchover
            | SourceProcess::Switching
            | SourceProcess::SwitchingPostcopy
            | SourceProcess::Fresh
            | SourceProcess::Gone => {}
        }
        if moved && self.handed().is_some() {
            steps.push(SourceStep::WriteHanded);
        }
        if !moved && self.withdrawn().is_some() {
            steps.push(SourceStep::WriteWithdrawn);
        }
    }

    /// The record that names the target, if it is still to be written.
    pub(crate) fn handed(&self) -> Option<Record> {
        self.record.real().handed(Host::Target.name(), GENERATION + 1).map(|record| Record::of(&record))
    }

    fn withdrawn(&self) -> Option<Record> {
        self.record.real().withdrawn(Host::Source.name(), GENERATION).map(|record| Record::of(&record))
    }

    pub(crate) fn source_step(&mut self, step: SourceStep) {
        match step {
            SourceStep::Migrate => {
                self.source_journal = Phase::Streaming;
                self.source_qemu = SourceProcess::Streaming;
            }
            SourceStep::WriteOffer => {
                let right = RunRight::found_running(DOMAIN, GENERATION);
                let offered = OwnerRecord::of(&right, Host::Source.name()).offer(Host::Target.name());
                self.record = Record::of(&offered);
            }
            SourceStep::WritePledging => self.source_journal = Phase::Pledging,
            // A target that died at pre-switchover is noticed only now.
            SourceStep::SwitchOver if self.target_takes_memory() => {
                self.source_qemu = SourceProcess::Switching
            }
            SourceStep::SwitchOver => self.go_on_at_source(),
            SourceStep::SwitchToPostcopy => {
                self.postcopy.switched = true;
                self.source_qemu = match self.target_takes_memory() {
                    true => SourceProcess::SwitchingPostcopy,
                    false => SourceProcess::Halted,
                };
            }
            SourceStep::Mend => self.postcopy.cut = false,
            SourceStep::DecideAgain => self.recover(Phase::Stopped),
            SourceStep::Pledge => {
                let right = RunRight::found_running(DOMAIN, GENERATION);
                let stopped = Planned::new(right, ()).reserved().streaming().stopped();
                let (pledge, _pledged) = stopped.pledge();
                assert_eq!(pledge.generation, GENERATION + 1);
                self.source = SourceAgent::Settling;
                self.network.add(Message::Pledge);
            }
            SourceStep::BreakOff => self.break_off(),
            SourceStep::Cancel if self.source_qemu == SourceProcess::SwitchingPostcopy => {
                self.source_qemu = SourceProcess::Halted;
            }
            SourceStep::Cancel => self.go_on_at_source(),
            SourceStep::CancelTooLate if self.source_qemu == SourceProcess::SwitchingPostcopy => {
                self.source_qemu = SourceProcess::Serving;
            }
            SourceStep::CancelTooLate => self.source_qemu = SourceProcess::Completed,
            SourceStep::ContinueGuest => self.go_on_at_source(),
            SourceStep::WriteKept => self.end_source(Phase::Kept, false),
            SourceStep::WritePledged => self.source_journal = Phase::Pledged,
            SourceStep::WriteInDoubt => self.source_journal = Phase::InDoubt,
            SourceStep::EndQemu => {
                let is_needed = self.target_qemu == TargetProcess::Ran && self.is_unfilled();
                if self.source_qemu == SourceProcess::Serving && is_needed {
                    self.breach(Breach::EndedWhileServing);
                }
                self.source_qemu = SourceProcess::Gone;
            }
            SourceStep::WriteWithdrawn => self.record = self.withdrawn().expect("the step asked for it"),
            SourceStep::WriteHanded => self.record = self.handed().expect("the step asked for it"),
            SourceStep::PledgeAgain => self.network.add(Message::Pledge),
            SourceStep::SayNothingLeft => self.network.add(Message::NothingLeft),
            SourceStep::Abandon => self.network.add(Message::Abandon),
        }
    }

    /// The agent is there and has not pledged in this life: its own phase is the typestate's, not the journal's.
    fn break_off(&mut self) {
        let phase = match self.source_qemu {
            SourceProcess::PreSwitchover
            | SourceProcess::Switching
            | SourceProcess::Completed
            | SourceProcess::SwitchingPostcopy
            | SourceProcess::Serving
            | SourceProcess::Halted => Phase::Stopped,
            SourceProcess::Here | SourceProcess::Streaming | SourceProcess::Fresh | SourceProcess::Gone => {
                Phase::Streaming
            }
        };
        self.recover(phase);
    }

    /// The agent starts again and finds its journal.
    pub(crate) fn restart_source(&mut self) {
        self.recover(self.source_journal);
    }

    fn recover(&mut self, phase: Phase) {
        match recover_source(phase, self.source_view()) {
            SourceRecovery::Keep => self.source = SourceAgent::Keeping,
            SourceRecovery::Resume => unreachable!("every guest of the model runs"),
            SourceRecovery::Lose => self.end_source(Phase::Lost, false),
            SourceRecovery::Ask => self.source = SourceAgent::Asking,
            SourceRecovery::Settle => self.source = SourceAgent::Settling,
            SourceRecovery::CleanUp(_end) => self.source = SourceAgent::Ended { heard: false },
        }
    }

    fn end_source(&mut self, end: Phase, heard: bool) {
        self.source_journal = end;
        self.source = SourceAgent::Ended { heard };
    }

    pub(crate) fn source_hears(&mut self, message: Message) {
        match message {
            Message::Pledge | Message::Abandon | Message::NothingLeft => {
                unreachable!("{message:?} goes to the target")
            }
            Message::Question => match self.source {
                SourceAgent::Settling => self.network.add(Message::Pledge),
                // The pledge is the same word, however often it is said.
                SourceAgent::Ended { .. } if self.source_journal == Phase::Moved => {
                    self.network.add(Message::Pledge);
                    self.network.add(Message::NothingLeft);
                }
                SourceAgent::Keeping if self.is_under_way() => {}
                SourceAgent::Keeping | SourceAgent::Asking | SourceAgent::Ended { .. } => {
                    self.network.add(Message::Abandon);
                }
                SourceAgent::Driving | SourceAgent::Dead => {}
            },
            Message::Answer(verdict) => match self.source {
                SourceAgent::Settling | SourceAgent::Asking => self.hear_verdict(verdict),
                SourceAgent::Ended { .. } if verdict == Verdict::Filling => {}
                SourceAgent::Ended { .. } => self.source = SourceAgent::Ended { heard: true },
                SourceAgent::Driving | SourceAgent::Keeping
                    if matches!(verdict, Verdict::Running | Verdict::Filling) =>
                {
                    self.breach(Breach::RunsWithoutPledge);
                }
                SourceAgent::Driving => self.break_off(),
                SourceAgent::Keeping | SourceAgent::Dead => {}
            },
        }
    }

    fn hear_verdict(&mut self, verdict: Verdict) {
        let pledged = Pledged::recovered(DOMAIN, GENERATION, ());
        self.take_end(pledged.settle(verdict, self.source_view()), true);
    }

    /// An operator's word that `resolve` allowed.
    pub(crate) fn take_word(&mut self, settled: Settled) {
        self.history.word = true;
        self.take_end(Pledged::recovered(DOMAIN, GENERATION, ()).resolved(settled), false);
    }

    /// The journal first, then everything else: after a crash nobody asks the target again.
    fn take_end(&mut self, end: End<()>, heard: bool) {
        match end {
            End::Moved(_) => self.end_source(Phase::Moved, heard),
            End::Serving(_) => {
                self.source_journal = Phase::Serving;
                self.source = SourceAgent::Settling;
            }
            End::Lost(_) => self.end_source(Phase::Lost, heard),
            End::Kept(kept) => {
                assert_eq!(kept.right.generation(), GENERATION);
                self.end_source(Phase::Kept, heard);
            }
        }
    }
}
