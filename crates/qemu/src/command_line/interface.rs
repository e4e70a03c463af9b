//! Interfaces: `-netdev tap` for the host's side, `-device virtio-net-pci` for the guest's.

use std::ffi::OsString;

use domain::{Domain, InterfaceModel};
use serde_json::{Map, Value};

use super::pci::{explicit, place};
use super::switch::{Device, Properties, Switch, text};
use super::{CommandLine, CommandLineError, Launch};

/// `-netdev`, or the arguments of QMP's `netdev_add`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netdev(
    /// Begins with the type.
    pub Properties,
);

impl Netdev {
    /// A tap. QEMU makes it where it is missing, and runs no script. `vhost`: packets go through the kernel's vhost-net.
    fn tap(id: &str, tap: &str, vhost: bool) -> Self {
        let value = Properties::new("tap").with("id", id).with("ifname", tap);
        let value = value.with("script", "no").with("downscript", "no");
        Self(if vhost { value.with_switch("vhost", true) } else { value })
    }

    /// Arguments of `netdev_add`.
    pub fn arguments(&self) -> Map<String, Value> {
        self.0.arguments("type")
    }
}

impl Switch for Netdev {
    fn name(&self) -> &'static str {
        "-netdev"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.0.clone().into_os_string())
    }
}

/// Id of the guest's card by its place in the definition; what `set_link` takes.
pub fn device_id(domain: &Domain, place: usize) -> String {
    format!("interface-{}", domain.interface_id(place))
}

/// Id of the host's end, by its place in the definition.
pub(super) fn netdev_id(domain: &Domain, place: usize) -> String {
    format!("netdev-{}", domain.interface_id(place))
}

/// Both ends of an interface, by its place in the definition.
pub(super) fn ends(
    domain: &Domain,
    number: usize,
    tap: &str,
    vhost: bool,
) -> Result<(Netdev, Device), CommandLineError> {
    let interface = &domain.interfaces[number];
    let of = || format!("interface {} on bridge {}", number + 1, interface.bridge);
    let mac = interface.mac.ok_or_else(|| CommandLineError::NotFrozen { what: "MAC address", of: of() })?;
    let address = explicit(interface.address, of)?;
    let netdev = netdev_id(domain, number);
    let driver = match interface.model {
        InterfaceModel::Virtio => "virtio-net-pci",
    };
    let boot_index = domain.interface_boot_index(number);
    let device = Properties::new(driver).with("netdev", &netdev).with("id", device_id(domain, number));
    let device = place(device.with("mac", text(mac)), address, domain.os.family)
        .with_some("host_mtu", interface.mtu)
        .with_some("bootindex", boot_index);
    // A boot ROM is in the guest's address space, so its size has to be the same on both hosts. A card that
    // nothing boots from goes without, whatever ROM files a host has.
    let device = if boot_index.is_none() { device.with("romfile", "") } else { device };
    Ok((Netdev::tap(&netdev, tap, vhost), Device(device)))
}

pub(super) fn push(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), CommandLineError> {
    for (number, tap) in launch.taps.iter().enumerate() {
        let (netdev, device) = ends(launch.domain, number, tap, launch.vhost)?;
        line.push(&netdev);
        line.push(&device);
    }
    Ok(())
}
