//! `<disk>`: a file on the host that the guest sees as a virtio disk. It never opens the file.

use std::path::PathBuf;

use crate::address::PciAddress;
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
