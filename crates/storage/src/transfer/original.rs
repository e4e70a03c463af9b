//! What is copied, on the source: a file or block device that is only read. It remembers the hashes of what it has read, so
//! that after a cut nothing is read twice. Main type: [`Original`].

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use super::block::{ABSENT, BlockHash, Blocks, Stamp};
use super::error::TransferError;
use super::held::Held;
use super::line::Line;
use super::sender::Sender;
use crate::bounded;
use crate::disk::{Disk, DiskKind, open_disk};
use crate::limits::DISK_TIMEOUT;

/// A file or block device that is copied. It is never written.
#[derive(Debug)]
pub struct Original {
    file: File,
    path: PathBuf,
    /// Whose state the stamp is of: itself, or what is seen through it.
    images: Vec<Watched>,
    stamp: Stamp,
    blocks: Blocks,
    content_bytes: u64,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Watched {
    file: File,
    disk: Disk,
}

/// What is known of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Hole,
    Unread,
    Read(BlockHash),
}

impl Known {
    pub(super) fn hash(self) -> Option<BlockHash> {
        match self {
            Known::Hole => Some(ABSENT),
            Known::Unread => None,
            Known::Read(hash) => Some(hash),
        }
    }
}

impl Original {
    /// Opens it and finds its holes (`SEEK_HOLE`, lseek(2)); where its filesystem does not tell, it has none.
    ///
    /// # Errors
    /// [`TransferError::Disk`], [`TransferError::TooLong`], [`TransferError::TimedOut`], [`TransferError::Io`].
    pub async fn open(path: &Path) -> Result<Arc<Original>, TransferError> {
        Original::open_export(path, &[path.to_owned()]).await
    }

    /// As [`Original::open`], of a file that shows `images` ([`crate::Export`]): they are what must not change.
    ///
    /// # Errors
    /// As [`Original::open`].
    pub async fn open_export(path: &Path, images: &[PathBuf]) -> Result<Arc<Original>, TransferError> {
        let (owned, images) = (path.to_owned(), images.to_owned());
        let opened = bounded::run(DISK_TIMEOUT, move || open(owned, images)).await;
        TransferError::told(path, opened).map(Arc::new)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes, holes included.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.blocks.length
    }

    /// Bytes in blocks that are not holes.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Which state of it this is: by its inode, length and times; a block device by its number and length, so that a
    /// change of its content does not show.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Begins to send what `held` lacks or has otherwise.
    ///
    /// # Errors
    /// [`TransferError::Held`] where that is about a file of another length.
    pub fn send(self: &Arc<Self>, held: Held, line: &Arc<Line>) -> Result<Sender, TransferError> {
        if held.blocks != self.blocks {
            return Err(TransferError::Held { length: self.blocks.length });
        }
        Ok(Sender::new(Arc::clone(self), held, Arc::clone(line)))
    }

    pub(super) fn blocks(&self) -> Blocks {
        self.blocks
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `buffer` from `offset` on. It may block.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), TransferError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            match self.file.read_at(&mut buffer[filled..], at) {
                Ok(0) => return Err(TransferError::Changed { path: self.path.clone() }),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let source = Arc::new(error);
                    return Err(TransferError::Read { path: self.path.clone(), offset: at, source });
                }
            }
        }
        Ok(())
    }

    /// Whether it is still in the state of its stamp. It may block.
    pub(super) fn check_unchanged(&self) -> Result<(), TransferError> {
        let now = stamp(&self.images).map_err(TransferError::io("look at", &self.path))?;
        match now == self.stamp {
            true => Ok(()),
            false => Err(TransferError::Changed { path: self.path.clone() }),
        }
    }
}

fn open(path: PathBuf, images: Vec<PathBuf>) -> Result<Original, TransferError> {
    let (file, disk) = open_disk(&path, false)?;
    let fault = TransferError::io("look at", &path);
    let open_image = |path: PathBuf| open_disk(&path, false).map(|(file, disk)| Watched { file, disk });
    let images = images.into_iter().map(open_image).collect::<Result<Vec<Watched>, _>>()?;
    let stamp = stamp(&images).map_err(fault)?;
    let blocks = Blocks::of(disk.size)?;
    let mut known = vec![Known::Hole; blocks.count()];
    data(&file, blocks.length, |extent| known[blocks.touching(extent)].fill(Known::Unread)).map_err(fault)?;
    let content = known.iter().enumerate().filter(|(_, known)| **known == Known::Unread);
    let content_bytes = content.map(|(block, _)| blocks.bytes(&(block..block + 1))).sum();
    // Only advice: where it is not taken, reading is slower.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
    Ok(Original { file, path, images, stamp, blocks, content_bytes, known: Mutex::new(known) })
}

fn stamp(images: &[Watched]) -> io::Result<Stamp> {
    let mut parts = Vec::new();
    for Watched { file, disk } in images {
        let metadata = file.metadata()?;
        parts.extend([disk.identity.device, disk.identity.inode]);
        match disk.kind {
            DiskKind::File => {
                let times =
                    [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
                parts.push(metadata.len());
                parts.extend(times.map(i64::cast_unsigned));
            }
            DiskKind::BlockDevice => parts.push(disk.size),
        }
    }
    Ok(Stamp::over(&parts))
}

/// Tells of each extent that is no hole.
pub(super) fn data(file: &File, length: u64, mut each: impl FnMut(std::ops::Range<u64>)) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(length),
            Err(Errno::NXIO) => break,
            // No holes are told of here, as of a block device.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(length),
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => length,
            Err(errno) => return Err(errno.into()),
        };
        if start < end {
            each(start..end);
        }
        at = end.max(start + 1);
    }
    Ok(())
}
