//! What happens around the agents: QEMU's own moves, the network, crashes and restarts, operators.
//! Main type: [`Action`].

use migration::handover::{Settled, Word, resolve};

use crate::source::SourceStep;
use crate::target::TargetStep;
use crate::world::{Host, Message, SourceAgent, SourceProcess, TargetAgent, TargetProcess, World};

/// Anything that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Restart(Host),
    Source(SourceStep),
    Target(TargetStep),
    /// The message arrives.
    Deliver(Message),
    Qemu(QemuMove),
    /// The message arrives, and will arrive again.
    Repeat(Message),
    Lose(Message),
    Crash(Machine),
    /// The target cannot be heard, and the operator tells the truth.
    TrueWord(Word),
    /// The target's answer is there, and the operator says something.
    AnyWord(Word),
    /// Somebody starts the domain afresh.
    Boot(Host),
}

/// What QEMU does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QemuMove {
    /// What is left fits the blackout: vCPUs stop.
    Converge,
    /// The last byte of the memory has left the source.
    SendAll,
    /// The target has loaded everything.
    Load,
    /// The source's QEMU says `completed`.
    Complete,
    /// Post-copy: the source's QEMU says `postcopy-active`.
    Serve,
    /// Post-copy: the last page has come to the target.
    Fill,
    /// The source's QEMU notices that the target's is gone, and goes on by itself.
    NoticeTarget,
    /// The incoming QEMU ends because nothing comes any more.
    IncomingEnds,
    /// It executes the `cont` in its socket.
    TakeCont,
    /// Its agent died before QEMU read that `cont`.
    DropCont,
    /// Fault: the stream breaks; the source's QEMU goes on by itself, or serves when it is taken up again.
    StreamBreaks,
    /// Fault: it refuses the `cont`, as when an image is locked.
    RefuseCont,
}

/// What can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    SourceAgent,
    TargetAgent,
    SourceQemu,
    TargetQemu,
}

impl Machine {
    pub(crate) const ALL: [Machine; 4] =
        [Machine::SourceAgent, Machine::TargetAgent, Machine::SourceQemu, Machine::TargetQemu];
}

/// Every word that an operator can say.
pub(crate) const WORDS: [Word; 3] = [Word::Moved, Word::Kept, Word::Lost];

impl World {
    /// What can happen without any fault and without any person; what must happen first stands first.
    pub(crate) fn quiet_actions(&self, actions: &mut Vec<Action>) {
        if self.source == SourceAgent::Dead {
            actions.push(Action::Restart(Host::Source));
        }
        // QEMU is through with the old connection before it takes a new one.
        if self.target == TargetAgent::Dead && self.target_qemu != TargetProcess::LoadedContinuing {
            actions.push(Action::Restart(Host::Target));
        }
        let mut source = Vec::new();
        self.source_steps(&mut source);
        actions.extend(source.into_iter().map(Action::Source));
        let mut target = Vec::new();
        self.target_steps(&mut target);
        actions.extend(target.into_iter().map(Action::Target));
        actions.extend(self.network.iter().filter(|m| self.is_heard(*m)).map(Action::Deliver));
        self.qemu_moves(actions);
        actions.extend(self.source_says().map(Action::Source));
        actions.extend(self.target_says().map(Action::Target));
    }

    /// Everything that can happen.
    pub(crate) fn actions(&self, actions: &mut Vec<Action>) {
        self.quiet_actions(actions);
        for message in self.network.iter() {
            if self.left.repetition > 0 && self.is_heard(message) {
                actions.push(Action::Repeat(message));
            }
            if self.left.loss > 0 {
                actions.push(Action::Lose(message));
            }
        }
        if self.left.stumble > 0 {
            let is_serving = self.source_qemu == SourceProcess::Serving && !self.postcopy.filled;
            let sends = matches!(
                self.source_qemu,
                SourceProcess::Streaming | SourceProcess::Switching | SourceProcess::SwitchingPostcopy
            );
            if sends || (is_serving && !self.postcopy.cut) {
                actions.push(Action::Qemu(QemuMove::StreamBreaks));
            }
            if self.target_qemu == TargetProcess::LoadedContinuing {
                actions.push(Action::Qemu(QemuMove::RefuseCont));
            }
        }
        actions.extend(Machine::ALL.into_iter().filter(|m| self.can_crash(*m)).map(Action::Crash));
        actions.extend(WORDS.into_iter().filter(|w| self.is_true(*w)).map(Action::TrueWord));
        actions.extend(WORDS.into_iter().filter(|w| self.word_heard(*w).is_some()).map(Action::AnyWord));
        let hosts = [Host::Source, Host::Target].into_iter();
        actions.extend(hosts.filter(|host| self.can_boot(*host)).map(Action::Boot));
    }

