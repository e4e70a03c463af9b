//! `<serial>`, `<parallel>`, `<console>`, `<channel>`: byte streams between the guest and the host. It never opens one;
//! what the host's end is stands in `stream`.

use crate::address::{PciAddress, UsbAddress, VirtioSerialAddress};
use crate::limits::{CONTROLLER_INDEX_MAX, PARALLELS_MAX, SERIALS_MAX};
use crate::read::Reading;
use crate::reader::{Node, Reader, is};
use crate::stream::{self, CharacterBackend, CharacterOptions};
use crate::usb::usb_address;
use crate::word::words;

/// A serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Which port, from 0: 0 is the guest's `ttyS0`. Equals its place in the list.
    pub port: u32,
    /// What the guest has for it.
    pub target: SerialTarget,
    /// The host's end.
    pub backend: CharacterBackend,
    /// What else is said of the host's end.
    pub options: CharacterOptions,
}

/// What the guest has for a serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialTarget {
    /// One of a PC's four ports (QEMU's `isa-serial`).
    Isa,
    /// A PCI card (QEMU's `pci-serial`).
    Pci {
        /// `<address type='pci'>`.
        address: Option<PciAddress>,
    },
    /// A USB device (QEMU's `usb-serial`).
    Usb {
        /// `<address type='usb'>`.
        address: Option<UsbAddress>,
    },
    /// The port that firmware writes what it does to (QEMU's `isa-debugcon`).
    IsaDebug,
}

/// A `<parallel>` port (QEMU's `isa-parallel`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// Which port, from 0.
    pub port: u32,
    /// The host's end.
    pub backend: CharacterBackend,
    /// What else is said of the host's end.
    pub options: CharacterOptions,
}

/// A `<console>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// What the guest has for it.
    pub target: ConsoleTarget,
    /// The host's end; for [`ConsoleTarget::Serial`] a copy of the first serial port's.
    pub backend: CharacterBackend,
    /// What else is said of the host's end.
    pub options: CharacterOptions,
    /// `<address type='virtio-serial'>`, only for [`ConsoleTarget::Virtio`].
    pub address: Option<VirtioSerialAddress>,
}

words! {
    /// What a console is for the guest.
    pub enum ConsoleTarget {
        /// The first serial port by another name: no device of its own. Only the first console can be this.
        Serial = "serial",
        /// A virtio console (QEMU's `virtconsole`).
        Virtio = "virtio",
    }
}

/// A `<channel>` with a virtio port (QEMU's `virtserialport`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// `<target name=…>`: the guest finds the port by it, `org.qemu.guest_agent.0` for one. Empty where the port has no
    /// name.
    pub name: String,
    /// The host's end.
    pub backend: CharacterBackend,
    /// What else is said of the host's end.
    pub options: CharacterOptions,
    /// `<address type='virtio-serial'>`.
    pub address: Option<VirtioSerialAddress>,
}

/// A serial port as far as its element alone tells.
struct Found<'a> {
    node: Node<'a>,
    port: Option<u32>,
    target: SerialTarget,
    backend: CharacterBackend,
    options: CharacterOptions,
}

/// Reads every `<serial>` and `<console>`. A first console of type serial is the first serial port by another name,
/// and stands for it where no `<serial>` is written, as in libvirt.
pub(crate) fn read_serials<'a>(reader: &mut Reader<'a>, devices: Node<'a>, reading: &mut Reading<'a>) {
    let mut serials: Vec<Found<'a>> = Vec::new();
    for node in devices.children().filter(|child| is(*child, "serial")) {
        serials.extend(serial(reader, node));
    }
    let written = devices.children().any(|child| is(child, "serial"));
    for (place, node) in devices.children().filter(|child| is(*child, "console")).enumerate() {
        let Some(mut console) = console(reader, node) else { continue };
        if console.target == ConsoleTarget::Serial {
            if place > 0 {
                reader.refuse(node, "only the first <console> can be a serial port", "remove this one");
            } else if !written {
                let (backend, options) = (console.backend.clone(), console.options.clone());
                serials.push(Found { node, port: Some(0), target: SerialTarget::Isa, backend, options });
            } else if let Some(first) = serials.first() {
                console.backend = first.backend.clone();
            }
        }
        reading.domain.consoles.push(console);
        reading.nodes.consoles.push(node);
    }
    number_serials(reader, serials, reading);
}

fn number_serials<'a>(reader: &mut Reader<'a>, mut serials: Vec<Found<'a>>, reading: &mut Reading<'a>) {
    let mut taken: Vec<u32> = Vec::new();
    for Found { node, port, .. } in &serials {
        if let Some(port) = port {
            if taken.contains(port) {
                let message = format!("a second serial port {port}");
                reader.refuse(*node, message, "give every serial port its own number");
            }
            taken.push(*port);
        }
    }
    let count = serials.len();
    for found in &mut serials {
        let port = found.port.or_else(|| (0..).find(|free| !taken.contains(free))).unwrap_or_default();
        taken.push(port);
        found.port = Some(port);
        if usize::try_from(port).is_ok_and(|port| port >= count) {
            let message = format!("serial port {port}, but there are only {count}");
            reader.refuse(found.node, message, "number the serial ports from 0 without gaps");
        }
    }
    let isa = serials.iter().filter(|found| found.target == SerialTarget::Isa);
    if let Some(beyond) = isa.clone().find(|found| found.port >= Some(SERIALS_MAX)) {
        let message = format!("a PC has {SERIALS_MAX} serial ports");
        reader.refuse(beyond.node, message, "remove some, or write type='pci-serial' into <target>");
    }
    serials.sort_by_key(|found| found.port);
    for Found { node, port, target, backend, options } in serials {
        reading.domain.serials.push(Serial { port: port.unwrap_or_default(), target, backend, options });
        reading.nodes.serials.push(node);
    }
}

