//! What no element can tell alone: doubles, addresses that collide, devices that the machine cannot have.
//! It never changes anything; it writes problems into the reader.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{PciAddress, VirtioSerialAddress};
use crate::character::{ConsoleTarget, SerialTarget};
use crate::controller::ControllerModel;
use crate::cpu::CpuMode;
use crate::device::{PanicModel, WatchdogModel};
use crate::disk::{DiskBus, VirtioModel};
use crate::display::{Graphics, Protocol, VideoModel};
use crate::domain::{Domain, Kind};
use crate::drives;
use crate::hostdev::HostdevSource;
use crate::input::InputBus;
use crate::limits::VIRTIO_SERIAL_PORTS;
use crate::memory;
use crate::os::MachineFamily;
use crate::read::{Nodes, Reading};
use crate::reader::{Node, Reader, is};
use crate::slots::{Occupant, PciMap};
use crate::sound::{Audio, SoundModel};
use crate::stream::CharacterBackend;
use crate::usb;

/// A device on a PCI bus.
pub(crate) struct PciDevice<'a> {
    pub(crate) node: Node<'a>,
    pub(crate) address: Option<PciAddress>,
    pub(crate) occupant: Occupant,
}

/// Every device on a PCI bus, in the order in which libvirt gives them addresses: controllers that make buses, the
/// primary graphics adapter, interfaces, sound, other controllers, disks, devices of the host, balloon, random numbers,
/// watchdog, other adapters, input, serial ports, vsock, panic.
pub(crate) fn pci_devices<'a>(domain: &Domain, nodes: &Nodes<'a>) -> Vec<PciDevice<'a>> {
    let mut devices = Vec::new();
    let mut add = |node, address, occupant| devices.push(PciDevice { node, address, occupant });
    let mut controllers: Vec<_> = domain.controllers.iter().zip(&nodes.controllers).collect();
    controllers.sort_by_key(|(controller, _)| !controller.model.is_pci());
    let (buses, others) = controllers.split_at(controllers.partition_point(|(it, _)| it.model.is_pci()));
    for (controller, node) in buses {
        if let Some(occupant) = Occupant::of(controller) {
            add(**node, controller.address, occupant);
        }
    }
    let videos = || domain.videos.iter().zip(&nodes.videos).filter(|(video, _)| video.model.is_pci());
    let primary = nodes.videos.first();
    for (video, node) in videos().filter(|(_, node)| Some(*node) == primary) {
        add(*node, video.address, Occupant::Video);
    }
    for (interface, node) in domain.interfaces.iter().zip(&nodes.interfaces) {
        add(*node, interface.address, Occupant::device(interface.model.is_conventional()));
    }
    for (sound, node) in domain.sounds.iter().zip(&nodes.sounds).filter(|(sound, _)| sound.is_pci()) {
        let ich9 = sound.model == SoundModel::Ich9;
        add(*node, sound.address, if ich9 { Occupant::Ich9Sound } else { Occupant::Conventional });
    }
    for (controller, node) in others {
        if let Some(occupant) = Occupant::of(controller) {
            add(**node, controller.address, occupant);
        }
    }
    for (disk, node) in domain.disks.iter().zip(&nodes.disks) {
        if disk.bus == DiskBus::Virtio {
            let conventional = disk.model == VirtioModel::Transitional;
            add(*node, disk.address, Occupant::device(conventional));
        }
    }
    for (hostdev, node) in domain.hostdevs.iter().zip(&nodes.hostdevs) {
        if let HostdevSource::Pci { .. } = hostdev.source {
            add(*node, hostdev.address, Occupant::Device);
        }
    }
    if let (Some(memballoon), Some(node)) = (domain.memballoon, nodes.memballoon)
        && memballoon.model == crate::device::MemballoonModel::Virtio
    {
        add(node, memballoon.address, Occupant::Device);
    }
    for (rng, node) in domain.rngs.iter().zip(&nodes.rngs) {
        add(*node, rng.address, Occupant::Device);
    }
    for (watchdog, node) in domain.watchdogs.iter().zip(&nodes.watchdogs) {
        if watchdog.model == WatchdogModel::I6300esb {
            add(*node, watchdog.address, Occupant::Conventional);
        }
    }
    for (video, node) in videos().filter(|(_, node)| Some(*node) != primary) {
        add(*node, video.address, Occupant::device(video.model == VideoModel::Qxl));
    }
    for (input, node) in domain.inputs.iter().zip(&nodes.inputs) {
        if input.bus == InputBus::Virtio {
            add(*node, input.address, Occupant::Device);
        }
    }
    for (serial, node) in domain.serials.iter().zip(&nodes.serials) {
        if let SerialTarget::Pci { address } = serial.target {
            add(*node, address, Occupant::Conventional);
        }
    }
    for (vsock, node) in domain.vsocks.iter().zip(&nodes.vsocks) {
        add(*node, vsock.address, Occupant::Device);
    }
    for (panic, node) in domain.panics.iter().zip(&nodes.panics) {
        if panic.model == PanicModel::Pvpanic {
            add(*node, panic.address, Occupant::Device);
        }
    }
    devices
}