    fn qemu_moves(&self, actions: &mut Vec<Action>) {
        let mut push = |what| actions.push(Action::Qemu(what));
        match self.source_qemu {
            SourceProcess::Streaming | SourceProcess::Switching | SourceProcess::SwitchingPostcopy
                if !self.target_takes_memory() && !self.sent =>
            {
                push(QemuMove::NoticeTarget);
            }
            SourceProcess::Streaming => push(QemuMove::Converge),
            SourceProcess::Switching if self.sent => {
                push(QemuMove::Complete);
                if self.target_qemu == TargetProcess::Gone {
                    push(QemuMove::NoticeTarget);
                }
            }
            SourceProcess::SwitchingPostcopy if self.sent => {
                push(QemuMove::Serve);
                if self.target_qemu == TargetProcess::Gone {
                    push(QemuMove::NoticeTarget);
                }
            }
            SourceProcess::Switching | SourceProcess::SwitchingPostcopy => push(QemuMove::SendAll),
            SourceProcess::Serving if self.postcopy.filled => push(QemuMove::Complete),
            SourceProcess::Serving => {
                let takes = matches!(
                    self.target_qemu,
                    TargetProcess::Loaded | TargetProcess::LoadedContinuing | TargetProcess::Ran
                );
                if takes && !self.postcopy.cut {
                    push(QemuMove::Fill);
                }
            }
            SourceProcess::PreSwitchover
            | SourceProcess::Halted
            | SourceProcess::Here
            | SourceProcess::Completed
            | SourceProcess::Fresh
            | SourceProcess::Gone => {}
        }
        match self.target_qemu {
            TargetProcess::Incoming | TargetProcess::IncomingContinued if self.sent => push(QemuMove::Load),
            TargetProcess::Incoming | TargetProcess::IncomingContinued if self.stream_is_dead() => {
                push(QemuMove::IncomingEnds);
            }
            TargetProcess::LoadedContinuing if self.target == TargetAgent::Dead => {
                push(QemuMove::TakeCont);
                push(QemuMove::DropCont);
            }
            TargetProcess::LoadedContinuing => push(QemuMove::TakeCont),
            TargetProcess::Incoming
            | TargetProcess::IncomingContinued
            | TargetProcess::Loaded
            | TargetProcess::Ran
            | TargetProcess::Fresh
            | TargetProcess::Gone => {}
        }
    }

    pub(crate) fn target_takes_memory(&self) -> bool {
        matches!(self.target_qemu, TargetProcess::Incoming | TargetProcess::IncomingContinued)
    }

    /// The stream had begun and its sender is no longer there to go on with it.
    fn stream_is_dead(&self) -> bool {
        self.source_journal != migration::phase::Phase::Reserved
            && matches!(
                self.source_qemu,
                SourceProcess::Here | SourceProcess::Halted | SourceProcess::Gone | SourceProcess::Fresh
            )
    }

    fn is_heard(&self, message: Message) -> bool {
        match message {
            Message::Pledge | Message::Abandon | Message::NothingLeft => self.target != TargetAgent::Dead,
            Message::Question | Message::Answer(_) => self.source != SourceAgent::Dead,
        }
    }

    pub(crate) fn can_crash(&self, machine: Machine) -> bool {
        match machine {
            Machine::SourceAgent => self.left.source_agent > 0 && self.source != SourceAgent::Dead,
            Machine::TargetAgent => self.left.target_agent > 0 && self.target != TargetAgent::Dead,
            Machine::SourceQemu => self.left.source_qemu > 0 && self.source_qemu != SourceProcess::Gone,
            Machine::TargetQemu => self.left.target_qemu > 0 && self.target_qemu != TargetProcess::Gone,
        }
    }

    /// Whether `word` would be true now, where only an operator can know: the target does not answer. *Kept* and *lost*
    /// are true only once the target's QEMU is gone: a pledge may still be under way to it.
    pub(crate) fn is_true(&self, word: Word) -> bool {
        self.in_doubt()
            && resolve(word, None, self.source_view()).is_ok()
            && match word {
                Word::Moved => self.history.ran_on_target,
                Word::Kept => !self.history.ran_on_target && self.target_qemu == TargetProcess::Gone,
                Word::Lost => self.target_qemu == TargetProcess::Gone,
            }
    }

    /// What `word` comes to while the target's answer is there: whether the word is true does not matter.
    pub(crate) fn word_heard(&self, word: Word) -> Option<Settled> {
        if !self.in_doubt() {
            return None;
        }
        self.network.iter().find_map(|message| match message {
            Message::Answer(verdict) => resolve(word, Some(verdict), self.source_view()).ok(),
            Message::Pledge | Message::Abandon | Message::Question | Message::NothingLeft => None,
        })
    }

