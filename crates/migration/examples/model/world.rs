//! The world that is checked: two agents, two QEMUs, one owner record on the shared disk, and the messages under way.
//! Plain data; what can happen to it stands in [`crate::source`], [`crate::target`] and [`crate::surroundings`].
//! Main type: [`World`].

use migration::handover::{SourceQemu, TargetKnowledge, TargetQemu, Verdict};
use migration::owner::{Offered, OwnerRecord};
use migration::phase::Phase;
use uuid::Uuid;

/// The one domain.
pub(crate) const DOMAIN: Uuid = Uuid::from_u128(1);

/// The generation of the source's right to run; the target's is one more.
pub(crate) const GENERATION: u64 = 1;

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Source,
    Target,
}

impl Host {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Host::Source => "kvm1",
            Host::Target => "kvm2",
        }
    }
}

/// The source's agent: what is lost when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SourceAgent {
    Dead,
    /// It drives the migration and holds the right to run.
    Driving,
    /// It takes the domain back before any pledge.
    Keeping,
    /// It cannot know whether a pledge was sent; it asks without pledging.
    Asking,
    /// It has pledged and waits for the verdict.
    Settling,
    /// The journal holds an end; it cleans up. `heard`: the target has answered that it has ended too.
    Ended {
        heard: bool,
    },
}

/// The target's agent: what is lost when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TargetAgent {
    Dead,
    Up {
        /// This process made the QEMU.
        made_qemu: bool,
        /// This process has sent `cont`.
        continued: bool,
    },
}

/// The source's QEMU. The guest runs in `Here`, `Streaming` and `Fresh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SourceProcess {
    Here,
    Streaming,
    /// `pre-switchover`: vCPUs stopped.
    PreSwitchover,
    /// After `migrate-continue`.
    Switching,
    /// `postmigrate`.
    Completed,
    /// Post-copy: stopped by its agent, and told to switch.
    SwitchingPostcopy,
    /// Post-copy: `postcopy-active`, or its stream is cut.
    Serving,
    /// A switch to post-copy failed: the guest stands, because its agent had stopped it.
    Halted,
    /// Another QEMU: the domain was booted afresh.
    Fresh,
    Gone,
}

/// The target's QEMU. The guest runs in `Ran` and `Fresh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TargetProcess {
    Incoming,
    /// `cont` was sent while it was incoming: it will start the guest after the load by itself.
    IncomingContinued,
    Loaded,
    /// `cont` lies in its socket.
    LoadedContinuing,
    Ran,
    /// Another QEMU: the domain was booted afresh.
    Fresh,
    Gone,
}

/// A message between the agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    /// Source: the right to run is yours.
    Pledge,
    /// Source: the domain stays, give everything back.
    Abandon,
    /// Target: how did it end?
    Question,
    /// Source: the pledge, and nothing is left here to serve the guest with.
    NothingLeft,
    /// Target, to a pledge or to an abandonment.
    Answer(Verdict),
}

impl Message {
    pub(crate) const ALL: [Message; 8] = [
        Message::Pledge,
        Message::Abandon,
        Message::Question,
        Message::NothingLeft,
        Message::Answer(Verdict::Filling),
        Message::Answer(Verdict::Running),
        Message::Answer(Verdict::Refused),
        Message::Answer(Verdict::Lost),
    ];

    fn bit(self) -> u8 {
        match self {
            Message::Pledge => 1,
            Message::Abandon => 2,
            Message::Question => 4,
            Message::Answer(Verdict::Running) => 8,
            Message::Answer(Verdict::Refused) => 16,
            Message::Answer(Verdict::Lost) => 32,
            Message::NothingLeft => 64,
            Message::Answer(Verdict::Filling) => 128,
        }
    }
}

/// The messages under way, in no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(u8);

impl Network {
    pub(crate) const EMPTY: Network = Network(0);

    pub(crate) fn has(self, message: Message) -> bool {
        self.0 & message.bit() != 0
    }

    pub(crate) fn add(&mut self, message: Message) {
        self.0 |= message.bit();
    }

    pub(crate) fn remove(&mut self, message: Message) {
        self.0 &= !message.bit();
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Message> {
        Message::ALL.into_iter().filter(move |message| self.has(*message))
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The owner record, small enough to copy; every decision goes through the real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) host: Host,
    pub(crate) generation: u64,
    /// Offered to the target.
    pub(crate) offered: bool,
}

impl Record {
    pub(crate) fn real(self) -> OwnerRecord {
        let offered = Offered { host: Host::Target.name().to_owned(), generation: self.generation + 1 };
        OwnerRecord {
            domain: DOMAIN,
            host: self.host.name().to_owned(),
            generation: self.generation,
            offered: self.offered.then_some(offered),
        }
    }

    pub(crate) fn of(real: &OwnerRecord) -> Record {
        let host = if real.host == Host::Source.name() { Host::Source } else { Host::Target };
        Record { host, generation: real.generation, offered: real.offered.is_some() }
    }

