//! How a live migration is brought to its end: what it may do for that, what was decided on the way, and why. Main types:
//! [`Decided`], [`OnStuck`], [`Settings`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What becomes of a migration that does not come to an end by anything that it may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnStuck {
    /// It is given up; the guest stays on the source and runs there as before.
    #[default]
    Keep,
    /// The guest is paused on the source, so that the rest goes over; it goes on on the target.
    Suspend,
}

/// `POST /migrations/{id}/settings`: what is changed about a live migration while its memory goes over. What is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// As [`crate::MigrationRequest::bandwidth_bytes_per_s`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_bytes_per_s: Option<u64>,
    /// As [`crate::MigrationRequest::blackout_ms_max`], given at once and not in steps; a bound below it is raised to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blackout_ms_max: Option<u64>,
    /// As [`crate::MigrationRequest::throttle_percent_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_percent_max: Option<u8>,
}

/// Something that was decided about a live migration while its memory went over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    /// The round in which it was decided, counted from 1.
    pub round: u64,
    /// Time since memory began to go over, in milliseconds.
    pub elapsed_ms: u64,
    /// What.
    #[serde(flatten)]
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// Memory may take so much of the blackout. QEMU: `downtime-limit`.
    Blackout {
        /// In milliseconds.
        ms: u64,
    },
    /// How fast memory is reckoned to go over in the blackout. QEMU: `avail-switchover-bandwidth`.
    SwitchoverBandwidth {
        /// Bytes of pages per second; 0 is what QEMU sees going over the network.
        bytes_per_s: u64,
    },
    /// So much of its time is taken from the guest. QEMU: `max-cpu-throttle`.
    Throttle {
        /// In per cent.
        percent: u8,
    },
    /// The guest is paused, and goes on on the target.
    Suspend,
    /// The migration is given up, and the guest stays.
    Keep,
}

/// Why something was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Reason {
    /// Early rounds ask for a shorter blackout than was wished; there have been enough of them.
    Rounds,
    /// The last rounds left no less than those before them.
    NoProgress {
        /// The least that any of them left, in bytes.
        left_bytes: u64,
        /// How long that would take, in milliseconds.
        blackout_ms: u64,
    },
    /// All that is allowed was tried, and the rounds leave no less.
    Exhausted {
        /// The least that any of the last rounds left, in bytes.
        left_bytes: u64,
        /// How long that would take, in milliseconds.
        blackout_ms: u64,
        /// How fast the guest dirties memory, in bytes per second.
        dirty_bytes_per_s: u64,
        /// How fast memory goes over, in bytes of pages per second.
        rate_bytes_per_s: u64,
    },
    /// Pages go over faster than the network alone would carry them: only what changed of them is sent.
    Compressed,
    /// Pages go over no faster than the network carries them.
    Uncompressed,
    /// The time that was given is over.
    Deadline {
        /// How long that was, in seconds.
        seconds: u64,
    },
    /// Nothing goes over the network any more.
    Stalled {
        /// For so long, in seconds.
        seconds: u64,
    },
    /// Somebody wants it so.
    Asked,
}
