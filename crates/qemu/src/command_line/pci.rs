//! PCI places and the controllers that make buses. It never picks a free place: freezing the definition did.

use std::ffi::OsString;

use domain::{
    Controller, ControllerModel, Domain, Ich9Part, MachineFamily, PciAddress, ScsiDriver, ScsiModel, UsbModel,
};

use super::disk::iothread_id;
use super::switch::{Properties, Switch};
use super::{CommandLine, CommandLineError};

/// `-device` for a controller that is not part of the machine.
#[derive(Clone, Copy, Debug)]
pub struct ControllerDevice {
    controller: Controller,
    address: PciAddress,
    family: MachineFamily,
}

impl Switch for ControllerDevice {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        let index = self.controller.index;
        let value = match self.controller.model {
            ControllerModel::PcieRootPort { device, chassis, port } => {
                let function_port = self.address.slot << 3 | self.address.function;
                Properties::new(device.as_str())
                    .with("id", bus_id(index))
                    .with("chassis", chassis.map_or(index, u32::from))
                    .with("port", port.unwrap_or(function_port))
            }
            ControllerModel::PcieToPciBridge => Properties::new("pcie-pci-bridge").with("id", bus_id(index)),
            ControllerModel::DmiToPciBridge => Properties::new("i82801b11-bridge").with("id", bus_id(index)),
            ControllerModel::PciBridge { chassis } => Properties::new("pci-bridge")
                .with("id", bus_id(index))
                .with("chassis_nr", chassis.map_or(index, u32::from)),
            ControllerModel::PcieSwitchUpstreamPort => {
                Properties::new("x3130-upstream").with("id", bus_id(index))
            }
            ControllerModel::PcieSwitchDownstreamPort { chassis, port } => {
                Properties::new("xio3130-downstream")
                    .with("id", bus_id(index))
                    .with("chassis", chassis.map_or(index, u32::from))
                    .with("port", port.unwrap_or(self.address.slot))
            }
            ControllerModel::PcieExpanderBus { number } => {
                Properties::new("pxb-pcie").with("id", bus_id(index)).with("bus_nr", number)
            }
            ControllerModel::VirtioSerial { ports, vectors } => Properties::new("virtio-serial-pci")
                .with("id", virtio_serial_id(index))
                .with_some("max_ports", ports)
                .with_some("vectors", vectors),
            ControllerModel::Usb(model) => usb(model, index)?,
            ControllerModel::Ahci => Properties::new("ahci").with("id", sata_id(index)),
            ControllerModel::Scsi { model, driver } => scsi(model, driver).with("id", scsi_id(index)),
            ControllerModel::PciRoot
            | ControllerModel::PcieRoot
            | ControllerModel::Sata
            | ControllerModel::Ide => return None,
        };
        Some(place(value, self.address, self.family).into_os_string())
    }
}

fn scsi(model: ScsiModel, driver: ScsiDriver) -> Properties {
    Properties::new(match model {
        ScsiModel::VirtioScsi => "virtio-scsi-pci",
        ScsiModel::VirtioTransitional => "virtio-scsi-pci-transitional",
        ScsiModel::VirtioNonTransitional => "virtio-scsi-pci-non-transitional",
        ScsiModel::Lsilogic => "lsi",
    })
    .with_some("iothread", driver.iothread.map(iothread_id))
    .with_some("num_queues", driver.queues)
    .with_some("cmd_per_lun", driver.cmd_per_lun)
    .with_some("max_sectors", driver.max_sectors)
    .with_some_switch("ioeventfd", driver.ioeventfd)
}

