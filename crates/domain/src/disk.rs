//! `<disk>`: blocks on the host that the guest sees as a disk or as a medium in a drive. It never opens them.

mod driver;
mod source;

pub use self::driver::{
    DetectZeroes, DiskCache, DiskDiscard, DiskDriver, DiskFormat, DiskIo, ErrorPolicy, Iotune, Rate, Rates,
};
pub(crate) use self::source::attribute as source_attribute;
pub use self::source::{DiskSource, StartupPolicy};

use std::path::PathBuf;

use crate::address::{DriveAddress, PciAddress, UsbAddress};
use crate::limits::TARGET_BYTES_MAX;
use crate::reader::{Node, Reader, text};
use crate::usb::usb_address;
use crate::word::words;

/// `<disk>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// `<disk device=…>`.
    pub device: DiskDevice,
    /// `<source>`; none is an empty drive, which only a [`DiskDevice::Cdrom`] can be.
    pub source: Option<DiskSource>,
    /// `<source startupPolicy=…>`.
    pub startup_policy: StartupPolicy,
    /// `<driver type=…>`; raw where not written, as in libvirt. Never probed.
    pub format: DiskFormat,
    /// `<backingStore>`: the images below, the uppermost first, as far as they are written. QEMU reads them from the
    /// images themselves.
    pub backing: Vec<PathBuf>,
    /// The rest of `<driver>`.
    pub driver: DiskDriver,
    /// `<iotune>`; none is no limit.
    pub iotune: Option<Iotune>,
    /// `<target dev=…>`: `vda`, unique in the domain. The guest does not see it.
    pub target: String,
    /// `<target bus=…>`.
    pub bus: DiskBus,
    /// `<disk model=…>`: which virtio device; only on [`DiskBus::Virtio`].
    pub model: VirtioModel,
    /// `<readonly/>`: the guest cannot write. Always on a CD.
    pub readonly: bool,
    /// `<shareable/>`: other domains may write at the same time (QEMU's `share-rw`).
    pub shareable: bool,
    /// `<serial>`: the guest reads it from the disk.
    pub serial: Option<String>,
    /// `<wwn>`: the disk's world wide name.
    pub wwn: Option<u64>,
    /// `<vendor>`, of a SCSI disk.
    pub vendor: Option<String>,
    /// `<product>`, of a SCSI disk.
    pub product: Option<String>,
    /// `<target rotation_rate=…>`: 1 is a solid-state disk, else turns a minute.
    pub rotation_rate: Option<u32>,
    /// `<target removable=…>`: whether a USB disk says that it can be taken out.
    pub removable: bool,
    /// `<blockio>`: sizes in bytes.
    pub blockio: BlockIo,
    /// `<boot order=…>`, from 1.
    pub boot_order: Option<u32>,
    /// `<address type='pci'>`, of a virtio disk.
    pub address: Option<PciAddress>,
    /// `<address type='drive'>`, of a SCSI, SATA or IDE disk.
    pub drive: Option<DriveAddress>,
    /// `<address type='usb'>`, of a USB disk.
    pub usb_address: Option<UsbAddress>,
}

/// `<blockio>`: what the guest is told about the disk's blocks; none leaves QEMU's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// `logical_block_size`, in bytes.
    pub logical_block_size: Option<u32>,
    /// `physical_block_size`, in bytes.
    pub physical_block_size: Option<u32>,
    /// `discard_granularity`, in bytes.
    pub discard_granularity: Option<u32>,
}

words! {
    /// What the guest sees.
    pub enum DiskDevice {
        /// A disk.
        Disk = "disk",
        /// A CD or DVD drive.
        Cdrom = "cdrom",
    }
}

words! {
    /// How the disk is attached.
    pub enum DiskBus {
        /// virtio-blk on PCI.
        Virtio = "virtio",
        /// A SCSI controller.
        Scsi = "scsi",
        /// SATA: q35's own controller, or `ahci`.
        Sata = "sata",
        /// i440fx's IDE.
        Ide = "ide",
        /// USB storage.
        Usb = "usb",
    }
}

words! {
    /// Which face a virtio device shows to old and new guests (QEMU's suffixes of `…-pci`).
    pub enum VirtioModel {
        /// virtio 1.0, and on conventional PCI the older kind, too.
        Virtio = "virtio",
        /// Both kinds.
        Transitional = "virtio-transitional",
        /// virtio 1.0 alone.
        NonTransitional = "virtio-non-transitional",
    }
}

impl Disk {
    /// Whether it is a drive whose medium can be changed.
    pub fn is_cdrom(&self) -> bool {
        self.device == DiskDevice::Cdrom
    }

    /// Whether the domain alone writes it.
    pub fn is_writable_alone(&self) -> bool {
        !self.readonly && !self.shareable
    }