/// Checks what was read as a whole.
pub(crate) fn check<'a>(reader: &mut Reader<'a>, reading: &Reading<'a>) {
    let Reading { domain, nodes } = reading;
    cpu(reader, domain, nodes);
    drives::check(reader, domain, nodes);
    interfaces(reader, domain, nodes);
    boot_order(reader, domain, nodes);
    screen(reader, domain, nodes);
    machine(reader, domain, nodes);
    chassis(reader, domain, nodes);
    pci(reader, domain, nodes);
    virtio_serial(reader, domain, nodes);
    usb::check(reader, reading);
}

fn cpu<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let (Some(cpu), Some(node)) = (&domain.cpu, nodes.cpu) else { return };
    if let Some(topology) = cpu.topology {
        let counts = [topology.sockets, topology.dies, topology.clusters, topology.cores, topology.threads];
        let product = counts.iter().try_fold(1_u32, |product, count| product.checked_mul(*count));
        if product != Some(domain.vcpus) {
            let message = format!("the topology does not make {} virtual CPUs, as <vcpu> says", domain.vcpus);
            let place = reader.child(node, "topology").unwrap_or(node);
            reader.refuse(place, message, "make sockets × dies × cores × threads equal to <vcpu>");
        }
    }
    memory::check_cells(reader, node, &domain.numa_cells, domain.memory, domain.vcpus);
    if domain.kind == Kind::Qemu && matches!(cpu.mode, CpuMode::HostPassthrough { .. }) {
        let message = "host-passthrough needs KVM, and the domain's type is `qemu`";
        reader.refuse_attribute(node, "mode", message, "write type='kvm' into <domain>, or name a CPU model");
    }
}

fn interfaces<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    for (place, (interface, node)) in domain.interfaces.iter().zip(&nodes.interfaces).enumerate() {
        let before = &domain.interfaces[..place];
        if interface.target.is_some() && before.iter().any(|other| other.target == interface.target) {
            let target = reader.child(*node, "target").unwrap_or(*node);
            reader.refuse_attribute(
                target,
                "dev",
                "a second interface with this tap",
                "give every tap its own name",
            );
        }
        if interface.id.is_some() && before.iter().any(|other| other.id == interface.id) {
            let alias = reader.child(*node, "alias").unwrap_or(*node);
            let message = "another interface is known by this id";
            reader.refuse_attribute(alias, "name", message, "remove this <alias>");
        }
        if interface.mac.is_some() && before.iter().any(|other| other.mac == interface.mac) {
            let mac = reader.child(*node, "mac").unwrap_or(*node);
            let message = "a second interface with this MAC address";
            reader.refuse_attribute(mac, "address", message, "remove the <mac>: a fresh one is made");
        }
    }
}

fn boot_order<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let disks = domain.disks.iter().map(|disk| disk.boot_order).zip(&nodes.disks);
    let interfaces = domain.interfaces.iter().map(|it| it.boot_order).zip(&nodes.interfaces);
    let hostdevs = domain.hostdevs.iter().map(|it| it.boot_order).zip(&nodes.hostdevs);
    let redirdevs = domain.redirdevs.iter().map(|it| it.boot_order).zip(&nodes.redirdevs);
    let mut orders = BTreeSet::new();
    for (order, node) in disks.chain(interfaces).chain(hostdevs).chain(redirdevs) {
        if let Some(order) = order
            && !orders.insert(order)
            && let Some(boot) = reader.child(*node, "boot")
        {
            let message = format!("a second device with boot order {order}");
            reader.refuse_attribute(boot, "order", message, "give every device its own number");
        }
    }
    let os_boot = nodes.os.and_then(|os| os.children().find(|child| is(*child, "boot")));
    if let Some(boot) = os_boot
        && domain.has_device_boot_order()
    {
        let message = "<boot> in <os> as well as in devices";
        reader.refuse(boot, message, "keep the one or the other");
    }
}

