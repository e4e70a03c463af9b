//! `<driver>` of a disk: format, caches, threads, and what happens with errors. It never asks what a file is.

use crate::reader::{Node, Reader, text};
use crate::word::words;

use super::DiskBus;

/// `<driver>`: how QEMU works with a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskDriver {
    /// `cache`; none leaves QEMU's default (writeback).
    pub cache: Option<DiskCache>,
    /// `io`: QEMU's `aio`; none leaves its default (threads).
    pub io: Option<DiskIo>,
    /// `discard`; none leaves QEMU's default (unmap is off).
    pub discard: Option<DiskDiscard>,
    /// `detect_zeroes`; none leaves QEMU's default (off).
    pub detect_zeroes: Option<DetectZeroes>,
    /// `error_policy`: what a write error does (QEMU's `werror`).
    pub error_policy: Option<ErrorPolicy>,
    /// `rerror_policy`: what a read error does (QEMU's `rerror`); `error_policy` where not written, as in libvirt.
    pub rerror_policy: Option<ErrorPolicy>,
    /// `copy_on_read`: what is read from a backing file is kept in the image (QEMU's `copy-on-read` filter).
    pub copy_on_read: bool,
    /// `discard_no_unref`: discards keep their clusters (QEMU's `discard-no-unref`); only for qcow2.
    pub discard_no_unref: Option<bool>,
    /// `iothread`: id of the thread that serves a virtio disk.
    pub iothread: Option<u32>,
    /// `queues` of a virtio disk; none leaves QEMU's default, one for each virtual CPU.
    pub queues: Option<u32>,
    /// `queue_size` of a virtio disk; none leaves QEMU's default.
    pub queue_size: Option<u32>,
    /// `ioeventfd` of a virtio disk.
    pub ioeventfd: Option<bool>,
    /// `event_idx` of a virtio disk.
    pub event_idx: Option<bool>,
    /// `packed` of a virtio disk: packed virtqueues.
    pub packed: Option<bool>,
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

words! {
    /// What a read or write error does.
    pub enum ErrorPolicy {
        /// The guest stops. libvirt's default, and not QEMU's, which stops for lack of space alone.
        Stop = "stop",
        /// The guest is told.
        Report = "report",
        /// Nobody is told.
        Ignore = "ignore",
        /// The guest stops for lack of space, and is told of everything else; only for writing.
        Enospace = "enospace",
    }
}

/// Attributes that only a virtio disk has.
const VIRTIO_ONLY: [&str; 6] = ["iothread", "queues", "queue_size", "ioeventfd", "event_idx", "packed"];

impl DiskDriver {
    /// Reads `<driver>`, and the format that it names.
    pub(super) fn read<'a>(
        reader: &mut Reader<'a>,
        disk: Node<'a>,
        bus: Option<DiskBus>,
    ) -> (DiskDriver, DiskFormat) {
        let Some(node) = reader.child(disk, "driver") else {
            return (DiskDriver::default(), DiskFormat::Raw);
        };
        let known = [
            &["name", "type", "cache", "io", "discard", "detect_zeroes", "error_policy", "rerror_policy"][..],
            &["copy_on_read", "discard_no_unref"],
            &VIRTIO_ONLY,
        ];
        reader.vocabulary(node, &known.concat(), &[]);
        reader.only(node, "name", &["qemu"], "write name='qemu'");
        let format = reader.word(node, "type").unwrap_or(DiskFormat::Raw);
        for name in VIRTIO_ONLY {
            if node.has_attribute(name) && bus.is_some_and(|bus| bus != DiskBus::Virtio) {
                let message = format!("`{name}` is only for virtio disks");
                reader.refuse_attribute(
                    node,
                    name,
                    message,
                    format!("remove `{name}`, or write bus='virtio'"),
                );
            }
        }
        let driver = DiskDriver {
            cache: reader.word(node, "cache"),
            io: reader.word(node, "io"),
            discard: reader.word(node, "discard"),
            detect_zeroes: reader.word(node, "detect_zeroes"),
            error_policy: reader.word(node, "error_policy"),
            rerror_policy: reader.word(node, "rerror_policy"),
            copy_on_read: reader.flag(node, "copy_on_read", "on", "off").unwrap_or(false),
            discard_no_unref: reader.flag(node, "discard_no_unref", "on", "off"),
            iothread: reader.number(node, "iothread", 1..=u32::MAX),
            queues: reader.number(node, "queues", 1..=1024),
            queue_size: reader.number(node, "queue_size", 2..=1024),
            ioeventfd: reader.flag(node, "ioeventfd", "on", "off"),
            event_idx: reader.flag(node, "event_idx", "on", "off"),
            packed: reader.flag(node, "packed", "on", "off"),
        };
        if driver.io == Some(DiskIo::Native)
            && !matches!(driver.cache, Some(DiskCache::None | DiskCache::Directsync))
        {
            let message = "io='native' needs cache='none' or cache='directsync'";
            reader.refuse_attribute(node, "io", message, "write cache='none', or remove `io`");
        }
        if driver.rerror_policy == Some(ErrorPolicy::Enospace) {
            let message = "reading never fails for lack of space";
            reader.refuse_attribute(node, "rerror_policy", message, "write `stop`, `report` or `ignore`");
        }
        if driver.discard_no_unref.is_some() && format != DiskFormat::Qcow2 {
            let message = "only a qcow2 image has `discard_no_unref`";
            reader.refuse_attribute(node, "discard_no_unref", message, "remove the attribute");
        }
        (driver, format)
    }
}

