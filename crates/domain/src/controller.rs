//! `<controller>`: the buses that devices sit on. It never adds one; freezing does.

use crate::address::PciAddress;
use crate::word::words;

/// `<controller>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    /// `index`: number among the controllers of its type. For PCI controllers it is the number of the bus that they
    /// make; libvirt names that bus `pci.<index>` (the root's is `pcie.0` on q35). Where it is not written, the lowest
    /// free one, as in libvirt; freezing writes it.
    pub index: u32,
    /// What it is.
    pub model: ControllerModel,
    /// `<address type='pci'>`; none for the roots and for [`UsbModel::None`].
    pub address: Option<PciAddress>,
}

/// What a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerModel {
    /// `type='pci' model='pci-root'`: i440fx's root bus, part of the machine; index 0.
    PciRoot,
    /// `type='pci' model='pcie-root'`: q35's root bus, part of the machine; index 0.
    PcieRoot,
    /// `type='pci' model='pcie-root-port'`: one slot for one PCI Express device, slot 0.
    PcieRootPort {
        /// Which of QEMU's devices it is.
        device: RootPortDevice,
        /// `<target chassis=…>`; `index` where not written.
        chassis: Option<u8>,
        /// `<target port=…>`; eight times the slot, plus the function, where not written.
        port: Option<u8>,
    },
    /// `type='pci' model='pcie-to-pci-bridge'` (QEMU's `pcie-pci-bridge`): 31 slots for PCI devices, from 1.
    PcieToPciBridge,
    /// `type='virtio-serial'` (QEMU's `virtio-serial-pci`).
    VirtioSerial {
        /// `ports`: QEMU's `max_ports`; none leaves its default (31).
        ports: Option<u32>,
    },
    /// `type='usb'`.
    Usb(UsbModel),
    /// `type='sata' index='0'`: the one inside q35's chipset, part of the machine, at 00:1f.2.
    Sata,
    /// `type='ide' index='0'`: the one inside i440fx's chipset, part of the machine, at 00:01.1.
    Ide,
}

impl ControllerModel {
    /// Whether it makes a PCI bus.
    pub fn is_pci(self) -> bool {
        match self {
            ControllerModel::PciRoot
            | ControllerModel::PcieRoot
            | ControllerModel::PcieRootPort { .. }
            | ControllerModel::PcieToPciBridge => true,
            ControllerModel::VirtioSerial { .. }
            | ControllerModel::Usb(_)
            | ControllerModel::Sata
            | ControllerModel::Ide => false,
        }
    }

    /// Whether the machine has it already, so that QEMU is not told about it.
    pub fn is_built_in(self) -> bool {
        match self {
            ControllerModel::PciRoot
            | ControllerModel::PcieRoot
            | ControllerModel::Sata
            | ControllerModel::Ide
            | ControllerModel::Usb(UsbModel::None) => true,
            ControllerModel::PcieRootPort { .. }
            | ControllerModel::PcieToPciBridge
            | ControllerModel::VirtioSerial { .. }
            | ControllerModel::Usb(UsbModel::QemuXhci { .. } | UsbModel::Piix3Uhci) => false,
        }
    }
}

/// Which USB controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsbModel {
    /// `model='qemu-xhci'` (QEMU's `qemu-xhci`).
    QemuXhci {
        /// `ports`: USB 2 and USB 3 ports each (QEMU's `p2` and `p3`), 1 to 15; none leaves QEMU's default (4).
        ports: Option<u32>,
    },
    /// `model='piix3-uhci'` (QEMU's `piix3-usb-uhci`): i440fx's, at 00:01.2.
    Piix3Uhci,
    /// `model='none'`: the domain has no USB.
    None,
}

words! {
    /// QEMU's two root ports.
    pub enum RootPortDevice {
        /// The generic one.
        PcieRootPort = "pcie-root-port",
        /// Intel's.
        Ioh3420 = "ioh3420",
    }
}
