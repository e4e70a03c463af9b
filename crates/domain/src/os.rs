//! `<os>`: machine type, boot order, direct kernel boot. It never resolves a machine alias; freezing does.

use std::path::PathBuf;

use crate::word::words;

/// `<os>`: what kind of machine it is and what it boots. Always `hvm` on x86_64, with QEMU's SeaBIOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Os {
    /// `<type machine=…>` as written, an alias (`q35`) before freezing, versioned after (`pc-q35-10.0`). `pc` where
    /// the definition says nothing, as in libvirt.
    pub machine: String,
    /// Which chipset `machine` is.
    pub family: MachineFamily,
    /// `<boot dev=…/>` in order. Empty: the first disk, or the devices' own boot order.
    pub boot: Vec<BootDevice>,
    /// `<bootmenu>`; none leaves QEMU's default (no menu).
    pub boot_menu: Option<BootMenu>,
    /// `<kernel>`: direct kernel boot, an absolute path on the host.
    pub kernel: Option<PathBuf>,
    /// `<initrd>`: only with `kernel`.
    pub initrd: Option<PathBuf>,
    /// `<cmdline>`: only with `kernel`.
    pub cmdline: Option<String>,
}

/// The chipset of a PC machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineFamily {
    /// `q35`, `pc-q35-…`: PCI Express, root bus `pcie.0`.
    Q35,
    /// `pc`, `pc-i440fx-…`: PCI, root bus `pci.0`.
    I440fx,
}

impl MachineFamily {
    /// The family of a machine name, alias or versioned; none where it is another kind of machine.
    pub fn of(machine: &str) -> Option<MachineFamily> {
        if machine == "q35" || machine.starts_with("pc-q35-") {
            Some(MachineFamily::Q35)
        } else if machine == "pc" || machine.starts_with("pc-i440fx-") {
            Some(MachineFamily::I440fx)
        } else {
            None
        }
    }

    /// QEMU's name of the root bus.
    pub fn root_bus(self) -> &'static str {
        match self {
            MachineFamily::Q35 => "pcie.0",
            MachineFamily::I440fx => "pci.0",
        }
    }
}

words! {
    /// What the firmware tries to boot.
    pub enum BootDevice {
        /// The first disk.
        HardDisk = "hd",
        /// The first interface, over PXE.
        Network = "network",
        /// A CD-ROM drive: none can be defined yet, so it is passed over.
        Cdrom = "cdrom",
        /// A floppy drive: none can be defined yet, so it is passed over.
        Floppy = "fd",
    }
}

/// `<bootmenu>`: QEMU's `-boot menu=,splash-time=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootMenu {
    /// Whether the firmware offers a menu.
    pub enabled: bool,
    /// How long it waits, in milliseconds, at most 65535; none leaves the firmware's default.
    pub timeout_ms: Option<u16>,
}
