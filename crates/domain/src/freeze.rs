//! Freezing: what a definition leaves open and must not drift is decided once and written into the text. It follows
//! libvirt's order of addresses. It never changes what is written, a machine's alias excepted.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::address::PciAddress;
use crate::character::ConsoleTarget;
use crate::check::{pci_devices, usb_ports, virtio_serial_ports};
use crate::controller::{ControllerModel, has_address};
use crate::definition::Freezer;
use crate::display::InputBus;
use crate::domain::Domain;
use crate::edit::{Editor, Element};
use crate::firmware;
use crate::interface::MacAddress;
use crate::limits::{MAC_TRIES_MAX, VIRTIO_SERIAL_PORTS, XHCI_PORTS};
use crate::os::MachineFamily;
use crate::read::{Nodes, Reading};
use crate::reader::{Node, Reader, is};
use crate::slots::{Occupant, PciMap};

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
    let plan = Plan::new(reader, reading);
    let Some(plan) = plan else { return };
    plan.write(reader, editor, reading, with);
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

/// A root port that freezing adds.
struct NewPort {
    index: u8,
    chassis: u32,
    address: PciAddress,
}

/// Every decision about addresses, before anything is written.
struct Plan<'a> {
    /// Addresses of devices that are in the text, by where their element begins.
    addresses: Vec<(Node<'a>, PciAddress)>,
    ports: Vec<NewPort>,
    root: bool,
    usb: Option<PciAddress>,
    virtio_serial: Option<PciAddress>,
    memballoon: Option<PciAddress>,
}

/// What asks for a place in the plan.
enum Asking<'a> {
    Written(Node<'a>),
    Usb,
    VirtioSerial,
    Memballoon,
}

