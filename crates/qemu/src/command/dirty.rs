//! Commands that measure how fast a guest writes, and how much memory it has.

use serde::{Deserialize, Serialize};

use super::{Done, command};
use crate::open_enum::open_enum;

open_enum! {
    /// QAPI `DirtyRateMeasureMode`: how written pages are found.
    pub enum DirtyRateMode {
        /// Some pages are hashed before and after. Needs nothing of the accelerator; a page that was written with what it
        /// had does not count.
        PageSampling = "page-sampling",
        /// KVM's ring of dirty pages, where it was switched on for this QEMU.
        DirtyRing = "dirty-ring",
        /// KVM's dirty log. Under TCG it is taken and finds nothing.
        DirtyBitmap = "dirty-bitmap",
    }
}

open_enum! {
    /// QAPI `DirtyRateStatus`.
    pub enum DirtyRateStatus {
        /// Nobody has asked.
        Unstarted = "unstarted",
        /// It goes on.
        Measuring = "measuring",
        /// There is a result.
        Measured = "measured",
    }
}

open_enum! {
    /// QAPI `TimeUnit`.
    pub enum TimeUnit {
        /// What `calc-time` means where no unit is given.
        Second = "second",
        /// From QEMU 8.2 on.
        Millisecond = "millisecond",
    }
}

/// QAPI `calc-dirty-rate`: begins to measure. Nothing tells when it is done; see [`QueryDirtyRate`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CalcDirtyRate {
    /// For how long.
    pub calc_time: u64,
    /// In what; only where the schema has the argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calc_time_unit: Option<TimeUnit>,
    /// Pages to hash of each GiB, 128 to 16384; only with [`DirtyRateMode::PageSampling`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_pages: Option<u64>,
    /// How.
    pub mode: DirtyRateMode,
}
command!(CalcDirtyRate, "calc-dirty-rate", Done);

/// QAPI `query-dirty-rate`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryDirtyRate;
command!(QueryDirtyRate, "query-dirty-rate", DirtyRate);

/// QAPI `DirtyRateInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DirtyRate {
    /// Whether there is a result.
    pub status: DirtyRateStatus,
    /// MiB per second, -1 where nothing could be measured; missing while it is measured.
    pub dirty_rate: Option<i64>,
}

/// QAPI `query-memory-size-summary`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryMemorySizeSummary;
command!(QueryMemorySizeSummary, "query-memory-size-summary", MemorySize);

/// QAPI `MemoryInfo`. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemorySize {
    /// What the machine was started with.
    pub base_memory: u64,
    /// What was plugged.
    pub plugged_memory: Option<u64>,
}
