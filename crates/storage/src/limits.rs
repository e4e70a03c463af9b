//! Every time-out and bound of this crate, each with its reason. It holds nothing else.

use std::time::Duration;

/// For looking at and opening a disk. An NFS server that restarts is back within this time as a rule.
pub const DISK_TIMEOUT: Duration = Duration::from_secs(15);

/// For reading, writing or removing an owner record, fsync included.
pub const RECORD_TIMEOUT: Duration = Duration::from_secs(15);

/// For one run of qemu-img that reads or writes only headers.
pub const QEMU_IMG_TIMEOUT: Duration = Duration::from_secs(30);

/// For one run of qemu-img that copies an image: many TiB over a slow network fit, a dead one is given up some day.
pub const COPY_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// For one run of qemu-img that works on a snapshot: it reads and writes the tables of a large image, not its content.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Of what qemu-img prints, in bytes: thousands of snapshots fit.
pub const QEMU_IMG_OUTPUT_BYTES_MAX: u64 = 8 << 20;

/// Of an owner record, in bytes. A larger file under its name is something else.
pub const RECORD_BYTES_MAX: u64 = 64 << 10;

/// How often a record is read whose file the server has just forgotten (`ESTALE`): another host wrote a new one in its
/// place. A move does that three times.
pub(crate) const STALE_READS_MAX: usize = 5;

/// Of one reply of an NFS server, in bytes: an owner record and what stands around it fit twice.
pub(crate) const NFS_REPLY_BYTES_MAX: u32 = 128 << 10;

/// File operations at a time, those included that a dead mount has swallowed: each holds a thread.
/// Further ones wait, within their own time-out.
pub const FILE_OPERATIONS_MAX: usize = 64;

/// Images that may stand on each other. A chain of this length would be slow, and a circle has no end.
pub(crate) const CHAIN_IMAGES_MAX: usize = 200;

/// For one run of mount or umount. mount.nfs is told not to try again by itself, and a server that is there answers in
/// seconds.
pub const MOUNT_TIMEOUT: Duration = Duration::from_secs(60);

/// For the end of a mount or umount that was killed. One that hangs in a system call on a dead server is left.
pub(crate) const KILLED_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a volume that are read or written at once while it goes up or down.
pub const CONTENT_BYTES: usize = 1 << 20;

/// A run of zeros of this length, in bytes, is left out of a file: it is a block of the common filesystems.
pub(crate) const HOLE_BYTES: usize = 4096;

/// Of what qemu-storage-daemon says, in bytes.
pub(crate) const EXPORT_OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// Of a nonce. As few as this a server with a wrong READ_PLUS answers with zeros; more it answers with an error.
pub(crate) const NONCE_BYTES: usize = 20;

/// Of what mount and umount say about a failure, in bytes.
pub(crate) const MOUNT_OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// For one question to an NFS server that is only looked at. A packet that a firewall drops is waited for as long.
pub(crate) const NFS_SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The smallest block of a copy, in bytes: a cluster of qcow2. What changes within one travels whole.
pub(crate) const BLOCK_BYTES_MIN: u64 = 64 << 10;

/// The largest block of a copy, in bytes. A worker holds a few of them.
pub(crate) const BLOCK_BYTES_MAX: u64 = 16 << 20;

/// Blocks of one file. Each costs its two ends 33 bytes: 33 MiB for a file of 64 GiB and more.
pub(crate) const BLOCKS_MAX: u64 = 1 << 20;

/// Of a file that is copied, in bytes: 16 TiB.
pub const TRANSFER_BYTES_MAX: u64 = BLOCKS_MAX * BLOCK_BYTES_MAX;

/// Bytes that are read, sent and written at once, where a block is not larger. As many make one system call cheap and
/// still fit the processor's cache.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Frames between a worker and the network, on either side: one is under way while the next is made.
/// With the buffers that wait to be used again, a stream holds five pieces on the source and four on the target: 5 MiB
/// and 4 MiB, or 80 MiB and 64 MiB for a file of 16 TiB.
pub(crate) const FRAMES_WAITING_MAX: usize = 2;

/// Buffers that a stream keeps to use again.
pub(crate) const SPARE_BUFFERS_MAX: usize = 4;

/// Of a piece, in bytes, to try whether it shrinks: a hundredth of the work of compressing it.
pub(crate) const SAMPLE_BYTES: usize = 16 << 10;

/// Of what the target holds of one file, encoded: every block with its hash, each in a run of its own.
pub const HELD_BYTES_MAX: usize = (BLOCKS_MAX as usize) * (32 + 12) + 64;

/// Bytes that have come in before they are made durable without further waiting: a disk takes them in a tenth of a second.
pub(crate) const CHECKPOINT_BYTES: u64 = 32 << 20;

/// How long bytes that have come in wait at most until they are made durable. What a killed agent has to ask for again.
pub(crate) const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of an older copy that are read between two notes in the log.
pub(crate) const SCAN_BYTES: u64 = 256 << 20;

/// Buffers and offsets are multiples of this for reads past the page cache: as large as a sector of any disk.
pub(crate) const DIRECT_ALIGN: usize = 4096;

/// Bytes of a record in a copy's log: larger ones are none.
pub(crate) const LOG_RECORD_BYTES_MAX: usize = HELD_BYTES_MAX;
