//! Disks: `-object` and `-blockdev` for the host's side, `-device` for the guest's.

use std::ffi::OsString;
use std::path::Path;

use domain::{
    BlockIo, ControllerModel, DetectZeroes, Disk, DiskBus, DiskCache, DiskDiscard, DiskDriver, DiskIo,
    DiskSource, Domain, DriveAddress, ErrorPolicy, IoThread, Iotune, MachineFamily, ScsiModel, VirtioModel,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::display::usb_place;
use super::pci::{explicit, place, sata_id, scsi_id};
use super::switch::{Device, Object, Properties, Switch};
use super::{CommandLine, CommandLineError};

/// `-blockdev`: a block node (QAPI `BlockdevOptions`), as JSON.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Blockdev<'a> {
    /// `file`, `host_device`, `nfs`; `qcow2`, `raw`; `copy-on-read`, `throttle`.
    pub driver: &'static str,
    /// At most 31 bytes.
    pub node_name: String,
    /// Of `file` and `host_device`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<&'a Path>,
    /// Of `nfs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<NfsServer<'a>>,
    /// Of `nfs`: path on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// Node below a format or a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Of `throttle`: id of its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle_group: Option<String>,
    /// Of `file` and `host_device`: `threads`, `native`, `io_uring`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aio: Option<&'static str>,
    /// Of `file` and `host_device`: image locks, where the filesystem has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locking: Option<&'static str>,
    /// Of `qcow2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard_no_unref: Option<bool>,
    /// Caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<BlockdevCache>,
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

/// QAPI `NFSServer`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NfsServer<'a> {
    /// Always `inet`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Name or address.
    pub host: &'a str,
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

/// Node name of a disk's image, by its target (`vda`). Its file is `NAME-file`, filters above it are `NAME-…`.
pub fn node_name(target: &str) -> String {
    format!("disk-{target}")
}

/// Id of the guest's device of a disk, by its target.
pub fn disk_id(target: &str) -> String {
    format!("disk-{target}")
}

/// The nodes of a disk, the lowest first; the guest's device uses the last. An empty drive has none.
pub(super) fn nodes(disk: &Disk) -> Vec<Blockdev<'_>> {
    let mut nodes = image(disk, &node_name(&disk.target));
    if nodes.is_empty() {
        return nodes;
    }
    let filter = |nodes: &mut Vec<Blockdev<'_>>, driver, throttle_group| {
        let below = nodes.last().map(|below| below.node_name.clone());
        let node_name = format!("{}-{driver}", node_name(&disk.target));
        let discard = disk.driver.discard.map(DiskDiscard::as_str);
        nodes.push(Blockdev {
            driver,
            node_name,
            file: below,
            throttle_group,
            read_only: disk.readonly,
            discard,
            ..Blockdev::default()
        });
    };
    if disk.driver.copy_on_read && !disk.readonly {
        filter(&mut nodes, "copy-on-read", None);
    }
    if let Some(iotune) = &disk.iotune {
        filter(&mut nodes, "throttle", Some(throttle_id(disk, iotune)));
    }
    nodes
}

/// The node that the guest's device uses; none of an empty drive.
pub fn top_node(disk: &Disk) -> Option<String> {
    nodes(disk).pop().map(|node| node.node_name)
}

/// A disk's image opened once more, under other names, to be filled from elsewhere: always writable, thin and flushed. The lowest
/// node first.
pub(crate) fn copy(disk: &Disk) -> Vec<Blockdev<'_>> {
    let mut nodes = image(disk, &format!("copy-{}", disk.target));
    for node in &mut nodes {
        node.read_only = false;
        node.discard = Some("unmap");
        node.cache = node.cache.map(|cache| BlockdevCache { no_flush: false, ..cache });
    }
    if let Some(format) = nodes.last_mut() {
        format.detect_zeroes = Some("unmap");
    }
    nodes
}

