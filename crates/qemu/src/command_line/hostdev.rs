//! Devices of the host in the guest's hands: `-device vfio-pci` and `-device usb-host`. It never binds a driver.

use domain::{Domain, Hostdev, HostdevSource, MachineFamily};

use super::display::usb_place;
use super::interface::rom;
use super::pci::{explicit, place};
use super::switch::{Device, Properties};
use super::{CommandLine, CommandLineError};

fn device(hostdev: &Hostdev, number: usize, family: MachineFamily) -> Result<Device, CommandLineError> {
    let of = || hostdev.source.to_string();
    let id = format!("hostdev-{number}");
    let device = match hostdev.source {
        HostdevSource::Pci { domain, bus, slot, function } => {
            let host = format!("{domain:04x}:{bus:02x}:{slot:02x}.{function:x}");
            let device = Properties::new("vfio-pci").with("host", host).with("id", id);
            rom(place(device, explicit(hostdev.address, of)?, family), &hostdev.rom, false)
        }
        HostdevSource::Usb { product, device } => {
            let (vendor, product) = product.unzip();
            let (bus, number) = device.unzip();
            let usb = Properties::new("usb-host").with("id", id);
            let usb = usb.with_some("vendorid", vendor).with_some("productid", product);
            let usb = usb.with_some("hostbus", bus).with_some("hostaddr", number);
            usb_place(usb, hostdev.usb_address, of)?
        }
    };
    Ok(Device(device.with_some("bootindex", hostdev.boot_order)))
}

pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    for (number, hostdev) in domain.hostdevs.iter().enumerate() {
        line.push(&device(hostdev, number, domain.os.family)?);
    }
    Ok(())
}
