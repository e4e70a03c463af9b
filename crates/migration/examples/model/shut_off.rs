//! The handover of a domain that is shut off: nothing runs, so the world is smaller. Files stand in place of memory, an agent
//! that comes back goes on copying, and each host has disks and an owner record of its own. Decisions are `migration`'s, as
//! everywhere in the model. Main type: [`ShutOff`].

use migration::RunRight;
use migration::handover::{
    OnPledge, SourceQemu, SourceRecovery, TargetKnowledge, TargetQemu, Verdict, on_abandon, on_pledge,
    recover_source,
};
use migration::owner::OwnerRecord;
use migration::phase::Phase;
use migration::source::{End, Planned, Pledged};
use migration::target::Receiving;
use stateright::{Model, Property};

use crate::world::{DOMAIN, Faults, GENERATION, Host, Message, Network, Record};

/// Longest way from any state to its end once nothing fails any more, in steps; a longer one is a circle.
const QUIET_STEPS_MAX: usize = 100;

/// The source's agent: what is lost when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Dead,
    /// It sends files and holds the right to run. `heard`: the target has said that it has all of them.
    Copying {
        heard: bool,
    },
    /// It has pledged and waits for the verdict.
    Settling,
    /// The journal holds an end. `heard`: the target has answered that it has ended too.
    Ended {
        heard: bool,
    },
}

/// The target's agent: what is lost when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Dead,
    /// `whole`: this process has found every file equal.
    Up {
        whole: bool,
    },
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Halves {
    source: Source,
    source_journal: Phase,
    /// Beside the source's disks.
    source_record: Record,
    target: Target,
    target_journal: Phase,
    /// Beside the target's disks: of an older copy, or nothing, until the domain is the target's.
    target_record: Option<Record>,
    /// Every file is on the target's disk, proven.
    copied: bool,
    network: Network,
    left: Faults,
}

/// Anything that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Restart(Host),
    Crash(Host),
    /// Owner record: offered to the target.
    WriteOffer,
    /// The target finds every file equal.
    FindEqual,
    /// The source hears so.
    HearEqual,
    /// Target's journal: loaded, when the copies have their names.
    WriteLoaded,
    WritePledging,
    Pledge,
    /// Somebody cancels, or the copying cannot go on.
    Cancel,
    WriteInDoubt,
    /// What the source says again.
    Say(Message),
    WriteHanded,
    WriteWithdrawn,
    /// Owner record: the target's, after its journal says so.
    WriteOwner,
    /// The target asks how it ended.
    Ask,
    Deliver(Message),
    Repeat(Message),
    Lose(Message),
}

impl Halves {
    /// The target has answered the offer. `older`: an older copy lies there.
    fn new(left: Faults, older: bool) -> Halves {
        let record = Record { host: Host::Source, generation: GENERATION, offered: false };
        Halves {
            source: Source::Copying { heard: false },
            source_journal: Phase::Streaming,
            source_record: record,
            target: Target::Up { whole: false },
            target_journal: Phase::Receiving,
            target_record: older.then_some(record),
            copied: false,
            network: Network::EMPTY,
            left,
        }
    }

    fn target_end(&self) -> Option<Verdict> {
        let ends = [(Phase::Running, Verdict::Running), (Phase::Refused, Verdict::Refused)];
        ends.into_iter().find_map(|(phase, verdict)| (self.target_journal == phase).then_some(verdict))
    }

    fn known(&self) -> Option<TargetKnowledge> {
        let Target::Up { whole } = self.target else { return None };
        let qemu = if self.target_journal == Phase::Running {
            TargetQemu::Ran
        } else if whole || self.target_journal == Phase::Loaded {
            TargetQemu::Loaded
        } else {
            TargetQemu::Incoming
        };
        // A journal of `Running` is not an end to the agent: it takes over once more, and says the same.
        let ended = self.target_end().filter(|end| *end != Verdict::Running);
        let knowledge = TargetKnowledge {
            qemu,
            alive_since_prepared: false,
            continued: false,
            may_still_load: false,
            ended,
        };
        Some(knowledge)
    }

    fn handed(&self) -> Option<Record> {
        let handed = self.source_record.real().handed(Host::Target.name(), GENERATION + 1)?;
        Some(Record::of(&handed))
    }