    /// Whether `host` may start the domain, by [`OwnerRecord::claim`].
    pub(crate) fn claim(self, host: Host) -> Option<Record> {
        let (_right, claimed) = OwnerRecord::claim(Some(&self.real()), DOMAIN, host.name()).ok()?;
        Some(Record::of(&claimed))
    }
}

/// A rule that was broken on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Breach {
    /// The source went on with memory that is older than the disk.
    OldMemoryOnSource,
    /// The target started memory that is older than the disk.
    OldMemoryOnTarget,
    /// `cont` was sent to a QEMU that was still taking memory in.
    ContinuedWhileIncoming,
    /// The target answers *running* to a source that never pledged.
    RunsWithoutPledge,
    /// The source's QEMU was ended while the guest on the target still needed memory from it.
    EndedWhileServing,
}

/// Post-copy, beyond what the two QEMUs show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Postcopy {
    /// Both sides set the capability.
    pub(crate) allowed: bool,
    /// The source's agent gave the command.
    pub(crate) switched: bool,
    /// The connection is broken and can be taken up again.
    pub(crate) cut: bool,
    /// Everything has come to the target.
    pub(crate) filled: bool,
}

/// What the agents cannot know, and the properties ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// The moved guest ran on the target.
    pub(crate) ran_on_target: bool,
    /// The domain was booted afresh somewhere.
    pub(crate) booted: bool,
    /// The source's guest went on after the target had been sent everything.
    pub(crate) went_on: bool,
    /// An operator's word was taken.
    pub(crate) word: bool,
    /// The stream broke after the source had begun to serve and before the target had loaded the machine's state: QEMU
    /// cannot take that up again.
    pub(crate) broke_unloaded: bool,
    pub(crate) breach: Option<Breach>,
}

/// How often each fault may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    pub(crate) source_agent: u8,
    pub(crate) target_agent: u8,
    pub(crate) source_qemu: u8,
    pub(crate) target_qemu: u8,
    /// The memory stream breaks (in post-copy too), or QEMU refuses a `cont`.
    pub(crate) stumble: u8,
    pub(crate) loss: u8,
    pub(crate) repetition: u8,
    /// Not a fault: how often somebody may boot the domain afresh.
    pub(crate) boot: u8,
}

impl Faults {
    pub(crate) const NONE: Faults = Faults {
        source_agent: 0,
        target_agent: 0,
        source_qemu: 0,
        target_qemu: 0,
        stumble: 0,
        loss: 0,
        repetition: 0,
        boot: 0,
    };

    /// One of each, and no loss: a few seconds even in a debug build.
    pub(crate) const SMALL: Faults = Faults {
        source_agent: 1,
        target_agent: 1,
        source_qemu: 1,
        target_qemu: 1,
        stumble: 1,
        loss: 0,
        repetition: 1,
        boot: 1,
    };
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) source: SourceAgent,
    /// The last phase in the source's journal.
    pub(crate) source_journal: Phase,
    pub(crate) source_qemu: SourceProcess,
    pub(crate) target: TargetAgent,
    /// The last phase in the target's journal.
    pub(crate) target_journal: Phase,
    pub(crate) target_qemu: TargetProcess,
    /// The whole of the memory is on its way: the target can load it whatever becomes of the source.
    /// In post-copy: the machine's state is.
    pub(crate) sent: bool,
    pub(crate) postcopy: Postcopy,
    pub(crate) record: Record,
    pub(crate) network: Network,
    pub(crate) history: History,
    pub(crate) left: Faults,
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let World { source, source_journal, source_qemu, target, target_journal, target_qemu, .. } = self;
        write!(f, "source: {source:?}, journal {source_journal:?}, QEMU {source_qemu:?}; ")?;
        write!(f, "target: {target:?}, journal {target_journal:?}, QEMU {target_qemu:?}; ")?;
        let offered = if self.record.offered { ", offered" } else { "" };
        write!(
            f,
            "owner: {:?} {}{offered}; under way: {:?}",
            self.record.host, self.record.generation, self.network
        )?;
        if self.postcopy.switched {
            write!(f, "; {:?}", self.postcopy)?;
        }
        match self.history.breach {
            Some(breach) => write!(f, "; broken: {breach:?}"),
            None => Ok(()),
        }
    }
}

impl World {
    /// The target has answered the offer; the source is about to send memory.
    pub(crate) fn new(left: Faults, postcopy_allowed: bool) -> World {
        World {
            source: SourceAgent::Driving,
            source_journal: Phase::Reserved,
            source_qemu: SourceProcess::Here,
            target: TargetAgent::Up { made_qemu: true, continued: false },
            target_journal: Phase::Receiving,
            target_qemu: TargetProcess::Incoming,
            sent: false,
            postcopy: Postcopy { allowed: postcopy_allowed, switched: false, cut: false, filled: false },
            record: Record { host: Host::Source, generation: GENERATION, offered: false },
            network: Network::EMPTY,
            history: History {
                ran_on_target: false,
                booted: false,
                went_on: false,
                word: false,
                broke_unloaded: false,
                breach: None,
            },
            left,
        }
    }

