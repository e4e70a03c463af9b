//! The small devices: `<memballoon>`, `<rng>`, `<watchdog>`. It never touches an entropy source.

use std::path::{Path, PathBuf};

use crate::address::PciAddress;
use crate::word::words;

/// `<memballoon>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memballoon {
    /// What the guest sees.
    pub model: MemballoonModel,
    /// `<address type='pci'>`; none for [`MemballoonModel::None`].
    pub address: Option<PciAddress>,
}

words! {
    /// What the guest sees as its balloon.
    pub enum MemballoonModel {
        /// QEMU's `virtio-balloon-pci`.
        Virtio = "virtio",
        /// No balloon.
        None = "none",
    }
}

/// `<rng model='virtio'>` (QEMU's `virtio-rng-pci`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    /// Where the bytes come from.
    pub backend: RngBackend,
    /// `<rate>`; none is no limit.
    pub rate: Option<RngRate>,
    /// `<address type='pci'>`.
    pub address: Option<PciAddress>,
}

/// Where random bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RngBackend {
    /// `<backend model='random'>`: a device of the host (QEMU's `rng-random`); `/dev/urandom` where not written.
    Random(PathBuf),
    /// `<backend model='builtin'>`: QEMU itself (`rng-builtin`).
    Builtin,
}

impl RngBackend {
    /// The file it reads, if any.
    pub fn path(&self) -> Option<&Path> {
        match self {
            RngBackend::Random(path) => Some(path),
            RngBackend::Builtin => None,
        }
    }
}

/// `<rate>`: at most `bytes` in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RngRate {
    /// Bytes in a period (QEMU's `max-bytes`).
    pub bytes: u32,
    /// The period in milliseconds; 1000 where not written.
    pub period_ms: u32,
}

/// `<watchdog model='itco'>`: the timer inside q35's chipset. libvirt writes it into every q35 definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// What happens when it fires: QEMU's `-action watchdog=`, with `-global ICH9-LPC.noreboot=off`.
    pub action: WatchdogAction,
}

words! {
    /// What happens when the watchdog fires.
    pub enum WatchdogAction {
        /// The guest is reset. The default.
        Reset = "reset",
        /// The guest is asked to power off.
        Shutdown = "shutdown",
        /// QEMU ends.
        Poweroff = "poweroff",
        /// The guest is stopped.
        Pause = "pause",
        /// Nothing.
        None = "none",
    }
}
