//! What the test guest and the lab that watches it both know: the memory pattern, the records on the disk,
//! the echo packets and beats, the settings on the kernel's command line and the [`Status`] that the guest serves.
//!
//! The guest's whole purpose is to notice what a migration could break: a page that went back to an older
//! version, a record that never reached the disk, an answer that never came. Nothing here knows of hosts,
//! agents or QEMU, and nothing here corrects what it finds: it counts.

pub mod beat;
pub mod echo;
pub mod limits;
pub mod memory;
pub mod record;
pub mod settings;

use serde::{Deserialize, Serialize};

/// What the guest answers to `GET /` and, after a pass over everything it holds, to `GET /check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Linux's boot id: another one means that the guest was booted again.
    pub boot_id: String,
    /// Seconds on the guest's own clock since it booted; this clock stops while the vCPUs are stopped.
    pub uptime_s: f64,
    /// Whether it was booted by UEFI.
    pub uefi: bool,
    /// Registers 0 to 7 of its TPM's SHA-256 bank at the last check, as Linux reads them; empty without a TPM. Firmware
    /// and kernel wrote into them while they booted, and nobody has since.
    pub tpm_registers: Vec<String>,
    /// Pages that hold the pattern.
    pub memory_pages: u64,
    /// Pages that got a new version, since boot.
    pub memory_changed: u64,
    /// Pages compared with what they must hold, since boot.
    pub memory_checked: u64,
    /// Pages that did not hold what they must hold, since boot.
    pub memory_errors: u64,
    /// Records written and synced to the disk since boot.
    pub records_written: u64,
    /// The number of the last record that is synced; the first one ever is 1.
    pub record_last: u64,
    /// Records that the disk should hold and does not: missing numbers and damaged lines, at the last check.
    pub records_lost: u64,
    /// Echo requests sent to the client since boot.
    pub ping_sent: u64,
    /// Echo requests that were answered.
    pub ping_answered: u64,
    /// Echo requests that found no answer within [`limits::ECHO_LOST_AFTER`].
    pub ping_lost: u64,
    /// The most echo requests lost one after another.
    pub ping_lost_in_a_row: u64,
}
