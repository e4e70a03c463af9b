//! `<controller>`: the buses that devices sit on. It never adds one; freezing does.

use crate::address::PciAddress;
use crate::limits::CONTROLLER_INDEX_MAX;
use crate::os::MachineFamily;
use crate::read::Reading;
use crate::reader::{Node, Reader, is};
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
    /// `type='sata'` beyond that one (QEMU's `ahci`).
    Ahci,
    /// `type='scsi'`.
    Scsi {
        /// Which of QEMU's devices it is.
        model: ScsiModel,
        /// `<driver>`.
        driver: ScsiDriver,
    },
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
            | ControllerModel::Ahci
            | ControllerModel::Scsi { .. }
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
            | ControllerModel::Ahci
            | ControllerModel::Scsi { .. }
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

words! {
    /// Which SCSI controller.
    pub enum ScsiModel {
        /// virtio-scsi on PCI.
        VirtioScsi = "virtio-scsi",
        /// The same, for old guests and new.
        VirtioTransitional = "virtio-transitional",
        /// The same, virtio 1.0 alone.
        VirtioNonTransitional = "virtio-non-transitional",
        /// LSI's 53C895A (QEMU's `lsi`): 7 disks.
        Lsilogic = "lsilogic",
    }
}

/// `<driver>` of a virtio-scsi controller; what is none leaves QEMU's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScsiDriver {
    /// `queues`: request queues (QEMU's `num_queues`).
    pub queues: Option<u32>,
    /// `cmd_per_lun`: commands that a disk may have at once.
    pub cmd_per_lun: Option<u32>,
    /// `max_sectors`: longest request, in sectors.
    pub max_sectors: Option<u32>,
    /// `ioeventfd`.
    pub ioeventfd: Option<bool>,
    /// `iothread`: id of the thread that serves its disks.
    pub iothread: Option<u32>,
}

impl ScsiModel {
    fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<ControllerModel> {
        reader.vocabulary(node, &["type", "index", "model"], &["driver", "alias", "address"]);
        reader.required(node, "model", "write model='virtio-scsi'")?;
        let model: ScsiModel = reader.word(node, "model")?;
        let mut driver = ScsiDriver::default();
        if let Some(child) = reader.child(node, "driver") {
            let known = ["queues", "cmd_per_lun", "max_sectors", "ioeventfd", "iothread"];
            reader.vocabulary(child, if model == ScsiModel::Lsilogic { &[] } else { &known }, &[]);
            driver = ScsiDriver {
                queues: reader.number(child, "queues", 1..=1024),
                cmd_per_lun: reader.number(child, "cmd_per_lun", 1..=u32::MAX),
                max_sectors: reader.number(child, "max_sectors", 1..=u32::MAX),
                ioeventfd: reader.flag(child, "ioeventfd", "on", "off"),
                iothread: reader.number(child, "iothread", 1..=u32::MAX),
            };
        }
        Some(ControllerModel::Scsi { model, driver })
    }
}

/// Reads every `<controller>`, and numbers those that have no index.
pub(crate) fn read_all<'a>(reader: &mut Reader<'a>, devices: Node<'a>, reading: &mut Reading<'a>) {
    let mut found: Vec<(Node<'a>, Option<u32>, ControllerModel, Option<PciAddress>)> = Vec::new();
    for node in devices.children().filter(|child| is(*child, "controller")) {
        let Some(model) = ControllerModel::read(reader, node) else { continue };
        let index = reader.number(node, "index", 0..=CONTROLLER_INDEX_MAX);
        let address = match reader.child(node, "address") {
            Some(child) if !has_address(model) => {
                reader.refuse(child, "this controller has no address", "remove the <address>");
                None
            }
            Some(_) => reader.pci_address(node),
            None => None,
        };
        found.push((node, index, model, address));
    }
    let mut taken: Vec<(Family, u32)> = Vec::new();
    for (node, index, model, _) in &found {
        let Some(index) = index else { continue };
        let key = (family(*model), *index);
        if taken.contains(&key) {
            reader.refuse(
                *node,
                format!("a second controller of this type with index {index}"),
                "renumber it",
            );
        }
        taken.push(key);
    }
    for (node, index, model, address) in found {
        let family = family(model);
        // PCI controller 0 is the root, written or not.
        let first = u32::from(model.is_pci() && has_address(model));
        let lowest = || (first..).find(|index| !taken.contains(&(family, *index)));
        let index = index.or_else(lowest).unwrap_or_default();
        taken.push((family, index));
        let chipset = reading.domain.os.family == MachineFamily::Q35 && index == 0;
        let model = if model == ControllerModel::Sata && !chipset { ControllerModel::Ahci } else { model };
        let fixed =
            matches!(model, ControllerModel::PciRoot | ControllerModel::PcieRoot | ControllerModel::Ide);
        if fixed && index != 0 {
            reader.refuse_attribute(
                node,
                "index",
                "only index 0 is part of the machine",
                "remove this controller",
            );
        }
        if !fixed && model.is_pci() && index == 0 {
            let message = "PCI controller 0 is the root bus";
            reader.refuse_attribute(node, "index", message, "number this one from 1");
        }
        reading.domain.controllers.push(Controller { index, model, address });
        reading.nodes.controllers.push(node);
    }
}

/// What `index` counts within.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Pci,
    VirtioSerial,
    Usb,
    Sata,
    Scsi,
    Ide,
}