fn usb(model: UsbModel, index: u32) -> Option<Properties> {
    let named = |driver| Properties::new(driver).with("id", usb_id(index));
    let xhci = |driver, ports: Option<u32>| named(driver).with_some("p2", ports).with_some("p3", ports);
    Some(match model {
        UsbModel::QemuXhci { ports } => xhci("qemu-xhci", ports),
        UsbModel::NecXhci { ports } => xhci("nec-usb-xhci", ports),
        UsbModel::Piix3Uhci => named("piix3-usb-uhci"),
        UsbModel::Piix4Uhci => named("piix4-usb-uhci"),
        UsbModel::Ehci => named("usb-ehci"),
        UsbModel::PciOhci => named("pci-ohci"),
        UsbModel::Ich9 { part, startport } => {
            let driver = match part {
                Ich9Part::Ehci1 => return Some(named("ich9-usb-ehci1")),
                Ich9Part::Uhci1 => "ich9-usb-uhci1",
                Ich9Part::Uhci2 => "ich9-usb-uhci2",
                Ich9Part::Uhci3 => "ich9-usb-uhci3",
            };
            let master = format!("{}.0", usb_id(index));
            Properties::new(driver).with("masterbus", master).with("firstport", startport)
        }
        UsbModel::None => return None,
    })
}

/// Writes every controller, a bus before what sits on it.
pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    let mut made = vec![0_u32];
    let (mut waiting, others): (Vec<_>, Vec<_>) = domain
        .controllers
        .iter()
        .filter(|controller| !controller.model.is_built_in())
        .map(|controller| Ok((*controller, address_of(controller)?)))
        .collect::<Result<Vec<_>, CommandLineError>>()?
        .into_iter()
        .partition(|(controller, _)| controller.model.is_pci());
    waiting.sort_by_key(|(controller, _)| controller.index);
    while !waiting.is_empty() {
        let (ready, still): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, address)| made.contains(&u32::from(address.bus)));
        if let ([], [(controller, address), ..]) = (ready.as_slice(), still.as_slice()) {
            return Err(CommandLineError::NoBus { index: controller.index, bus: address.bus });
        }
        for (controller, address) in ready {
            made.push(controller.index);
            line.push(&ControllerDevice { controller, address, family: domain.os.family });
        }
        waiting = still;
    }
    // A companion names its master, which has to be there.
    let companion = |(controller, _): &(Controller, PciAddress)| matches!(controller.model, ControllerModel::Usb(model) if model.is_companion());
    let (companions, others): (Vec<_>, Vec<_>) = others.into_iter().partition(companion);
    for (controller, address) in others.into_iter().chain(companions) {
        line.push(&ControllerDevice { controller, address, family: domain.os.family });
    }
    Ok(())
}

fn address_of(controller: &Controller) -> Result<PciAddress, CommandLineError> {
    explicit(controller.address, || format!("controller {} ({:?})", controller.index, controller.model))
}

/// The address that freezing has written.
pub(super) fn explicit(
    address: Option<PciAddress>,
    of: impl FnOnce() -> String,
) -> Result<PciAddress, CommandLineError> {
    address.ok_or_else(|| CommandLineError::NotFrozen { what: "PCI address", of: of() })
}

/// `,bus=…,addr=…`.
pub(super) fn place(device: Properties, address: PciAddress, family: MachineFamily) -> Properties {
    let bus = match address.bus {
        0 => family.root_bus().to_owned(),
        bus => bus_id(u32::from(bus)),
    };
    let place = match address.function {
        0 => format!("{:#x}", address.slot),
        function => format!("{:#x}.{function:#x}", address.slot),
    };
    let device = device.with("bus", bus).with("addr", place);
    if address.multifunction { device.with_switch("multifunction", true) } else { device }
}

fn bus_id(index: u32) -> String {
    format!("pci.{index}")
}

/// Id of a SCSI controller; its bus is `ID.0`.
pub(super) fn scsi_id(index: u32) -> String {
    format!("scsi{index}")
}

/// Id of a SATA controller that is not part of the chipset; its buses are `ID.0` to `ID.5`.
pub(super) fn sata_id(index: u32) -> String {
    format!("sata{index}")
}

/// Id of a virtio-serial controller; its bus is `ID.0`.
pub(super) fn virtio_serial_id(index: u32) -> String {
    format!("virtio-serial{index}")
}

/// Id of a USB controller; its bus is `ID.0`.
pub(super) fn usb_id(index: u32) -> String {
    format!("usb{index}")
}
