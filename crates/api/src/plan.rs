//! What is expected of a live migration before it begins, and how good such expectations have been. Main types: [`Plan`],
//! [`Prediction`], [`Accuracy`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CheckReport, Migration};

/// `POST /domains/{domain}/plan`: what a migration would be like. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// What stands in its way.
    pub check: CheckReport,
    /// What is expected of it; absent where it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

/// What is expected of a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Prediction {
    /// Whether it comes to an end.
    pub verdict: Convergence,
    /// What brings it to an end, besides sending what was written again; in the order in which it is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Mean>,
    /// What is expected; absent where it does not come to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// Where it does not come to an end: what would bring it there, each by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// What it rests on.
    pub facts: PlanFacts,
}

/// Whether rounds over a guest's memory come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Convergence {
    /// They do.
    Converges,
    /// The guest writes faster than that.
    DoesNotConverge,
    /// How fast the guest writes is not known; what is expected is of a guest that does not write.
    Unknown,
}

/// Something that brings a migration to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mean {
    /// Only what changed of a page is sent again. QEMU: `xbzrle`.
    Xbzrle,
    /// The guest stands still for longer than was wished, within the bound.
    LongerBlackout,
    /// The guest is slowed down. QEMU: `auto-converge`.
    Throttle,
    /// The guest goes on on the target before all its memory is there. QEMU: `postcopy-ram`.
    Postcopy,
}

/// What would bring a migration to an end that does not come to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "need", rename_all = "kebab-case")]
pub enum Need {
    /// A faster link.
    Link {
        /// How fast at least.
        bytes_per_s: u64,
    },
    /// A longer blackout.
    Blackout {
        /// How long at least, in milliseconds.
        ms: u64,
    },
    /// A slower guest.
    Throttle {
        /// How much of its time is taken from it at least.
        percent: u8,
    },
    /// Post-copy.
    Postcopy,
}

/// What is expected, each with the interval that contains four outcomes of five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expected {
    /// From its beginning until the domain runs on the target, in milliseconds: a report's `wall_ms`.
    pub time_ms: Interval,
    /// Bytes that are sent for memory and devices.
    pub sent_bytes: Interval,
    /// Rounds over memory.
    pub rounds: Interval,
    /// How long the guest stands still, in milliseconds: a report's `stop_to_resume_ms`.
    pub blackout_ms: Interval,
}

/// An expected figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    /// One outcome of ten is below.
    pub low: u64,
    /// As many are below as above.
    pub likely: u64,
    /// One outcome of ten is above.
    pub high: u64,
    /// As reckoned, before it was corrected by how such reckonings turned out before.
    pub reckoned: u64,
}

impl Interval {
    /// Whether an outcome is as expected.
    #[must_use]
    pub fn contains(&self, outcome: u64) -> bool {
        (self.low..=self.high).contains(&outcome)
    }
}

/// What a prediction rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanFacts {
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// So much of it is not zero.
    pub used_bytes: u64,
    /// How the guest writes; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<GuestWrites>,
    /// Bytes per second that memory goes over with.
    pub link_bytes_per_s: u64,
    /// How that is known.
    pub link_known_by: LinkKnownBy,
    /// How long a request takes there and back, in microseconds; absent where none was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
}

/// How a guest writes to its memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GuestWrites {
    /// Bytes per second of pages that are written to; a page counts each time.
    pub bytes_per_s: u64,
    /// Bytes of the pages that it writes to again and again.
    pub set_bytes: u64,
    /// How much of such a page is left if only what has changed is sent, in per cent; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_percent: Option<u8>,
}

/// How the rate of a link is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKnownBy {
    /// The agents sent something over their own encrypted connection.
    Probe,
    /// Memory went over before, between the same two hosts.
    History,
    /// Nobody knows.
    Assumed,
    /// The migration's own limit on bandwidth is lower.
    Limit,
}

/// `GET /report`: how good predictions were, of the migrations of guests that have left this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Accuracy {
    /// Migrations that were predicted and ended on the target.
    pub runs: u64,
    /// Share of them whose time lay in the interval, 0 to 1; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// The median of how far their time was from the likely one, as a share of it; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_error: Option<f64>,
    /// The same of each figure.
    pub figures: Vec<FigureAccuracy>,
    /// Every migration that was predicted, the oldest first, whatever became of it.
    pub migrations: Vec<Migration>,
}

/// How good predictions of one figure were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FigureAccuracy {
    /// Its name in [`Expected`].
    pub figure: String,
    /// Migrations that have it.
    pub runs: u64,
    /// As [`Accuracy::coverage`].
    pub coverage: f64,
    /// As [`Accuracy::median_error`].
    pub median_error: f64,
}

/// `POST /agent/link`: what another agent has received of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkProbed {
    /// Bytes.
    pub received_bytes: u64,
    /// From the first of them to the last, in microseconds, by the receiver's clock.
    pub within_us: u64,
}
