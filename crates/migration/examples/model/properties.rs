//! What must hold in every state, and what must be reachable so that the model cannot hold for want of events.
//! Main type: [`Handover`], the model as the checker takes it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use migration::handover::{TargetQemu, Verdict, Word, resolve, settle};
use migration::phase::Phase;
use stateright::{Model, Property};

use crate::surroundings::{Action, Machine, WORDS};
use crate::world::{
    Breach, Faults, GENERATION, Host, Message, SourceAgent, SourceProcess, TargetAgent, TargetProcess, World,
};

/// Longest way from any state to its end once nothing fails any more, in steps; a longer one is a circle.
const QUIET_STEPS_MAX: u32 = 200;

/// The model.
pub(crate) struct Handover {
    pub(crate) faults: Faults,
    /// States from which everything is known to come to an end once nothing fails any more.
    ends: Mutex<HashSet<World>>,
    /// The same, with the target's host switched off for ever.
    ends_alone: Mutex<HashSet<World>>,
}

impl Handover {
    pub(crate) fn new(faults: Faults) -> Handover {
        Handover { faults, ends: Mutex::default(), ends_alone: Mutex::default() }
    }

    fn comes_to_an_end(&self, world: &World) -> bool {
        let mut world = World { left: Faults::NONE, ..*world };
        let mut walked = Vec::new();
        let mut actions = Vec::new();
        while !is_ended(&world) && !is_broken(&world) {
            if lock(&self.ends).contains(&world) {
                break;
            }
            actions.clear();
            world.quiet_actions(&mut actions);
            // The source gives up where it sees that its QEMU does not migrate any more; to give up a migration that
            // goes well is a person's choice.
            actions.retain(|action| *action != BREAK_OFF || has_failed(&world));
            let Some(&next) = actions.first() else { return false };
            walked.push(world);
            if walked.len() > QUIET_STEPS_MAX as usize {
                return false;
            }
            world.act(next);
        }
        lock(&self.ends).extend(walked);
        true
    }

    /// The target's host is switched off for ever: the source ends alone, by an operator's word where it is in doubt.
    fn comes_to_an_end_alone(&self, world: &World) -> bool {
        let mut world = World { left: Faults::NONE, ..*world };
        world.target = TargetAgent::Dead;
        world.target_qemu = TargetProcess::Gone;
        let mut actions = Vec::new();
        for _step in 0..QUIET_STEPS_MAX {
            if is_broken(&world) || lock(&self.ends_alone).contains(&world) {
                return true;
            }
            actions.clear();
            world.quiet_actions(&mut actions);
            actions.retain(|action| {
                *action != Action::Restart(Host::Target) && (*action != BREAK_OFF || has_failed(&world))
            });
            match actions.first() {
                Some(&next) => world.act(next),
                None => {
                    let ended = is_ended_at_source(&world) || self.a_word_ends(&world);
                    if ended {
                        lock(&self.ends_alone).insert(world);
                    }
                    return ended;
                }
            }
        }
        false
    }

    /// There is a true word, and every true word ends it.
    fn a_word_ends(&self, world: &World) -> bool {
        let mut words = WORDS.into_iter().filter(|word| world.is_true(*word)).peekable();
        words.peek().is_some()
            && words.all(|word| {
                let mut spoken = *world;
                spoken.act(Action::TrueWord(word));
                self.comes_to_an_end_alone(&spoken)
            })
    }
}

const BREAK_OFF: Action = Action::Source(crate::source::SourceStep::BreakOff);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_failed(world: &World) -> bool {
    match world.source_qemu {
        SourceProcess::Gone | SourceProcess::Halted => true,
        SourceProcess::Here => world.source_journal != Phase::Reserved,
        SourceProcess::Streaming
        | SourceProcess::PreSwitchover
        | SourceProcess::Switching
        | SourceProcess::Completed
        | SourceProcess::SwitchingPostcopy
        | SourceProcess::Serving
        | SourceProcess::Fresh => false,
    }
}

