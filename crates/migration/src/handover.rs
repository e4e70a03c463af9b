//! What each side does with a pledge, with an abandonment, and after a crash. The agents call these functions, and
//! the model checker runs the same ones for every loss, repetition and reordering of messages and every crash.
//!
//! Two rules carry all the rest:
//!
//! 1. After its pledge a source continues its guest only on [`Verdict::Refused`], and a target says *refused* only
//!    with a proof that the guest never ran there ([`NeverRan`]).
//! 2. A target continues its guest only after a pledge, and only when its QEMU says that everything was loaded
//!    ([`TargetQemu::Loaded`]): `cont` sent to a QEMU that still takes memory in succeeds, and starts the guest
//!    after the load by itself.
//!
//! In post-copy the guest is handed over while the source still has memory that the target lacks. The same rules hold, with
//! the pledge after QEMU's `postcopy-active` and *filling* as a verdict that ends nothing: the source goes on serving until it
//! hears *running*, and where either QEMU ends before that, the guest is lost.
//!
//! No function here is told the time: nobody decides by a time-out who may run.

use crate::phase::Phase;

/// The target's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// The guest runs there, or ran.
    Running,
    /// The guest runs there, or ran, and memory still comes from the source. Not an end.
    Filling,
    /// The guest never ran there and never will in this migration.
    Refused,
    /// The target's QEMU is gone, and the guest may have run.
    Lost,
}

/// The target's QEMU, as its `query-status` (qapi `RunState`) and its process tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetQemu {
    /// No process.
    Gone,
    /// It waits for memory or takes it in: `prelaunch`, `inmigrate`. Without a QEMU, of a domain that is shut off: its
    /// files are not all here.
    Incoming,
    /// It has loaded everything and never ran: `paused`. In post-copy: everything but memory that is still to come. Shut off:
    /// every file is here, proven.
    Loaded,
    /// Post-copy: its guest runs, or ran, and memory is still to come.
    Filling,
    /// Any other status: its guest runs, or ran. Shut off: the right was taken over.
    Ran,
}

/// What a target's agent knows when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKnowledge {
    /// Its QEMU now.
    pub qemu: TargetQemu,
    /// Whether this agent process made the QEMU, so that it would know of any `cont`.
    pub alive_since_prepared: bool,
    /// Whether this agent process has sent `cont`.
    pub continued: bool,
    /// Whether its QEMU, while it is [`TargetQemu::Incoming`], may be about to load what has been sent: post-copy is allowed,
    /// where the source does not wait for the target, and QEMU does not say that it failed.
    pub may_still_load: bool,
    /// The end that its journal holds, if any.
    pub ended: Option<Verdict>,
}

/// A proof that the guest never ran on the target; without it nobody says *refused*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NeverRan(());

impl TargetKnowledge {
    /// The proof, where what is known is enough for one: a QEMU that is alive and never ran, or an agent that made
    /// this QEMU itself and never sent `cont`.
    #[must_use]
    pub fn never_ran(&self) -> Option<NeverRan> {
        if self.continued {
            return None;
        }
        match self.qemu {
            TargetQemu::Incoming | TargetQemu::Loaded => Some(NeverRan(())),
            TargetQemu::Gone if self.alive_since_prepared => Some(NeverRan(())),
            TargetQemu::Gone | TargetQemu::Filling | TargetQemu::Ran => None,
        }
    }
}

/// What a target does when it is given the right to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnPledge {
    /// Send `cont` now.
    Continue,
    /// Decide when QEMU has loaded, or failed.
    Wait,
    /// Give everything back, write *refused* to the journal, then answer it.
    Refuse(NeverRan),
    /// Answer this; there is nothing left to do here.
    Answer(Verdict),
    /// Write *lost* to the journal, then answer it.
    Lose,
}

