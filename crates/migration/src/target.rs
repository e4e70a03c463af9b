//! The target's side as typestate, as [`crate::source`] is the source's.
//!
//! ```text
//! Offered → Prepared → Receiving → Loaded → Granted → Running
//!    └──────────┴──────────┴──────────┴→ Refused, with a proof  ├→ Lost
//!                                                    post-copy:  └→ Filling → Running | Lost
//! ```
//!
//! Main type: [`Loaded`], the only state that takes a pledge.

use uuid::Uuid;

use crate::RunRight;
use crate::handover::NeverRan;
use crate::phase::Phase;
use crate::source::{Pledge, State};

macro_rules! states_without_right {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<R> {
            domain: Uuid,
            /// The live resources.
            pub live: R,
        }

        impl<R> State for $name<R> {
            const PHASE: Phase = Phase::$name;
        }

        impl<R> $name<R> {
            /// Gives up; the proof says that the guest never ran here.
            pub fn refuse(self, _proof: NeverRan) -> Refused<R> {
                Refused { live: self.live }
            }
        }
    )*};
}

states_without_right! {
    /// The offer was checked and accepted.
    Offered;
    /// QEMU waits for memory, taps are muted.
    Prepared;
    /// Memory comes in.
    Receiving;
    /// QEMU says `paused`: everything is here, the guest stands.
    Loaded;
}

/// The right to run is here; `cont` is being sent.
#[derive(Debug)]
pub struct Granted<R> {
    right: RunRight,
    /// The live resources.
    pub live: R,
}

/// Post-copy: the guest runs here, and memory is still to come.
#[derive(Debug)]
pub struct Filling<R> {
    right: RunRight,
    /// The live resources.
    pub live: R,
}

/// The end *running*.
#[derive(Debug)]
pub struct Running<R> {
    /// The right to run.
    pub right: RunRight,
    /// The live resources: the domain's now.
    pub live: R,
}

/// The end *refused*: everything is to be given back.
#[derive(Debug)]
pub struct Refused<R> {
    /// The live resources, to be given back.
    pub live: R,
}

/// The end *lost*: the QEMU died after `cont`, or its agent cannot say that it did not run.
#[derive(Debug)]
pub struct Lost<R> {
    /// The live resources, to be given back.
    pub live: R,
}

impl<R> State for Granted<R> {
    const PHASE: Phase = Phase::Granted;
}
impl<R> State for Filling<R> {
    const PHASE: Phase = Phase::Filling;
}
impl<R> State for Running<R> {
    const PHASE: Phase = Phase::Running;
}
impl<R> State for Refused<R> {
    const PHASE: Phase = Phase::Refused;
}
impl<R> State for Lost<R> {
    const PHASE: Phase = Phase::Lost;
}

impl<R> Offered<R> {
    /// The offer was accepted.
    pub fn new(domain: Uuid, live: R) -> Self {
        Self { domain, live }
    }

    /// QEMU and taps stand ready; `more` adds them to the live resources.
    pub fn prepared<S>(self, more: impl FnOnce(R) -> S) -> Prepared<S> {
        Prepared { domain: self.domain, live: more(self.live) }
    }
}

impl<R> Prepared<R> {
    /// The source was told the address; from here on memory comes in.
    pub fn receiving(self) -> Receiving<R> {
        Receiving { domain: self.domain, live: self.live }
    }
}

impl<R> Receiving<R> {
    /// Taken up again after a restart: the QEMU was found and never ran.
    pub fn recovered(domain: Uuid, live: R) -> Self {
        Self { domain, live }
    }

    /// QEMU says `paused`.
    pub fn loaded(self) -> Loaded<R> {
        Loaded { domain: self.domain, live: self.live }
    }
}

impl<R> Loaded<R> {
    /// The pledge gives the right to run to this host.
    pub fn grant(self, pledge: Pledge) -> Granted<R> {
        Granted { right: RunRight::mint(self.domain, pledge.generation), live: self.live }
    }
}

impl<R> Granted<R> {
    /// QEMU has resumed the guest.
    pub fn running(self) -> Running<R> {
        Running { right: self.right, live: self.live }
    }

    /// QEMU has resumed the guest, and memory is still to come.
    pub fn filling(self) -> Filling<R> {
        Filling { right: self.right, live: self.live }
    }

    /// QEMU died before it said that the guest runs.
    pub fn lost(self) -> Lost<R> {
        Lost { live: self.live }
    }
}

impl<R> Filling<R> {
    /// The generation of the right to run.
    pub fn generation(&self) -> u64 {
        self.right.generation()
    }

    /// Everything is here.
    pub fn running(self) -> Running<R> {
        Running { right: self.right, live: self.live }
    }

    /// Its QEMU ended, or the source's did: what has not come never comes.
    pub fn lost(self) -> Lost<R> {
        Lost { live: self.live }
    }
}

#[cfg(test)]
mod tests {
    use super::{Filling, Granted, Loaded, Lost, Offered, Prepared, Receiving, Refused, Running};
    use crate::phase::Phase;
    use crate::source::{Pledge, State};
    use uuid::Uuid;

    fn check(from: Phase, to: Phase) {
        assert!(from.next().contains(&to), "the phases do not know {from:?} → {to:?}");
    }

    #[test]
    fn every_step_is_a_step_of_the_phases() {
        check(Offered::<()>::PHASE, Prepared::<()>::PHASE);
        check(Prepared::<()>::PHASE, Receiving::<()>::PHASE);
        check(Receiving::<()>::PHASE, Loaded::<()>::PHASE);
        check(Loaded::<()>::PHASE, Granted::<()>::PHASE);
        check(Granted::<()>::PHASE, Running::<()>::PHASE);
        check(Granted::<()>::PHASE, Lost::<()>::PHASE);
        check(Granted::<()>::PHASE, Filling::<()>::PHASE);
        check(Filling::<()>::PHASE, Running::<()>::PHASE);
        check(Filling::<()>::PHASE, Lost::<()>::PHASE);
        assert!(!Filling::<()>::PHASE.next().contains(&Refused::<()>::PHASE));
        for before in
            [Offered::<()>::PHASE, Prepared::<()>::PHASE, Receiving::<()>::PHASE, Loaded::<()>::PHASE]
        {
            check(before, Refused::<()>::PHASE);
            assert!(!before.next().contains(&Running::<()>::PHASE));
        }
        assert!(!Granted::<()>::PHASE.next().contains(&Refused::<()>::PHASE));
    }

    #[test]
    fn the_right_comes_with_the_pledge() {
        let loaded = Offered::new(Uuid::from_u128(1), ()).prepared(|()| "qemu").receiving().loaded();
        let running = loaded.grant(Pledge { generation: 8 }).running();
        assert_eq!((running.right.generation(), running.live), (8, "qemu"));
        let filling =
            Receiving::recovered(Uuid::from_u128(1), ()).loaded().grant(Pledge { generation: 8 }).filling();
        assert_eq!(filling.generation(), 8);
        assert_eq!(filling.running().right.generation(), 8);
    }
}
