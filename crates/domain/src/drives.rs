//! Disks among each other: their places on SCSI, SATA and IDE controllers, their sources and threads. What is open is
//! decided as libvirt does it: a place follows from the disk's name.

use std::collections::BTreeSet;

use crate::address::DriveAddress;
use crate::controller::{ControllerModel, ScsiModel};
use crate::disk::{Disk, DiskBus};
use crate::domain::Domain;
use crate::edit::{Editor, Element};
use crate::limits::CONTROLLER_INDEX_MAX;
use crate::os::MachineFamily;
use crate::read::{Nodes, Reading};
use crate::reader::{Node, Reader, is};

/// Ports of a SATA controller (QEMU's `ahci`).
const SATA_PORTS: u32 = 6;

/// Places that libvirt gives a SCSI controller's disks by their names: those of a narrow bus, without its own.
const SCSI_UNITS: u32 = 7;

/// Checks the disks against each other and against the machine.
pub(crate) fn check<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let mut places = BTreeSet::new();
    for (number, (disk, node)) in domain.disks.iter().zip(&nodes.disks).enumerate() {
        let before = &domain.disks[..number];
        if before.iter().any(|other| other.target == disk.target) {
            let target = reader.child(*node, "target").unwrap_or(*node);
            let message = format!("a second disk `{}`", disk.target);
            reader.refuse_attribute(target, "dev", message, "give every disk its own `dev`");
        }
        let clash = |other: &Disk| {
            let alone = !(other.readonly || other.shareable) || !(disk.readonly || disk.shareable);
            alone && other.source.is_some() && other.source == disk.source
        };
        if let Some(source) = disk.source.as_ref().filter(|_| before.iter().any(clash)) {
            let place = reader.child(*node, "source").unwrap_or(*node);
            let message = format!("{source} is the source of two disks");
            reader.refuse_attribute(place, "file", message, "give every disk its own file");
        }
        if disk.bus == DiskBus::Ide && domain.os.family != MachineFamily::I440fx {
            let target = reader.child(*node, "target").unwrap_or(*node);
            let message = format!("a `{}` machine has no IDE", domain.os.machine);
            reader.refuse_attribute(target, "bus", message, "write bus='sata', and a `dev` like sda");
        }
        if let Some(iothread) = disk.driver.iothread {
            thread(reader, domain, *node, iothread);
        }
        if let Some(address) = disk.drive {
            let place = reader.child(*node, "address").unwrap_or(*node);
            let mend = "remove this <address>: a place is assigned";
            if !fits(domain, disk.bus, address) {
                let message = format!("there is no such place on a {} controller", disk.bus);
                reader.refuse(place, message, mend);
            } else if !places.insert((disk.bus.as_str(), address)) {
                reader.refuse(place, "this place is taken by another disk", mend);
            }
        }
        tune(reader, before, disk, *node);
    }
    for (controller, node) in domain.controllers.iter().zip(&nodes.controllers) {
        if let ControllerModel::Scsi { model: _, driver } = controller.model
            && let Some(iothread) = driver.iothread
        {
            thread(reader, domain, *node, iothread);
        }
    }
}

fn thread<'a>(reader: &mut Reader<'a>, domain: &Domain, device: Node<'a>, iothread: u32) {
    if domain.iothreads.iter().all(|it| it.id != iothread) {
        let driver = reader.child(device, "driver").unwrap_or(device);
        let message = format!("there is no iothread {iothread}");
        reader.refuse_attribute(driver, "iothread", message, "raise <iothreads>, or remove `iothread`");
    }
}

/// Disks of one group share one set of limits.
fn tune<'a>(reader: &mut Reader<'a>, before: &[Disk], disk: &Disk, node: Node<'a>) {
    let Some(iotune) = disk.iotune.as_ref().filter(|it| it.group.is_some()) else { return };
    let mut others = before.iter().filter_map(|other| other.iotune.as_ref());
    if others.any(|other| other.group == iotune.group && other != iotune) {
        let place = reader.child(node, "iotune").unwrap_or(node);
        reader.refuse(place, "another disk of this group has other limits", "make them equal");
    }
}

/// Whether a controller of its kind has such a place.
fn fits(domain: &Domain, bus: DiskBus, address: DriveAddress) -> bool {
    let DriveAddress { controller, bus: channel, target, unit } = address;
    match bus {
        DiskBus::Virtio | DiskBus::Usb => false,
        DiskBus::Ide => controller == 0 && channel <= 1 && target == 0 && unit <= 1,
        DiskBus::Sata => channel == 0 && target == 0 && unit < SATA_PORTS,
        DiskBus::Scsi => match scsi_model(domain, controller) {
            // Number 7 is the controller itself.
            ScsiModel::Lsilogic => channel == 0 && target == 0 && unit < SCSI_UNITS,
            ScsiModel::VirtioScsi | ScsiModel::VirtioTransitional | ScsiModel::VirtioNonTransitional => {
                channel == 0
            }
        },
    }
}