fn family(model: ControllerModel) -> Family {
    match model {
        ControllerModel::PciRoot
        | ControllerModel::PcieRoot
        | ControllerModel::PcieRootPort { .. }
        | ControllerModel::PcieToPciBridge => Family::Pci,
        ControllerModel::VirtioSerial { .. } => Family::VirtioSerial,
        ControllerModel::Usb(_) => Family::Usb,
        ControllerModel::Sata | ControllerModel::Ahci => Family::Sata,
        ControllerModel::Scsi { .. } => Family::Scsi,
        ControllerModel::Ide => Family::Ide,
    }
}

/// Whether a controller sits on a PCI bus.
pub(crate) fn has_address(model: ControllerModel) -> bool {
    match model {
        ControllerModel::PciRoot | ControllerModel::PcieRoot | ControllerModel::Usb(UsbModel::None) => false,
        ControllerModel::PcieRootPort { .. }
        | ControllerModel::PcieToPciBridge
        | ControllerModel::VirtioSerial { .. }
        | ControllerModel::Usb(UsbModel::QemuXhci { .. } | UsbModel::Piix3Uhci)
        | ControllerModel::Sata
        | ControllerModel::Ahci
        | ControllerModel::Scsi { .. }
        | ControllerModel::Ide => true,
    }
}

impl ControllerModel {
    fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<ControllerModel> {
        match reader.required(node, "type", "write `type`")? {
            "pci" => pci(reader, node),
            "virtio-serial" => {
                reader.vocabulary(node, &["type", "index", "model", "ports"], &["alias", "address"]);
                reader.only(node, "model", &["virtio"], "remove `model`");
                Some(ControllerModel::VirtioSerial { ports: reader.number(node, "ports", 1..=511) })
            }
            "usb" => usb(reader, node),
            "sata" => {
                reader.vocabulary(node, &["type", "index"], &["alias", "address"]);
                Some(ControllerModel::Sata)
            }
            "ide" => {
                reader.vocabulary(node, &["type", "index"], &["alias", "address"]);
                Some(ControllerModel::Ide)
            }
            "scsi" => ScsiModel::read(reader, node),
            other => {
                let message = format!("controller type `{other}` is not supported");
                reader.refuse_attribute(
                    node,
                    "type",
                    message,
                    "remove the controller, and put its disks on virtio",
                );
                None
            }
        }
    }
}

fn pci<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<ControllerModel> {
    let children: &[&str] = &["model", "target", "alias", "address"];
    reader.attributes(node, &["type", "index", "model"]);
    match reader.required(node, "model", "write `model`, like pcie-root-port")? {
        "pci-root" => {
            reader.children(node, &["alias"]);
            Some(ControllerModel::PciRoot)
        }
        "pcie-root" => {
            reader.children(node, &["alias"]);
            Some(ControllerModel::PcieRoot)
        }
        "pcie-root-port" => {
            reader.children(node, children);
            root_port(reader, node)
        }
        "pcie-to-pci-bridge" => {
            reader.children(node, &["model", "alias", "address"]);
            if let Some(model) = reader.child(node, "model") {
                reader.vocabulary(model, &["name"], &[]);
                reader.only(model, "name", &["pcie-pci-bridge"], "write name='pcie-pci-bridge'");
            }
            Some(ControllerModel::PcieToPciBridge)
        }
        other => {
            let message = format!("PCI controller `{other}` is not supported");
            let mend =
                "write `pcie-root-port` or `pcie-to-pci-bridge`, or remove it with the devices behind it";
            reader.refuse_attribute(node, "model", message, mend);
            None
        }
    }
}

fn root_port<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<ControllerModel> {
    let mut device = RootPortDevice::PcieRootPort;
    if let Some(model) = reader.child(node, "model") {
        reader.vocabulary(model, &["name"], &[]);
        reader.required(model, "name", "write name='pcie-root-port'");
        device = reader.word(model, "name").unwrap_or(device);
    }
    let mut chassis = None;
    let mut port = None;
    if let Some(target) = reader.child(node, "target") {
        reader.vocabulary(target, &["chassis", "port"], &[]);
        chassis = reader.byte(target, "chassis", 0..=255);
        port = reader.byte(target, "port", 0..=255);
    }
    Some(ControllerModel::PcieRootPort { device, chassis, port })
}

fn usb<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<ControllerModel> {
    reader.vocabulary(node, &["type", "index", "model", "ports"], &["alias", "address"]);
    let mend = "write model='qemu-xhci'";
    let model = match reader.required(node, "model", mend)? {
        "qemu-xhci" => {
            return Some(ControllerModel::Usb(UsbModel::QemuXhci {
                ports: reader.number(node, "ports", 1..=15),
            }));
        }
        "piix3-uhci" => UsbModel::Piix3Uhci,
        "none" => UsbModel::None,
        other => {
            let message = format!("USB controller `{other}` is not supported");
            reader.refuse_attribute(
                node,
                "model",
                message,
                "write model='qemu-xhci', and remove its companions",
            );
            return None;
        }
    };
    if node.has_attribute("ports") {
        reader.refuse_attribute(node, "ports", "`ports` is only for qemu-xhci", "remove `ports`");
    }
    Some(ControllerModel::Usb(model))
}
