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

/// A port of a USB controller (`<address type='usb'>`), directly on it, not behind a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsbAddress {
    /// Index of the USB controller.
    pub bus: u32,
    /// Port, the first is 1.
    pub port: u32,
}