impl<'a> Plan<'a> {
    /// Decides; none where there was no place left.
    fn new(reader: &mut Reader<'a>, reading: &Reading<'a>) -> Option<Plan<'a>> {
        let Reading { domain, nodes } = reading;
        let mut map = PciMap::new(domain);
        for device in pci_devices(domain, nodes) {
            if let Some(address) = device.address
                && let Err(error) = map.take(address, device.occupant)
            {
                reader.refuse(device.node, error.to_string(), error.mend());
            }
        }
        let mut plan = Plan {
            addresses: Vec::new(),
            ports: Vec::new(),
            root: !domain.controllers.iter().any(|controller| {
                matches!(controller.model, ControllerModel::PciRoot | ControllerModel::PcieRoot)
            }),
            usb: None,
            virtio_serial: None,
            memballoon: None,
        };
        for (occupant, asking) in asking(domain, nodes) {
            let Some(address) = plan.place(&mut map, domain, occupant) else {
                let node = match asking {
                    Asking::Written(node) => node,
                    Asking::Usb | Asking::VirtioSerial | Asking::Memballoon => nodes.root,
                };
                reader.refuse(node, "there is no free place on the PCI buses", "remove some devices");
                return None;
            };
            match asking {
                Asking::Written(node) => plan.addresses.push((node, address)),
                Asking::Usb => plan.usb = Some(address),
                Asking::VirtioSerial => plan.virtio_serial = Some(address),
                Asking::Memballoon => plan.memballoon = Some(address),
            }
        }
        Some(plan)
    }

    /// The next free place, behind a new root port where there is none.
    fn place(&mut self, map: &mut PciMap, domain: &Domain, occupant: Occupant) -> Option<PciAddress> {
        let address = match map.free(occupant) {
            Some(address) => address,
            None if domain.os.family == MachineFamily::Q35 && occupant != Occupant::RootPort => {
                self.add_port(map, domain)?;
                map.free(occupant)?
            }
            None => return None,
        };
        map.take(address, occupant).ok()?;
        Some(address)
    }

    fn add_port(&mut self, map: &mut PciMap, domain: &Domain) -> Option<()> {
        let address = map.free(Occupant::RootPort)?;
        map.take(address, Occupant::RootPort).ok()?;
        let index = map.next_bus()?;
        map.add_root_port(index);
        let mut taken: BTreeSet<u32> = self.ports.iter().map(|port| port.chassis).collect();
        for controller in &domain.controllers {
            if let ControllerModel::PcieRootPort { device: _, chassis, port: _ } = controller.model {
                taken.insert(chassis.map_or(controller.index, u32::from));
            }
        }
        let chassis = (u32::from(index)..=255).chain(1..u32::from(index)).find(|it| !taken.contains(it))?;
        self.ports.push(NewPort { index, chassis, address });
        Some(())
    }

    fn address(&self, node: Node<'a>) -> Option<PciAddress> {
        self.addresses.iter().find(|(device, _)| *device == node).map(|(_, address)| *address)
    }

    fn write(
        &self,
        reader: &mut Reader<'a>,
        editor: &mut Editor<'a>,
        reading: &Reading<'a>,
        with: &mut dyn Freezer,
    ) {
        let Reading { domain, nodes } = reading;
        interfaces(reader, editor, reading, with);
        for (node, address) in &self.addresses {
            if !nodes.controllers.contains(node) {
                editor.append(*node, &[pci_element(*address)]);
            }
        }
        for (place, node) in nodes.controllers.iter().enumerate() {
            self.controller(reader, editor, domain, place, *node);
        }
        virtio_serial(reader, editor, reading);
        usb(reader, editor, reading);
        self.new_devices(editor, reading);
    }

    /// What a written controller lacks.
    fn controller(
        &self,
        reader: &mut Reader<'a>,
        editor: &mut Editor<'a>,
        domain: &Domain,
        place: usize,
        node: Node<'a>,
    ) {
        let controller = domain.controllers[place];
        if !node.has_attribute("index") {
            editor.set_attribute(node, "index", &controller.index.to_string());
        }
        let given = self.address(node);
        let mut missing = Vec::new();
        if let ControllerModel::PcieRootPort { device, chassis, port } = controller.model {
            if reader.child(node, "model").is_none() {
                missing.push(Element::new("model").attribute("name", device.as_str()));
            }
            let chassis_value = controller.index.to_string();
            let port_value = given.or(controller.address).map(port_number).unwrap_or_default();
            match reader.child(node, "target") {
                None => {
                    let target = Element::new("target").attribute("chassis", chassis_value);
                    missing.push(target.attribute("port", port_value));
                }
                Some(target) => {
                    if chassis.is_none() {
                        editor.set_attribute(target, "chassis", &chassis_value);
                    }
                    if port.is_none() {
                        editor.set_attribute(target, "port", &port_value);
                    }
                }
            }
        }
        if let Some(address) = given.filter(|_| has_address(controller.model)) {
            missing.push(pci_element(address));
        }
        editor.append(node, &missing);
    }

    /// Controllers that are not written, after those that are; the balloon at the end.
    fn new_devices(&self, editor: &mut Editor<'a>, reading: &Reading<'a>) {
        let Reading { domain, nodes } = reading;
        let Some(devices) = nodes.devices else { return };
        let controller = |kind: &str, index: u32| {
            Element::new("controller").attribute("type", kind).attribute("index", index.to_string())
        };
        let mut new = Vec::new();
        if let Some(address) = self.usb {
            let element = match domain.os.family {
                MachineFamily::Q35 => {
                    let element = controller("usb", 0).attribute("model", "qemu-xhci");
                    element.attribute("ports", XHCI_PORTS.to_string())
                }
                MachineFamily::I440fx => controller("usb", 0).attribute("model", "piix3-uhci"),
            };
            new.push(element.child(pci_element(address)));
        }
        if self.root {
            let model = match domain.os.family {
                MachineFamily::Q35 => "pcie-root",
                MachineFamily::I440fx => "pci-root",
            };
            new.push(controller("pci", 0).attribute("model", model));
        }
        for port in &self.ports {
            let target = Element::new("target").attribute("chassis", port.chassis.to_string());
            let element = controller("pci", u32::from(port.index)).attribute("model", "pcie-root-port");
            let element = element.child(Element::new("model").attribute("name", "pcie-root-port"));
            let element = element.child(target.attribute("port", port_number(port.address)));
            new.push(element.child(pci_element(port.address)));
        }
        if let Some(address) = self.virtio_serial {
            new.push(controller("virtio-serial", 0).child(pci_element(address)));
        }
        let last = |name: &str| devices.children().rfind(|child| is(*child, name));
        let mut end = Vec::new();
        match last("controller").or_else(|| last("disk")).or_else(|| last("emulator")) {
            Some(anchor) => editor.insert_after(anchor, &new),
            None => end = new,
        }
        if let Some(address) = self.memballoon {
            end.push(Element::new("memballoon").attribute("model", "virtio").child(pci_element(address)));
        }
        editor.append(devices, &end);
    }
}

