//! Disks: `-blockdev` for the host's side, `-device virtio-blk-pci` for the guest's.

use std::ffi::OsString;
use std::path::Path;

use domain::{Disk, DiskBus, DiskCache, DiskDiscard, Domain};
use serde::Serialize;
use serde_json::{Map, Value};

use super::pci::{explicit, place};
use super::switch::{Device, Properties, Switch};
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

impl Blockdev<'_> {
    /// Arguments of QMP's `blockdev-add`.
    pub fn options(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(options)) => options,
            other => unreachable!("a struct with text for keys is an object: {other:?}"),
        }
    }
}

impl Switch for Blockdev<'_> {
    fn name(&self) -> &'static str {
        "-blockdev"
    }

    fn value(&self) -> Option<OsString> {
        Some(serde_json::to_string(self).expect("its path was read from text").into())
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

/// Id of the guest's device of a disk, by its target.
pub fn disk_id(target: &str) -> String {
    format!("disk-{target}")
}

/// The nodes of a disk, the lowest first.
pub(super) fn nodes(disk: &Disk) -> Vec<Blockdev<'_>> {
    let node = node_name(&disk.target);
    let file = format!("{node}-file");
    let cache = Caching::of(disk.cache).blockdev;
    let discard = disk.discard.map(DiskDiscard::as_str);
    let storage = Blockdev {
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
    };
    let format = Blockdev {
        driver: disk.format.as_str(),
        node_name: node,
        filename: None,
        file: Some(file),
        aio: None,
        locking: None,
        cache,
        read_only: disk.readonly,
        auto_read_only: false,
        discard,
        detect_zeroes: disk.detect_zeroes.map(domain::DetectZeroes::as_str),
    };
    vec![storage, format]
}

/// What the guest sees of a disk, by its place in the definition.
pub(super) fn device(domain: &Domain, number: usize) -> Result<Device, CommandLineError> {
    let disk = &domain.disks[number];
    let address = explicit(disk.address, || format!("disk {}", disk.target))?;
    let driver = match disk.bus {
        DiskBus::Virtio => "virtio-blk-pci",
    };
    let device = Properties::new(driver).with("drive", node_name(&disk.target));
    let device = place(device.with("id", disk_id(&disk.target)), address, domain.os.family)
        .with_some("bootindex", domain.disk_boot_index(number))
        .with_some("serial", disk.serial.as_ref())
        .with_on_off("write-cache", Caching::of(disk.cache).write_cache);
    Ok(Device(if disk.shareable { device.with_switch("share-rw", true) } else { device }))
}

pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    for (number, disk) in domain.disks.iter().enumerate() {
        for node in nodes(disk) {
            line.push(&node);
        }
        line.push(&device(domain, number)?);
    }
    Ok(())
}