    /// The source's QEMU, as its agent sees it.
    pub(crate) fn source_view(&self) -> SourceQemu {
        match self.source_qemu {
            SourceProcess::Here | SourceProcess::Fresh | SourceProcess::Halted => SourceQemu::Here,
            SourceProcess::Streaming
            | SourceProcess::PreSwitchover
            | SourceProcess::Switching
            | SourceProcess::SwitchingPostcopy => SourceQemu::Migrating,
            SourceProcess::Serving => SourceQemu::Serving,
            SourceProcess::Completed => SourceQemu::Completed,
            SourceProcess::Gone => SourceQemu::Gone,
        }
    }

    /// The target's QEMU, as its agent sees it.
    pub(crate) fn target_view(&self) -> TargetQemu {
        match self.target_qemu {
            TargetProcess::Incoming | TargetProcess::IncomingContinued => TargetQemu::Incoming,
            TargetProcess::Loaded | TargetProcess::LoadedContinuing => TargetQemu::Loaded,
            TargetProcess::Ran if self.is_unfilled() => TargetQemu::Filling,
            TargetProcess::Ran | TargetProcess::Fresh => TargetQemu::Ran,
            TargetProcess::Gone => TargetQemu::Gone,
        }
    }

    /// What the target's agent knows; `None` while it is dead.
    pub(crate) fn known(&self) -> Option<TargetKnowledge> {
        match self.target {
            TargetAgent::Dead => None,
            TargetAgent::Up { made_qemu, continued } => Some(TargetKnowledge {
                qemu: self.target_view(),
                alive_since_prepared: made_qemu,
                continued,
                may_still_load: self.postcopy.allowed,
                ended: self.target_end(),
            }),
        }
    }

    /// The source switched to post-copy, and the target lacks memory.
    pub(crate) fn is_unfilled(&self) -> bool {
        self.postcopy.switched && !self.postcopy.filled
    }

    /// The owner record names the target.
    pub(crate) fn target_owns(&self) -> bool {
        self.record.host == Host::Target && self.record.generation == GENERATION + 1
    }

    /// The end in the target's journal.
    pub(crate) fn target_end(&self) -> Option<Verdict> {
        match self.target_journal {
            Phase::Running => Some(Verdict::Running),
            Phase::Refused => Some(Verdict::Refused),
            Phase::Lost => Some(Verdict::Lost),
            Phase::Planned
            | Phase::Reserved
            | Phase::Streaming
            | Phase::Pledging
            | Phase::Stopped
            | Phase::Pledged
            | Phase::Serving
            | Phase::Moved
            | Phase::Kept
            | Phase::InDoubt
            | Phase::Offered
            | Phase::Prepared
            | Phase::Receiving
            | Phase::Loaded
            | Phase::Granted
            | Phase::Filling => None,
        }
    }

    pub(crate) fn runs_on_source(&self) -> bool {
        match self.source_qemu {
            SourceProcess::Here | SourceProcess::Streaming | SourceProcess::Fresh => true,
            SourceProcess::PreSwitchover
            | SourceProcess::Switching
            | SourceProcess::Completed
            | SourceProcess::SwitchingPostcopy
            | SourceProcess::Serving
            | SourceProcess::Halted
            | SourceProcess::Gone => false,
        }
    }

    pub(crate) fn runs_on_target(&self) -> bool {
        match self.target_qemu {
            TargetProcess::Ran | TargetProcess::Fresh => true,
            TargetProcess::Incoming
            | TargetProcess::IncomingContinued
            | TargetProcess::Loaded
            | TargetProcess::LoadedContinuing
            | TargetProcess::Gone => false,
        }
    }

    /// Whether the source is in doubt: the only time at which an operator's word counts.
    pub(crate) fn in_doubt(&self) -> bool {
        matches!(self.source, SourceAgent::Settling | SourceAgent::Asking)
    }

    /// The source's guest goes on with its old memory.
    pub(crate) fn go_on_at_source(&mut self) {
        self.source_qemu = SourceProcess::Here;
        if self.history.ran_on_target || self.history.booted {
            self.breach(Breach::OldMemoryOnSource);
        }
        self.history.went_on |= self.sent;
    }

    /// The target starts the guest from the memory that it loaded.
    pub(crate) fn start_at_target(&mut self) {
        self.target_qemu = TargetProcess::Ran;
        if self.history.went_on || self.history.booted {
            self.breach(Breach::OldMemoryOnTarget);
        }
        self.history.ran_on_target = true;
    }

    pub(crate) fn breach(&mut self, breach: Breach) {
        self.history.breach = self.history.breach.or(Some(breach));
    }
}