    fn withdrawn(&self) -> Option<Record> {
        let withdrawn = self.source_record.real().withdrawn(Host::Source.name(), GENERATION)?;
        Some(Record::of(&withdrawn))
    }

    /// Whether a host starts the domain: where it is defined, and the record beside its disks allows it.
    fn can_start(&self, host: Host) -> bool {
        match host {
            Host::Source => {
                self.source_journal == Phase::Kept && self.source_record.claim(Host::Source).is_some()
            }
            Host::Target => {
                self.target_journal == Phase::Running
                    && self.target_record.is_none_or(|record| record.claim(Host::Target).is_some())
            }
        }
    }

    /// What can happen without any fault and without any person.
    fn quiet_actions(&self, actions: &mut Vec<Action>) {
        match self.source {
            Source::Dead => actions.push(Action::Restart(Host::Source)),
            Source::Copying { heard } => self.copying_actions(heard, actions),
            Source::Settling => {}
            Source::Ended { .. } if self.source_journal == Phase::Moved => {
                actions.extend(self.handed().map(|_| Action::WriteHanded));
            }
            Source::Ended { .. } => actions.extend(self.withdrawn().map(|_| Action::WriteWithdrawn)),
        }
        match self.target {
            Target::Dead => actions.push(Action::Restart(Host::Target)),
            Target::Up { whole } => {
                if whole && self.target_journal == Phase::Receiving {
                    actions.push(Action::WriteLoaded);
                }
                if self.target_journal == Phase::Running && !self.target_owns() {
                    actions.push(Action::WriteOwner);
                }
            }
        }
        actions.extend(self.network.iter().filter(|word| self.is_heard(*word)).map(Action::Deliver));
        actions.extend(self.says().map(Action::Say));
        if self.known().is_some() && self.target_end().is_none() && !self.network.has(Message::Question) {
            actions.push(Action::Ask);
        }
    }

    fn copying_actions(&self, heard: bool, actions: &mut Vec<Action>) {
        if !self.source_record.offered {
            actions.push(Action::WriteOffer);
        }
        match self.target {
            // Its files are not expected any more.
            Target::Up { .. } if self.target_end().is_some() => actions.push(Action::Cancel),
            Target::Up { whole: false } => actions.push(Action::FindEqual),
            Target::Up { whole: true } if !heard => actions.push(Action::HearEqual),
            Target::Up { .. } | Target::Dead => {}
        }
        if heard && self.source_record.offered {
            let pledging = self.source_journal == Phase::Pledging;
            actions.push(if pledging { Action::Pledge } else { Action::WritePledging });
        }
    }

    /// What the source says (again) now.
    fn says(&self) -> Option<Message> {
        let word = match self.source {
            Source::Settling => Message::Pledge,
            Source::Ended { heard: false } if self.source_journal != Phase::Moved => Message::Abandon,
            Source::Dead | Source::Copying { .. } | Source::Ended { .. } => return None,
        };
        (!self.network.has(word)).then_some(word)
    }

    fn target_owns(&self) -> bool {
        self.target_record.is_some_and(|record| record.host == Host::Target)
    }

    fn is_heard(&self, message: Message) -> bool {
        match message {
            Message::Pledge | Message::Abandon | Message::NothingLeft => self.target != Target::Dead,
            Message::Question | Message::Answer(_) => self.source != Source::Dead,
        }
    }

