//! PCI places: which device sits where, and which controllers are missing for that. In libvirt's order, so that the
//! guest sees the same addresses. The main type is [`Plan`].

use std::collections::BTreeSet;

use super::{last, pci_element};
use crate::address::PciAddress;
use crate::character::ConsoleTarget;
use crate::check::{PciDevice, pci_devices};
use crate::controller::{Controller, ControllerModel, RootPortDevice, has_address};
use crate::domain::Domain;
use crate::edit::{Editor, Element};
use crate::limits::XHCI_PORTS;
use crate::os::MachineFamily;
use crate::read::{Nodes, Reading};
use crate::reader::{Node, Reader};
use crate::slots::{Occupant, PciMap};

/// A bus that freezing adds.
struct NewBus {
    index: u8,
    model: ControllerModel,
    address: PciAddress,
}

/// Every decision about addresses, before anything is written.
pub(super) struct Plan<'a> {
    /// Addresses of devices that are in the text, by their element.
    addresses: Vec<(Node<'a>, PciAddress)>,
    buses: Vec<NewBus>,
    root: bool,
    usb: Option<PciAddress>,
    virtio_serial: Option<PciAddress>,
    memballoon: Option<PciAddress>,
}

/// What asks for a place in the plan.
#[derive(Clone, Copy)]
enum Asking<'a> {
    Written(Node<'a>),
    Usb,
    VirtioSerial,
    Memballoon,
    /// A bus that freezing adds, by its index.
    Bus(u8),
}

