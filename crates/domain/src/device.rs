//! The small devices: `<memballoon>`, `<rng>`, `<watchdog>`, `<panic>`, `<vsock>`, `<iommu>`. It never touches an
//! entropy source.

use std::path::{Path, PathBuf};

use crate::address::PciAddress;
use crate::limits::{ADDRESS_BITS, VSOCK_CID};
use crate::reader::{Node, Reader, text};
use crate::word::words;

/// `<memballoon>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memballoon {
    /// What the guest sees.
    pub model: MemballoonModel,
    /// `autodeflate='on'`: the guest takes memory back before it runs out (QEMU's `deflate-on-oom`).
    pub autodeflate: bool,
    /// `freePageReporting='on'`: the guest tells which pages it does not use (QEMU's `free-page-reporting`).
    pub free_page_reporting: bool,
    /// `<stats period=…>`: how often QEMU asks the guest for its figures, in seconds; none is never. The guest hardly
    /// sees it.
    pub stats_period_s: Option<u32>,
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

/// `<watchdog>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// What the guest sees.
    pub model: WatchdogModel,
    /// What happens when it fires (QEMU's `-action watchdog=`), the same for all of a domain.
    pub action: WatchdogAction,
    /// `<address type='pci'>`, only of [`WatchdogModel::I6300esb`].
    pub address: Option<PciAddress>,
}

words! {
    /// What the guest sees as its watchdog.
    pub enum WatchdogModel {
        /// The timer inside q35's chipset (`-global ICH9-LPC.noreboot=off`); libvirt writes it into every q35 definition.
        Itco = "itco",
        /// A PCI card.
        I6300esb = "i6300esb",
        /// An ISA card.
        Ib700 = "ib700",
    }
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
        /// The guest gets a non-maskable interrupt.
        InjectNmi = "inject-nmi",
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
        let stats_period_s = reader.child(node, "stats").and_then(|stats| {
            reader.vocabulary(stats, &["period"], &[]);
            reader.number(stats, "period", 0..=u32::MAX).filter(|period| *period > 0)
        });
        reader.required(node, "model", "write model='virtio'")?;
        let model = reader.word(node, "model")?;
        let address = reader.pci_address(node);
        if model == MemballoonModel::None && address.is_some() {
            reader.refuse(node, "no balloon, but an address", "remove the <address>");
        }
        Some(Memballoon {
            model,
            autodeflate: reader.flag(node, "autodeflate", "on", "off").unwrap_or(false),
            free_page_reporting: reader.flag(node, "freePageReporting", "on", "off").unwrap_or(false),
            stats_period_s,
            address,
        })
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
        reader.vocabulary(node, &["model", "action"], &["alias", "address"]);
        reader.required(node, "model", "write model='itco'")?;
        let model = reader.word(node, "model")?;
        let action =
            if node.has_attribute("action") { reader.word(node, "action")? } else { WatchdogAction::Reset };
        let address = match (model, reader.child(node, "address")) {
            (WatchdogModel::I6300esb, _) => reader.pci_address(node),
            (WatchdogModel::Itco | WatchdogModel::Ib700, Some(address)) => {
                reader.refuse(address, format!("watchdog `{model}` has no address"), "remove the <address>");
                None
            }
            (WatchdogModel::Itco | WatchdogModel::Ib700, None) => None,
        };
        Some(Watchdog { model, action, address })
    }
}

/// `<panic>`: how the guest tells that it crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What the guest sees.
    pub model: PanicModel,
    /// `<address type='isa' iobase=…>` of [`PanicModel::Isa`]: its port; none leaves QEMU's default, 0x505.
    pub io_port: Option<u16>,
    /// `<address type='pci'>` of [`PanicModel::Pvpanic`].
    pub address: Option<PciAddress>,
}

