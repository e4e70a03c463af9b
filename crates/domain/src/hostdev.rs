//! `<hostdev>`: a device of the host in the guest's hands. Such a guest runs, and cannot move while it runs. It never
//! looks at a device.

use std::fmt;

use crate::address::{PciAddress, UsbAddress};
use crate::interface::Rom;
use crate::reader::{Node, Reader, whole};
use crate::usb::usb_address;

/// `<hostdev mode='subsystem'>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostdev {
    /// Which device of the host.
    pub source: HostdevSource,
    /// `<boot order=…>`, from 1.
    pub boot_order: Option<u32>,
    /// `<rom>`, only for PCI.
    pub rom: Rom,
    /// `<address type='pci'>` in the guest, only for PCI.
    pub address: Option<PciAddress>,
    /// `<address type='usb'>` in the guest, only for USB.
    pub usb_address: Option<UsbAddress>,
}

/// Which device of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostdevSource {
    /// `type='pci'` (QEMU's `vfio-pci`): its address on the host. It has to be bound to the vfio-pci driver before.
    Pci {
        /// PCI domain.
        domain: u16,
        /// Bus.
        bus: u8,
        /// Slot.
        slot: u8,
        /// Function.
        function: u8,
    },
    /// `type='usb'` (QEMU's `usb-host`): what is written of these picks the device; one of the two pairs is.
    Usb {
        /// `<vendor>` and `<product>`.
        product: Option<(u16, u16)>,
        /// `<address bus=… device=…>`.
        device: Option<(u16, u16)>,
    },
}

impl fmt::Display for HostdevSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostdevSource::Pci { domain, bus, slot, function } => {
                write!(formatter, "PCI device {domain:04x}:{bus:02x}:{slot:02x}.{function:x}")
            }
            HostdevSource::Usb { product: Some((vendor, product)), device: _ } => {
                write!(formatter, "USB device {vendor:04x}:{product:04x}")
            }
            HostdevSource::Usb { product: None, device } => {
                let (bus, number) = device.unwrap_or_default();
                write!(formatter, "USB device {number} of bus {bus}")
            }
        }
    }
}

impl Hostdev {
    /// Reads `<hostdev>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Hostdev> {
        let children = ["source", "driver", "boot", "rom", "alias", "address"];
        reader.only(node, "mode", &["subsystem"], "write mode='subsystem'");
        match reader.required(node, "type", "write type='pci' or type='usb'")? {
            kind @ ("pci" | "usb") => {
                reader.vocabulary(node, &["mode", "type", "managed"], &children);
                let managed = reader.flag(node, "managed", "yes", "no") == Some(true);
                if managed && kind == "pci" {
                    let mend = "bind the device to the vfio-pci driver before the domain starts (driverctl)";
                    reader.note(node, "`managed` is kept in the definition and not applied", mend);
                }
                if let Some(driver) = reader.child(node, "driver") {
                    reader.vocabulary(driver, &["name"], &[]);
                    reader.only(driver, "name", &["vfio"], "write name='vfio'");
                }
                let source = reader.required_child(node, "source", "add the <source>")?;
                let (pci, usb) = (kind == "pci", kind == "usb");
                Some(Hostdev {
                    source: if pci { pci_source(reader, source)? } else { usb_source(reader, source)? },
                    boot_order: reader.boot_order(node),
                    rom: Rom::read(reader, node),
                    address: if pci { reader.pci_address(node) } else { None },
                    usb_address: if usb { usb_address(reader, node) } else { None },
                })
            }
            other => {
                let message = format!("a device of the host of type `{other}` is not supported");
                let mend = "remove it, or give the guest the disk or the card in another way";
                reader.refuse_attribute(node, "type", message, mend);
                None
            }
        }
    }
}

fn pci_source<'a>(reader: &mut Reader<'a>, source: Node<'a>) -> Option<HostdevSource> {
    reader.vocabulary(source, &["writeFiltering"], &["address"]);
    reader.only(source, "writeFiltering", &["yes"], "remove `writeFiltering`");
    let node = reader.required_child(source, "address", "add the device's <address> on the host")?;
    reader.vocabulary(node, &["type", "domain", "bus", "slot", "function"], &[]);
    for name in ["bus", "slot"] {
        reader.required(node, name, "complete the device's address on the host")?;
    }
    let domain = reader.number(node, "domain", 0..=65535).unwrap_or(0);
    Some(HostdevSource::Pci {
        domain: u16::try_from(domain).ok()?,
        bus: reader.byte(node, "bus", 0..=255)?,
        slot: reader.byte(node, "slot", 0..=31)?,
        function: if node.has_attribute("function") { reader.byte(node, "function", 0..=7)? } else { 0 },
    })
}

fn usb_source<'a>(reader: &mut Reader<'a>, source: Node<'a>) -> Option<HostdevSource> {
    reader.vocabulary(source, &["startupPolicy", "guestReset"], &["vendor", "product", "address"]);
    reader.only(
        source,
        "startupPolicy",
        &["mandatory"],
        "remove `startupPolicy`: a device that is missing is an error",
    );
    reader.only(source, "guestReset", &["on"], "remove `guestReset`");
    let mut id = |name: &str| {
        let node = reader.child(source, name)?;
        reader.vocabulary(node, &["id"], &[]);
        let id = node.attribute("id").and_then(whole).and_then(|id| u16::try_from(id).ok());
        if id.is_none() {
            reader.refuse(
                node,
                format!("<{name}> has no `id` that USB devices have"),
                "write it like 0x1234",
            );
        }
        id
    };
    let product = id("vendor").zip(id("product"));
    let device = reader.child(source, "address").and_then(|node| {
        reader.vocabulary(node, &["bus", "device", "port"], &[]);
        let mut number =
            |name: &str| reader.number(node, name, 1..=65535).and_then(|it| u16::try_from(it).ok());
        number("bus").zip(number("device"))
    });
    if product.is_none() && device.is_none() {
        reader.refuse(source, "it names no device", "add <vendor id='…'/> and <product id='…'/>");
        return None;
    }
    Some(HostdevSource::Usb { product, device })
}