/// The target was given the right to run; also when the same pledge comes again.
#[must_use]
pub fn on_pledge(known: &TargetKnowledge) -> OnPledge {
    if let Some(verdict) = known.ended {
        return OnPledge::Answer(verdict);
    }
    match known.qemu {
        TargetQemu::Ran => OnPledge::Answer(Verdict::Running),
        TargetQemu::Filling => OnPledge::Answer(Verdict::Filling),
        // Even where a `cont` was sent before: it is repeated until QEMU says that the guest ran.
        TargetQemu::Loaded => OnPledge::Continue,
        TargetQemu::Incoming if known.may_still_load => OnPledge::Wait,
        TargetQemu::Incoming | TargetQemu::Gone => match known.never_ran() {
            Some(proof) => OnPledge::Refuse(proof),
            None => OnPledge::Lose,
        },
    }
}

/// What a target does when its source says that the domain stays there, or when its own side fails before a pledge.
#[must_use]
pub fn on_abandon(known: &TargetKnowledge) -> OnPledge {
    if let Some(verdict) = known.ended {
        return OnPledge::Answer(verdict);
    }
    match (known.qemu, known.never_ran()) {
        (TargetQemu::Ran, _) => OnPledge::Answer(Verdict::Running),
        // Whoever says so may be wrong, and the guest runs here.
        (TargetQemu::Filling, _) => OnPledge::Answer(Verdict::Filling),
        (_, Some(proof)) => OnPledge::Refuse(proof),
        (_, None) => OnPledge::Lose,
    }
}

/// Whether a target's guest needs memory that nobody has any more: its source says that nothing is left there to serve it.
/// Then its QEMU is ended, and *lost* answered: until that the guest runs, and nobody may boot the domain elsewhere.
#[must_use]
pub fn is_cut_off(qemu: TargetQemu, nothing_left: bool) -> bool {
    qemu == TargetQemu::Filling && nothing_left
}

/// Whether a source that was told *filling* has nothing left to serve the guest with. One that has completed has sent it all.
#[must_use]
pub fn has_nothing_left(qemu: SourceQemu) -> bool {
    match qemu {
        SourceQemu::Serving | SourceQemu::Completed => false,
        SourceQemu::Gone | SourceQemu::Here | SourceQemu::Migrating | SourceQemu::ShutOff => true,
    }
}

/// The source's QEMU, as `query-status` and `query-migrate` tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceQemu {
    /// No process.
    Gone,
    /// The guest runs or is suspended, and no migration is under way or one has failed.
    Here,
    /// A migration is under way and has not completed.
    Migrating,
    /// Post-copy: `postcopy-active`, or its connection is broken and can be taken up again. The guest stands here for good.
    Serving,
    /// The migration has completed: `postmigrate`.
    Completed,
    /// There is none and there was none: the domain moves shut off, and nothing of it is in anybody's memory.
    ShutOff,
}

/// What a source does after its agent restarted, or after an attempt broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceRecovery {
    /// Cancel what is under way, continue the guest, tell the target to give everything back.
    Keep,
    /// Nothing was pledged, and the domain is shut off: go on with its files where the target's copies end.
    Resume,
    /// No pledge was ever sent and the QEMU is gone: the memory is lost, the domain may be booted afresh here.
    Lose,
    /// A pledge may have been sent: send it (again) until there is a verdict. In doubt until then.
    Settle,
    /// The QEMU is gone, and whether a pledge was sent is not known: send no pledge; send the abandonment until there
    /// is an answer, and [`settle`] by that. In doubt until then, but only shown so: the journal stays at `Pledging`,
    /// because `Pledged` and `InDoubt` say that QEMU had completed and that a pledge stands.
    Ask,
    /// It has ended: only clean up after it.
    CleanUp(Phase),
}