    fn actions(&self, actions: &mut Vec<Action>) {
        self.quiet_actions(actions);
        if matches!(self.source, Source::Copying { .. }) {
            actions.push(Action::Cancel);
        }
        if self.source == Source::Settling && self.source_journal == Phase::Pledging {
            actions.push(Action::WriteInDoubt);
        }
        for message in self.network.iter() {
            if self.left.repetition > 0 && self.is_heard(message) {
                actions.push(Action::Repeat(message));
            }
            if self.left.loss > 0 {
                actions.push(Action::Lose(message));
            }
        }
        if self.left.source_agent > 0 && self.source != Source::Dead {
            actions.push(Action::Crash(Host::Source));
        }
        if self.left.target_agent > 0 && self.target != Target::Dead {
            actions.push(Action::Crash(Host::Target));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Restart(Host::Source) => self.restart_source(),
            // What it has found equal it has to hear once more, unless its journal says so.
            Action::Restart(Host::Target) => self.target = Target::Up { whole: false },
            Action::Crash(Host::Source) => {
                self.left.source_agent -= 1;
                self.source = Source::Dead;
            }
            Action::Crash(Host::Target) => {
                self.left.target_agent -= 1;
                self.target = Target::Dead;
            }
            Action::WriteOffer => {
                let right = RunRight::found_unpledged(DOMAIN, GENERATION);
                let offered = OwnerRecord::of(&right, Host::Source.name()).offer(Host::Target.name());
                self.source_record = Record::of(&offered);
            }
            Action::FindEqual => {
                self.target = Target::Up { whole: true };
                self.copied = true;
            }
            Action::HearEqual => self.source = Source::Copying { heard: true },
            Action::WriteLoaded => self.target_journal = Phase::Loaded,
            Action::WritePledging => self.source_journal = Phase::Pledging,
            Action::Pledge => {
                let right = RunRight::found_unpledged(DOMAIN, GENERATION);
                let (pledge, _pledged) = Planned::new(right, ()).reserved().streaming().stopped().pledge();
                assert_eq!(pledge.generation, GENERATION + 1);
                self.source = Source::Settling;
                self.network.add(Message::Pledge);
            }
            Action::Cancel => self.end_source(Phase::Kept, false),
            Action::WriteInDoubt => self.source_journal = Phase::InDoubt,
            Action::Say(message) => self.network.add(message),
            Action::WriteHanded => self.source_record = self.handed().expect("the step asked for it"),
            Action::WriteWithdrawn => self.source_record = self.withdrawn().expect("the step asked for it"),
            Action::WriteOwner => {
                let owner = Record { host: Host::Target, generation: GENERATION + 1, offered: false };
                self.target_record = Some(owner);
            }
            Action::Ask => self.network.add(Message::Question),
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
        }
    }

    fn restart_source(&mut self) {
        match recover_source(self.source_journal, SourceQemu::ShutOff) {
            SourceRecovery::Resume => self.source = Source::Copying { heard: false },
            SourceRecovery::Settle => self.source = Source::Settling,
            SourceRecovery::CleanUp(_end) => self.source = Source::Ended { heard: false },
            SourceRecovery::Keep | SourceRecovery::Lose | SourceRecovery::Ask => {
                unreachable!("nothing of it is in anybody's memory")
            }
        }
    }

    fn end_source(&mut self, end: Phase, heard: bool) {
        self.source_journal = end;
        self.source = Source::Ended { heard };
    }

    fn hear(&mut self, message: Message) {
        match (message, self.source) {
            (Message::Pledge, _) => self.answer(on_pledge),
            (Message::Abandon, _) => self.answer(on_abandon),
            (Message::NothingLeft, _) => unreachable!("nothing fills"),
            // *Moved* counts as a pledge, *kept* as an abandonment.
            (Message::Question, Source::Ended { .. }) => {
                let moved = self.source_journal == Phase::Moved;
                self.network.add(if moved { Message::Pledge } else { Message::Abandon });
            }
            (Message::Answer(verdict), Source::Settling) => {
                let pledged = Pledged::recovered(DOMAIN, GENERATION, ());
                let end = match pledged.settle(verdict, SourceQemu::ShutOff) {
                    End::Moved(_) => Phase::Moved,
                    End::Serving(_) => unreachable!("nothing runs"),
                    End::Kept(_) => Phase::Kept,
                    End::Lost(_) => Phase::Lost,
                };
                self.end_source(end, true);
            }
            (Message::Answer(_), Source::Ended { .. }) => self.source = Source::Ended { heard: true },
            (
                Message::Question | Message::Answer(_),
                Source::Dead | Source::Copying { .. } | Source::Settling,
            ) => {}
        }
    }

