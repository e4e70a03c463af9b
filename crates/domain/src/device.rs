//! The small devices: `<memballoon>`, `<rng>`, `<watchdog>`. It never touches an entropy source.

use std::path::{Path, PathBuf};

use crate::address::PciAddress;
use crate::reader::{Node, Reader, text};
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

impl Memballoon {
    /// Reads `<memballoon>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Memballoon> {
        reader.vocabulary(
            node,
            &["model", "autodeflate", "freePageReporting"],
            &["stats", "alias", "address"],
        );
        for name in ["autodeflate", "freePageReporting"] {
            reader.only(node, name, &["off"], "write `off`, or remove it");
        }
        if let Some(stats) = reader.child(node, "stats") {
            reader.vocabulary(stats, &["period"], &[]);
            reader.note(
                stats,
                "kept in the definition and not applied",
                "poll the balloon on the host's side",
            );
        }
        reader.required(node, "model", "write model='virtio'")?;
        let model = reader.word(node, "model")?;
        let address = reader.pci_address(node);
        if model == MemballoonModel::None && address.is_some() {
            reader.refuse(node, "no balloon, but an address", "remove the <address>");
        }
        Some(Memballoon { model, address })
    }
}

impl Rng {
    /// Reads `<rng>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Rng> {
        reader.vocabulary(node, &["model"], &["rate", "backend", "alias", "address"]);
        reader.required(node, "model", "write model='virtio'")?;
        reader.only(node, "model", &["virtio"], "write model='virtio'");
        let rate = rate(reader, node);
        let address = reader.pci_address(node);
        let mend = "add <backend model='random'>/dev/urandom</backend>";
        let backend = reader.required_child(node, "backend", mend)?;
        reader.vocabulary(backend, &["model"], &[]);
        reader.only(backend, "model", &["random", "builtin"], "write model='random' or model='builtin'");
        let backend = match reader.required(backend, "model", "write model='random'")? {
            "builtin" => RngBackend::Builtin,
            _ => match text(backend).trim() {
                "" => RngBackend::Random(PathBuf::from("/dev/urandom")),
                path => RngBackend::Random(reader.path(backend, None, path)?),
            },
        };
        Some(Rng { backend, rate, address })
    }
}

fn rate<'a>(reader: &mut Reader<'a>, rng: Node<'a>) -> Option<RngRate> {
    let node = reader.child(rng, "rate")?;
    reader.vocabulary(node, &["bytes", "period"], &[]);
    reader.required(node, "bytes", "write `bytes`")?;
    let period =
        if node.has_attribute("period") { reader.number(node, "period", 1..=u32::MAX)? } else { 1000 };
    Some(RngRate { bytes: reader.number(node, "bytes", 1..=u32::MAX)?, period_ms: period })
}

impl Watchdog {
    /// Reads `<watchdog>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Watchdog> {
        reader.vocabulary(node, &["model", "action"], &["alias"]);
        reader.required(node, "model", "write model='itco'")?;
        let mend = "write model='itco', the one in the q35 chipset, or remove the <watchdog>";
        reader.only(node, "model", &["itco"], mend);
        let action =
            if node.has_attribute("action") { reader.word(node, "action")? } else { WatchdogAction::Reset };
        Some(Watchdog { action })
    }
}