/// `<iotune>`: how much the guest may ask of a disk (QEMU's `throttle-group`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iotune {
    /// `total_bytes_sec` and its like, in bytes a second.
    pub bytes: Rates,
    /// `total_iops_sec` and its like, in requests a second.
    pub iops: Rates,
    /// `size_iops_sec`: a request counts as one for each so many bytes.
    pub size_iops_bytes: Option<u64>,
    /// `group_name`: disks with the same name share their limits.
    pub group: Option<String>,
}

/// Limits for one unit. Either `total`, or `read` and `write`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Reading and writing together.
    pub total: Rate,
    /// Reading.
    pub read: Rate,
    /// Writing.
    pub write: Rate,
}

/// One limit; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub average: u64,
    /// `…_max`: in a burst.
    pub burst: u64,
    /// `…_max_length`: how long a burst may be, in seconds.
    pub burst_seconds: u64,
}

/// Highest limit that QEMU takes (`THROTTLE_VALUE_MAX`).
const RATE_MAX: u64 = 1_000_000_000_000_000;

impl Iotune {
    /// Reads `<iotune>`.
    pub(super) fn read<'a>(reader: &mut Reader<'a>, disk: Node<'a>) -> Option<Iotune> {
        let node = reader.child(disk, "iotune")?;
        let mut known = vec!["size_iops_sec".to_owned(), "group_name".to_owned()];
        for unit in ["bytes", "iops"] {
            for direction in ["total", "read", "write"] {
                known.extend(["", "_max", "_max_length"].map(|rest| format!("{direction}_{unit}_sec{rest}")));
            }
        }
        reader.vocabulary(node, &[], &known.iter().map(String::as_str).collect::<Vec<_>>());
        let group = reader.child(node, "group_name").map(text).filter(|name| !name.is_empty());
        let plain = |name: &String| name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
        if group.as_ref().is_some_and(|name| !plain(name)) {
            let mend = "write letters, digits, `-`, `_` or `.`";
            reader.refuse(node, "this group cannot be a name in QEMU", mend);
        }
        Some(Iotune {
            bytes: rates(reader, node, "bytes"),
            iops: rates(reader, node, "iops"),
            size_iops_bytes: Some(number(reader, node, "size_iops_sec")).filter(|size| *size > 0),
            group,
        })
    }
}

fn rates<'a>(reader: &mut Reader<'a>, iotune: Node<'a>, unit: &str) -> Rates {
    let mut rate = |direction: &str| {
        let name = format!("{direction}_{unit}_sec");
        let rate = Rate {
            average: number(reader, iotune, &name),
            burst: number(reader, iotune, &format!("{name}_max")),
            burst_seconds: number(reader, iotune, &format!("{name}_max_length")),
        };
        if rate.burst > 0 && rate.burst < rate.average {
            let message = format!("<{name}_max> is below <{name}>");
            reader.refuse(iotune, message, format!("raise <{name}_max>, or remove it"));
        }
        if rate.burst > 0 && rate.average == 0 {
            let message = format!("<{name}_max> without <{name}>");
            reader.refuse(iotune, message, format!("add <{name}>"));
        }
        if rate.burst_seconds > 0 && rate.burst == 0 {
            let message = format!("<{name}_max_length> without <{name}_max>");
            reader.refuse(iotune, message, format!("add <{name}_max>"));
        }
        rate
    };
    let rates = Rates { total: rate("total"), read: rate("read"), write: rate("write") };
    if rates.total != Rate::default() && (rates.read != Rate::default() || rates.write != Rate::default()) {
        let message = format!("<total_{unit}_sec> together with limits for reading or writing");
        reader.refuse(iotune, message, "keep the total, or the other two");
    }
    rates
}

fn number<'a>(reader: &mut Reader<'a>, iotune: Node<'a>, name: &str) -> u64 {
    let Some(node) = reader.child(iotune, name) else { return 0 };
    reader.vocabulary(node, &[], &[]);
    let number = crate::reader::whole(&text(node)).filter(|number| *number <= RATE_MAX);
    if number.is_none() {
        let message = format!("`{}` is not a limit", text(node).trim());
        reader.refuse(node, message, format!("write a whole number up to {RATE_MAX}"));
    }
    number.unwrap_or(0)
}
