//! PCI places and the controllers that make buses. It never picks a free place: freezing the definition did.

use std::ffi::OsString;

use domain::{
    Controller, ControllerModel, Domain, MachineFamily, PciAddress, ScsiDriver, ScsiModel, UsbModel,
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
            ControllerModel::VirtioSerial { ports } => Properties::new("virtio-serial-pci")
                .with("id", virtio_serial_id(index))
                .with_some("max_ports", ports),
            ControllerModel::Usb(UsbModel::QemuXhci { ports }) => Properties::new("qemu-xhci")
                .with("id", usb_id(index))
                .with_some("p2", ports)
                .with_some("p3", ports),
            ControllerModel::Usb(UsbModel::Piix3Uhci) => {
                Properties::new("piix3-usb-uhci").with("id", usb_id(index))
            }
            ControllerModel::Ahci => Properties::new("ahci").with("id", sata_id(index)),
            ControllerModel::Scsi { model, driver } => scsi(model, driver).with("id", scsi_id(index)),
            ControllerModel::PciRoot
            | ControllerModel::PcieRoot
            | ControllerModel::Sata
            | ControllerModel::Ide
            | ControllerModel::Usb(UsbModel::None) => return None,
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
    for (controller, address) in others {
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
