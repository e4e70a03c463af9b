//! `<controller>`: the buses that devices sit on. It never adds one; freezing does.

use crate::address::PciAddress;
use crate::limits::{CONTROLLER_INDEX_MAX, VIRTIO_SERIAL_VECTORS_MAX};
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
    /// `type='pci' model='dmi-to-pci-bridge'` (QEMU's `i82801b11-bridge`): 32 slots for PCI devices.
    DmiToPciBridge,
    /// `type='pci' model='pci-bridge'` (QEMU's `pci-bridge`): 31 slots for PCI devices, from 1.
    PciBridge {
        /// `<target chassisNr=…>`; `index` where not written.
        chassis: Option<u8>,
    },
    /// `type='pci' model='pcie-switch-upstream-port'` (QEMU's `x3130-upstream`): the bus inside a switch.
    PcieSwitchUpstreamPort,
    /// `type='pci' model='pcie-switch-downstream-port'` (QEMU's `xio3130-downstream`): one slot, as of a root port.
    PcieSwitchDownstreamPort {
        /// `<target chassis=…>`; `index` where not written.
        chassis: Option<u8>,
        /// `<target port=…>`; the slot where not written.
        port: Option<u8>,
    },
    /// `type='pci' model='pcie-expander-bus'` (QEMU's `pxb-pcie`): a root bus of its own, for root ports.
    PcieExpanderBus {
        /// `<target busNr=…>`: the number of its bus.
        number: u8,
    },
    /// `type='virtio-serial'` (QEMU's `virtio-serial-pci`).
    VirtioSerial {
        /// `ports`: QEMU's `max_ports`; none leaves its default (31).
        ports: Option<u32>,
        /// `vectors`: message interrupts; none leaves QEMU's default.
        vectors: Option<u32>,
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
            | ControllerModel::PcieToPciBridge
            | ControllerModel::DmiToPciBridge
            | ControllerModel::PciBridge { .. }
            | ControllerModel::PcieSwitchUpstreamPort
            | ControllerModel::PcieSwitchDownstreamPort { .. }
            | ControllerModel::PcieExpanderBus { .. } => true,
            ControllerModel::VirtioSerial { .. }
            | ControllerModel::Usb(_)
            | ControllerModel::Sata
            | ControllerModel::Ahci
            | ControllerModel::Scsi { .. }
            | ControllerModel::Ide => false,
        }
    }

    /// The chassis that it says it is, which no other port of the domain may be; none where it is no port.
    pub(crate) fn chassis(self, index: u32) -> Option<u32> {
        match self {
            ControllerModel::PcieRootPort { chassis, .. }
            | ControllerModel::PcieSwitchDownstreamPort { chassis, port: _ } => {
                Some(chassis.map_or(index, u32::from))
            }
            ControllerModel::PciRoot
            | ControllerModel::PcieRoot
            | ControllerModel::PcieToPciBridge
            | ControllerModel::DmiToPciBridge
            | ControllerModel::PciBridge { .. }
            | ControllerModel::PcieSwitchUpstreamPort
            | ControllerModel::PcieExpanderBus { .. }
            | ControllerModel::VirtioSerial { .. }
            | ControllerModel::Usb(_)
            | ControllerModel::Sata
            | ControllerModel::Ahci
            | ControllerModel::Scsi { .. }
            | ControllerModel::Ide => None,
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
            | ControllerModel::DmiToPciBridge
            | ControllerModel::PciBridge { .. }
            | ControllerModel::PcieSwitchUpstreamPort
            | ControllerModel::PcieSwitchDownstreamPort { .. }
            | ControllerModel::PcieExpanderBus { .. }
            | ControllerModel::VirtioSerial { .. }
            | ControllerModel::Ahci
            | ControllerModel::Scsi { .. }
            | ControllerModel::Usb(_) => false,
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
    /// `model='nec-xhci'` (QEMU's `nec-usb-xhci`).
    NecXhci {
        /// As of [`UsbModel::QemuXhci`].
        ports: Option<u32>,
    },
    /// `model='piix3-uhci'` (QEMU's `piix3-usb-uhci`): i440fx's own is at 00:01.2. What a controller without `model`
    /// is, as in libvirt.
    Piix3Uhci,
    /// `model='piix4-uhci'` (QEMU's `piix4-usb-uhci`).
    Piix4Uhci,
    /// `model='ehci'` (QEMU's `usb-ehci`).
    Ehci,
    /// `model='pci-ohci'` (QEMU's `pci-ohci`).
    PciOhci,
    /// `model='ich9-…'`: a part of ICH9's controller; the parts share `index`, bus and slot.
    Ich9 {
        /// Which part.
        part: Ich9Part,
        /// `<master startport=…>`, only for the companions: the first port of the bus that it serves (QEMU's
        /// `firstport`); where not written, as on real hardware.
        startport: u8,
    },
    /// `model='none'`: the domain has no USB.
    None,
}

impl UsbModel {
    /// Whether its ports are those of another controller, whose bus it shares.
    pub fn is_companion(self) -> bool {
        matches!(
            self,
            UsbModel::Ich9 { part: Ich9Part::Uhci1 | Ich9Part::Uhci2 | Ich9Part::Uhci3, startport: _ }
        )
    }

    /// How many ports it has.
    pub(crate) fn ports(self) -> u32 {
        match self {
            // QEMU's default of `p2` and `p3`.
            UsbModel::QemuXhci { ports } | UsbModel::NecXhci { ports } => ports.unwrap_or(4),
            UsbModel::Piix3Uhci | UsbModel::Piix4Uhci => 2,
            UsbModel::Ehci => 6,
            UsbModel::PciOhci => 3,
            UsbModel::Ich9 { part: Ich9Part::Ehci1, startport: _ } => 6,
            UsbModel::Ich9 { part: Ich9Part::Uhci1 | Ich9Part::Uhci2 | Ich9Part::Uhci3, startport: _ }
            | UsbModel::None => 0,
        }
    }
}

words! {
    /// A part of ICH9's USB controller.
    pub enum Ich9Part {
        /// The USB 2 controller, at function 7 (QEMU's `ich9-usb-ehci1`).
        Ehci1 = "ich9-ehci1",
        /// A USB 1 companion, at function 0.
        Uhci1 = "ich9-uhci1",
        /// A USB 1 companion, at function 1.
        Uhci2 = "ich9-uhci2",
        /// A USB 1 companion, at function 2.
        Uhci3 = "ich9-uhci3",
    }
}

impl Ich9Part {
    /// The function that it is.
    pub(crate) fn function(self) -> u8 {
        match self {
            Ich9Part::Ehci1 => 7,
            Ich9Part::Uhci1 => 0,
            Ich9Part::Uhci2 => 1,
            Ich9Part::Uhci3 => 2,
        }
    }
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
        let companion = matches!(model, ControllerModel::Usb(model) if model.is_companion());
        if companion {
            continue;
        }
        if taken.contains(&key) {
            reader.refuse(
                *node,
                format!("a second controller of this type with index {index}"),
                "renumber it",
            );
        }
        taken.push(key);
    }
    let mut master = None;
    for (node, index, model, address) in found {
        let family = family(model);
        // PCI controller 0 is the root, written or not.
        let first = u32::from(model.is_pci() && has_address(model));
        let lowest = || (first..).find(|index| !taken.contains(&(family, *index)));
        // A companion that names no controller belongs to the one before it.
        let companion = matches!(model, ControllerModel::Usb(model) if model.is_companion());
        let index = index.or(master.filter(|_| companion)).or_else(lowest).unwrap_or_default();
        if matches!(model, ControllerModel::Usb(UsbModel::Ich9 { .. })) {
            master = Some(index);
        }
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
        | ControllerModel::PcieToPciBridge
        | ControllerModel::DmiToPciBridge
        | ControllerModel::PciBridge { .. }
        | ControllerModel::PcieSwitchUpstreamPort
        | ControllerModel::PcieSwitchDownstreamPort { .. }
        | ControllerModel::PcieExpanderBus { .. } => Family::Pci,
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
        | ControllerModel::DmiToPciBridge
        | ControllerModel::PciBridge { .. }
        | ControllerModel::PcieSwitchUpstreamPort
        | ControllerModel::PcieSwitchDownstreamPort { .. }
        | ControllerModel::PcieExpanderBus { .. }
        | ControllerModel::VirtioSerial { .. }
        | ControllerModel::Usb(_)
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
                let attributes = &["type", "index", "model", "ports", "vectors"];
                reader.vocabulary(node, attributes, &["alias", "address"]);
                reader.only(node, "model", &["virtio"], "remove `model`");
                let ports = reader.number(node, "ports", 1..=511);
                let vectors = reader.number(node, "vectors", 0..=VIRTIO_SERIAL_VECTORS_MAX);
                Some(ControllerModel::VirtioSerial { ports, vectors })
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
        "dmi-to-pci-bridge" => {
            plain(reader, node, "i82801b11-bridge", &[]);
            Some(ControllerModel::DmiToPciBridge)
        }
        "pci-bridge" => {
            let target = plain(reader, node, "pci-bridge", &["chassisNr"]);
            let chassis = target.and_then(|target| reader.byte(target, "chassisNr", 1..=255));
            Some(ControllerModel::PciBridge { chassis })
        }
        "pcie-switch-upstream-port" => {
            plain(reader, node, "x3130-upstream", &[]);
            Some(ControllerModel::PcieSwitchUpstreamPort)
        }
        "pcie-switch-downstream-port" => {
            let target = plain(reader, node, "xio3130-downstream", &["chassis", "port"]);
            let chassis = target.and_then(|target| reader.byte(target, "chassis", 0..=255));
            let port = target.and_then(|target| reader.byte(target, "port", 0..=255));
            Some(ControllerModel::PcieSwitchDownstreamPort { chassis, port })
        }
        "pcie-expander-bus" => {
            let target = plain(reader, node, "pxb-pcie", &["busNr"]);
            let mend = "add <target busNr='…'/>, the number of its bus, 200 for one";
            let target = match target {
                Some(target) => target,
                None => reader.required_child(node, "target", mend)?,
            };
            reader.required(target, "busNr", mend)?;
            Some(ControllerModel::PcieExpanderBus { number: reader.byte(target, "busNr", 1..=254)? })
        }
        other => {
            let message = format!("PCI controller `{other}` is not supported");
            let mend = "write a `pcie-root-port`, a `pcie-to-pci-bridge` or a `pci-bridge`, or remove it with the \
                        devices behind it";
            reader.refuse_attribute(node, "model", message, mend);
            None
        }
    }
}