/// The source's agent finds a journal whose last phase is `last`.
#[must_use]
pub fn recover_source(last: Phase, qemu: SourceQemu) -> SourceRecovery {
    match last {
        Phase::Planned | Phase::Reserved | Phase::Streaming | Phase::Stopped => match qemu {
            SourceQemu::Gone => SourceRecovery::Lose,
            SourceQemu::ShutOff => SourceRecovery::Resume,
            SourceQemu::Here | SourceQemu::Migrating | SourceQemu::Completed => SourceRecovery::Keep,
            // There is no way back: QEMU neither cancels nor continues. What the target lacks is here, unchanged.
            SourceQemu::Serving => SourceRecovery::Settle,
        },
        // A pledge follows only after QEMU has completed. So one that has not completed was never pledged.
        Phase::Pledging => match qemu {
            SourceQemu::Here | SourceQemu::Migrating => SourceRecovery::Keep,
            // It completed and nobody continued it, so what the target holds is what the disk goes with; the same where it
            // serves. A domain that is shut off is written by nobody.
            SourceQemu::Completed | SourceQemu::Serving | SourceQemu::ShutOff => SourceRecovery::Settle,
            // It may have completed and been pledged. Or the stream broke after the target had loaded everything,
            // QEMU resumed the guest by itself, the guest wrote to its disk, and then QEMU died: a pledge now would
            // start memory on the target that is older than the disk.
            SourceQemu::Gone => SourceRecovery::Ask,
        },
        Phase::Pledged | Phase::Serving | Phase::InDoubt => SourceRecovery::Settle,
        Phase::Moved | Phase::Kept | Phase::Lost => SourceRecovery::CleanUp(last),
        Phase::Offered
        | Phase::Prepared
        | Phase::Receiving
        | Phase::Loaded
        | Phase::Granted
        | Phase::Filling
        | Phase::Running
        | Phase::Refused => unreachable!("{last:?} is never written by a source"),
    }
}

/// What a source does with a verdict after its pledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// End its QEMU; the domain belongs to the target.
    Moved,
    /// Leave its QEMU alone: the target's guest still needs memory from it. Not an end; the pledge is said again later.
    Serving,
    /// Continue its QEMU.
    Kept,
    /// End its QEMU; the domain is shut off and may be booted afresh where the owner record says.
    Lost,
}

/// The source hears the verdict on its pledge.
#[must_use]
pub fn settle(verdict: Verdict, qemu: SourceQemu) -> Settled {
    match (verdict, qemu) {
        (Verdict::Running, _) => Settled::Moved,
        // Whatever is left here: the guest runs there until the target says otherwise. A source that has nothing to give any
        // more tells it so ([`is_cut_off`]), and hears *lost* once it runs there no more.
        (Verdict::Filling, _) => Settled::Serving,
        (
            Verdict::Refused,
            SourceQemu::Here | SourceQemu::Migrating | SourceQemu::Completed | SourceQemu::ShutOff,
        ) => Settled::Kept,
        // One that serves cannot be continued.
        (Verdict::Refused, SourceQemu::Gone | SourceQemu::Serving) | (Verdict::Lost, _) => Settled::Lost,
    }
}

/// What a target's agent does when it restarts and finds a journal that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetRecovery {
    /// The guest runs here: take it up, unmute its ports, write the owner record.
    Adopt,
    /// Nothing was granted yet: stay as it is until the source speaks.
    Wait,
    /// The QEMU is gone: ask the source what became of it; until then nothing may start here.
    AskSource,
}

/// The target's agent finds a journal that has not ended.
#[must_use]
pub fn recover_target(qemu: TargetQemu) -> TargetRecovery {
    match qemu {
        TargetQemu::Ran | TargetQemu::Filling => TargetRecovery::Adopt,
        TargetQemu::Incoming | TargetQemu::Loaded => TargetRecovery::Wait,
        TargetQemu::Gone => TargetRecovery::AskSource,
    }
}

/// An operator's word on a migration in doubt, seen from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// It runs, or ran, on the target.
    Moved,
    /// It never ran on the target and cannot any more: its QEMU there is gone. While that lives, a pledge that is
    /// still under way may start it.
    Kept,
    /// The memory is gone, on the target too: its QEMU there is gone.
    Lost,
}

/// Why an operator's word was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordRefused {
    /// The target answered, and its answer is another.
    #[error("the target answers, and says {verdict:?}: that ends the doubt, not a word against it")]
    TargetSays {
        /// Its answer.
        verdict: Verdict,
    },
    /// There is no memory left to go on with.
    #[error("the source's QEMU is gone, so the guest cannot go on here; it can only be booted afresh")]
    NothingToKeep,
    /// Post-copy: what the target lacks is here, and the source's QEMU can do nothing but serve it.
    #[error(
        "the source's QEMU still has memory that the guest needs on the target, and cannot continue it here: the only word that \
         ends this is that the guest is lost"
    )]
    Serves,
}