/// Another property says so, and better.
fn is_broken(world: &World) -> bool {
    world.history.breach.is_some() || (world.runs_on_source() && world.runs_on_target())
}

fn is_ended_at_source(world: &World) -> bool {
    let tidy = match world.source_qemu {
        SourceProcess::Here => world.source_journal == Phase::Kept,
        SourceProcess::Fresh | SourceProcess::Gone => true,
        SourceProcess::Streaming
        | SourceProcess::PreSwitchover
        | SourceProcess::Switching
        | SourceProcess::SwitchingPostcopy
        | SourceProcess::Serving
        | SourceProcess::Halted
        | SourceProcess::Completed => false,
    };
    tidy && matches!(world.source, SourceAgent::Ended { .. }) && !world.record.offered
}

/// Both sides have ended, one host is the owner, the other one has nothing.
fn is_ended(world: &World) -> bool {
    let claims = [Host::Source, Host::Target].map(|host| world.record.claim(host).is_some());
    is_ended_at_source(world)
        && world.target != TargetAgent::Dead
        && match (world.record.host, world.target_end()) {
            (_, None | Some(Verdict::Filling)) => false,
            (Host::Source, Some(Verdict::Refused | Verdict::Lost)) => {
                claims == [true, false]
                    && matches!(world.source_journal, Phase::Kept | Phase::Lost)
                    && world.target_qemu == TargetProcess::Gone
            }
            (Host::Source, Some(Verdict::Running)) => false,
            (Host::Target, Some(Verdict::Running | Verdict::Lost)) => {
                claims == [false, true]
                    && matches!(world.source_journal, Phase::Moved | Phase::Lost)
                    && world.source_qemu == SourceProcess::Gone
            }
            (Host::Target, Some(Verdict::Refused)) => false,
        }
}

fn has_right_at_source(world: &World) -> bool {
    match world.source {
        SourceAgent::Driving | SourceAgent::Keeping => true,
        SourceAgent::Ended { .. } => world.source_journal == Phase::Kept,
        SourceAgent::Dead | SourceAgent::Asking | SourceAgent::Settling => false,
    }
}

fn has_right_at_target(world: &World) -> bool {
    world.target_qemu != TargetProcess::Gone
        && matches!(world.target, TargetAgent::Up { continued: true, .. })
        && matches!(world.target_end(), None | Some(Verdict::Running))
}

/// The record names the host of every guest that runs, as owner or as the one it was offered to.
fn record_names_the_runner(world: &World) -> bool {
    let record = world.record;
    let at_source = record.host == Host::Source && record.generation == GENERATION;
    let at_target = record.host == Host::Target && record.generation == GENERATION + 1;
    (!world.runs_on_source() || at_source)
        && (!world.runs_on_target() || at_target || (at_source && record.offered))
}

fn crashed(world: &World, faults: &Faults) -> bool {
    world.left.source_agent < faults.source_agent
        || world.left.target_agent < faults.target_agent
        || world.left.source_qemu < faults.source_qemu
        || world.left.target_qemu < faults.target_qemu
}

/// The moments of the crash matrix.
fn is_streaming(world: &World) -> bool {
    world.source_qemu == SourceProcess::Streaming && world.source == SourceAgent::Driving
}

fn is_stopped(world: &World) -> bool {
    matches!(
        world.source_qemu,
        SourceProcess::PreSwitchover | SourceProcess::Switching | SourceProcess::Completed
    ) && world.source == SourceAgent::Driving
}

fn is_pledged(world: &World) -> bool {
    world.source == SourceAgent::Settling && world.source_qemu == SourceProcess::Completed
}

fn is_filling(world: &World) -> bool {
    world.source_journal == Phase::Serving && world.target_view() == TargetQemu::Filling
}

macro_rules! crashes {
    ($($machine:ident: $streaming:literal, $stopped:literal, $pledged:literal, $filling:literal;)*) => {
        [$(
            Property::sometimes($streaming, |_: &Handover, w: &World| is_streaming(w) && w.can_crash(Machine::$machine)),
            Property::sometimes($stopped, |_, w| is_stopped(w) && w.can_crash(Machine::$machine)),
            Property::sometimes($pledged, |_, w| is_pledged(w) && w.can_crash(Machine::$machine)),
            Property::sometimes($filling, |_, w| is_filling(w) && w.can_crash(Machine::$machine)),
        )*]
    };
}

