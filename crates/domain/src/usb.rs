//! `<hub>` and `<redirdev>`, and everything else that sits on a USB port, as one list. It gives no device a port;
//! freezing does.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{UsbAddress, UsbPort};
use crate::character::SerialTarget;
use crate::controller::{ControllerModel, UsbModel};
use crate::disk::DiskBus;
use crate::domain::Domain;
use crate::hostdev::HostdevSource;
use crate::input::InputBus;
use crate::limits::USB_HUB_PORTS;
use crate::read::{Nodes, Reading};
use crate::reader::{Node, Reader, is};
use crate::sound::SoundModel;
use crate::stream::{self, CharacterBackend, CharacterOptions};

/// `<hub type='usb'>` (QEMU's `usb-hub`): eight ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hub {
    /// `<address type='usb'>`.
    pub address: Option<UsbAddress>,
}

impl Hub {
    /// Reads `<hub>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Hub> {
        reader.vocabulary(node, &["type"], &["alias", "address"]);
        reader.only(node, "type", &["usb"], "write type='usb'");
        Some(Hub { address: usb_address(reader, node) })
    }
}

/// `<redirdev bus='usb'>` (QEMU's `usb-redir`): a USB device of whoever looks at the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirdev {
    /// The host's end.
    pub backend: CharacterBackend,
    /// What else is said of the host's end.
    pub options: CharacterOptions,
    /// What `<redirfilter>` lets through, as QEMU's `filter`; none lets everything through.
    pub filter: Option<String>,
    /// `<boot order=…>`, from 1.
    pub boot_order: Option<u32>,
    /// `<address type='usb'>`.
    pub address: Option<UsbAddress>,
}

impl Redirdev {
    /// Reads `<redirdev>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Redirdev> {
        reader.vocabulary(node, &["bus", "type"], &["source", "protocol", "log", "boot", "alias", "address"]);
        reader.only(node, "bus", &["usb"], "write bus='usb'");
        let boot_order = reader.boot_order(node);
        let (backend, options) = stream::read(reader, node)?;
        let filter = filter(reader, node);
        Some(Redirdev { backend, options, filter, boot_order, address: usb_address(reader, node) })
    }
}

/// `<redirfilter>`, which is for all of them.
fn filter<'a>(reader: &mut Reader<'a>, redirdev: Node<'a>) -> Option<String> {
    let devices = redirdev.parent_element()?;
    let node = devices.children().find(|child| is(*child, "redirfilter"))?;
    let rules = node.children().filter(|child| is(*child, "usbdev")).map(|rule| {
        let field = |name: &str| rule.attribute(name).filter(|it| *it != "-1").unwrap_or("-1");
        let version = rule.attribute("version").filter(|it| *it != "-1").map(|text| {
            let (major, minor) = text.split_once('.').unwrap_or((text, "00"));
            format!("0x{major:0>2}{minor:0<2}")
        });
        let version = version.as_deref().unwrap_or("-1");
        let allow = if rule.attribute("allow") == Some("yes") { "1" } else { "0" };
        [field("class"), field("vendor"), field("product"), version, allow].join(":")
    });
    let rules: Vec<String> = rules.collect();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
    if !rules.iter().all(|rule| rule.bytes().all(plain)) {
        reader.refuse(node, "a rule holds what is neither a number nor -1", "write numbers like 0x1234");
        return None;
    }
    Some(rules.join("|")).filter(|rules| !rules.is_empty())
}

/// Reads `<redirfilter>` for what is wrong with it alone.
pub(crate) fn read_redirfilter<'a>(reader: &mut Reader<'a>, node: Node<'a>) {
    reader.vocabulary(node, &[], &["usbdev"]);
    for rule in node.children().filter(|child| is(*child, "usbdev")) {
        reader.vocabulary(rule, &["class", "vendor", "product", "version", "allow"], &[]);
        reader.required(rule, "allow", "write allow='yes' or allow='no'");
        reader.flag(rule, "allow", "yes", "no");
    }
}

/// A device's `<address type='usb'>`.
pub(crate) fn usb_address<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Option<UsbAddress> {
    let node = reader.child(device, "address")?;
    reader.vocabulary(node, &["type", "bus", "port"], &[]);
    reader.only(node, "type", &["usb"], "remove the <address>: a USB address is assigned");
    let text = reader.required(node, "port", "write `port`, or remove the <address>")?;
    let bus = if node.has_attribute("bus") { reader.number(node, "bus", 0..=255)? } else { 0 };
    let Some(port) = UsbPort::read(text) else {
        let message = format!("`{text}` is not a USB port");
        reader.refuse_attribute(node, "port", message, "remove the <address>: a USB address is assigned");
        return None;
    };
    Some(UsbAddress { bus, port })
}

