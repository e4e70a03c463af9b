//! USB ports: which device sits on which, and the hubs that are missing for that, as libvirt does it. The main
//! function is [`freeze`].

use std::collections::{BTreeMap, BTreeSet};

use super::last;
use super::places::needs_usb;
use crate::address::{UsbAddress, UsbPort};
use crate::edit::{Editor, Element};
use crate::limits::{USB_HUB_PORTS, XHCI_PORTS};
use crate::os::MachineFamily;
use crate::read::Reading;
use crate::reader::Reader;
use crate::usb::{usb_devices, usb_ports};

/// Gives every USB device without an address a port.
pub(super) fn freeze<'a>(reader: &mut Reader<'a>, editor: &mut Editor<'a>, reading: &Reading<'a>) {
    let Reading { domain, nodes } = reading;
    let devices = usb_devices(domain, nodes);
    let mut ports = Ports { controllers: usb_ports(domain), hubs: BTreeSet::new(), taken: BTreeSet::new() };
    if needs_usb(domain) {
        let count = if domain.os.family == MachineFamily::Q35 { XHCI_PORTS } else { 2 };
        ports.controllers.insert(0, count);
    }
    for device in &devices {
        if let Some(address) = device.address {
            ports.taken.insert(address);
            if device.hub {
                ports.hubs.insert(address);
            }
        }
    }
    add_hubs(editor, reading, &mut ports, &devices);
    let (hubs, others): (Vec<_>, Vec<_>) = devices.into_iter().partition(|device| device.hub);
    for device in hubs.into_iter().chain(others).filter(|device| device.address.is_none()) {
        let Some(address) = ports.take() else {
            let mend = "add a USB controller, or remove some devices";
            reader.refuse(device.node, "no USB port is free", mend);
            continue;
        };
        if device.hub {
            ports.hubs.insert(address);
        }
        editor.append(device.node, &[usb_element(address)]);
    }
}

/// Adds the hubs without which there are too few ports. A hub takes one port and gives eight.
fn add_hubs<'a>(
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    ports: &mut Ports,
    devices: &[crate::usb::UsbDevice<'a>],
) {
    let hubs = devices.iter().filter(|device| device.hub).count();
    let there: usize = ports.controllers.values().map(|count| *count as usize).sum();
    let there = there + hubs * usize::from(USB_HUB_PORTS);
    let Some(short) = devices.len().checked_sub(there).filter(|short| *short > 0) else { return };
    if there == 0 {
        return;
    }
    let mut new = Vec::new();
    for _ in 0..(short + 1).div_ceil(usize::from(USB_HUB_PORTS) - 1) {
        let Some(address) = ports.take() else { break };
        ports.hubs.insert(address);
        new.push(Element::new("hub").attribute("type", "usb").child(usb_element(address)));
    }
    let anchor = reading
        .nodes
        .devices
        .and_then(|devices| ["hub", "input"].into_iter().find_map(|name| last(devices, name)));
    match (anchor, reading.nodes.devices) {
        (Some(anchor), _) => editor.insert_after(anchor, &new),
        (None, Some(devices)) => editor.prepend(devices, &new),
        (None, None) => {}
    }
}

/// The ports of a domain.
struct Ports {
    controllers: BTreeMap<u32, u32>,
    hubs: BTreeSet<UsbAddress>,
    taken: BTreeSet<UsbAddress>,
}

impl Ports {
    /// Takes the next free port: of the first controller that has one, before those of the hubs behind it.
    fn take(&mut self) -> Option<UsbAddress> {
        let free = self.controllers.iter().find_map(|(bus, count)| self.free(*bus, None, *count))?;
        self.taken.insert(free);
        Some(free)
    }

    fn free(&self, bus: u32, hub: Option<UsbPort>, count: u32) -> Option<UsbAddress> {
        let numbers = (1..=count).filter_map(|number| u8::try_from(number).ok());
        let ports = numbers.filter_map(|number| match hub {
            None => Some(UsbPort::new(number)),
            Some(hub) => hub.behind(number),
        });
        let ports: Vec<UsbAddress> = ports.map(|port| UsbAddress { bus, port }).collect();
        let here = ports.iter().find(|port| !self.taken.contains(port)).copied();
        here.or_else(|| {
            let mut hubs = ports.iter().filter(|port| self.hubs.contains(port));
            hubs.find_map(|port| self.free(bus, Some(port.port), u32::from(USB_HUB_PORTS)))
        })
    }
}

fn usb_element(address: UsbAddress) -> Element {
    let element = Element::new("address").attribute("type", "usb");
    element.attribute("bus", address.bus.to_string()).attribute("port", address.port.to_string())
}