/// With the target's answer at hand, a word does what the answer does, or nothing.
fn a_word_agrees(world: &World) -> bool {
    let view = world.source_view();
    let answers = Message::ALL.into_iter().filter_map(|message| match message {
        Message::Answer(verdict) if world.network.has(message) => Some(verdict),
        Message::Pledge
        | Message::Abandon
        | Message::Question
        | Message::NothingLeft
        | Message::Answer(_) => None,
    });
    let agrees = |word, verdict| match resolve(word, Some(verdict), view) {
        Ok(settled) => settled == settle(verdict, view),
        Err(_refused) => true,
    };
    !world.in_doubt()
        || answers.into_iter().all(|verdict| WORDS.into_iter().all(|word| agrees(word, verdict)))
}

fn always() -> Vec<Property<Handover>> {
    vec![
        Property::always("never two runners", |_, w: &World| !(w.runs_on_source() && w.runs_on_target())),
        Property::always(
            "the source's old memory never runs after the guest ran elsewhere",
            |_, w: &World| w.history.breach != Some(Breach::OldMemoryOnSource),
        ),
        Property::always("the target never starts memory older than the disk", |_, w: &World| {
            w.history.breach != Some(Breach::OldMemoryOnTarget)
        }),
        Property::always("cont is never sent to an incoming QEMU", |_, w: &World| {
            w.history.breach != Some(Breach::ContinuedWhileIncoming)
        }),
        Property::always("nothing runs on the target without a pledge", |_, w: &World| {
            w.history.breach != Some(Breach::RunsWithoutPledge)
        }),
        Property::always("never two rights to run", |_, w| {
            !(has_right_at_source(w) && has_right_at_target(w))
        }),
        Property::always("the owner record names the host of the running guest", |_, w| {
            record_names_the_runner(w)
        }),
        Property::always("without a crash and without a word nothing is lost", |m: &Handover, w: &World| {
            let excused = w.history.word || w.history.broke_unloaded;
            w.source_journal != Phase::Lost || crashed(w, &m.faults) || excused
        }),
        Property::always("what a guest on the target still needs is never thrown away", |_, w: &World| {
            w.history.breach != Some(Breach::EndedWhileServing)
        }),
        Property::always("a word against the target's answer is refused", |_, w| a_word_agrees(w)),
        Property::always("once nothing fails any more, it ends by itself", |m: &Handover, w: &World| {
            m.comes_to_an_end(w)
        }),
        Property::always("with the target off for ever, a word ends it", |m: &Handover, w: &World| {
            m.comes_to_an_end_alone(w)
        }),
    ]
}