fn screen<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let devices = nodes.devices.unwrap_or(nodes.root);
    let written = devices.children().any(|child| is(child, "video"));
    if let Some(graphics) = devices.children().find(|child| is(*child, "graphics"))
        && !domain.graphics.is_empty()
        && !written
    {
        let message = "<graphics> without <video>: what libvirt would add depends on its QEMU";
        reader.refuse(graphics, message, "add <video><model type='virtio'/></video>");
    }
    let spice = |graphics: &Graphics| matches!(graphics.protocol, Protocol::Spice { .. });
    for wanted in [true, false] {
        let mut same = domain.graphics.iter().filter(|it| spice(it) == wanted);
        if same.nth(1).is_some() {
            let kind = if wanted { "spice" } else { "vnc" };
            let second = |child: &Node<'a>| is(*child, "graphics") && child.attribute("type") == Some(kind);
            let node = devices.children().filter(second).nth(1).unwrap_or(devices);
            reader.refuse(node, format!("a second <graphics> of type `{kind}`"), "keep one of the two");
        }
    }
    if domain.graphics.iter().any(spice) {
        return;
    }
    let through_spice = |backend: &CharacterBackend| {
        matches!(backend, CharacterBackend::SpiceVmc | CharacterBackend::SpicePort(_))
    };
    let channels = domain.channels.iter().map(|it| &it.backend).zip(&nodes.channels);
    let redirdevs = domain.redirdevs.iter().map(|it| &it.backend).zip(&nodes.redirdevs);
    for (_, node) in channels.chain(redirdevs).filter(|(backend, _)| through_spice(backend)) {
        let message = "it goes through SPICE, and there is no <graphics type='spice'>";
        reader.refuse(*node, message, "remove it, or add the <graphics>");
    }
    if domain.audio == Some(Audio::Spice)
        && let Some(audio) = devices.children().find(|child| is(*child, "audio"))
    {
        let message = "the sound goes through SPICE, and there is no <graphics type='spice'>";
        reader.refuse_attribute(audio, "type", message, "write type='none'");
    }
}

fn machine<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let family = domain.os.family;
    if let Some(os) = nodes.os {
        domain.os.firmware.check(reader, os, family, &domain.features);
    }
    for (controller, node) in domain.controllers.iter().zip(&nodes.controllers) {
        let only = match controller.model {
            ControllerModel::PcieRoot
            | ControllerModel::PcieRootPort { .. }
            | ControllerModel::PcieToPciBridge
            | ControllerModel::DmiToPciBridge
            | ControllerModel::PcieSwitchUpstreamPort
            | ControllerModel::PcieSwitchDownstreamPort { .. }
            | ControllerModel::PcieExpanderBus { .. }
            | ControllerModel::Sata => MachineFamily::Q35,
            ControllerModel::PciRoot | ControllerModel::Ide => MachineFamily::I440fx,
            ControllerModel::PciBridge { .. }
            | ControllerModel::VirtioSerial { .. }
            | ControllerModel::Ahci
            | ControllerModel::Scsi { .. }
            | ControllerModel::Usb(_) => continue,
        };
        if only != family {
            let message = format!("a `{}` machine has no such controller", domain.os.machine);
            reader.refuse(*node, message, "remove the controller, or take another machine");
        }
    }
    for (place, (watchdog, node)) in domain.watchdogs.iter().zip(&nodes.watchdogs).enumerate() {
        let before = &domain.watchdogs[..place];
        if family != MachineFamily::Q35 && watchdog.model == WatchdogModel::Itco {
            let message = format!("a `{}` machine has no itco watchdog", domain.os.machine);
            reader.refuse(*node, message, "remove the <watchdog>, or take a q35 machine");
        }
        if before.iter().any(|other| other.model == watchdog.model) {
            reader.refuse(*node, format!("a second watchdog `{}`", watchdog.model), "keep one of the two");
        }
        if before.iter().any(|other| other.action != watchdog.action) {
            let mend = "write the same `action` into every <watchdog>";
            reader.refuse_attribute(*node, "action", "QEMU does the same for every watchdog", mend);
        }
    }
    for (place, (panic, node)) in domain.panics.iter().zip(&nodes.panics).enumerate() {
        if domain.panics[..place].iter().any(|other| other.model == panic.model) {
            reader.refuse(*node, format!("a second panic device `{}`", panic.model), "keep one of the two");
        }
    }
    let devices = nodes.devices.unwrap_or(nodes.root);
    if family != MachineFamily::Q35
        && !domain.iommus.is_empty()
        && let Some(iommu) = reader.child(devices, "iommu")
    {
        let message = format!("a `{}` machine has no Intel IOMMU", domain.os.machine);
        reader.refuse(iommu, message, "remove the <iommu>, or take a q35 machine");
    }
}

