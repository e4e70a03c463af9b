//! Interfaces: `-netdev` for the host's side, `-device` for the guest's.

use std::ffi::OsString;

use domain::{Domain, Interface, InterfaceModel, InterfaceSource, Rom};
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
    fn new(id: &str, interface: &Interface, tap: &str, vhost: bool) -> Self {
        match &interface.source {
            InterfaceSource::Bridge(_) | InterfaceSource::Network(_) => Self::tap(id, interface, tap, vhost),
            InterfaceSource::User { ipv4, ipv6 } => {
                let value = Properties::new("user").with("id", id);
                let value = value.with_some("net", ipv4.as_deref()).with_some("ipv6-net", ipv6.as_deref());
                Self(value)
            }
        }
    }

    /// A tap. QEMU makes it where it is missing, with as many queues as the card has, and runs no script. `vhost`: the
    /// host has the kernel's vhost-net, which moves the packets of virtio cards unless the definition says no.
    fn tap(id: &str, interface: &Interface, tap: &str, vhost: bool) -> Self {
        let value = Properties::new("tap").with("id", id).with("ifname", tap);
        let value = value.with("script", "no").with("downscript", "no");
        let value = value.with_some("queues", multiqueue(interface));
        let vhost = vhost && interface.model.is_virtio() && interface.driver.vhost != Some(false);
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
    let of = || format!("interface {} on {}", number + 1, interface.source);
    let mac = interface.mac.ok_or_else(|| CommandLineError::NotFrozen { what: "MAC address", of: of() })?;
    let address = explicit(interface.address, of)?;
    let netdev = netdev_id(domain, number);
    let boot_index = domain.interface_boot_index(number);
    let device = Properties::new(driver(interface.model))
        .with("netdev", &netdev)
        .with("id", device_id(domain, number))
        .with("mac", text(mac));
    let device = place(device, address, domain.os.family)
        .with_some("host_mtu", interface.mtu.filter(|_| interface.model.is_virtio()))
        .with_some("bootindex", boot_index);
    let device = rom(virtio(device, interface), &interface.rom, boot_index.is_none());
    let device = device.with_some("acpi-index", interface.acpi_index);
    Ok((Netdev::new(&netdev, interface, tap, vhost), Device(device)))
}

/// How many queues a tap has, where that is more than one.
fn multiqueue(interface: &Interface) -> Option<u32> {
    interface.driver.queues.filter(|queues| *queues > 1)
}

fn driver(model: InterfaceModel) -> &'static str {
    match model {
        InterfaceModel::Virtio => "virtio-net-pci",
        InterfaceModel::VirtioTransitional => "virtio-net-pci-transitional",
        InterfaceModel::VirtioNonTransitional => "virtio-net-pci-non-transitional",
        InterfaceModel::E1000
        | InterfaceModel::E100082544gc
        | InterfaceModel::E100082545em
        | InterfaceModel::E1000e
        | InterfaceModel::Igb
        | InterfaceModel::Rtl8139
        | InterfaceModel::Ne2kPci
        | InterfaceModel::Pcnet
        | InterfaceModel::Vmxnet3 => model.as_str(),
    }
}

/// What `<driver>` says. A pair of queues has two interrupts, besides one for changes and one for control.
fn virtio(device: Properties, interface: &Interface) -> Properties {
    let driver = &interface.driver;
    let device = match multiqueue(interface) {
        Some(queues) => device.with_switch("mq", true).with("vectors", queues * 2 + 2),
        None => device,
    };
    let device = device
        .with_some("rx_queue_size", driver.rx_queue_size)
        .with_some("tx_queue_size", driver.tx_queue_size);
    driver.properties.iter().fold(device, |device, (name, on)| device.with_switch(name, *on))
}

/// A boot ROM is in the guest's address space, so its size has to be the same on both hosts. A card that nothing boots
/// from goes without, whatever ROM files a host has, unless the definition says otherwise.
pub(super) fn rom(device: Properties, rom: &Rom, unused: bool) -> Properties {
    let device = match rom.bar {
        Some(bar) => device.with("rombar", u32::from(bar)),
        None => device,
    };
    match &rom.file {
        _ if rom.disabled => device.with("romfile", ""),
        Some(file) => device.with_os("romfile", file.as_os_str()),
        None if unused => device.with("romfile", ""),
        None => device,
    }
}

pub(super) fn push(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), CommandLineError> {
    for (number, tap) in launch.taps.iter().enumerate() {
        let (netdev, device) = ends(launch.domain, number, tap, launch.vhost)?;
        line.push(&netdev);
        line.push(&device);
    }
    Ok(())
}