/// Everything without a place, in the order in which libvirt gives places.
fn asking<'a>(domain: &Domain, nodes: &Nodes<'a>) -> Vec<(Occupant, Asking<'a>)> {
    let mut buses = Vec::new();
    let mut controllers = Vec::new();
    let mut others = Vec::new();
    for device in pci_devices(domain, nodes) {
        if device.address.is_some() {
            continue;
        }
        let early = match device.occupant {
            Occupant::RootPort | Occupant::Bridge | Occupant::Video => true,
            Occupant::Sata | Occupant::Ide | Occupant::Piix3Usb | Occupant::Device => {
                nodes.interfaces.contains(&device.node)
            }
        };
        let place = if early {
            &mut buses
        } else if nodes.controllers.contains(&device.node) {
            &mut controllers
        } else {
            &mut others
        };
        place.push((device.occupant, Asking::Written(device.node), device.node));
    }
    let mut all: Vec<(Occupant, Asking<'a>)> = Vec::new();
    all.extend(buses.into_iter().chain(controllers).map(|(occupant, asking, _)| (occupant, asking)));
    if needs_usb(domain) {
        let occupant = match domain.os.family {
            MachineFamily::Q35 => Occupant::Device,
            MachineFamily::I440fx => Occupant::Piix3Usb,
        };
        all.push((occupant, Asking::Usb));
    }
    if needs_virtio_serial(domain) {
        all.push((Occupant::Device, Asking::VirtioSerial));
    }
    let mut balloon = domain.memballoon.is_none();
    for (occupant, asking, node) in others {
        // The balloon that is added stands where a written one would: after the disks.
        if balloon && !nodes.disks.contains(&node) {
            all.push((Occupant::Device, Asking::Memballoon));
            balloon = false;
        }
        all.push((occupant, asking));
    }
    if balloon {
        all.push((Occupant::Device, Asking::Memballoon));
    }
    all
}

fn needs_usb(domain: &Domain) -> bool {
    let none =
        !domain.controllers.iter().any(|controller| matches!(controller.model, ControllerModel::Usb(_)));
    none && domain.inputs.iter().any(|input| input.bus == InputBus::Usb)
}

fn needs_virtio_serial(domain: &Domain) -> bool {
    let is = |model| matches!(model, ControllerModel::VirtioSerial { .. });
    let none = !domain.controllers.iter().any(|controller| is(controller.model));
    none && (!domain.channels.is_empty()
        || domain.consoles.iter().any(|console| console.target == ConsoleTarget::Virtio))
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

fn usb<'a>(reader: &mut Reader<'a>, editor: &mut Editor<'a>, reading: &Reading<'a>) {
    let Reading { domain, nodes } = reading;
    let mut controllers = usb_ports(domain);
    if needs_usb(domain) {
        controllers.insert(
            0,
            match domain.os.family {
                MachineFamily::Q35 => XHCI_PORTS,
                MachineFamily::I440fx => 2,
            },
        );
    }
    let mut taken: BTreeSet<(u32, u32)> =
        domain.inputs.iter().filter_map(|it| it.usb_address).map(|it| (it.bus, it.port)).collect();
    for (input, node) in domain.inputs.iter().zip(&nodes.inputs) {
        if input.bus != InputBus::Usb || input.usb_address.is_some() {
            continue;
        }
        let mut places = controllers.iter().flat_map(|(bus, ports)| (1..=*ports).map(|port| (*bus, port)));
        let Some((bus, port)) = places.find(|place| !taken.contains(place)) else {
            reader.refuse(*node, "no USB port is free", "add a USB controller, or remove some devices");
            continue;
        };
        taken.insert((bus, port));
        let element = Element::new("address").attribute("type", "usb").attribute("bus", bus.to_string());
        editor.append(*node, &[element.attribute("port", port.to_string())]);
    }
}

fn pci_element(address: PciAddress) -> Element {
    let element = Element::new("address").attribute("type", "pci").attribute("domain", "0x0000");
    let element = element.attribute("bus", format!("0x{:02x}", address.bus));
    let element = element.attribute("slot", format!("0x{:02x}", address.slot));
    let element = element.attribute("function", format!("0x{:x}", address.function));
    if address.multifunction { element.attribute("multifunction", "on") } else { element }
}

/// libvirt's number of a root port: its slot and function in one byte.
fn port_number(address: PciAddress) -> String {
    format!("0x{:x}", (u32::from(address.slot) << 3) | u32::from(address.function))
}