fn chassis<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let mut seen = BTreeSet::new();
    for (controller, node) in domain.controllers.iter().zip(&nodes.controllers) {
        if let Some(chassis) = controller.model.chassis(controller.index)
            && !seen.insert(chassis)
        {
            let message = format!("a second root port with chassis {chassis}");
            reader.refuse(*node, message, "give every root port its own `chassis` in <target>");
        }
    }
}

/// Builds the map of taken places and refuses what does not fit.
fn pci<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let mut map = PciMap::new(domain.os.family, &domain.controllers);
    let mut devices = pci_devices(domain, nodes);
    devices.sort_by_key(|device| device.node.range().start);
    let mut fitting = Vec::new();
    for device in &devices {
        let Some(address) = device.address else { continue };
        match map.take(address, device.occupant) {
            Ok(()) => fitting.push((device, address)),
            Err(error) => {
                let node = reader.child(device.node, "address").unwrap_or(device.node);
                reader.refuse(node, error.to_string(), error.mend());
            }
        }
    }
    for (device, address) in fitting {
        if let Err(error) = map.functions_fit(address, device.occupant) {
            let node = reader.child(device.node, "address").unwrap_or(device.node);
            reader.refuse(node, error.to_string(), error.mend());
        }
    }
}

/// The virtio-serial controllers with the number of their ports; one with index 0 is there without being written.
pub(crate) fn virtio_serial_ports(domain: &Domain) -> BTreeMap<u32, u32> {
    let mut controllers = BTreeMap::new();
    for controller in &domain.controllers {
        if let ControllerModel::VirtioSerial { ports, vectors: _ } = controller.model {
            controllers.insert(controller.index, ports.unwrap_or(VIRTIO_SERIAL_PORTS));
        }
    }
    if controllers.is_empty() {
        controllers.insert(0, VIRTIO_SERIAL_PORTS);
    }
    controllers
}

fn virtio_serial<'a>(reader: &mut Reader<'a>, domain: &Domain, nodes: &Nodes<'a>) {
    let controllers = virtio_serial_ports(domain);
    let mut taken = BTreeSet::new();
    let consoles = domain.consoles.iter().zip(&nodes.consoles);
    let consoles = consoles
        .filter(|(console, _)| console.target == ConsoleTarget::Virtio)
        .map(|(console, node)| (console.address, *node, true));
    let channels = domain.channels.iter().zip(&nodes.channels).map(|(it, node)| (it.address, *node, false));
    for (address, node, is_console) in consoles.chain(channels) {
        let Some(VirtioSerialAddress { controller, bus: _, port }) = address else { continue };
        let place = reader.child(node, "address").unwrap_or(node);
        let mend = "remove this <address>: a free port is assigned";
        match controllers.get(&controller) {
            None => {
                let message = format!("there is no virtio-serial controller {controller}");
                reader.refuse_attribute(place, "controller", message, mend);
            }
            Some(ports) if port >= *ports => {
                let message = format!("controller {controller} has ports 0 to {}", ports - 1);
                reader.refuse_attribute(place, "port", message, mend);
            }
            Some(_) => {}
        }
        if port == 0 && !is_console {
            reader.refuse_attribute(place, "port", "port 0 is only for consoles", mend);
        }
        if !taken.insert((controller, port)) {
            let message = format!("port {port} of controller {controller} is taken");
            reader.refuse_attribute(place, "port", message, mend);
        }
    }
    let mut names = BTreeSet::new();
    for (channel, node) in domain.channels.iter().zip(&nodes.channels) {
        if !channel.name.is_empty() && !names.insert(channel.name.as_str()) {
            let target = reader.child(*node, "target").unwrap_or(*node);
            let message = format!("a second channel `{}`", channel.name);
            reader.refuse_attribute(target, "name", message, "give every channel its own name");
        }
    }
}
