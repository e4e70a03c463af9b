//! Disks of domains as this host sees them: images (through qemu-img), access and identity of a disk,
//! the owner records that lie beside disks, files that begin as a copy of a template, files that are copied to another host; and the pools that volumes lie in:
//! directories, and NFS exports that are mounted there.
//!
//! It never writes an image format itself, opens no backing file that its caller does not allow, knows nothing of what an
//! owner record says, and decides nothing. Every operation has a time-out of `limits`, since a hard NFS
//! mount whose server is gone makes any file operation hang. The main types are [`Disk`], [`Image`] and [`Volume`]; the
//! operations are free functions.

mod bounded;
mod chain;
mod disk;
mod export;
mod filesystem;
mod fresh;
mod image;
mod limits;
mod lock;
mod mount;
mod nfs;
mod nfs_server;
mod nonce;
mod pool;
mod record;
mod template;
mod transfer;
mod volume;

pub use chain::{Below, below};
pub use disk::{Disk, DiskError, DiskKind, Identity, device_name, open_check};
pub use export::{Export, ExportError, Link, clear_export};
pub use filesystem::{Filesystem, filesystem};
pub use image::{
    Image, ImageError, ImageFormat, Snapshot, SnapshotVerb, check_unused, copy, create, create_qcow2, image,
    make_directory, rebase, remove, resize, snapshot,
};
pub use limits::{
    CONTENT_BYTES, COPY_TIMEOUT, DISK_TIMEOUT, FILE_OPERATIONS_MAX, HELD_BYTES_MAX, MOUNT_TIMEOUT,
    QEMU_IMG_OUTPUT_BYTES_MAX, QEMU_IMG_TIMEOUT, RECORD_BYTES_MAX, RECORD_TIMEOUT, SNAPSHOT_TIMEOUT,
    TRANSFER_BYTES_MAX,
};
pub use lock::{LockError, ReadLock};
pub use mount::{Mounted, mount, mounted, unmount};
pub use nfs::is_over_nfs;
pub use nfs_server::{NfsServer, nfs_server};
pub use nonce::{NonceRead, lock_nonce, nonce_path, read_nonce, remove_nonce, write_nonce};
pub use pool::{PoolError, Space, check_writable, make_mount_point, space};
pub use record::{
    OWNER_SUFFIX, RecordError, create_record, owner_path, read_record, remove_record, write_record,
};
pub use template::{TemplateError, copy_template};
pub use transfer::{
    Figures, Held, Line, NotAHash, Opening, Original, Proof, Replica, Root, Sender, Stamp, There,
    TransferError, block_bytes, discard_replica, forget_replica, publish, sweep_replica,
};
pub use volume::{Download, Upload, Volume, looks, volume, volumes};
