//! The source's side as typestate: each state owns the [`RunRight`], where it has it, and the live resources `R` (the
//! agent's connections, processes and journal), and offers only the steps that may follow. A wrong order does not
//! compile.
//!
//! ```text
//! Planned → Reserved → Streaming → Stopped → Pledged → Moved
//!    └─────────┴───────────┴──────────┴→ Kept    ├──→ Kept | Lost, by the verdict alone
//!                                     post-copy:  └──→ Serving → Moved | Lost
//! ```
//!
//! `Pledged` has no way back of its own: only [`Pledged::settle`], which needs the target's verdict or an operator's
//! word. `Serving` has none at all. Main type: [`Pledged`].

use crate::RunRight;
use crate::handover::{Settled, SourceQemu, Verdict, settle};
use crate::phase::Phase;

/// A state of the source and its phase.
pub trait State {
    /// The phase that the journal stores and the API shows.
    const PHASE: Phase;
}

macro_rules! states_with_right {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<R> {
            right: RunRight,
            /// The live resources.
            pub live: R,
        }

        impl<R> State for $name<R> {
            const PHASE: Phase = Phase::$name;
        }

        impl<R> $name<R> {
            /// The domain stays here: nothing was pledged, so the right to run was here all the time.
            pub fn keep(self) -> Kept<R> {
                Kept { right: self.right, live: self.live }
            }

            /// The generation of the right to run.
            pub fn generation(&self) -> u64 {
                self.right.generation()
            }
        }
    )*};
}

states_with_right! {
    /// Everything was checked, nothing was changed.
    Planned;
    /// The target has made room.
    Reserved;
    /// Memory goes over while the guest works.
    Streaming;
    /// The guest's vCPUs are stopped for the last round.
    Stopped;
}

/// The source's irrevocable word. It is made only by consuming the right to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pledge {
    /// The generation that the target's right to run has.
    pub generation: u64,
}

/// The right to run was given away; there is none here.
#[derive(Debug)]
pub struct Pledged<R> {
    domain: uuid::Uuid,
    generation: u64,
    /// The live resources.
    pub live: R,
}

/// Post-copy: the guest runs on the target, and memory that it still needs is here. The guest cannot go on here any more.
#[derive(Debug)]
pub struct Serving<R> {
    generation: u64,
    /// The live resources.
    pub live: R,
}

/// The end *moved*: the domain belongs to the target.
#[derive(Debug)]
pub struct Moved<R> {
    /// The live resources, to be given back.
    pub live: R,
}

/// The end *kept*: the right to run is here.
#[derive(Debug)]
pub struct Kept<R> {
    /// The right to run.
    pub right: RunRight,
    /// The live resources; the guest is to be continued.
    pub live: R,
}

/// The end *lost*: nobody has the guest's memory.
#[derive(Debug)]
pub struct Lost<R> {
    /// The live resources, to be given back.
    pub live: R,
}

/// What comes of a pledge: an end, or the service before one.
#[derive(Debug)]
pub enum End<R> {
    /// The target's guest needs memory from here.
    Serving(Serving<R>),
    /// The domain belongs to the target.
    Moved(Moved<R>),
    /// The guest never ran on the target: it goes on here.
    Kept(Kept<R>),
    /// Nobody has the guest's memory.
    Lost(Lost<R>),
}

impl<R> State for Pledged<R> {
    const PHASE: Phase = Phase::Pledged;
}
impl<R> State for Serving<R> {
    const PHASE: Phase = Phase::Serving;
}
impl<R> State for Moved<R> {
    const PHASE: Phase = Phase::Moved;
}
impl<R> State for Kept<R> {
    const PHASE: Phase = Phase::Kept;
}
impl<R> State for Lost<R> {
    const PHASE: Phase = Phase::Lost;
}

impl<R> Planned<R> {
    /// The plan stands; the domain's right to run goes into the migration.
    pub fn new(right: RunRight, live: R) -> Self {
        Self { right, live }
    }

    /// The target has made room.
    pub fn reserved(self) -> Reserved<R> {
        Reserved { right: self.right, live: self.live }
    }
}

impl<R> Reserved<R> {
    /// QEMU sends memory.
    pub fn streaming(self) -> Streaming<R> {
        Streaming { right: self.right, live: self.live }
    }
}

impl<R> Streaming<R> {
    /// QEMU has stopped the vCPUs: `pre-switchover`.
    pub fn stopped(self) -> Stopped<R> {
        Stopped { right: self.right, live: self.live }
    }
}

impl<R> Stopped<R> {
    /// Gives the right to run away. What comes back is the word to send, and a state without a way back.
    pub fn pledge(self) -> (Pledge, Pledged<R>) {
        let pledge = Pledge { generation: self.right.generation() + 1 };
        (
            pledge,
            Pledged { domain: self.right.domain(), generation: self.right.generation(), live: self.live },
        )
    }
}

impl<R> Pledged<R> {
    /// Taken up again after a restart, from the journal.
    pub fn recovered(domain: uuid::Uuid, generation: u64, live: R) -> Self {
        Self { domain, generation, live }
    }

    /// The generation of the right that was given away.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The pledge, to be sent again: it is the same word.
    #[must_use]
    pub fn pledge(&self) -> Pledge {
        Pledge { generation: self.generation + 1 }
    }

    /// The verdict ends it.
    pub fn settle(self, verdict: Verdict, qemu: SourceQemu) -> End<R> {
        self.end(settle(verdict, qemu))
    }

