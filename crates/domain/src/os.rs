//! `<os>`: machine type, firmware, boot order, direct kernel boot. It never resolves a machine alias; freezing does.

use std::path::PathBuf;

use crate::firmware::Firmware;
use crate::reader::{Node, Reader, is, text};
use crate::word::words;

/// `<os>`: what kind of machine it is and what it boots. Always `hvm` on x86_64.
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
    /// `<firmware>`, `<loader>`, `<nvram>`.
    pub firmware: Firmware,
    /// `<bios useserial='yes'/>`: SeaBIOS talks on the first serial port (QEMU's device `sga`, today a switch of SeaBIOS).
    pub bios_serial: bool,
    /// `<bios rebootTimeout=…>`: milliseconds until SeaBIOS tries again when nothing boots (`-boot reboot-timeout=`), at
    /// most 65535; -1 is never.
    pub reboot_timeout_ms: Option<i32>,
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
        /// The first CD drive.
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

impl Os {
    /// Reads `<os>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Option<Node<'a>>) -> Os {
        let mut os = Os {
            machine: "pc".to_owned(),
            family: MachineFamily::I440fx,
            boot: Vec::new(),
            boot_menu: None,
            firmware: Firmware::default(),
            bios_serial: false,
            reboot_timeout_ms: None,
            kernel: None,
            initrd: None,
            cmdline: None,
        };
        let Some(node) = node else { return os };
        const CHILDREN: &[&str] = &[
            "type", "boot", "bootmenu", "kernel", "initrd", "cmdline", "firmware", "loader", "nvram", "bios",
            "smbios",
        ];
        reader.vocabulary(node, &["firmware"], CHILDREN);
        machine(reader, node, &mut os);
        for child in node.children().filter(|child| is(*child, "boot")) {
            reader.vocabulary(child, &["dev"], &[]);
            reader.required(child, "dev", "write dev='hd' or dev='network'");
            if let Some(device) = reader.word(child, "dev") {
                if os.boot.contains(&device) {
                    reader.refuse(child, format!("boot device `{device}` twice"), "keep one of the two");
                }
                os.boot.push(device);
            }
        }
        os.boot_menu = boot_menu(reader, node);
        os.firmware = Firmware::read(reader, node);
        bios(reader, node, &mut os);
        os.kernel = boot_file(reader, node, "kernel");
        os.initrd = boot_file(reader, node, "initrd");
        os.cmdline = reader.child_text(node, "cmdline");
        for name in ["initrd", "cmdline"] {
            if os.kernel.is_none()
                && !node.children().any(|child| is(child, "kernel"))
                && let Some(child) = reader.child(node, name)
            {
                reader.refuse(child, format!("<{name}> without <kernel>"), "add <kernel>, or remove it");
            }
        }
        os
    }
}

fn machine<'a>(reader: &mut Reader<'a>, os: Node<'a>, read: &mut Os) {
    let mend = "add <type arch='x86_64' machine='q35'>hvm</type>";
    let Some(node) = reader.required_child(os, "type", mend) else { return };
    reader.vocabulary(node, &["arch", "machine"], &[]);
    let kind = text(node);
    if kind.trim() != "hvm" {
        reader.refuse(node, format!("`{}` is not supported in <type>", kind.trim()), "write `hvm`");
    }
    reader.only(node, "arch", &["x86_64"], "write arch='x86_64'");
    let Some(machine) = node.attribute("machine") else { return };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match MachineFamily::of(machine) {
        Some(family) if machine.chars().all(plain) => {
            read.machine = machine.to_owned();
            read.family = family;
        }
        Some(_) | None => {
            let message = format!("machine type `{machine}` is not supported");
            reader.refuse_attribute(node, "machine", message, "write a q35 or i440fx machine, `q35` for one");
        }
    }
}

fn boot_menu<'a>(reader: &mut Reader<'a>, os: Node<'a>) -> Option<BootMenu> {
    let node = reader.child(os, "bootmenu")?;
    reader.vocabulary(node, &["enable", "timeout"], &[]);
    reader.required(node, "enable", "write enable='yes' or enable='no'")?;
    let enabled = reader.flag(node, "enable", "yes", "no")?;
    let timeout = reader.number(node, "timeout", 0..=65535);
    Some(BootMenu { enabled, timeout_ms: timeout.and_then(|it| u16::try_from(it).ok()) })
}

fn bios<'a>(reader: &mut Reader<'a>, node: Node<'a>, os: &mut Os) {
    let Some(bios) = reader.child(node, "bios") else { return };
    reader.vocabulary(bios, &["useserial", "rebootTimeout"], &[]);
    os.bios_serial = reader.flag(bios, "useserial", "yes", "no").unwrap_or(false);
    os.reboot_timeout_ms = match bios.attribute("rebootTimeout") {
        Some("-1") => Some(-1),
        _ => reader.number(bios, "rebootTimeout", 0..=65535).and_then(|it| i32::try_from(it).ok()),
    };
}

fn boot_file<'a>(reader: &mut Reader<'a>, os: Node<'a>, name: &str) -> Option<PathBuf> {
    let node = reader.child(os, name)?;
    reader.vocabulary(node, &[], &[]);
    reader.path(node, None, text(node).trim())
}