fn reachable() -> Vec<Property<Handover>> {
    vec![
        Property::sometimes("ends: moved", |_, w: &World| is_ended(w) && w.source_journal == Phase::Moved),
        Property::sometimes("ends: kept", |_, w: &World| is_ended(w) && w.source_journal == Phase::Kept),
        Property::sometimes("ends: lost", |_, w: &World| is_ended(w) && w.source_journal == Phase::Lost),
        Property::sometimes("post-copy, ends: moved", |_, w: &World| {
            is_ended(w) && w.source_journal == Phase::Moved && w.postcopy.filled
        }),
        Property::sometimes("post-copy, ends: lost", |_, w: &World| {
            is_ended(w) && w.source_journal == Phase::Lost && w.history.ran_on_target && w.is_unfilled()
        }),
        Property::sometimes("post-copy, the switch fails, ends: kept", |_, w: &World| {
            is_ended(w) && w.source_journal == Phase::Kept && w.postcopy.switched
        }),
        Property::sometimes("post-copy, the stream is cut while the guest runs", |_, w: &World| {
            w.postcopy.cut && w.target_view() == TargetQemu::Filling
        }),
        Property::sometimes("post-copy, the target is cut off for good", |_, w: &World| {
            w.network.has(Message::NothingLeft) && w.target_view() == TargetQemu::Filling
        }),
        Property::sometimes("post-copy, a pledge waits for the load", |_, w: &World| {
            w.network.has(Message::Pledge)
                && w.target_takes_memory()
                && w.source_qemu == SourceProcess::Serving
        }),
        Property::sometimes("in doubt in the journal", |_, w: &World| w.source_journal == Phase::InDoubt),
        Property::sometimes("kept after the pledge, by refused", |_, w: &World| {
            w.source == SourceAgent::Ended { heard: true }
                && w.source_journal == Phase::Kept
                && w.source_qemu == SourceProcess::Completed
        }),
        Property::sometimes("lost after the pledge, with the memory still at the source", |_, w: &World| {
            w.source_journal == Phase::Lost && w.source_qemu == SourceProcess::Completed
        }),
        Property::sometimes("pledge and abandonment under way at once", |_, w: &World| {
            w.network.has(Message::Pledge) && w.network.has(Message::Abandon)
        }),
        Property::sometimes("asks without pledging", |_, w: &World| w.source == SourceAgent::Asking),
        Property::sometimes("loaded at the target while the guest goes on at the source", |_, w: &World| {
            w.target_qemu == TargetProcess::Loaded && w.source_qemu == SourceProcess::Here
        }),
        Property::sometimes("a pledge finds an incoming QEMU", |_, w: &World| {
            w.network.has(Message::Pledge) && w.target_takes_memory() && w.target != TargetAgent::Dead
        }),
        Property::sometimes("cont is still in the socket when the agent dies", |_, w: &World| {
            w.target_qemu == TargetProcess::LoadedContinuing && w.target == TargetAgent::Dead
        }),
        Property::sometimes("an agent adopts the running guest", |_, w: &World| {
            w.target_qemu == TargetProcess::Ran
                && w.target == TargetAgent::Up { made_qemu: false, continued: false }
                && w.target_journal == Phase::Receiving
        }),
        Property::sometimes("the target asks the source", |_, w: &World| w.network.has(Message::Question)),
        Property::sometimes("word: moved", |_, w: &World| w.is_true(Word::Moved)),
        Property::sometimes("word: kept", |_, w: &World| w.is_true(Word::Kept)),
        Property::sometimes("word: lost", |_, w: &World| w.is_true(Word::Lost)),
        Property::sometimes("a word is refused", |_, w: &World| {
            w.in_doubt()
                && w.network.has(Message::Answer(Verdict::Running))
                && w.word_heard(Word::Kept).is_none()
        }),
        Property::sometimes("booted afresh on the source", |_, w: &World| {
            w.source_qemu == SourceProcess::Fresh
        }),
        Property::sometimes("booted afresh on the target", |_, w: &World| {
            w.target_qemu == TargetProcess::Fresh
        }),
    ]
}

impl Model for Handover {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        // With post-copy so much more can happen that one message less is repeated, and nobody boots a second time.
        let Faults { repetition, boot, .. } = self.faults;
        let fewer =
            Faults { repetition: repetition.saturating_sub(1), boot: boot.saturating_sub(1), ..self.faults };
        vec![World::new(self.faults, false), World::new(fewer, true)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = *world;
        next.act(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = always();
        properties.extend(reachable());
        properties.extend(crashes! {
            SourceAgent: "source agent dies at streaming", "source agent dies at stopped", "source agent dies after the pledge", "source agent dies while it fills";
            TargetAgent: "target agent dies at streaming", "target agent dies at stopped", "target agent dies after the pledge", "target agent dies while it fills";
            SourceQemu: "source QEMU dies at streaming", "source QEMU dies at stopped", "source QEMU dies after the pledge", "source QEMU dies while it fills";
            TargetQemu: "target QEMU dies at streaming", "target QEMU dies at stopped", "target QEMU dies after the pledge", "target QEMU dies while it fills";
        });
        properties
    }
}
