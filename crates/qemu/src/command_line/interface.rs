//! Interfaces: `-netdev tap` for the host's side, `-device virtio-net-pci` for the guest's.

use std::ffi::OsString;

use domain::{Interface, InterfaceModel, MacAddress, MachineFamily, PciAddress};

use super::pci::{explicit, place};
use super::switch::{Properties, Switch};
use super::{CommandLine, CommandLineError, Launch};

/// `-netdev tap`: QEMU makes the tap where it is missing, and runs no script.
#[derive(Clone, Debug)]
pub struct Netdev<'a> {
    /// Id.
    pub id: String,
    /// Name of the tap.
    pub tap: &'a str,
    /// Whether packets go through the kernel's vhost-net.
    pub vhost: bool,
}

impl Switch for Netdev<'_> {
    fn name(&self) -> &'static str {
        "-netdev"
    }

    fn value(&self) -> Option<OsString> {
        let value = Properties::new("tap")
            .with("id", &self.id)
            .with("ifname", self.tap)
            .with("script", "no")
            .with("downscript", "no");
        Some(if self.vhost { value.with_switch("vhost", true) } else { value }.into_os_string())
    }
}

/// `-device virtio-net-pci`.
#[derive(Clone, Debug)]
pub struct InterfaceDevice<'a> {
    interface: &'a Interface,
    mac: MacAddress,
    id: String,
    netdev: String,
    address: PciAddress,
    boot_index: Option<u32>,
    family: MachineFamily,
}

impl Switch for InterfaceDevice<'_> {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        let driver = match self.interface.model {
            InterfaceModel::Virtio => "virtio-net-pci",
        };
        let device =
            Properties::new(driver).with("netdev", &self.netdev).with("id", &self.id).with("mac", self.mac);
        let device = place(device, self.address, self.family)
            .with_some("host_mtu", self.interface.mtu)
            .with_some("bootindex", self.boot_index);
        // A boot ROM is in the guest's address space, so its size has to be the same on both hosts. A card that
        // nothing boots from goes without, whatever ROM files a host has.
        Some(if self.boot_index.is_none() { device.with("romfile", "") } else { device }.into_os_string())
    }
}

/// Id of the guest's card by its place in the definition; what `set_link` takes.
pub fn device_id(place: usize) -> String {
    format!("interface-{place}")
}

pub(super) fn push(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), CommandLineError> {
    let domain = launch.domain;
    for (place, (interface, tap)) in domain.interfaces.iter().zip(launch.taps).enumerate() {
        let of = || format!("interface {} on bridge {}", place + 1, interface.bridge);
        let mac =
            interface.mac.ok_or_else(|| CommandLineError::NotFrozen { what: "MAC address", of: of() })?;
        let address = explicit(interface.address, of)?;
        let netdev = format!("netdev-{place}");
        line.push(&Netdev { id: netdev.clone(), tap, vhost: launch.vhost });
        line.push(&InterfaceDevice {
            interface,
            mac,
            id: device_id(place),
            netdev,
            address,
            boot_index: domain.interface_boot_index(place),
            family: domain.os.family,
        });
    }
    Ok(())
}