    fn answer(&mut self, decide: fn(&TargetKnowledge) -> OnPledge) {
        let known = self.known().expect("it is heard");
        let verdict = match decide(&known) {
            // It takes over by its journal, and only then answers.
            OnPledge::Continue => {
                self.target_journal = Phase::Running;
                Verdict::Running
            }
            OnPledge::Refuse(proof) => {
                let _given_back = Receiving::recovered(DOMAIN, ()).refuse(proof);
                self.target_journal = Phase::Refused;
                self.copied = false;
                Verdict::Refused
            }
            OnPledge::Answer(verdict) => verdict,
            OnPledge::Wait => unreachable!("there is no QEMU that could still load"),
            OnPledge::Lose => unreachable!("there is no QEMU that could be gone"),
        };
        self.network.add(Message::Answer(verdict));
    }

    /// Both have ended, one host can start the domain, and the other one has nothing under way.
    fn is_ended(&self) -> bool {
        let starts = [Host::Source, Host::Target].map(|host| self.can_start(host));
        let source_ended = matches!(self.source, Source::Ended { .. }) && !self.source_record.offered;
        let moved = self.source_journal == Phase::Moved && self.target_end() == Some(Verdict::Running);
        let kept = self.source_journal == Phase::Kept && self.target_end() == Some(Verdict::Refused);
        source_ended
            && self.target != Target::Dead
            && (moved && starts == [false, true] && self.target_owns() || kept && starts == [true, false])
    }

    /// Once nothing fails any more.
    fn comes_to_an_end(&self) -> bool {
        let mut world = Halves { left: Faults::NONE, ..*self };
        let mut actions = Vec::new();
        for _step in 0..QUIET_STEPS_MAX {
            if world.is_ended() {
                return true;
            }
            actions.clear();
            world.quiet_actions(&mut actions);
            let Some(next) = actions.first() else { return false };
            world.act(*next);
        }
        false
    }
}

impl std::fmt::Display for Halves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Halves { source, source_journal, source_record, target, target_journal, target_record, .. } =
            self;
        write!(f, "source: {source:?}, journal {source_journal:?}, {source_record:?}; ")?;
        write!(f, "target: {target:?}, journal {target_journal:?}, {target_record:?}; ")?;
        write!(f, "copied: {}; under way: {:?}", self.copied, self.network)
    }
}

/// The model.
pub(crate) struct ShutOff {
    pub(crate) faults: Faults,
}

impl Model for ShutOff {
    type State = Halves;
    type Action = Action;

    fn init_states(&self) -> Vec<Halves> {
        [false, true].map(|older| Halves::new(self.faults, older)).to_vec()
    }

    fn actions(&self, world: &Halves, actions: &mut Vec<Action>) {
        world.actions(actions);
    }

    fn next_state(&self, world: &Halves, action: Action) -> Option<Halves> {
        let mut next = *world;
        next.act(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("shut off: never can two hosts start it", |_, w: &Halves| {
                !(w.can_start(Host::Source) && w.can_start(Host::Target))
            }),
            Property::always("shut off: it is taken over only with all of its files", |_, w: &Halves| {
                w.target_journal != Phase::Running || w.copied
            }),
            Property::always("shut off: nothing is lost", |_, w: &Halves| w.source_journal != Phase::Lost),
            Property::always("shut off: it comes to an end, on one host", |_, w: &Halves| {
                w.comes_to_an_end()
            }),
            Property::sometimes("shut off: moved", |_, w: &Halves| w.source_journal == Phase::Moved),
            Property::sometimes("shut off: kept", |_, w: &Halves| w.source_journal == Phase::Kept),
            Property::sometimes("shut off: the copying is taken up again", |model, w: &Halves| {
                matches!(w.source, Source::Copying { .. }) && w.left.source_agent < model.faults.source_agent
            }),
            Property::sometimes("shut off: the pledge is given again", |model, w: &Halves| {
                w.source == Source::Settling && w.left.source_agent < model.faults.source_agent
            }),
            Property::sometimes("shut off: a pledge is refused", |_, w: &Halves| {
                w.source == Source::Settling && w.network.has(Message::Answer(Verdict::Refused))
            }),
            Property::sometimes("shut off: taken over, and the record is not there yet", |_, w: &Halves| {
                w.target_journal == Phase::Running && w.target == Target::Dead && !w.target_owns()
            }),
            Property::sometimes("shut off: cancelled when all is there", |_, w: &Halves| {
                w.source_journal == Phase::Kept && w.target_journal == Phase::Loaded
            }),
        ]
    }
}
