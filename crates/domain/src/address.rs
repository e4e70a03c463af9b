//! Where a device sits: PCI, USB, virtio-serial. It never decides which place is free; `slots` does.

use std::fmt;

/// A place on a PCI bus (`<address type='pci'>`). The PCI domain is always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Index of the PCI controller that makes the bus; 0 is the root (`pcie.0` on q35, `pci.0` on i440fx).
    pub bus: u8,
    /// Slot (QEMU's `addr` before the dot), 0 to 31.
    pub slot: u8,
    /// Function, 0 to 7.
    pub function: u8,
    /// Whether function 0 says that the slot holds more functions (QEMU's `multifunction=on`).
    pub multifunction: bool,
}

impl PciAddress {
    /// Function 0 of a slot.
    pub const fn new(bus: u8, slot: u8) -> PciAddress {
        PciAddress { bus, slot, function: 0, multifunction: false }
    }

    /// Bus, slot and function, without `multifunction`.
    pub(crate) fn place(self) -> (u8, u8, u8) {
        (self.bus, self.slot, self.function)
    }
}

impl fmt::Display for PciAddress {
    /// As `lspci` prints it: `04:00.0`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02x}:{:02x}.{:x}", self.bus, self.slot, self.function)
    }
}

/// A place on a SCSI, SATA or IDE controller (`<address type='drive'>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriveAddress {
    /// Index of the controller.
    pub controller: u32,
    /// Bus of the controller: 0, and on IDE also 1.
    pub bus: u32,
    /// SCSI target; else 0.
    pub target: u32,
    /// SCSI logical unit, SATA port, IDE master (0) or slave (1).
    pub unit: u32,
}

/// A port of a virtio-serial controller (`<address type='virtio-serial'>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioSerialAddress {
    /// Index of the virtio-serial controller.
    pub controller: u32,
    /// Always 0: a controller has one bus.
    pub bus: u32,
    /// Port (QEMU's `nr`). Port 0 is for consoles only.
    pub port: u32,
}

/// A port of a USB controller (`<address type='usb'>`), or of a hub behind one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsbAddress {
    /// Index of the USB controller.
    pub bus: u32,
    /// Port, with the hubs on the way.
    pub port: UsbPort,
}

/// A USB port: of the controller, then of each hub on the way, at most [`UsbPort::DEPTH_MAX`] of them. The first is 1.
/// Its text is `1` or, behind a hub, `1.4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsbPort([u8; UsbPort::DEPTH_MAX]);

impl UsbPort {
    /// As in libvirt (`VIR_DOMAIN_DEVICE_USB_MAX_PORT_DEPTH`).
    pub const DEPTH_MAX: usize = 4;

    /// A port of the controller itself.
    pub fn new(port: u8) -> UsbPort {
        let mut path = [0; UsbPort::DEPTH_MAX];
        path[0] = port;
        UsbPort(path)
    }

    /// A port of the hub that sits on this one; none where that is too deep.
    pub(crate) fn behind(self, port: u8) -> Option<UsbPort> {
        let mut path = self.0;
        *path.iter_mut().find(|it| **it == 0)? = port;
        Some(UsbPort(path))
    }

    /// The port that the hub sits on; none for a port of the controller.
    pub(crate) fn hub(self) -> Option<UsbPort> {
        let mut path = self.0;
        let depth = path.iter().filter(|it| **it != 0).count();
        *path.get_mut(depth.checked_sub(1)?)? = 0;
        (depth > 1).then_some(UsbPort(path))
    }

    /// The last number: which port of the controller or of the hub.
    pub(crate) fn number(self) -> u8 {
        self.0.iter().rev().copied().find(|it| *it != 0).unwrap_or_default()
    }

    /// From its text.
    pub(crate) fn read(text: &str) -> Option<UsbPort> {
        let mut path = [0; UsbPort::DEPTH_MAX];
        for (place, number) in text.split('.').enumerate() {
            let plain = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
            let number = number.parse().ok().filter(|number| plain && *number > 0)?;
            *path.get_mut(place)? = number;
        }
        Some(UsbPort(path))
    }
}

impl fmt::Display for UsbPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().filter(|it| **it != 0).map(u8::to_string).collect();
        formatter.write_str(&numbers.join("."))
    }
}