/// The file and, upon it, the format of an image.
fn image<'a>(disk: &'a Disk, node: &str) -> Vec<Blockdev<'a>> {
    let Some(source) = &disk.source else { return Vec::new() };
    let driver = &disk.driver;
    let layer = Blockdev {
        cache: Some(Caching::of(driver.cache).blockdev),
        read_only: disk.readonly,
        discard: driver.discard.map(DiskDiscard::as_str),
        ..Blockdev::default()
    };
    let local = |driver_name, path| Blockdev {
        driver: driver_name,
        filename: Some(path),
        aio: driver.io.map(DiskIo::as_str),
        locking: Some("auto"),
        ..layer.clone()
    };
    let mut storage = match source {
        DiskSource::File(path) => local("file", path.as_path()),
        DiskSource::Block(path) => local("host_device", path.as_path()),
        DiskSource::Nfs { host, path } => Blockdev {
            driver: "nfs",
            server: Some(NfsServer { kind: "inet", host }),
            path: Some(path),
            ..layer.clone()
        },
    };
    storage.node_name = format!("{node}-file");
    let format = Blockdev {
        driver: disk.format.as_str(),
        node_name: node.to_owned(),
        file: Some(storage.node_name.clone()),
        discard_no_unref: driver.discard_no_unref,
        detect_zeroes: driver.detect_zeroes.map(DetectZeroes::as_str),
        ..layer
    };
    vec![storage, format]
}

/// The group of a disk's limits.
pub(super) fn throttle(disk: &Disk) -> Option<Object> {
    let iotune = disk.iotune.as_ref()?;
    let mut limits = Map::new();
    let mut add = |name: String, value: u64| {
        if value > 0 {
            limits.insert(name, value.into());
        }
    };
    for (unit, rates) in [("bps", iotune.bytes), ("iops", iotune.iops)] {
        for (direction, rate) in [("total", rates.total), ("read", rates.read), ("write", rates.write)] {
            add(format!("{unit}-{direction}"), rate.average);
            add(format!("{unit}-{direction}-max"), rate.burst);
            add(format!("{unit}-{direction}-max-length"), rate.burst_seconds);
        }
    }
    add("iops-size".to_owned(), iotune.size_iops_bytes.unwrap_or(0));
    let mut options = Map::new();
    options.insert("qom-type".to_owned(), "throttle-group".into());
    options.insert("id".to_owned(), throttle_id(disk, iotune).into());
    options.insert("limits".to_owned(), Value::Object(limits));
    Some(Object(options))
}

fn throttle_id(disk: &Disk, iotune: &Iotune) -> String {
    match &iotune.group {
        Some(group) => format!("throttle-group-{group}"),
        None => format!("throttle-{}", disk.target),
    }
}

/// What the guest sees of a disk, by its place in the definition.
pub(super) fn device(domain: &Domain, number: usize) -> Result<Device, CommandLineError> {
    let disk = &domain.disks[number];
    let driver = &disk.driver;
    let BlockIo { logical_block_size, physical_block_size, discard_granularity } = disk.blockio;
    let device = on_bus(domain, disk)?
        .with_some("bootindex", domain.disk_boot_index(number))
        .with_some("serial", disk.serial.as_ref())
        .with_some("wwn", disk.wwn)
        .with_some("vendor", disk.vendor.as_ref())
        .with_some("product", disk.product.as_ref())
        .with_some("rotation_rate", disk.rotation_rate)
        .with_some("logical_block_size", logical_block_size)
        .with_some("physical_block_size", physical_block_size)
        .with_some("discard_granularity", discard_granularity)
        .with_some("werror", driver.error_policy.map(policy))
        .with_some("rerror", read_policy(driver).map(policy));
    let device = if disk.is_cdrom() && driver.cache.is_none() {
        device
    } else {
        device.with_on_off("write-cache", Caching::of(driver.cache).write_cache)
    };
    Ok(Device(if disk.shareable { device.with_switch("share-rw", true) } else { device }))
}