words! {
    /// What the guest sees as its panic device.
    pub enum PanicModel {
        /// A port (QEMU's `pvpanic`); what libvirt takes where no model is written.
        Isa = "isa",
        /// A PCI device (QEMU's `pvpanic-pci`).
        Pvpanic = "pvpanic",
        /// Registers of Hyper-V's (the CPU feature `hv-crash`).
        Hyperv = "hyperv",
    }
}

impl Panic {
    /// Reads `<panic>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Panic> {
        reader.vocabulary(node, &["model"], &["alias", "address"]);
        let model = if node.has_attribute("model") { reader.word(node, "model")? } else { PanicModel::Isa };
        let mut panic = Panic { model, io_port: None, address: None };
        let Some(address) = reader.child(node, "address") else { return Some(panic) };
        match model {
            PanicModel::Isa => {
                reader.vocabulary(address, &["type", "iobase", "irq"], &[]);
                reader.only(address, "type", &["isa"], "write type='isa', or remove the <address>");
                let port = reader.number(address, "iobase", 1..=0xffff);
                panic.io_port = port.and_then(|port| u16::try_from(port).ok());
            }
            PanicModel::Pvpanic => panic.address = reader.pci_address(node),
            PanicModel::Hyperv => {
                reader.refuse(address, "panic device `hyperv` has no address", "remove the <address>");
            }
        }
        Some(panic)
    }
}

/// `<vsock model='virtio'>` (QEMU's `vhost-vsock-pci`): sockets between guest and host. It needs the host kernel's
/// vhost_vsock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// `<cid address=…>`: the guest's address; none with `auto='yes'`, see [`Domain::vsock_cid`](crate::Domain::vsock_cid).
    pub cid: Option<u32>,
    /// `<address type='pci'>`.
    pub address: Option<PciAddress>,
}

impl Vsock {
    /// Reads `<vsock>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Vsock> {
        reader.vocabulary(node, &["model"], &["cid", "alias", "address"]);
        reader.only(node, "model", &["virtio"], "write model='virtio'");
        let address = reader.pci_address(node);
        let mut cid = None;
        if let Some(child) = reader.child(node, "cid") {
            reader.vocabulary(child, &["auto", "address"], &[]);
            if reader.flag(child, "auto", "yes", "no") != Some(true) {
                reader.required(child, "address", "write auto='yes', or `address`, a number from 3")?;
                cid = Some(reader.number(child, "address", VSOCK_CID)?);
            }
        }
        Some(Vsock { cid, address })
    }
}

/// `<iommu model='intel'>` (QEMU's `intel-iommu`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iommu {
    /// `intremap`: interrupts are translated; none leaves QEMU's default, as with all that follow.
    pub intremap: Option<bool>,
    /// `caching_mode`: for guests that give devices away.
    pub caching_mode: Option<bool>,
    /// `eim`: more than 255 processors; it needs `intremap`.
    pub eim: Option<bool>,
    /// `iotlb`: devices may keep translations.
    pub iotlb: Option<bool>,
    /// `dma_translation`: whether it translates memory accesses at all.
    pub dma_translation: Option<bool>,
    /// `aw_bits`: width of the addresses.
    pub aw_bits: Option<u8>,
}

impl Iommu {
    /// Reads `<iommu>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Iommu> {
        reader.vocabulary(node, &["model"], &["driver", "alias"]);
        reader.required(node, "model", "write model='intel'")?;
        reader.only(node, "model", &["intel"], "write model='intel', or remove the <iommu>");
        let Some(driver) = reader.child(node, "driver") else { return Some(Iommu::default()) };
        reader.vocabulary(
            driver,
            &["intremap", "caching_mode", "eim", "iotlb", "dma_translation", "aw_bits"],
            &[],
        );
        let mut flag = |name| reader.flag(driver, name, "on", "off");
        Some(Iommu {
            intremap: flag("intremap"),
            caching_mode: flag("caching_mode"),
            eim: flag("eim"),
            iotlb: flag("iotlb"),
            dma_translation: flag("dma_translation"),
            aw_bits: reader.byte(driver, "aw_bits", ADDRESS_BITS),
        })
    }
}
