//! What has been counted for a domain since its QEMU began. Main type: [`Statistics`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /domains/{domain}/statistics`. What cannot be told now is left out: a domain that is shut off has snapshots only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Statistics {
    /// Time on processors of its QEMU, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Memory that the balloon leaves the guest, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balloon_bytes: Option<u64>,
    /// What its guest did to its disks.
    #[serde(default)]
    pub disks: Vec<DiskStatistics>,
    /// What went through its taps.
    #[serde(default)]
    pub interfaces: Vec<InterfaceStatistics>,
    /// How many snapshots its disks have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<u64>,
}

/// QAPI `BlockDeviceStats` of one disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskStatistics {
    /// The guest's name for it, as in `vda`.
    pub target: String,
    /// Bytes that the guest read.
    pub read_bytes: u64,
    /// Bytes that the guest wrote.
    pub written_bytes: u64,
    /// Reads of the guest.
    pub reads: u64,
    /// Writes of the guest.
    pub writes: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Writes that failed.
    pub failed_writes: u64,
}

/// What the kernel has counted at a tap, as the guest sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStatistics {
    /// The tap on this host.
    pub tap: String,
    /// Bytes that the guest received.
    pub received_bytes: u64,
    /// Packets that the guest received.
    pub received_packets: u64,
    /// Packets to the guest that were dropped.
    pub received_dropped: u64,
    /// Bytes that the guest sent.
    pub transmitted_bytes: u64,
    /// Packets that the guest sent.
    pub transmitted_packets: u64,
    /// Packets from the guest that were dropped.
    pub transmitted_dropped: u64,
}