/// What a SCSI controller is; freezing adds those that are missing.
fn scsi_model(domain: &Domain, index: u32) -> ScsiModel {
    let written = domain.controllers.iter().find_map(|controller| match controller.model {
        ControllerModel::Scsi { model, driver: _ } if controller.index == index => Some(model),
        _ => None,
    });
    written.unwrap_or(ScsiModel::VirtioScsi)
}

/// Gives every disk its place, and adds the controllers that are missing. They get their own places later.
pub(crate) fn freeze<'a>(reader: &mut Reader<'a>, editor: &mut Editor<'a>, reading: &Reading<'a>) {
    let Reading { domain, nodes } = reading;
    let mut taken: BTreeSet<(&str, DriveAddress)> =
        domain.disks.iter().filter_map(|disk| Some((disk.bus.as_str(), disk.drive?))).collect();
    for (disk, node) in domain.disks.iter().zip(&nodes.disks) {
        if matches!(disk.bus, DiskBus::Virtio | DiskBus::Usb) || disk.drive.is_some() {
            continue;
        }
        let by_name = index_of(&disk.target).and_then(|index| place(disk.bus, index));
        let mut all = (0..).map_while(|index| place(disk.bus, index));
        let is_free = |place: &DriveAddress| {
            fits(domain, disk.bus, *place) && !taken.contains(&(disk.bus.as_str(), *place))
        };
        let Some(address) = by_name.filter(is_free).or_else(|| all.find(is_free)) else {
            let message = format!("no place is free on the {} controllers", disk.bus);
            reader.refuse(*node, message, "put the disk on another bus");
            continue;
        };
        taken.insert((disk.bus.as_str(), address));
        let element = Element::new("address").attribute("type", "drive");
        let element = element.attribute("controller", address.controller.to_string());
        let element = element.attribute("bus", address.bus.to_string()).attribute("target", "0");
        editor.append(*node, &[element.attribute("unit", address.unit.to_string())]);
    }
    let places = taken.iter().map(|(bus, address)| (*bus, address.controller)).collect();
    controllers(editor, domain, nodes, &places);
}

/// Adds every SCSI controller up to the highest that a disk sits on, and every SATA controller that the chipset does
/// not have.
fn controllers<'a>(
    editor: &mut Editor<'a>,
    domain: &Domain,
    nodes: &Nodes<'a>,
    places: &BTreeSet<(&str, u32)>,
) {
    let (Some(devices), mut new) = (nodes.devices, Vec::new()) else { return };
    for (bus, model) in [("scsi", Some("virtio-scsi")), ("sata", None)] {
        let highest = places.iter().filter(|(it, _)| *it == bus).map(|(_, index)| *index).max();
        let first = u32::from(bus == "sata" && domain.os.family == MachineFamily::Q35);
        for index in highest.map(|highest| first..=highest).into_iter().flatten() {
            let is_it = |it: &crate::controller::Controller| {
                let kind = match it.model {
                    ControllerModel::Scsi { .. } => "scsi",
                    ControllerModel::Sata | ControllerModel::Ahci => "sata",
                    _ => "",
                };
                kind == bus && it.index == index
            };
            if !domain.controllers.iter().any(is_it) {
                let element = Element::new("controller").attribute("type", bus);
                let element = element.attribute("index", index.to_string());
                new.push(model.into_iter().fold(element, |element, model| element.attribute("model", model)));
            }
        }
    }
    let last = |name: &str| devices.children().rfind(|child| is(*child, name));
    if let Some(anchor) = last("controller").or_else(|| last("disk"))
        && !new.is_empty()
    {
        editor.insert_after(anchor, &new);
    }
}

/// The place that belongs to the disk with a number, as in libvirt (`virDomainDiskDefAssignAddress`).
fn place(bus: DiskBus, index: u32) -> Option<DriveAddress> {
    let (controller, bus, unit) = match bus {
        DiskBus::Virtio | DiskBus::Usb => return None,
        DiskBus::Scsi => (index / SCSI_UNITS, 0, index % SCSI_UNITS),
        DiskBus::Sata => (index / SATA_PORTS, 0, index % SATA_PORTS),
        DiskBus::Ide => (index / 4, index % 4 / 2, index % 2),
    };
    (controller <= CONTROLLER_INDEX_MAX).then_some(DriveAddress { controller, bus, target: 0, unit })
}

/// Which disk of its kind a name means: `sda` is 0, `hdb` 1, `sdaa` 26; none where it is no such name.
fn index_of(target: &str) -> Option<u32> {
    let letters = ["sd", "hd", "vd"].iter().find_map(|prefix| target.strip_prefix(prefix))?;
    let number = letters.bytes().try_fold(0_u32, |number, letter| {
        let digit = u32::from(letter.checked_sub(b'a').filter(|digit| *digit < 26)?) + 1;
        number.checked_mul(26)?.checked_add(digit)
    })?;
    number.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expect: Option<u32>) {
        assert_eq!(index_of(target), expect, "{target}");
    }

    #[test]
    fn a_name_is_a_number() {
        check("sda", Some(0));
        check("hdd", Some(3));
        check("vdz", Some(25));
        check("sdaa", Some(26));
        check("sdba", Some(52));
        check("sd", None);
        check("sda1", None);
        check("xyz", None);
        check("sdzzzzzzzzzz", None);
    }
}
