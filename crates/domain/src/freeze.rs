//! Freezing: what a definition leaves open and must not drift is decided once and written into the text. It follows
//! libvirt's order of addresses. It never changes what is written, a machine's alias excepted.

use std::collections::BTreeSet;

use uuid::Uuid;

use self::places::Plan;
use crate::address::PciAddress;
use crate::character::ConsoleTarget;
use crate::check::virtio_serial_ports;
use crate::definition::Freezer;
use crate::edit::{Editor, Element};
use crate::firmware;
use crate::interface::MacAddress;
use crate::limits::{MAC_TRIES_MAX, VIRTIO_SERIAL_PORTS};
use crate::os::MachineFamily;
use crate::read::Reading;
use crate::reader::{Node, Reader, is};

mod places;
mod usb;

/// Writes what is missing.
pub(crate) fn freeze<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    with: &mut dyn Freezer,
) {
    machine(reader, editor, reading, with);
    firmware::freeze(reader, editor, reading, with);
    for (tpm, node) in reading.domain.tpms.iter().zip(&reading.nodes.tpms) {
        tpm.freeze(editor, *node);
    }
    if reading.domain.uuid.is_none() {
        set_uuid(reader, editor, reading, with.uuid());
    }
    let Some(plan) = Plan::new(reader, reading) else { return };
    interfaces(reader, editor, reading, with);
    plan.write(reader, editor, reading);
    virtio_serial(reader, editor, reading);
    usb::freeze(reader, editor, reading);
}

/// Puts a UUID in place of the one there is, or after the name.
pub(crate) fn set_uuid<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    uuid: Uuid,
) {
    let root = reading.nodes.root;
    if let Some(node) = reader.child(root, "uuid") {
        editor.set_text(node, &uuid.to_string());
    } else if let Some(name) = reader.child(root, "name") {
        editor.insert_after(name, &[Element::new("uuid").text(uuid.to_string())]);
    }
}

fn machine<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    with: &mut dyn Freezer,
) {
    let node = reading.nodes.os.and_then(|os| os.children().find(|child| is(*child, "type")));
    let Some(node) = node else { return };
    let os = &reading.domain.os;
    match with.machine(&os.machine) {
        Some(machine) if MachineFamily::of(&machine) == Some(os.family) => {
            if !node.has_attribute("arch") {
                editor.set_attribute(node, "arch", "x86_64");
            }
            if node.attribute("machine") != Some(machine.as_str()) {
                editor.set_attribute(node, "machine", &machine);
            }
        }
        Some(machine) => {
            let message =
                format!("machine `{}` stands for `{machine}` here, which is another kind", os.machine);
            reader.refuse_attribute(node, "machine", message, "name a versioned machine");
        }
        None => {
            let message = format!("this host's QEMU has no machine `{}`", os.machine);
            let mend = "take a machine that it has, or a host with a QEMU that has this one";
            reader.refuse_attribute(node, "machine", message, mend);
        }
    }
}

fn interfaces<'a>(
    reader: &mut Reader<'a>,
    editor: &mut Editor<'a>,
    reading: &Reading<'a>,
    with: &mut dyn Freezer,
) {
    let Reading { domain, nodes } = reading;
    let mut taken: BTreeSet<MacAddress> = domain.interfaces.iter().filter_map(|it| it.mac).collect();
    for (interface, node) in domain.interfaces.iter().zip(&nodes.interfaces) {
        if interface.mac.is_some() {
            continue;
        }
        let fresh =
            (0..MAC_TRIES_MAX).map(|_| with.mac()).find(|mac| !mac.is_multicast() && !taken.contains(mac));
        match fresh {
            Some(mac) => {
                taken.insert(mac);
                editor.prepend(*node, &[Element::new("mac").attribute("address", mac.to_string())]);
            }
            None => {
                let message = "no MAC address was found that is free in this domain";
                reader.refuse(*node, message, "write a <mac> yourself");
            }
        }
    }
}

fn virtio_serial<'a>(reader: &mut Reader<'a>, editor: &mut Editor<'a>, reading: &Reading<'a>) {
    let Reading { domain, nodes } = reading;
    let controllers = virtio_serial_ports(domain);
    let mut wanting = Vec::new();
    let mut taken = BTreeSet::new();
    for (console, node) in domain.consoles.iter().zip(&nodes.consoles) {
        match console.address {
            Some(address) => drop(taken.insert((address.controller, address.port))),
            None if console.target == ConsoleTarget::Virtio => wanting.push((*node, 0)),
            None => {}
        }
    }
    for (channel, node) in domain.channels.iter().zip(&nodes.channels) {
        match channel.address {
            Some(address) => drop(taken.insert((address.controller, address.port))),
            None => wanting.push((*node, 1)),
        }
    }
    for (node, lowest) in wanting {
        let mut places = controllers.iter().flat_map(|(controller, ports)| {
            (lowest..(*ports).min(VIRTIO_SERIAL_PORTS)).map(|port| (*controller, port))
        });
        let Some((controller, port)) = places.find(|place| !taken.contains(place)) else {
            reader.refuse(node, "no virtio-serial port is free", "add another virtio-serial controller");
            continue;
        };
        taken.insert((controller, port));
        let element = Element::new("address").attribute("type", "virtio-serial");
        let element = element.attribute("controller", controller.to_string()).attribute("bus", "0");
        editor.append(node, &[element.attribute("port", port.to_string())]);
    }
}

/// The last element of a name within another.
fn last<'a>(parent: Node<'a>, name: &str) -> Option<Node<'a>> {
    parent.children().rfind(|child| is(*child, name))
}

fn pci_element(address: PciAddress) -> Element {
    let element = Element::new("address").attribute("type", "pci").attribute("domain", "0x0000");
    let element = element.attribute("bus", format!("0x{:02x}", address.bus));
    let element = element.attribute("slot", format!("0x{:02x}", address.slot));
    let element = element.attribute("function", format!("0x{:x}", address.function));
    if address.multifunction { element.attribute("multifunction", "on") } else { element }
}
