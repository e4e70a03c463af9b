//! The phases of a migration, as the journal stores them and the API shows them.
//!
//! ```text
//! source: Planned → Reserved → Streaming → Stopped → Pledged → Moved      Kept from any state before Pledged
//!                                  └────── post-copy: Pledged → Serving → Moved
//! target: Offered → Prepared → Receiving → Loaded → Granted → Running     Refused from any state before Granted
//!                                  └────── post-copy: Granted → Filling → Running
//! after Pledged, without a verdict: InDoubt.   The QEMU with the state died: Lost.
//! ```
//!
//! Main type: [`Phase`]. `Pledging` exists in the journal only: it is written ahead, beside the last round.

use serde::{Deserialize, Serialize};

/// One phase of either side. Meaning as in the diagram above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Source: checked, nothing changed.
    Planned,
    /// Source: the target has made room.
    Reserved,
    /// Source: memory goes over.
    Streaming,
    /// Source's journal only: from here on a pledge may have been sent. Written while memory still goes over, so
    /// that no fsync lies in the blackout.
    Pledging,
    /// Source: vCPUs stopped for the last round.
    Stopped,
    /// Source: the right to run has been given away.
    Pledged,
    /// Source, post-copy: serves pages to the guest that runs on the target.
    Serving,
    /// Source, end: it runs on the target.
    Moved,
    /// Source, end: it stays as if nothing had happened.
    Kept,
    /// Source: pledged, verdict unknown.
    InDoubt,
    /// Either side, end: the QEMU that held the memory died.
    Lost,
    /// Target: the offer was accepted.
    Offered,
    /// Target: QEMU and taps stand ready.
    Prepared,
    /// Target: memory comes in.
    Receiving,
    /// Target: everything came in; the guest stands.
    Loaded,
    /// Target: the pledge was received.
    Granted,
    /// Target, post-copy: the guest runs while memory comes in.
    Filling,
    /// Target, end: the guest runs here.
    Running,
    /// Target, end: given back, with proof that the guest never ran here.
    Refused,
}

impl Phase {
    /// Every phase, in the order of the diagrams.
    pub const ALL: [Phase; 19] = [
        Phase::Planned,
        Phase::Reserved,
        Phase::Streaming,
        Phase::Pledging,
        Phase::Stopped,
        Phase::Pledged,
        Phase::Serving,
        Phase::Moved,
        Phase::Kept,
        Phase::InDoubt,
        Phase::Lost,
        Phase::Offered,
        Phase::Prepared,
        Phase::Receiving,
        Phase::Loaded,
        Phase::Granted,
        Phase::Filling,
        Phase::Running,
        Phase::Refused,
    ];

    /// The phases that may come next. Empty for an end.
    #[must_use]
    pub fn next(self) -> &'static [Phase] {
        use Phase::{
            Filling, Granted, InDoubt, Kept, Loaded, Lost, Moved, Offered, Planned, Pledged, Pledging,
            Prepared, Receiving, Refused, Reserved, Running, Serving, Stopped, Streaming,
        };
        match self {
            Planned => &[Reserved, Kept, Lost],
            Reserved => &[Streaming, Kept, Lost],
            Streaming => &[Pledging, Stopped, Kept, Lost],
            Pledging => &[Stopped, Pledged, Serving, Kept, InDoubt, Moved, Lost],
            Stopped => &[Pledging, Pledged, Kept, Lost],
            Pledged => &[Serving, Moved, Kept, InDoubt, Lost],
            Serving => &[Moved, Lost],
            InDoubt => &[Serving, Moved, Kept, Lost],
            Moved | Kept | Lost | Running | Refused => &[],
            Offered => &[Prepared, Refused],
            Prepared => &[Receiving, Refused, Lost],
            Receiving => &[Loaded, Refused, Lost],
            Loaded => &[Granted, Refused, Lost],
            Granted => &[Filling, Running, Lost],
            Filling => &[Running, Lost],
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_end(self) -> bool {
        self.next().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn every_phase_reaches_an_end_and_ends_are_five() {
        for phase in Phase::ALL {
            let mut seen = vec![phase];
            let mut queue = vec![phase];
            while let Some(at) = queue.pop() {
                for &next in at.next() {
                    if !seen.contains(&next) {
                        seen.push(next);
                        queue.push(next);
                    }
                }
            }
            assert!(seen.iter().any(|p| p.is_end()), "{phase:?} reaches no end");
        }
        let ends: Vec<Phase> = Phase::ALL.into_iter().filter(|p| p.is_end()).collect();
        assert_eq!(ends, [Phase::Moved, Phase::Kept, Phase::Lost, Phase::Running, Phase::Refused]);
    }

    #[test]
    fn nothing_before_the_pledge_is_in_doubt_and_kept_after_it_needs_a_verdict() {
        for phase in [Phase::Planned, Phase::Reserved, Phase::Streaming, Phase::Stopped] {
            assert!(!phase.next().contains(&Phase::InDoubt), "{phase:?}");
            assert!(!phase.next().contains(&Phase::Moved), "{phase:?}");
        }
    }
}