    /// `start` asks for an agent, an ended journal, no QEMU, and the owner record's leave.
    fn can_boot(&self, host: Host) -> bool {
        let ready = match host {
            Host::Source => {
                matches!(self.source, SourceAgent::Ended { .. }) && self.source_qemu == SourceProcess::Gone
            }
            Host::Target => {
                self.target != TargetAgent::Dead
                    && self.target_end().is_some()
                    && self.target_qemu == TargetProcess::Gone
            }
        };
        ready && self.left.boot > 0 && self.record.claim(host).is_some()
    }

    /// Does `action`.
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Restart(Host::Source) => self.restart_source(),
            Action::Restart(Host::Target) => self.restart_target(),
            Action::Source(step) => self.source_step(step),
            Action::Target(step) => self.target_step(step),
            Action::Deliver(message) => {
                self.network.remove(message);
                self.hear(message);
            }
            Action::Repeat(message) => {
                self.left.repetition -= 1;
                self.network.remove(message);
                self.hear(message);
                self.network.add(message);
            }
            Action::Lose(message) => {
                self.left.loss -= 1;
                self.network.remove(message);
            }
            Action::Qemu(what) => self.qemu_move(what),
            Action::Crash(machine) => self.crash(machine),
            Action::TrueWord(word) => {
                let settled = resolve(word, None, self.source_view()).expect("the action asked for it");
                self.take_word(settled);
            }
            Action::AnyWord(word) => {
                let settled = self.word_heard(word).expect("the action asked for it");
                self.take_word(settled);
            }
            Action::Boot(host) => {
                self.left.boot -= 1;
                self.history.booted = true;
                self.record = self.record.claim(host).expect("the action asked for it");
                match host {
                    Host::Source => self.source_qemu = SourceProcess::Fresh,
                    Host::Target => self.target_qemu = TargetProcess::Fresh,
                }
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Pledge | Message::Abandon | Message::NothingLeft => self.target_hears(message),
            Message::Question | Message::Answer(_) => self.source_hears(message),
        }
    }

    fn qemu_move(&mut self, what: QemuMove) {
        match what {
            QemuMove::Converge => self.source_qemu = SourceProcess::PreSwitchover,
            QemuMove::SendAll => self.sent = true,
            QemuMove::Load if self.target_qemu == TargetProcess::IncomingContinued => self.start_at_target(),
            QemuMove::Load => self.target_qemu = TargetProcess::Loaded,
            QemuMove::Complete => self.source_qemu = SourceProcess::Completed,
            QemuMove::Serve => self.source_qemu = SourceProcess::Serving,
            QemuMove::Fill => self.postcopy.filled = true,
            QemuMove::NoticeTarget => self.fail_at_source(),
            QemuMove::IncomingEnds => self.target_qemu = TargetProcess::Gone,
            QemuMove::TakeCont => self.start_at_target(),
            QemuMove::DropCont => self.target_qemu = TargetProcess::Loaded,
            QemuMove::StreamBreaks => {
                self.left.stumble -= 1;
                self.fail_at_source();
            }
            QemuMove::RefuseCont => {
                self.left.stumble -= 1;
                self.target_qemu = TargetProcess::Loaded;
            }
        }
    }

    /// The stream is broken, and the source's QEMU does what it does then.
    fn fail_at_source(&mut self) {
        match self.source_qemu {
            SourceProcess::SwitchingPostcopy => self.source_qemu = SourceProcess::Halted,
            // The target's QEMU fails for good: it was still taking the machine's state in.
            SourceProcess::Serving if self.target_takes_memory() => {
                self.target_qemu = TargetProcess::Gone;
                self.history.broke_unloaded = true;
            }
            SourceProcess::Serving => self.postcopy.cut = true,
            SourceProcess::Here
            | SourceProcess::Streaming
            | SourceProcess::PreSwitchover
            | SourceProcess::Switching
            | SourceProcess::Completed
            | SourceProcess::Halted
            | SourceProcess::Fresh
            | SourceProcess::Gone => self.go_on_at_source(),
        }
    }

    fn crash(&mut self, machine: Machine) {
        match machine {
            Machine::SourceAgent => {
                self.left.source_agent -= 1;
                self.source = SourceAgent::Dead;
            }
            Machine::TargetAgent => {
                self.left.target_agent -= 1;
                self.target = TargetAgent::Dead;
            }
            Machine::SourceQemu => {
                self.left.source_qemu -= 1;
                self.source_qemu = SourceProcess::Gone;
            }
            Machine::TargetQemu => {
                self.left.target_qemu -= 1;
                self.target_qemu = TargetProcess::Gone;
            }
        }
    }
}