/// A device on a USB port.
pub(crate) struct UsbDevice<'a> {
    pub(crate) node: Node<'a>,
    pub(crate) address: Option<UsbAddress>,
    pub(crate) hub: bool,
}

/// Every device on a USB port, in the order in which libvirt gives ports: hubs first.
pub(crate) fn usb_devices<'a>(domain: &Domain, nodes: &Nodes<'a>) -> Vec<UsbDevice<'a>> {
    let mut devices = Vec::new();
    let mut add = |node, address, hub| devices.push(UsbDevice { node, address, hub });
    for (hub, node) in domain.hubs.iter().zip(&nodes.hubs) {
        add(*node, hub.address, true);
    }
    for (disk, node) in domain.disks.iter().zip(&nodes.disks) {
        if disk.bus == DiskBus::Usb {
            add(*node, disk.usb_address, false);
        }
    }
    for (hostdev, node) in domain.hostdevs.iter().zip(&nodes.hostdevs) {
        if let HostdevSource::Usb { .. } = hostdev.source {
            add(*node, hostdev.usb_address, false);
        }
    }
    for (sound, node) in domain.sounds.iter().zip(&nodes.sounds) {
        if sound.model == SoundModel::Usb {
            add(*node, sound.usb_address, false);
        }
    }
    for (serial, node) in domain.serials.iter().zip(&nodes.serials) {
        if let SerialTarget::Usb { address } = serial.target {
            add(*node, address, false);
        }
    }
    for (input, node) in domain.inputs.iter().zip(&nodes.inputs) {
        if input.bus == InputBus::Usb {
            add(*node, input.usb_address, false);
        }
    }
    for (redirdev, node) in domain.redirdevs.iter().zip(&nodes.redirdevs) {
        add(*node, redirdev.address, false);
    }
    devices
}

/// The USB controllers with the number of their ports.
pub(crate) fn usb_ports(domain: &Domain) -> BTreeMap<u32, u32> {
    let mut controllers = BTreeMap::new();
    for controller in &domain.controllers {
        if let ControllerModel::Usb(model) = controller.model
            && model.ports() > 0
        {
            controllers.insert(controller.index, model.ports());
        }
    }
    controllers
}

/// Refuses USB devices without USB, and ports that are not there or taken.
pub(crate) fn check<'a>(reader: &mut Reader<'a>, reading: &Reading<'a>) {
    let Reading { domain, nodes } = reading;
    let controllers = usb_ports(domain);
    let off = domain.controllers.iter().any(|it| it.model == ControllerModel::Usb(UsbModel::None));
    let devices = usb_devices(domain, nodes);
    let hubs: BTreeSet<UsbAddress> = devices.iter().filter(|it| it.hub).filter_map(|it| it.address).collect();
    let mut taken = BTreeSet::new();
    for device in &devices {
        if off {
            let message = "a USB device, and the domain has no USB";
            let mend = "remove the device, or <controller type='usb' model='none'/>";
            reader.refuse(device.node, message, mend);
            continue;
        }
        let Some(address) = device.address else { continue };
        let place = reader.child(device.node, "address").unwrap_or(device.node);
        let mend = "remove this <address>: a free port is assigned";
        let number = u32::from(address.port.number());
        // Freezing adds controller 0 where none is written.
        let of_bus = controllers.get(&address.bus).copied();
        let of_bus = of_bus.or((controllers.is_empty() && address.bus == 0).then_some(2));
        let Some(of_bus) = of_bus else {
            let message = format!("there is no USB controller {}", address.bus);
            reader.refuse_attribute(place, "bus", message, mend);
            continue;
        };
        match address.port.hub() {
            None if number > of_bus => {
                let message = format!("USB controller {} has ports 1 to {of_bus}", address.bus);
                reader.refuse_attribute(place, "port", message, mend);
            }
            Some(hub) if !hubs.contains(&UsbAddress { bus: address.bus, port: hub }) => {
                let message = format!("there is no hub on port {hub} of USB controller {}", address.bus);
                reader.refuse_attribute(place, "port", message, mend);
            }
            Some(hub) if number > u32::from(USB_HUB_PORTS) => {
                let message = format!("the hub on port {hub} has ports 1 to {USB_HUB_PORTS}");
                reader.refuse_attribute(place, "port", message, mend);
            }
            None | Some(_) => {}
        }
        if !taken.insert(address) {
            reader.refuse_attribute(place, "port", "this USB port is taken", mend);
        }
    }
}