/// The device with its place, as the bus has it.
fn on_bus(domain: &Domain, disk: &Disk) -> Result<Properties, CommandLineError> {
    let begin = |name: &str| {
        let top = nodes(disk).pop().map(|node| node.node_name);
        Properties::new(name).with_some("drive", top).with("id", disk_id(&disk.target))
    };
    let named = |disk_name, cd_name| begin(if disk.is_cdrom() { cd_name } else { disk_name });
    let at = || {
        let of = format!("disk {}", disk.target);
        disk.drive.ok_or(CommandLineError::NotFrozen { what: "drive address", of })
    };
    Ok(match disk.bus {
        DiskBus::Virtio => {
            let address = explicit(disk.address, || format!("disk {}", disk.target))?;
            let driver = &disk.driver;
            place(begin(virtio(disk.model)), address, domain.os.family)
                .with_some("iothread", driver.iothread.map(iothread_id))
                .with_some("num-queues", driver.queues)
                .with_some("queue-size", driver.queue_size)
                .with_some_switch("ioeventfd", driver.ioeventfd)
                .with_some_switch("event_idx", driver.event_idx)
                .with_some_switch("packed", driver.packed)
        }
        DiskBus::Scsi => {
            let DriveAddress { controller, bus, target, unit } = at()?;
            let id = scsi_id(controller);
            let device = named("scsi-hd", "scsi-cd").with("bus", format!("{id}.0"));
            let (device, drive) = if is_lsi(domain, controller) {
                (device.with("scsi-id", unit), format!("drive-{id}-{bus}-{unit}"))
            } else {
                let device = device.with("channel", bus).with("scsi-id", target).with("lun", unit);
                (device, format!("drive-{id}-{bus}-{target}-{unit}"))
            };
            // What libvirt lets the guest read in the SCSI page 0x83.
            device.with("device_id", disk.serial.as_ref().unwrap_or(&drive))
        }
        DiskBus::Sata => {
            let DriveAddress { controller, bus: _, target: _, unit } = at()?;
            let chipset = controller == 0 && domain.os.family == MachineFamily::Q35;
            let id = if chipset { "ide".to_owned() } else { sata_id(controller) };
            named("ide-hd", "ide-cd").with("bus", format!("{id}.{unit}"))
        }
        DiskBus::Usb => {
            let device =
                usb_place(begin("usb-storage"), disk.usb_address, || format!("disk {}", disk.target))?;
            device.with_switch("removable", disk.removable)
        }
        DiskBus::Ide => {
            let DriveAddress { controller: _, bus, target: _, unit } = at()?;
            named("ide-hd", "ide-cd").with("bus", format!("ide.{bus}")).with("unit", unit)
        }
    })
}

fn virtio(model: VirtioModel) -> &'static str {
    match model {
        VirtioModel::Virtio => "virtio-blk-pci",
        VirtioModel::Transitional => "virtio-blk-pci-transitional",
        VirtioModel::NonTransitional => "virtio-blk-pci-non-transitional",
    }
}

fn is_lsi(domain: &Domain, controller: u32) -> bool {
    domain.controllers.iter().any(|it| {
        let lsi = matches!(it.model, ControllerModel::Scsi { model: ScsiModel::Lsilogic, driver: _ });
        lsi && it.index == controller
    })
}

/// What a read error does: what a write error does, where only that is said. Reading never lacks space.
fn read_policy(driver: &DiskDriver) -> Option<ErrorPolicy> {
    driver.rerror_policy.or(driver.error_policy.filter(|policy| *policy != ErrorPolicy::Enospace))
}

fn policy(policy: ErrorPolicy) -> &'static str {
    match policy {
        ErrorPolicy::Stop => "stop",
        ErrorPolicy::Report => "report",
        ErrorPolicy::Ignore => "ignore",
        ErrorPolicy::Enospace => "enospc",
    }
}

/// Id of the thread with a number.
pub(super) fn iothread_id(number: u32) -> String {
    format!("iothread{number}")
}

/// A thread that serves disks.
fn iothread(thread: &IoThread) -> Object {
    let object = Properties::new("iothread")
        .with("id", iothread_id(thread.id))
        .with_some("thread-pool-min", thread.thread_pool_min)
        .with_some("thread-pool-max", thread.thread_pool_max);
    Object(object.arguments("qom-type"))
}

/// Writes the threads, which controllers and disks name.
pub(super) fn push_iothreads(line: &mut CommandLine, domain: &Domain) {
    for thread in &domain.iothreads {
        line.push(&iothread(thread));
    }
}

pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    let mut groups = Vec::new();
    for (number, disk) in domain.disks.iter().enumerate() {
        if let Some(group) = throttle(disk).filter(|group| !groups.contains(group)) {
            line.push(&group);
            groups.push(group);
        }
        for node in nodes(disk) {
            line.push(&node);
        }
        line.push(&device(domain, number)?);
    }
    Ok(())
}
