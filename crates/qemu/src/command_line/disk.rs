//! Disks: `-blockdev` for the host's side, `-device virtio-blk-pci` for the guest's.

use std::ffi::OsString;
use std::path::Path;

use domain::{Disk, DiskBus, DiskCache, DiskDiscard, Domain, MachineFamily, PciAddress};
use serde::Serialize;

use super::pci::{explicit, place};
use super::switch::{Properties, Switch};
use super::{CommandLine, CommandLineError};

/// `-blockdev`: a block node (QAPI `BlockdevOptions`), as JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Blockdev<'a> {
    /// `file`, `qcow2`, `raw`.
    pub driver: &'static str,
    /// At most 31 bytes.
    pub node_name: String,
    /// Of the `file` driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<&'a Path>,
    /// Node below a format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Of the `file` driver: `threads`, `native`, `io_uring`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aio: Option<&'static str>,
    /// Of the `file` driver: image locks, where the filesystem has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locking: Option<&'static str>,
    /// Caches.
    pub cache: BlockdevCache,
    /// Whether it is never written.
    pub read_only: bool,
    /// Off: a disk that cannot be opened for writing is an error, not a read-only disk.
    pub auto_read_only: bool,
    /// `unmap` or `ignore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard: Option<&'static str>,
    /// `off`, `on`, `unmap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect_zeroes: Option<&'static str>,
}

/// QAPI `BlockdevCacheOptions`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevCache {
    /// Past the page cache.
    pub direct: bool,
    /// Flushes are ignored.
    pub no_flush: bool,
}

impl Switch for Blockdev<'_> {
    fn name(&self) -> &'static str {
        "-blockdev"
    }

    fn value(&self) -> Option<OsString> {
        Some(
            serde_json::to_string(self).expect("its keys are strings and its path was read from text").into(),
        )
    }
}

/// `-device virtio-blk-pci`.
#[derive(Clone, Debug)]
pub struct DiskDevice<'a> {
    disk: &'a Disk,
    node_name: String,
    address: PciAddress,
    boot_index: Option<u32>,
    family: MachineFamily,
}

impl Switch for DiskDevice<'_> {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        let driver = match self.disk.bus {
            DiskBus::Virtio => "virtio-blk-pci",
        };
        let device = Properties::new(driver)
            .with("drive", &self.node_name)
            .with("id", format!("disk-{}", self.disk.target));
        let mut device = place(device, self.address, self.family)
            .with_some("bootindex", self.boot_index)
            .with_some("serial", self.disk.serial.as_ref())
            .with_switch("write-cache", Caching::of(self.disk.cache).write_cache);
        if self.disk.shareable {
            device = device.with_switch("share-rw", true);
        }
        Some(device.into_os_string())
    }
}

/// What libvirt's cache modes mean to QEMU (qemu(1), `-drive cache=`).
struct Caching {
    blockdev: BlockdevCache,
    write_cache: bool,
}

impl Caching {
    fn of(cache: Option<DiskCache>) -> Self {
        let (direct, no_flush, write_cache) = match cache.unwrap_or(DiskCache::Default) {
            DiskCache::Default | DiskCache::Writeback => (false, false, true),
            DiskCache::None => (true, false, true),
            DiskCache::Writethrough => (false, false, false),
            DiskCache::Directsync => (true, false, false),
            DiskCache::Unsafe => (false, true, true),
        };
        Self { blockdev: BlockdevCache { direct, no_flush }, write_cache }
    }
}

/// Node name of a disk's guest-side image, by its target (`vda`). Its file is `NAME-file`.
pub fn node_name(target: &str) -> String {
    format!("disk-{target}")
}

pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    for (place, disk) in domain.disks.iter().enumerate() {
        let address = explicit(disk.address, || format!("disk {}", disk.target))?;
        let node = node_name(&disk.target);
        let file = format!("{node}-file");
        let cache = Caching::of(disk.cache).blockdev;
        let discard = disk.discard.map(DiskDiscard::as_str);
        line.push(&Blockdev {
            driver: "file",
            node_name: file.clone(),
            filename: Some(&disk.source),
            file: None,
            aio: disk.io.map(domain::DiskIo::as_str),
            locking: Some("auto"),
            cache,
            read_only: disk.readonly,
            auto_read_only: false,
            discard,
            detect_zeroes: None,
        });
        line.push(&Blockdev {
            driver: disk.format.as_str(),
            node_name: node.clone(),
            filename: None,
            file: Some(file),
            aio: None,
            locking: None,
            cache,
            read_only: disk.readonly,
            auto_read_only: false,
            discard,
            detect_zeroes: disk.detect_zeroes.map(domain::DetectZeroes::as_str),
        });
        let boot_index = domain.disk_boot_index(place);
        line.push(&DiskDevice { disk, node_name: node, address, boot_index, family: domain.os.family });
    }
    Ok(())
}