    /// Reads `<disk>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Disk> {
        let known = [
            &["driver", "source", "target", "readonly", "shareable", "serial", "wwn", "vendor", "product"][..],
            &["boot", "alias", "address", "backingStore", "iotune", "blockio"],
        ];
        reader.vocabulary(node, &["type", "device", "model", "snapshot", "rawio"], &known.concat());
        reader.only(node, "rawio", &["no"], "remove `rawio`: QEMU's rights are the same for every domain");
        let device = device(reader, node);
        let cdrom = device == Some(DiskDevice::Cdrom);
        let backing = backing(reader, node);
        let target = target(reader, node, cdrom);
        let bus = target.as_ref().map(|(_, bus)| *bus);
        let (driver, format) = DiskDriver::read(reader, node, bus);
        let source = DiskSource::read(reader, node, cdrom);
        let readonly = reader.present(node, "readonly") || cdrom;
        let shareable = reader.present(node, "shareable");
        let serial = serial(reader, node);
        let boot_order = reader.boot_order(node);
        let iotune = Iotune::read(reader, node);
        let blockio = blockio(reader, node);
        let scsi = bus == Some(DiskBus::Scsi);
        let vendor = word_of_scsi(reader, node, "vendor", 8, scsi);
        let product = word_of_scsi(reader, node, "product", 16, scsi);
        let model = model(reader, node, bus);
        let wwn = wwn(reader, node, bus);
        let startup_policy = startup_policy(reader, node);
        // Everything is read before anything that is missing ends the reading, so that all problems are found.
        let (target, bus) = target?;
        let target_node = reader.child(node, "target")?;
        let rotation_rate = rotation_rate(reader, target_node, bus);
        let removable = removable(reader, target_node, bus);
        let mut disk = Disk {
            device: device?,
            startup_policy,
            format,
            backing,
            driver,
            iotune,
            target,
            bus,
            model,
            readonly,
            shareable,
            serial,
            wwn,
            vendor,
            product,
            rotation_rate,
            blockio,
            boot_order,
            address: None,
            drive: None,
            usb_address: None,
            removable,
            source: if cdrom { source } else { Some(source?) },
        };
        match bus {
            DiskBus::Virtio => disk.address = reader.pci_address(node),
            DiskBus::Scsi | DiskBus::Sata | DiskBus::Ide => disk.drive = reader.drive_address(node),
            DiskBus::Usb => disk.usb_address = usb_address(reader, node),
        }
        Some(disk)
    }
}

fn device<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> Option<DiskDevice> {
    let mend = match disk.attribute("device") {
        None => return Some(DiskDevice::Disk),
        Some("floppy") => {
            "put the files onto an ISO image, and make it a device='cdrom'; or remove the drive"
        }
        Some("lun") => "write device='disk': SCSI commands for the host's own disk cannot follow the guest",
        Some(_) => return reader.word(disk, "device"),
    };
    let message =
        format!("`{}` is not supported as `device` of <disk>", disk.attribute("device").unwrap_or(""));
    reader.refuse_attribute(disk, "device", message, mend);
    None
}

/// The images below the disk's own, the uppermost first, as far as the definition names them.
fn backing<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> Vec<PathBuf> {
    let mut chain = Vec::new();
    let mut above = disk;
    while let Some(node) = reader.child(above, "backingStore") {
        reader.vocabulary(node, &["type", "index"], &["format", "source", "backingStore"]);
        let kind = node.attribute("type").unwrap_or("file");
        let source = reader.child(node, "source");
        match (source_attribute(kind), source) {
            (Some(attribute), Some(source)) if kind != "network" => {
                reader.vocabulary(source, &[attribute, "index"], &["seclabel"]);
                let path = reader.required(source, attribute, "name the image, or remove the <backingStore>");
                chain.extend(path.and_then(|path| reader.path(source, Some(attribute), path)));
            }
            (_, Some(_)) => {
                let mend = "remove the <backingStore>: the chain is read from the image";
                reader.refuse(node, "only files and block devices can be named below a disk", mend);
            }
            (_, None) => {}
        }
        above = node;
    }
    chain
}

fn target<'a>(reader: &mut Reader<'a>, disk: Node<'a>, cdrom: bool) -> Option<(String, DiskBus)> {
    let node = reader.required_child(disk, "target", "add <target dev='vda' bus='virtio'/>")?;
    reader.vocabulary(node, &["dev", "bus", "tray", "rotation_rate", "removable"], &[]);
    let dev = reader.required(node, "dev", "write `dev`, like vda")?;
    if dev.len() > TARGET_BYTES_MAX || !dev.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let message = format!("`{dev}` is not a name of a disk in the guest");
        reader.refuse_attribute(node, "dev", message, "write a few letters and digits, like vda");
    }
    reader.only(node, "tray", &["open", "closed"], "remove `tray`");
    // libvirt takes the bus from the name where it is not written.
    let bus = match (node.has_attribute("bus"), dev.get(..2)) {
        (true, _) => reader.word(node, "bus")?,
        (false, Some("vd")) => DiskBus::Virtio,
        (false, Some("sd")) => DiskBus::Scsi,
        (false, Some("hd")) => DiskBus::Ide,
        (false, _) => {
            reader.refuse(node, "the disk has no bus", "write bus='virtio'");
            DiskBus::Virtio
        }
    };
    if cdrom && matches!(bus, DiskBus::Virtio | DiskBus::Usb) {
        let message = format!("a CD drive cannot be on bus `{bus}`");
        reader.refuse_attribute(node, "bus", message, "write bus='sata' on q35, bus='ide' on i440fx");
    }
    Some((dev.to_owned(), bus))
}