    /// An operator's word ends it, after [`crate::handover::resolve`] allowed that word.
    pub fn resolved(self, settled: Settled) -> End<R> {
        self.end(settled)
    }

    fn end(self, settled: Settled) -> End<R> {
        match settled {
            Settled::Moved => End::Moved(Moved { live: self.live }),
            Settled::Serving => End::Serving(Serving { generation: self.generation, live: self.live }),
            Settled::Lost => End::Lost(Lost { live: self.live }),
            Settled::Kept => {
                let right = RunRight::from_verdict(self.domain, self.generation, &Verdict::Refused)
                    .expect("refused is the verdict that gives the right back");
                End::Kept(Kept { right, live: self.live })
            }
        }
    }
}

/// What comes of serving.
#[derive(Debug)]
pub enum Served<R> {
    /// The target has everything.
    Moved(Moved<R>),
    /// Not yet.
    Serving(Serving<R>),
    /// The target's QEMU has ended before it had everything.
    Lost(Lost<R>),
}

impl<R> Serving<R> {
    /// The generation of the right that was given away.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The target answered the pledge once more.
    pub fn settle(self, verdict: Verdict, qemu: SourceQemu) -> Served<R> {
        self.end(settle(verdict, qemu))
    }

    /// An operator's word ends it, after [`crate::handover::resolve`] allowed that word.
    pub fn resolved(self, settled: Settled) -> Served<R> {
        self.end(settled)
    }

    fn end(self, settled: Settled) -> Served<R> {
        match settled {
            Settled::Moved => Served::Moved(Moved { live: self.live }),
            Settled::Serving => Served::Serving(self),
            // A guest that ran on the target never goes on here, whatever anybody says.
            Settled::Lost | Settled::Kept => Served::Lost(Lost { live: self.live }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        End, Kept, Lost, Moved, Planned, Pledged, Reserved, Served, Serving, State, Stopped, Streaming,
    };
    use crate::RunRight;
    use crate::handover::{SourceQemu, Verdict};
    use crate::phase::Phase;
    use uuid::Uuid;

    fn check(from: Phase, to: Phase) {
        assert!(from.next().contains(&to), "the phases do not know {from:?} → {to:?}");
    }

    #[test]
    fn every_step_is_a_step_of_the_phases() {
        check(Planned::<()>::PHASE, Reserved::<()>::PHASE);
        check(Reserved::<()>::PHASE, Streaming::<()>::PHASE);
        check(Streaming::<()>::PHASE, Stopped::<()>::PHASE);
        check(Stopped::<()>::PHASE, Pledged::<()>::PHASE);
        for end in [Moved::<()>::PHASE, Kept::<()>::PHASE, Lost::<()>::PHASE] {
            check(Pledged::<()>::PHASE, end);
        }
        check(Pledged::<()>::PHASE, Serving::<()>::PHASE);
        check(Serving::<()>::PHASE, Moved::<()>::PHASE);
        check(Serving::<()>::PHASE, Lost::<()>::PHASE);
        assert!(!Serving::<()>::PHASE.next().contains(&Kept::<()>::PHASE));
        for before in
            [Planned::<()>::PHASE, Reserved::<()>::PHASE, Streaming::<()>::PHASE, Stopped::<()>::PHASE]
        {
            check(before, Kept::<()>::PHASE);
            assert!(!before.next().contains(&Moved::<()>::PHASE));
        }
    }

    #[test]
    fn the_right_is_consumed_by_the_pledge_and_comes_back_only_by_refused() {
        let pledged = || {
            let right = RunRight::mint(Uuid::from_u128(1), 3);
            let (pledge, pledged) = Planned::new(right, ()).reserved().streaming().stopped().pledge();
            assert_eq!(pledge.generation, 4);
            assert_eq!(pledged.pledge(), pledge);
            pledged
        };
        let End::Kept(kept) = pledged().settle(Verdict::Refused, SourceQemu::Completed) else {
            panic!("refused keeps");
        };
        assert_eq!(kept.right.generation(), 3);
        assert!(matches!(pledged().settle(Verdict::Running, SourceQemu::Completed), End::Moved(_)));
        assert!(matches!(pledged().settle(Verdict::Lost, SourceQemu::Completed), End::Lost(_)));
        assert!(matches!(pledged().settle(Verdict::Refused, SourceQemu::Gone), End::Lost(_)));
    }
    #[test]
    fn a_source_that_serves_goes_on_until_the_target_has_everything() {
        let serving = || {
            let pledged = Pledged::recovered(Uuid::from_u128(1), 3, ());
            let End::Serving(serving) = pledged.settle(Verdict::Filling, SourceQemu::Serving) else {
                panic!("filling is served");
            };
            assert_eq!(serving.generation(), 3);
            serving
        };
        let settle = |verdict, qemu| serving().settle(verdict, qemu);
        assert!(matches!(settle(Verdict::Filling, SourceQemu::Serving), Served::Serving(_)));
        assert!(matches!(settle(Verdict::Filling, SourceQemu::Gone), Served::Serving(_)));
        assert!(matches!(settle(Verdict::Running, SourceQemu::Completed), Served::Moved(_)));
        assert!(matches!(settle(Verdict::Lost, SourceQemu::Serving), Served::Lost(_)));
        for qemu in [SourceQemu::Here, SourceQemu::Completed, SourceQemu::Serving, SourceQemu::Gone] {
            assert!(matches!(settle(Verdict::Refused, qemu), Served::Lost(_)), "{qemu:?}");
        }
    }
}