const CHILDREN: &[&str] = &["source", "protocol", "log", "target", "alias", "address"];

fn serial<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Found<'a>> {
    reader.vocabulary(node, &["type"], CHILDREN);
    let mut port = None;
    let mut target = SerialTarget::Isa;
    if let Some(written) = reader.child(node, "target") {
        reader.vocabulary(written, &["type", "port"], &["model"]);
        let mend = "write one of `isa-serial`, `pci-serial`, `usb-serial`, `isa-debug`";
        let (kind, device) = match written.attribute("type") {
            Some("pci-serial") => (SerialTarget::Pci { address: None }, "pci-serial"),
            Some("usb-serial") => (SerialTarget::Usb { address: None }, "usb-serial"),
            Some("isa-debug") => (SerialTarget::IsaDebug, "isa-debugcon"),
            Some("isa-serial") | None => (SerialTarget::Isa, "isa-serial"),
            Some(other) => {
                let message = format!("`{other}` is not supported as `type` of <target>");
                reader.refuse_attribute(written, "type", message, mend);
                return None;
            }
        };
        target = kind;
        if let Some(model) = reader.child(written, "model") {
            reader.vocabulary(model, &["name"], &[]);
            reader.only(model, "name", &[device], &format!("write name='{device}'"));
        }
        port = reader.number(written, "port", 0..=99);
    }
    match &mut target {
        SerialTarget::Pci { address } => *address = reader.pci_address(node),
        SerialTarget::Usb { address } => *address = usb_address(reader, node),
        SerialTarget::Isa | SerialTarget::IsaDebug => {
            if let Some(address) = reader.child(node, "address") {
                reader.refuse(address, "a port of the PC itself has no address", "remove the <address>");
            }
        }
    }
    let (backend, options) = stream::read(reader, node)?;
    Some(Found { node, port, target, backend, options })
}

impl Parallel {
    /// Reads `<parallel>`, which is the `number`th.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>, number: usize) -> Option<Parallel> {
        reader.vocabulary(node, &["type"], CHILDREN);
        let mut port = u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(target) = reader.child(node, "target") {
            reader.vocabulary(target, &["type", "port"], &[]);
            port = reader.number(target, "port", 0..=99).unwrap_or(port);
        }
        if port >= PARALLELS_MAX {
            reader.refuse(node, format!("a PC has {PARALLELS_MAX} parallel ports"), "remove some");
        }
        if let Some(address) = reader.child(node, "address") {
            reader.refuse(address, "a port of the PC itself has no address", "remove the <address>");
        }
        let (backend, options) = stream::read(reader, node)?;
        Some(Parallel { port, backend, options })
    }
}

fn console<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Console> {
    reader.vocabulary(node, &["type", "tty"], CHILDREN);
    let mut kind = ConsoleTarget::Serial;
    if let Some(target) = reader.child(node, "target") {
        reader.vocabulary(target, &["type", "port"], &[]);
        reader.number(target, "port", 0..=99);
        if target.has_attribute("type") {
            kind = reader.word(target, "type")?;
        }
    }
    let address = match kind {
        ConsoleTarget::Virtio => virtio_serial_address(reader, node),
        ConsoleTarget::Serial => {
            if let Some(address) = reader.child(node, "address") {
                reader.refuse(address, "a serial console has no address", "remove the <address>");
            }
            None
        }
    };
    let (backend, options) = stream::read(reader, node)?;
    Some(Console { target: kind, backend, options, address })
}

impl Channel {
    /// Reads `<channel>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Channel> {
        reader.vocabulary(node, &["type"], CHILDREN);
        let mend = "add <target type='virtio' name='org.qemu.guest_agent.0'/>";
        let target = reader.required_child(node, "target", mend)?;
        if target.attribute("type") == Some("guestfwd") {
            let message = "a channel to a port of user networking is not supported";
            reader.refuse_attribute(target, "type", message, "write type='virtio' and a `name`");
            return None;
        }
        reader.vocabulary(target, &["type", "name", "state"], &[]);
        reader.required(target, "type", "write type='virtio'");
        reader.only(target, "type", &["virtio"], "write type='virtio'");
        let address = virtio_serial_address(reader, node);
        let (backend, options) = stream::read(reader, node)?;
        let usual = if backend == CharacterBackend::SpiceVmc { "com.redhat.spice.0" } else { "" };
        let name = target.attribute("name").unwrap_or(usual).to_owned();
        Some(Channel { name, backend, options, address })
    }
}

fn virtio_serial_address<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Option<VirtioSerialAddress> {
    let node = reader.child(device, "address")?;
    reader.vocabulary(node, &["type", "controller", "bus", "port"], &[]);
    reader.only(node, "type", &["virtio-serial"], "remove the <address>: a port is assigned");
    reader.required(node, "port", "write `port`, or remove the <address>")?;
    let controller = reader.number(node, "controller", 0..=CONTROLLER_INDEX_MAX).unwrap_or(0);
    let bus = reader.number(node, "bus", 0..=0).unwrap_or(0);
    Some(VirtioSerialAddress { controller, bus, port: reader.number(node, "port", 0..=511)? })
}
