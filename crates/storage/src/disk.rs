//! Whether a domain may use a file or block device as a disk, and which one it really is. It never reads or
//! writes a disk's content. The main type is [`Disk`].

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::bounded::{self, NoResult};
use crate::limits::DISK_TIMEOUT;
use crate::record::directory_of;

/// A disk that could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What kind of thing it is.
    pub kind: DiskKind,
    /// Bytes in the file or on the device. For an image file this is not what the guest sees: see
    /// [`crate::Image::virtual_size`].
    pub size: u64,
    /// Which one it is, by whatever path.
    pub identity: Identity,
}

/// What a disk is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
}

/// Two paths on *one* host name the same disk if these are equal, symbolic and hard links included.
/// Between hosts only `inode` means something, and only for files on the same NFS export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// `st_dev` of the filesystem for a file, `st_rdev` for a block device (inode(7)).
    pub device: u64,
    /// `st_ino` for a file, 0 for a block device.
    pub inode: u64,
}

/// Why a path does not serve as a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Relative to what would be anybody's guess, and qemu-img reads "name:rest" as a protocol.
    #[error("disk path {path:?} is not absolute: write it from '/' on")]
    NotAbsolute {
        /// The path as given.
        path: PathBuf,
    },
    /// Nothing is there.
    #[error(
        "disk {path:?} does not exist on this host: create it, or mount the storage that holds it at the same path"
    )]
    Missing {
        /// The disk's path.
        path: PathBuf,
    },
    /// Something is there that cannot be a disk.
    #[error("disk {path:?} is {what}: a disk is a regular file or a block device")]
    NotADisk {
        /// The disk's path.
        path: PathBuf,
        /// "a directory", "a socket" …
        what: &'static str,
    },
    /// It cannot be opened for reading.
    #[error(
        "disk {path:?} must not be read by this process: check its mode, its owner and, on NFS, that the export has no_root_squash"
    )]
    NotReadable {
        /// The disk's path.
        path: PathBuf,
        /// EACCES or EPERM.
        source: io::Error,
    },
    /// It can be read and must not be written.
    #[error(
        "disk {path:?} can be read but must not be written by this process: check its mode, its owner and, on NFS, that the export has no_root_squash"
    )]
    NotWritable {
        /// The disk's path.
        path: PathBuf,
        /// EACCES, EPERM or ETXTBSY.
        source: io::Error,
    },
    /// The filesystem or device is read-only.
    #[error("disk {path:?} lies on read-only storage: remount it writable, or mark the disk <readonly/>")]
    ReadOnly {
        /// The disk's path.
        path: PathBuf,
    },
    /// The storage does not answer.
    #[error(
        "disk {path:?} did not answer within {} s: is the server of its mount reachable?",
        after.as_secs_f32()
    )]
    TimedOut {
        /// The disk's path.
        path: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// Any other failure.
    #[error("cannot {step} disk {path:?}")]
    Io {
        /// "look up", "open" …
        step: &'static str,
        /// The disk's path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Opens the disk for a moment as QEMU would, the only check that holds with NFS, ACLs and read-only mounts
/// alike. Reads and changes nothing. Symbolic links are followed.
///
/// # Errors
/// Every [`DiskError`]. After [`DiskError::TimedOut`] a thread stays behind in the system call.
pub async fn open_check(path: &Path, writable: bool) -> Result<Disk, DiskError> {
    let owned = path.to_owned();
    match bounded::run_in_turn(directory_of(path), DISK_TIMEOUT, move || {
        open_check_blocking(&owned, writable)
    })
    .await
    {
        Ok(result) => result,
        Err(NoResult::TimedOut) => Err(DiskError::TimedOut { path: path.to_owned(), after: DISK_TIMEOUT }),
        Err(NoResult::NoThread(source)) => {
            Err(DiskError::Io { step: "start a thread to look at", path: path.to_owned(), source })
        }
    }
}

/// What the storage behind a block device is called, on whatever host: the serial number of a LUN or the UUID of a mapped
/// device; none where the kernel knows no such name, as of a loop device.
pub async fn device_name(device: Identity) -> Option<String> {
    let (major, minor) = (rustix::fs::major(device.device), rustix::fs::minor(device.device));
    let directory = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let read = |directory: PathBuf| {
        let names = ["dm/uuid", "wwid", "device/wwid"].into_iter();
        let mut said = names.filter_map(|name| std::fs::read_to_string(directory.join(name)).ok());
        said.find_map(|text| Some(text.trim().to_owned()).filter(|name| !name.is_empty()))
    };
    bounded::run_in_turn(&directory.clone(), DISK_TIMEOUT, move || read(directory)).await.ok().flatten()
}

fn open_check_blocking(path: &Path, writable: bool) -> Result<Disk, DiskError> {
    open_disk(path, writable).map(|(_, disk)| disk)
}

/// Opens the disk and says what it is. It may block for as long as its storage does not answer.
pub(crate) fn open_disk(path: &Path, writable: bool) -> Result<(File, Disk), DiskError> {
    check_absolute(path)?;
    // Looked at before it is opened: opening a tape or a watchdog device has effects.
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DiskError::Missing { path: path.to_owned() },
        io::ErrorKind::PermissionDenied => DiskError::NotReadable { path: path.to_owned(), source },
        _ => DiskError::Io { step: "look up", path: path.to_owned(), source },
    })?;
    kind_of(path, &metadata)?;
    let file = open(path, writable)?;
    // Again, of what was really opened: the path may have changed in between.
    let metadata =
        file.metadata().map_err(|source| DiskError::Io { step: "look at", path: path.to_owned(), source })?;
    let kind = kind_of(path, &metadata)?;
    let (size, identity) = match kind {
        DiskKind::File => (metadata.len(), Identity { device: metadata.dev(), inode: metadata.ino() }),
        DiskKind::BlockDevice => {
            let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).map_err(|errno| {
                DiskError::Io { step: "find the size of", path: path.to_owned(), source: errno.into() }
            })?;
            (size, Identity { device: metadata.rdev(), inode: 0 })
        }
    };
    Ok((file, Disk { kind, size, identity }))
}

fn open(path: &Path, writable: bool) -> Result<File, DiskError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let with = |write: bool| {
        OpenOptions::new().read(true).write(write).custom_flags(flags.bits().cast_signed()).open(path)
    };
    let file = with(false).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DiskError::Missing { path: path.to_owned() },
        io::ErrorKind::PermissionDenied => DiskError::NotReadable { path: path.to_owned(), source },
        _ => DiskError::Io { step: "open", path: path.to_owned(), source },
    })?;
    if !writable {
        return Ok(file);
    }
    with(true).map_err(|source| match Errno::from_io_error(&source) {
        Some(Errno::ROFS) => DiskError::ReadOnly { path: path.to_owned() },
        Some(Errno::ACCESS | Errno::PERM | Errno::TXTBSY) => {
            DiskError::NotWritable { path: path.to_owned(), source }
        }
        _ => DiskError::Io { step: "open for writing", path: path.to_owned(), source },
    })
}

pub(crate) fn check_absolute(path: &Path) -> Result<(), DiskError> {
    if path.is_absolute() { Ok(()) } else { Err(DiskError::NotAbsolute { path: path.to_owned() }) }
}

fn kind_of(path: &Path, metadata: &Metadata) -> Result<DiskKind, DiskError> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return Ok(DiskKind::File);
    } else if kind.is_block_device() {
        return Ok(DiskKind::BlockDevice);
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "neither file nor device"
    };
    Err(DiskError::NotADisk { path: path.to_owned(), what })
}
