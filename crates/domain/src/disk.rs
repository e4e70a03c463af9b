//! `<disk>`: a file on the host that the guest sees as a virtio disk. It never opens the file.

use std::path::PathBuf;

use crate::address::PciAddress;
use crate::reader::{Node, Reader, text};
use crate::word::words;

/// `<disk type='file' device='disk'>` on the virtio bus (QEMU's `virtio-blk-pci`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// `<source file=…>`: an absolute path.
    pub source: PathBuf,
    /// `<driver type=…>`; raw where not written, as in libvirt. Never probed.
    pub format: DiskFormat,
    /// `<target dev=…>`: `vda`, unique in the domain. The guest does not see it.
    pub target: String,
    /// `<target bus=…>`.
    pub bus: DiskBus,
    /// `<driver cache=…>`; none leaves QEMU's default (writeback).
    pub cache: Option<DiskCache>,
    /// `<driver io=…>`: QEMU's `aio`; none leaves its default (threads).
    pub io: Option<DiskIo>,
    /// `<driver discard=…>`; none leaves QEMU's default (unmap is off).
    pub discard: Option<DiskDiscard>,
    /// `<driver detect_zeroes=…>`; none leaves QEMU's default (off).
    pub detect_zeroes: Option<DetectZeroes>,
    /// `<readonly/>`: the guest cannot write.
    pub readonly: bool,
    /// `<shareable/>`: other domains may write at the same time (QEMU's `share-rw`).
    pub shareable: bool,
    /// `<serial>`: the guest reads it from the disk.
    pub serial: Option<String>,
    /// `<boot order=…>`, from 1.
    pub boot_order: Option<u32>,
    /// `<address type='pci'>`.
    pub address: Option<PciAddress>,
}

words! {
    /// How the file holds the disk's blocks.
    pub enum DiskFormat {
        /// QEMU's own format.
        Qcow2 = "qcow2",
        /// Block by block.
        Raw = "raw",
    }
}

words! {
    /// How the disk is attached.
    pub enum DiskBus {
        /// virtio-blk on PCI.
        Virtio = "virtio",
    }
}

words! {
    /// Which caches lie between the guest and the disk.
    pub enum DiskCache {
        /// The hypervisor's default: as not written.
        Default = "default",
        /// Past the host's page cache, flushes honoured.
        None = "none",
        /// Through the page cache, each write flushed.
        Writethrough = "writethrough",
        /// Through the page cache, flushes honoured.
        Writeback = "writeback",
        /// Past the page cache, each write flushed.
        Directsync = "directsync",
        /// Through the page cache, flushes ignored.
        Unsafe = "unsafe",
    }
}

words! {
    /// How QEMU gives requests to the kernel.
    pub enum DiskIo {
        /// Linux AIO; needs `cache` `none` or `directsync`.
        Native = "native",
        /// A pool of threads.
        Threads = "threads",
        /// io_uring.
        IoUring = "io_uring",
    }
}

words! {
    /// What becomes of the guest's discard requests.
    pub enum DiskDiscard {
        /// They reach the file.
        Unmap = "unmap",
        /// They are dropped.
        Ignore = "ignore",
    }
}

words! {
    /// What QEMU does with writes of zeroes.
    pub enum DetectZeroes {
        /// They are written.
        Off = "off",
        /// They become efficient zero writes.
        On = "on",
        /// They become discards, where `discard` is `unmap`.
        Unmap = "unmap",
    }
}

impl Disk {
    /// Reads `<disk>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Disk> {
        reader.vocabulary(
            node,
            &["type", "device", "model", "snapshot"],
            &[
                "driver",
                "source",
                "target",
                "readonly",
                "shareable",
                "serial",
                "boot",
                "alias",
                "address",
                "backingStore",
            ],
        );
        reader.required(node, "type", "write type='file'");
        reader.only(node, "type", &["file"], "put the disk into a file and write type='file'");
        let mend = "remove the drive, or make it a device='disk'";
        reader.only(node, "device", &["disk"], mend);
        reader.only(node, "model", &["virtio"], "remove `model`");
        if let Some(backing) = reader.child(node, "backingStore")
            && (backing.attributes().len() > 0 || backing.first_element_child().is_some())
        {
            let message = "an explicit backing chain is not supported";
            reader.refuse(backing, message, "remove it: the chain is read from the image");
        }
        let driver = reader.child(node, "driver");
        if let Some(driver) = driver {
            let known = ["name", "type", "cache", "io", "discard", "detect_zeroes"];
            reader.vocabulary(driver, &known, &[]);
            reader.only(driver, "name", &["qemu"], "write name='qemu'");
        }
        let target = target(reader, node);
        let source = source(reader, node);
        let format = driver.and_then(|it| reader.word(it, "type"));
        let cache = driver.and_then(|it| reader.word(it, "cache"));
        let io = driver.and_then(|it| reader.word(it, "io"));
        let discard = driver.and_then(|it| reader.word(it, "discard"));
        let detect_zeroes = driver.and_then(|it| reader.word(it, "detect_zeroes"));
        let readonly = reader.present(node, "readonly");
        let shareable = reader.present(node, "shareable");
        let serial = serial(reader, node);
        let boot_order = reader.boot_order(node);
        let address = reader.pci_address(node);
        if io == Some(DiskIo::Native)
            && !matches!(cache, Some(DiskCache::None | DiskCache::Directsync))
            && let Some(driver) = driver
        {
            let message = "io='native' needs cache='none' or cache='directsync'";
            reader.refuse_attribute(driver, "io", message, "write cache='none', or remove `io`");
        }
        // Everything is read before anything that is missing ends the reading, so that all problems are found.
        let (target, bus) = target?;
        Some(Disk {
            source: source?,
            format: format.unwrap_or(DiskFormat::Raw),
            target,
            bus,
            cache,
            io,
            discard,
            detect_zeroes,
            readonly,
            shareable,
            serial,
            boot_order,
            address,
        })
    }
}

fn source<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> Option<PathBuf> {
    let node = reader.required_child(disk, "source", "add <source file='…'/>")?;
    reader.vocabulary(node, &["file", "index", "startupPolicy"], &["seclabel"]);
    reader.only(node, "startupPolicy", &["mandatory"], "remove `startupPolicy`");
    let file = reader.required(node, "file", "write the path of the image as `file`")?;
    reader.path(node, Some("file"), file)
}

fn target<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> Option<(String, DiskBus)> {
    let node = reader.required_child(disk, "target", "add <target dev='vda' bus='virtio'/>")?;
    reader.vocabulary(node, &["dev", "bus"], &[]);
    let dev = reader.required(node, "dev", "write `dev`, like vda")?;
    // libvirt takes the bus from the name where it is not written.
    if !node.has_attribute("bus") && !dev.starts_with("vd") {
        reader.refuse(node, "the disk has no bus", "write bus='virtio'");
    }
    if !dev.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let message = format!("`{dev}` is not a name of a disk in the guest");
        reader.refuse_attribute(node, "dev", message, "write letters and digits, like vda");
    }
    let bus = if node.has_attribute("bus") { reader.word(node, "bus")? } else { DiskBus::Virtio };
    Some((dev.to_owned(), bus))
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
