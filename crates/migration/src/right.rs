//! The right to run a domain, as a value that can only be moved. Main type: [`RunRight`].

use uuid::Uuid;

use crate::handover::Verdict;

/// The right to run one domain. At most one exists for a domain among all hosts: it is made when the domain is
/// started, consumed by the pledge, and made again only from a verdict.
///
/// It is neither `Clone` nor `Copy`; losing it (a crash) loses nothing but the value, because the owner record
/// and the journal say who may mint it again.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped right to run leaves the domain without an owner in this process"]
pub struct RunRight {
    domain: Uuid,
    generation: u64,
}

impl RunRight {
    /// Minted when a domain starts on a host that the owner record allows
    /// ([`crate::owner::OwnerRecord::claim`] is the only caller outside this module's tests).
    pub(crate) fn mint(domain: Uuid, generation: u64) -> Self {
        Self { domain, generation }
    }

    /// Minted again for a QEMU that was found running after the agent restarted: the process itself is the proof
    /// that the right was here, and no journal says that it was pledged.
    pub fn found_running(domain: Uuid, generation: u64) -> Self {
        Self { domain, generation }
    }

    /// Minted again for a domain that is shut off, where a journal without an end says that it never was pledged.
    pub fn found_unpledged(domain: Uuid, generation: u64) -> Self {
        Self { domain, generation }
    }

    /// Minted again on the source by the one verdict that allows it; `None` for every other.
    pub fn from_verdict(domain: Uuid, generation: u64, verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Refused => Some(Self { domain, generation }),
            Verdict::Running | Verdict::Filling | Verdict::Lost => None,
        }
    }

    /// The domain that it is for.
    #[must_use]
    pub fn domain(&self) -> Uuid {
        self.domain
    }

    /// Its generation: one more at each change of owner.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