/// Checks a PCI controller of one device, and gives its `<target>`.
fn plain<'a>(reader: &mut Reader<'a>, node: Node<'a>, device: &str, known: &[&str]) -> Option<Node<'a>> {
    reader.children(node, &["model", "target", "alias", "address"]);
    if let Some(model) = reader.child(node, "model") {
        reader.vocabulary(model, &["name"], &[]);
        reader.only(model, "name", &[device], &format!("write name='{device}'"));
    }
    let target = reader.child(node, "target")?;
    reader.vocabulary(target, known, &[]);
    Some(target)
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
    reader.vocabulary(node, &["type", "index", "model", "ports"], &["master", "alias", "address"]);
    let master = reader.child(node, "master");
    let startport = master.and_then(|master| {
        reader.vocabulary(master, &["startport"], &[]);
        reader.byte(master, "startport", 0..=5)
    });
    let ich9 = |part, usual| UsbModel::Ich9 { part, startport: startport.unwrap_or(usual) };
    let model = match node.attribute("model") {
        Some("qemu-xhci") => UsbModel::QemuXhci { ports: reader.number(node, "ports", 1..=15) },
        Some("nec-xhci") => UsbModel::NecXhci { ports: reader.number(node, "ports", 1..=15) },
        Some("ehci") => UsbModel::Ehci,
        Some("piix3-uhci") | None => UsbModel::Piix3Uhci,
        Some("piix4-uhci") => UsbModel::Piix4Uhci,
        Some("pci-ohci") => UsbModel::PciOhci,
        Some("ich9-ehci1") => ich9(Ich9Part::Ehci1, 0),
        Some("ich9-uhci1") => ich9(Ich9Part::Uhci1, 0),
        Some("ich9-uhci2") => ich9(Ich9Part::Uhci2, 2),
        Some("ich9-uhci3") => ich9(Ich9Part::Uhci3, 4),
        Some("none") => UsbModel::None,
        Some(other) => {
            let message = format!("USB controller `{other}` is not supported");
            reader.refuse_attribute(node, "model", message, "write model='qemu-xhci'");
            return None;
        }
    };
    if let Some(master) = master
        && !model.is_companion()
    {
        reader.refuse(master, "only a companion controller has a master", "remove the <master>");
    }
    if node.has_attribute("ports") && !matches!(model, UsbModel::QemuXhci { .. } | UsbModel::NecXhci { .. }) {
        reader.refuse_attribute(node, "ports", "`ports` is only for xhci controllers", "remove `ports`");
    }
    Some(ControllerModel::Usb(model))
}
