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

/// Of a nonce. As few as this a server with a wrong READ_PLUS answers with zeros; more it answers with an error.
pub(crate) const NONCE_BYTES: usize = 20;

/// Of what mount and umount say about a failure, in bytes.
pub(crate) const MOUNT_OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// For one question to an NFS server that is only looked at. A packet that a firewall drops is waited for as long.
pub(crate) const NFS_SERVER_TIMEOUT: Duration = Duration::from_secs(2);