impl<'a> Plan<'a> {
    /// Decides, in two rounds: the first finds out which buses are missing, the second gives the places, since a bus
    /// that is added comes before the devices. None where there was no place left.
    pub(super) fn new(reader: &mut Reader<'a>, reading: &Reading<'a>) -> Option<Plan<'a>> {
        let Reading { domain, nodes } = reading;
        let mut written = PciMap::new(domain.os.family, &domain.controllers);
        for device in pci_devices(domain, nodes) {
            if let Some(address) = device.address
                && let Err(error) = written.take(address, device.occupant)
            {
                reader.refuse(device.node, error.to_string(), error.mend());
            }
        }
        let asking = asking(domain, nodes);
        let full = |reader: &mut Reader<'a>, asking| {
            let node = match asking {
                Asking::Written(node) => node,
                Asking::Usb | Asking::VirtioSerial | Asking::Memballoon | Asking::Bus(_) => nodes.root,
            };
            reader.refuse(node, "there is no free place on the PCI buses", "remove some devices");
        };
        let new = match missing_buses(written.clone(), domain, nodes, &asking) {
            Ok(new) => new,
            Err(asking) => {
                full(reader, asking);
                return None;
            }
        };
        let mut plan = Plan {
            addresses: Vec::new(),
            buses: Vec::new(),
            root: !domain.controllers.iter().any(|controller| {
                matches!(controller.model, ControllerModel::PciRoot | ControllerModel::PcieRoot)
            }),
            usb: None,
            virtio_serial: None,
            memballoon: None,
        };
        if let Err(asking) = plan.give_places(written, domain, nodes, asking, &new) {
            full(reader, asking);
            return None;
        }
        Some(plan)
    }

    fn give_places(
        &mut self,
        mut map: PciMap,
        domain: &Domain,
        nodes: &Nodes<'a>,
        asking: Vec<(Occupant, Asking<'a>)>,
        new: &[(u8, ControllerModel)],
    ) -> Result<(), Asking<'a>> {
        for (index, model) in new {
            map.add_bus(*index, *model);
        }
        // First what has a place on real hardware, then the buses by their number, then the rest.
        let (preferring, others): (Vec<_>, Vec<_>) =
            asking.into_iter().partition(|(occupant, _)| map.preferred(*occupant).is_some());
        let (buses, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, asking)| bus_index(domain, nodes, *asking).is_some());
        let new_buses = new.iter().filter_map(|(index, model)| {
            let controller = Controller { index: u32::from(*index), model: *model, address: None };
            Occupant::of(&controller).map(|occupant| (occupant, Asking::Bus(*index)))
        });
        let mut buses: Vec<_> = buses.into_iter().chain(new_buses).collect();
        buses.sort_by_key(|(_, asking)| bus_index(domain, nodes, *asking));
        for (occupant, asking) in preferring.into_iter().chain(buses).chain(others) {
            let address = match asking {
                Asking::Written(node) => self.beside_its_parts(&map, domain, nodes, node, occupant),
                Asking::Usb | Asking::VirtioSerial | Asking::Memballoon | Asking::Bus(_) => None,
            };
            let address = address.or_else(|| map.preferred(occupant)).or_else(|| map.free(occupant));
            let address = address.map(|address| own_function(address, occupant)).ok_or(asking)?;
            map.take(address, occupant).map_err(|_| asking)?;
            match asking {
                Asking::Written(node) => self.addresses.push((node, address)),
                Asking::Usb => self.usb = Some(address),
                Asking::VirtioSerial => self.virtio_serial = Some(address),
                Asking::Memballoon => self.memballoon = Some(address),
                Asking::Bus(index) => {
                    let found = new.iter().find(|(it, _)| *it == index);
                    self.buses.extend(found.map(|(index, model)| NewBus {
                        index: *index,
                        model: *model,
                        address,
                    }));
                }
            }
        }
        Ok(())
    }

    /// ICH9's USB controllers of one index share a slot: where another part of this one is.
    fn beside_its_parts(
        &self,
        map: &PciMap,
        domain: &Domain,
        nodes: &Nodes<'a>,
        node: Node<'a>,
        occupant: Occupant,
    ) -> Option<PciAddress> {
        let Occupant::Ich9Usb { .. } = occupant else { return None };
        let mut parts = domain.controllers.iter().zip(&nodes.controllers);
        let (this, _) = parts.clone().find(|(_, it)| **it == node)?;
        let other = parts.find_map(|(it, other)| {
            let part = matches!(Occupant::of(it), Some(Occupant::Ich9Usb { .. }));
            let same = part && it.index == this.index;
            it.address.or_else(|| self.address(*other)).filter(|_| same)
        })?;
        let address = own_function(other, occupant);
        map.is_free_function(address).then_some(address)
    }

    fn address(&self, node: Node<'a>) -> Option<PciAddress> {
        self.addresses.iter().find(|(device, _)| *device == node).map(|(_, address)| *address)
    }

    pub(super) fn write(&self, reader: &mut Reader<'a>, editor: &mut Editor<'a>, reading: &Reading<'a>) {
        let Reading { domain, nodes } = reading;
        for (node, address) in &self.addresses {
            if !nodes.controllers.contains(node) {
                editor.append(*node, &[pci_element(*address)]);
            }
        }
        for (place, node) in nodes.controllers.iter().enumerate() {
            self.controller(reader, editor, domain, place, *node);
        }
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
        if let ControllerModel::PcieRootPort { device, chassis: _, port: _ } = controller.model
            && reader.child(node, "model").is_none()
        {
            missing.push(Element::new("model").attribute("name", device.as_str()));
        }
        let address = given.or(controller.address);
        let wanted = target(&controller, address);
        match reader.child(node, "target") {
            None if wanted.is_empty() => {}
            None => missing.push(with_attributes(Element::new("target"), wanted)),
            Some(target) => {
                for (name, value) in wanted {
                    if !target.has_attribute(name) {
                        editor.set_attribute(target, name, &value);
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
        for NewBus { index, model, address } in &self.buses {
            let index = u32::from(*index);
            let (model_word, device) = match model {
                ControllerModel::PcieToPciBridge => ("pcie-to-pci-bridge", "pcie-pci-bridge"),
                ControllerModel::PciBridge { .. } => ("pci-bridge", "pci-bridge"),
                _ => ("pcie-root-port", "pcie-root-port"),
            };
            let element = controller("pci", index).attribute("model", model_word);
            let mut element = element.child(Element::new("model").attribute("name", device));
            let made = Controller { index, model: *model, address: Some(*address) };
            let wanted = target(&made, made.address);
            if !wanted.is_empty() {
                element = element.child(with_attributes(Element::new("target"), wanted));
            }
            new.push(element.child(pci_element(*address)));
        }
        if let Some(address) = self.virtio_serial {
            new.push(controller("virtio-serial", 0).child(pci_element(address)));
        }
        let last = |name: &str| last(devices, name);
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

fn with_attributes(element: Element, attributes: Vec<(&'static str, String)>) -> Element {
    attributes.into_iter().fold(element, |element, (name, value)| element.attribute(name, value))
}

/// What stands in the `<target>` of a PCI controller, as libvirt fills it in.
fn target(controller: &Controller, address: Option<PciAddress>) -> Vec<(&'static str, String)> {
    let index = controller.index;
    match controller.model {
        ControllerModel::PcieRootPort { chassis, port, device: _ } => {
            let given = address.map(port_number).unwrap_or_default();
            let port = port.map_or(given, |port| format!("{port:#x}"));
            vec![("chassis", chassis.map_or(index, u32::from).to_string()), ("port", port)]
        }
        ControllerModel::PcieSwitchDownstreamPort { chassis, port } => {
            let port = port.or(address.map(|address| address.slot)).unwrap_or_default();
            vec![("chassis", chassis.map_or(index, u32::from).to_string()), ("port", format!("{port:#x}"))]
        }
        ControllerModel::PciBridge { chassis } => {
            vec![("chassisNr", chassis.map_or(index, u32::from).to_string())]
        }
        ControllerModel::PciRoot
        | ControllerModel::PcieRoot
        | ControllerModel::PcieToPciBridge
        | ControllerModel::DmiToPciBridge
        | ControllerModel::PcieSwitchUpstreamPort
        | ControllerModel::PcieExpanderBus { .. }
        | ControllerModel::VirtioSerial { .. }
        | ControllerModel::Usb(_)
        | ControllerModel::Sata
        | ControllerModel::Ahci
        | ControllerModel::Scsi { .. }
        | ControllerModel::Ide => Vec::new(),
    }
}

/// libvirt's number of a root port: its slot and function in one byte.
fn port_number(address: PciAddress) -> String {
    format!("0x{:x}", (u32::from(address.slot) << 3) | u32::from(address.function))
}

/// A function of ICH9's USB controllers is always the same one.
fn own_function(address: PciAddress, occupant: Occupant) -> PciAddress {
    match occupant {
        Occupant::Ich9Usb { function } => PciAddress { function, multifunction: function == 0, ..address },
        _ => address,
    }
}

/// The number of the bus that something makes which asks for a place.
fn bus_index(domain: &Domain, nodes: &Nodes<'_>, asking: Asking<'_>) -> Option<u32> {
    match asking {
        Asking::Written(node) => {
            let mut controllers = domain.controllers.iter().zip(&nodes.controllers);
            let (controller, _) = controllers.find(|(it, at)| **at == node && it.model.is_pci())?;
            Some(controller.index)
        }
        Asking::Bus(index) => Some(u32::from(index)),
        Asking::Usb | Asking::VirtioSerial | Asking::Memballoon => None,
    }
}

/// The buses that have to be added: the devices take places in their order, and where there is none, a controller is
/// added that has some.
fn missing_buses<'a>(
    mut map: PciMap,
    domain: &Domain,
    nodes: &Nodes<'a>,
    asking: &[(Occupant, Asking<'a>)],
) -> Result<Vec<(u8, ControllerModel)>, Asking<'a>> {
    let mut new: Vec<(u8, ControllerModel)> = Vec::new();
    let i440fx = domain.os.family == MachineFamily::I440fx;
    // As in libvirt, a place stays free on i440fx for the bridge that a later device may need.
    if i440fx && let Some(spare) = map.free(Occupant::Conventional) {
        map.take(spare, Occupant::Conventional).map_err(|_| Asking::Memballoon)?;
    }
    // In the order in which the places are given.
    let (preferring, others): (Vec<_>, Vec<_>) =
        asking.iter().partition(|(occupant, _)| map.preferred(*occupant).is_some());
    let (buses, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(_, who)| bus_index(domain, nodes, *who).is_some());
    for (occupant, who) in preferring.into_iter().chain(buses).chain(others) {
        take_or_add(&mut map, domain, occupant, &mut new).ok_or(who)?;
    }
    // Where nobody has laid out the buses, one more root port is there for a device that is plugged later.
    let laid_out = domain.controllers.iter().any(|it| it.model.is_pci() && it.index > 0);
    if !i440fx && !laid_out && !new.is_empty() {
        take_or_add(&mut map, domain, Occupant::Device, &mut new).ok_or(Asking::Memballoon)?;
    }
    Ok(new)
}

fn take_or_add(
    map: &mut PciMap,
    domain: &Domain,
    occupant: Occupant,
    new: &mut Vec<(u8, ControllerModel)>,
) -> Option<()> {
    let place = |map: &PciMap| map.preferred(occupant).or_else(|| map.free(occupant));
    if let Occupant::Ich9Usb { function: 1.. } = occupant {
        return Some(());
    }
    if place(map).is_none() {
        let express = matches!(occupant, Occupant::Device | Occupant::Bridge | Occupant::SwitchUpstream);
        match domain.os.family {
            MachineFamily::I440fx => add(map, domain, ControllerModel::PciBridge { chassis: None }, new)?,
            MachineFamily::Q35 => {
                if map.free(Occupant::Bridge).is_none() {
                    let device = RootPortDevice::PcieRootPort;
                    add(
                        map,
                        domain,
                        ControllerModel::PcieRootPort { device, chassis: None, port: None },
                        new,
                    )?;
                }
                if !express {
                    map.take(map.free(Occupant::Bridge)?, Occupant::Bridge).ok()?;
                    add(map, domain, ControllerModel::PcieToPciBridge, new)?;
                }
            }
        }
    }
    map.take(place(map)?, occupant).ok()
}

fn add(
    map: &mut PciMap,
    domain: &Domain,
    model: ControllerModel,
    new: &mut Vec<(u8, ControllerModel)>,
) -> Option<()> {
    let index = map.next_bus()?;
    let model = match model {
        ControllerModel::PcieRootPort { device, chassis: None, port } => {
            let chassis = Some(free_chassis(domain, new, index)?);
            ControllerModel::PcieRootPort { device, chassis, port }
        }
        model => model,
    };
    map.add_bus(index, model);
    new.push((index, model));
    Some(())
}

/// The chassis of a new root port: its index where no other port has that.
fn free_chassis(domain: &Domain, new: &[(u8, ControllerModel)], index: u8) -> Option<u8> {
    let written = domain.controllers.iter().map(|it| (it.index, it.model));
    let added = new.iter().map(|(index, model)| (u32::from(*index), *model));
    let taken: BTreeSet<u32> =
        written.chain(added).filter_map(|(index, model)| model.chassis(index)).collect();
    (index..=255).chain(1..index).find(|chassis| !taken.contains(&u32::from(*chassis)))
}

/// Everything without a place, in the order in which libvirt gives places.
fn asking<'a>(domain: &Domain, nodes: &Nodes<'a>) -> Vec<(Occupant, Asking<'a>)> {
    let mut all: Vec<(Occupant, Asking<'a>)> = Vec::new();
    let open = pci_devices(domain, nodes).into_iter().filter(|device| device.address.is_none());
    let mut added_controllers = false;
    let mut balloon = domain.memballoon.is_none();
    for PciDevice { node, occupant, address: _ } in open {
        // What is added stands where a written one would: controllers before the disks, the balloon after them.
        let rank = rank(nodes, node);
        if rank > Rank::Controllers && !added_controllers {
            all.extend(new_controllers(domain));
            added_controllers = true;
        }
        if rank > Rank::Disks && balloon {
            all.push((Occupant::Device, Asking::Memballoon));
            balloon = false;
        }
        all.push((occupant, Asking::Written(node)));
    }
    if !added_controllers {
        all.extend(new_controllers(domain));
    }
    if balloon {
        all.push((Occupant::Device, Asking::Memballoon));
    }
    all
}

/// Where a device stands in libvirt's order, as far as what is added goes in between.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Controllers,
    Disks,
    Rest,
}

fn rank(nodes: &Nodes<'_>, node: Node<'_>) -> Rank {
    let among = |list: &[Node<'_>]| list.contains(&node);
    if among(&nodes.controllers)
        || among(&nodes.interfaces)
        || among(&nodes.sounds)
        || nodes.videos.first() == Some(&node)
    {
        Rank::Controllers
    } else if among(&nodes.disks) || among(&nodes.hostdevs) {
        Rank::Disks
    } else {
        Rank::Rest
    }
}

fn new_controllers<'a>(domain: &Domain) -> Vec<(Occupant, Asking<'a>)> {
    let mut new = Vec::new();
    if needs_usb(domain) {
        let occupant = match domain.os.family {
            MachineFamily::Q35 => Occupant::Device,
            MachineFamily::I440fx => Occupant::Piix3Usb,
        };
        new.push((occupant, Asking::Usb));
    }
    if needs_virtio_serial(domain) {
        new.push((Occupant::Device, Asking::VirtioSerial));
    }
    new
}

/// Whether a USB controller has to be added.
pub(super) fn needs_usb(domain: &Domain) -> bool {
    let usb = |controller: &Controller| matches!(controller.model, ControllerModel::Usb(_));
    !domain.controllers.iter().any(usb) && domain.has_usb_devices()
}

fn needs_virtio_serial(domain: &Domain) -> bool {
    let is = |model| matches!(model, ControllerModel::VirtioSerial { .. });
    let none = !domain.controllers.iter().any(|controller| is(controller.model));
    none && (!domain.channels.is_empty()
        || domain.consoles.iter().any(|console| console.target == ConsoleTarget::Virtio))
}
