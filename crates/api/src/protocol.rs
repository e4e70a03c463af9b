//! Which version of their conversation two agents speak: the newest that both know. Main type: [`Protocols`].
//!
//! ```text
//! source                              target
//!   GET /version                  →        as soon as a connection is open
//!                                 ←        "I speak 1 to 3"
//!   any request of agents         →        ferry-protocol: 2, the newest that both speak
//!                                 ←        ferry-protocol: 2, or a refusal that names what each side speaks
//! ```
//!
//! A version changes only where an agent of the version before would misunderstand what is said. A new field that may
//! be absent is no new version: both sides overlook what they do not know.

use std::fmt;

/// Request and response header that carries the version that is spoken.
pub const PROTOCOL_HEADER: &str = "ferry-protocol";

/// The versions that one agent speaks: every one from `oldest` to `newest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// The first.
    pub oldest: u32,
    /// The last; what it speaks where the other side's versions are not known.
    pub newest: u32,
}

impl Protocols {
    /// What this program speaks. A release speaks all that the release before it spoke.
    pub const OURS: Protocols = Protocols { oldest: 1, newest: 2 };

    /// The first in which files go along, and domains that are shut off: an agent of the one before would take such an
    /// offer for that of a guest whose disks it sees.
    pub const COPIES: u32 = 2;

    /// Those of ours that can say what needs `oldest`.
    #[must_use]
    pub fn ours_from(oldest: u32) -> Protocols {
        Protocols { oldest, ..Protocols::OURS }
    }

    /// Whether `version` is one of them.
    #[must_use]
    pub fn include(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// The newest version that both sides speak, if there is one.
    #[must_use]
    pub fn common(self, other: Protocols) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (self.include(newest) && other.include(newest)).then_some(newest)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            write!(f, "{}", self.newest)
        } else {
            write!(f, "{} to {}", self.oldest, self.newest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Protocols;

    #[track_caller]
    fn check(ours: (u32, u32), theirs: (u32, u32), expect: Option<u32>) {
        let [ours, theirs] = [ours, theirs].map(|(oldest, newest)| Protocols { oldest, newest });
        assert_eq!(ours.common(theirs), expect, "{ours} and {theirs}");
        assert_eq!(theirs.common(ours), expect, "{theirs} and {ours}");
    }

    #[test]
    fn the_newest_that_both_speak() {
        check((1, 1), (1, 1), Some(1));
        check((1, 2), (1, 1), Some(1));
        check((1, 3), (2, 5), Some(3));
        check((1, 1), (2, 2), None);
        check((1, 2), (3, 4), None);
        // What nobody sends: newest before oldest.
        check((1, 2), (2, 1), None);
    }

    #[test]
    fn a_range_reads_as_one() {
        assert_eq!(Protocols { oldest: 1, newest: 1 }.to_string(), "1");
        assert_eq!(Protocols { oldest: 1, newest: 2 }.to_string(), "1 to 2");
    }
}