/// An operator's word about a migration in doubt. `heard` is the target's verdict where it could be reached just
/// now; a word against it is refused.
///
/// # Errors
/// [`WordRefused`] where the word contradicts what can be seen.
pub fn resolve(word: Word, heard: Option<Verdict>, qemu: SourceQemu) -> Result<Settled, WordRefused> {
    let meant = match word {
        Word::Moved => Settled::Moved,
        Word::Kept => Settled::Kept,
        Word::Lost => Settled::Lost,
    };
    if let Some(verdict) = heard {
        return if settle(verdict, qemu) == meant {
            Ok(meant)
        } else {
            Err(WordRefused::TargetSays { verdict })
        };
    }
    match (meant, qemu) {
        (Settled::Kept, SourceQemu::Gone) => Err(WordRefused::NothingToKeep),
        (Settled::Kept | Settled::Moved, SourceQemu::Serving) => Err(WordRefused::Serves),
        (Settled::Moved | Settled::Kept | Settled::Lost | Settled::Serving, _) => Ok(meant),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        OnPledge, Settled, SourceQemu, SourceRecovery, TargetKnowledge, TargetQemu, Verdict, Word,
        WordRefused, has_nothing_left, is_cut_off, on_abandon, on_pledge, recover_source, resolve, settle,
    };
    use crate::phase::Phase;

    fn known(qemu: TargetQemu, alive_since_prepared: bool, continued: bool) -> TargetKnowledge {
        TargetKnowledge { qemu, alive_since_prepared, continued, may_still_load: false, ended: None }
    }

    #[test]
    fn a_target_continues_only_what_is_loaded() {
        for alive in [true, false] {
            for continued in [true, false] {
                for qemu in [
                    TargetQemu::Gone,
                    TargetQemu::Incoming,
                    TargetQemu::Loaded,
                    TargetQemu::Filling,
                    TargetQemu::Ran,
                ] {
                    let answer = on_pledge(&known(qemu, alive, continued));
                    assert_eq!(answer == OnPledge::Continue, qemu == TargetQemu::Loaded, "{qemu:?}");
                    assert_ne!(on_abandon(&known(qemu, alive, continued)), OnPledge::Continue);
                }
            }
        }
    }

    #[test]
    fn refused_needs_proof() {
        let check = |qemu, alive, continued, expect: bool| {
            let found = matches!(on_abandon(&known(qemu, alive, continued)), OnPledge::Refuse(_));
            assert_eq!(found, expect, "{qemu:?} alive {alive} continued {continued}");
        };
        check(TargetQemu::Gone, true, false, true);
        check(TargetQemu::Gone, false, false, false);
        check(TargetQemu::Gone, true, true, false);
        check(TargetQemu::Loaded, false, false, true);
        check(TargetQemu::Loaded, true, true, false);
        check(TargetQemu::Ran, true, false, false);
        check(TargetQemu::Filling, true, false, false);
    }

    #[test]
    fn a_guest_that_still_needs_memory_is_served_or_lost() {
        for alive in [true, false] {
            let filling = known(TargetQemu::Filling, alive, !alive);
            assert_eq!(on_pledge(&filling), OnPledge::Answer(Verdict::Filling));
            assert_eq!(on_abandon(&filling), OnPledge::Answer(Verdict::Filling));
        }
        for last in [Phase::Stopped, Phase::Pledging, Phase::Pledged, Phase::Serving, Phase::InDoubt] {
            assert_eq!(recover_source(last, SourceQemu::Serving), SourceRecovery::Settle, "{last:?}");
        }
        assert_eq!(recover_source(Phase::Serving, SourceQemu::Gone), SourceRecovery::Settle);
        for qemu in [SourceQemu::Serving, SourceQemu::Completed, SourceQemu::Gone] {
            assert_eq!(settle(Verdict::Filling, qemu), Settled::Serving);
            assert_eq!(has_nothing_left(qemu), qemu == SourceQemu::Gone);
        }
        assert_eq!(settle(Verdict::Running, SourceQemu::Serving), Settled::Moved);
        assert_eq!(settle(Verdict::Refused, SourceQemu::Serving), Settled::Lost);
        assert!(is_cut_off(TargetQemu::Filling, true) && !is_cut_off(TargetQemu::Filling, false));
        assert!(!is_cut_off(TargetQemu::Ran, true));
        for word in [Word::Moved, Word::Kept] {
            assert_eq!(resolve(word, None, SourceQemu::Serving), Err(WordRefused::Serves));
        }
        assert_eq!(resolve(Word::Lost, None, SourceQemu::Serving), Ok(Settled::Lost));
        let filling = Err(WordRefused::TargetSays { verdict: Verdict::Filling });
        assert_eq!(resolve(Word::Lost, Some(Verdict::Filling), SourceQemu::Serving), filling);
    }

    #[test]
    fn a_pledge_in_post_copy_waits_for_the_load() {
        let check = |qemu, expect| {
            let known = TargetKnowledge { may_still_load: true, ..known(qemu, true, false) };
            assert_eq!(on_pledge(&known), expect);
            assert_ne!(on_abandon(&known), OnPledge::Wait);
        };
        check(TargetQemu::Incoming, OnPledge::Wait);
        check(TargetQemu::Loaded, OnPledge::Continue);
    }

    #[test]
    fn an_ended_target_repeats_its_verdict() {
        let ended =
            TargetKnowledge { ended: Some(Verdict::Refused), ..known(TargetQemu::Loaded, true, false) };
        assert_eq!(on_pledge(&ended), OnPledge::Answer(Verdict::Refused));
    }

    #[test]
    fn a_source_keeps_only_what_was_never_pledged() {
        assert_eq!(recover_source(Phase::Streaming, SourceQemu::Migrating), SourceRecovery::Keep);
        assert_eq!(recover_source(Phase::Streaming, SourceQemu::Gone), SourceRecovery::Lose);
        assert_eq!(recover_source(Phase::Pledging, SourceQemu::Migrating), SourceRecovery::Keep);
        assert_eq!(recover_source(Phase::Pledging, SourceQemu::Completed), SourceRecovery::Settle);
        assert_eq!(recover_source(Phase::Pledging, SourceQemu::Gone), SourceRecovery::Ask);
        assert_eq!(recover_source(Phase::Pledged, SourceQemu::Gone), SourceRecovery::Settle);
        assert_eq!(recover_source(Phase::InDoubt, SourceQemu::Here), SourceRecovery::Settle);
        assert_eq!(recover_source(Phase::Streaming, SourceQemu::ShutOff), SourceRecovery::Resume);
        assert_eq!(recover_source(Phase::Pledging, SourceQemu::ShutOff), SourceRecovery::Settle);
        assert_eq!(settle(Verdict::Refused, SourceQemu::ShutOff), Settled::Kept);
        assert_eq!(settle(Verdict::Refused, SourceQemu::Completed), Settled::Kept);
        assert_eq!(settle(Verdict::Refused, SourceQemu::Gone), Settled::Lost);
        assert_eq!(settle(Verdict::Lost, SourceQemu::Completed), Settled::Lost);
        assert_eq!(settle(Verdict::Running, SourceQemu::Completed), Settled::Moved);
    }

    #[test]
    fn a_word_against_the_target_is_refused() {
        let check = |word, heard, qemu, expect| assert_eq!(resolve(word, heard, qemu), expect);
        let running = Err(WordRefused::TargetSays { verdict: Verdict::Running });
        check(Word::Kept, Some(Verdict::Running), SourceQemu::Completed, running);
        check(Word::Kept, None, SourceQemu::Completed, Ok(Settled::Kept));
        check(Word::Kept, None, SourceQemu::Gone, Err(WordRefused::NothingToKeep));
        check(Word::Moved, None, SourceQemu::Completed, Ok(Settled::Moved));
        check(Word::Moved, Some(Verdict::Running), SourceQemu::Gone, Ok(Settled::Moved));
    }
}