fn rotation_rate<'a>(reader: &mut Reader<'a>, target: Node<'a>, bus: DiskBus) -> Option<u32> {
    if matches!(bus, DiskBus::Virtio | DiskBus::Usb) && target.has_attribute("rotation_rate") {
        let message = format!("a disk on bus `{bus}` has no rotation rate");
        reader.refuse_attribute(target, "rotation_rate", message, "remove `rotation_rate`");
    }
    reader.number(target, "rotation_rate", 1..=65534)
}

fn removable<'a>(reader: &mut Reader<'a>, target: Node<'a>, bus: DiskBus) -> bool {
    if bus != DiskBus::Usb && target.has_attribute("removable") {
        let message = "only a USB disk can be removable";
        reader.refuse_attribute(target, "removable", message, "remove `removable`");
    }
    reader.flag(target, "removable", "on", "off").unwrap_or(false)
}

fn model<'a>(reader: &mut Reader<'a>, disk: Node<'a>, bus: Option<DiskBus>) -> VirtioModel {
    if disk.has_attribute("model") && bus.is_some_and(|bus| bus != DiskBus::Virtio) {
        reader.refuse_attribute(disk, "model", "`model` is only for virtio disks", "remove `model`");
        return VirtioModel::Virtio;
    }
    reader.word(disk, "model").unwrap_or(VirtioModel::Virtio)
}

fn startup_policy<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> StartupPolicy {
    let source = reader.child(disk, "source");
    source.and_then(|node| reader.word(node, "startupPolicy")).unwrap_or(StartupPolicy::Mandatory)
}

/// virtio-blk gives the guest 20 bytes of a serial (VIRTIO_BLK_ID_BYTES); libvirt takes these characters.
fn serial<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> Option<String> {
    let node = reader.child(disk, "serial")?;
    reader.vocabulary(node, &[], &[]);
    let serial = text(node);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_ .+".contains(c);
    if serial.is_empty() || !serial.chars().all(allowed) {
        let message = format!("`{serial}` is not a serial that a disk can have");
        reader.refuse(
            node,
            message,
            "write letters, digits, `-`, `_`, `.`, `+` or spaces, or remove the <serial>",
        );
    }
    Some(serial)
}

fn wwn<'a>(reader: &mut Reader<'a>, disk: Node<'a>, bus: Option<DiskBus>) -> Option<u64> {
    let node = reader.child(disk, "wwn")?;
    reader.vocabulary(node, &[], &[]);
    if matches!(bus, Some(DiskBus::Virtio | DiskBus::Usb)) {
        reader.refuse(node, "only SCSI, SATA and IDE disks have a world wide name", "remove the <wwn>");
    }
    let text = text(node);
    let wwn = if text.trim().len() == 16 { u64::from_str_radix(text.trim(), 16).ok() } else { None };
    if wwn.is_none() {
        let message = format!("`{}` is not a world wide name", text.trim());
        reader.refuse(node, message, "write 16 hexadecimal digits, or remove the <wwn>");
    }
    wwn
}

fn word_of_scsi<'a>(
    reader: &mut Reader<'a>,
    disk: Node<'a>,
    name: &str,
    bytes_max: usize,
    scsi: bool,
) -> Option<String> {
    let node = reader.child(disk, name)?;
    reader.vocabulary(node, &[], &[]);
    let word = text(node);
    if !scsi {
        reader.refuse(node, format!("only a SCSI disk has a <{name}>"), "remove it");
    }
    if word.len() > bytes_max || word.is_empty() || !word.bytes().all(|it| (0x20..0x7f).contains(&it)) {
        let message = format!("`{word}` is not a <{name}> that a disk can have");
        reader.refuse(node, message, format!("write at most {bytes_max} plain characters"));
    }
    Some(word)
}

fn blockio<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> BlockIo {
    let Some(node) = reader.child(disk, "blockio") else { return BlockIo::default() };
    reader.vocabulary(node, &["logical_block_size", "physical_block_size", "discard_granularity"], &[]);
    BlockIo {
        logical_block_size: power_of_two(reader, node, "logical_block_size", 512..=1 << 21),
        physical_block_size: power_of_two(reader, node, "physical_block_size", 512..=1 << 21),
        discard_granularity: power_of_two(reader, node, "discard_granularity", 512..=1 << 31),
    }
}

fn power_of_two<'a>(
    reader: &mut Reader<'a>,
    node: Node<'a>,
    name: &str,
    range: std::ops::RangeInclusive<u32>,
) -> Option<u32> {
    let size = reader.number(node, name, range)?;
    if !size.is_power_of_two() {
        reader.refuse_attribute(
            node,
            name,
            format!("`{size}` is not a power of two"),
            "write one, like 4096",
        );
    }
    Some(size)
}
