//! The volumes of a pool: the files in its directory. They are listed, and their bytes go in and out. It never opens
//! what an image stands on, and takes no format from an image's content but to show it. Main types: [`Volume`],
//! [`Upload`], [`Download`].

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::bounded;
use crate::fresh::{Fresh, file_operation, told};
use crate::image::{ImageError, ImageFormat};
use crate::limits::{CONTENT_BYTES, DISK_TIMEOUT, HOLE_BYTES};
use crate::record::{OWNER_SUFFIX, directory_of};

/// How a qcow2 image begins (QEMU's docs/interop/qcow2): magic and version, and at byte 24 the virtual size, all
/// big-endian.
const QCOW2_MAGIC: &[u8] = b"QFI\xfb";
const QCOW2_HEAD_BYTES: usize = 32;

/// A file in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pool.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What it looks like. A guest writes what it wants into a raw image, so this decides nothing.
    pub format: ImageFormat,
    /// Bytes of the disk that a guest would see.
    pub capacity: u64,
    /// Bytes that the file takes, holes not counted.
    pub allocation: u64,
}

/// The volumes in a directory, by name. Links, hidden files and owner records are none.
///
/// # Errors
/// [`ImageError::Disk`], [`ImageError::TimedOut`].
pub async fn volumes(directory: &Path) -> Result<Vec<Volume>, ImageError> {
    let owned = directory.to_owned();
    let listed = bounded::run_in_turn(directory, DISK_TIMEOUT, move || {
        let mut volumes = Vec::new();
        for entry in std::fs::read_dir(&owned)? {
            // What is removed meanwhile, or cannot be opened, is no volume to show.
            volumes.extend(look(&entry?.path()).ok().flatten());
        }
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    });
    told("list", directory, listed.await)
}

/// One volume; none where there is no such file.
///
/// # Errors
/// As [`volumes`].
pub async fn volume(path: &Path) -> Result<Option<Volume>, ImageError> {
    let owned = path.to_owned();
    let looked = bounded::run_in_turn(directory_of(path), DISK_TIMEOUT, move || look(&owned));
    told("look at", path, looked.await)
}

/// What a file or device looks like by its first bytes. A guest writes what it wants into a raw image, so this decides
/// nothing.
///
/// # Errors
/// As [`volumes`].
pub async fn looks(path: &Path) -> Result<ImageFormat, ImageError> {
    let owned = path.to_owned();
    file_operation("look at", path, move || {
        let mut head = Vec::with_capacity(QCOW2_HEAD_BYTES);
        open(&owned)?.take(QCOW2_HEAD_BYTES as u64).read_to_end(&mut head)?;
        Ok(qcow2_size(&head).map_or(ImageFormat::Raw, |_| ImageFormat::Qcow2))
    })
    .await
}

fn look(path: &Path) -> io::Result<Option<Volume>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    if name.starts_with('.') || name.ends_with(OWNER_SUFFIX) {
        return Ok(None);
    }
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = open(path)?;
    let metadata = file.metadata()?;
    let mut head = Vec::with_capacity(QCOW2_HEAD_BYTES);
    file.take(QCOW2_HEAD_BYTES as u64).read_to_end(&mut head)?;
    let (format, capacity) = match qcow2_size(&head) {
        Some(size) => (ImageFormat::Qcow2, size),
        None => (ImageFormat::Raw, metadata.len()),
    };
    let (name, path) = (name.to_owned(), path.to_owned());
    Ok(Some(Volume { name, path, format, capacity, allocation: metadata.blocks() * 512 }))
}

/// Opens a regular file for reading; a link to one is refused.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn qcow2_size(head: &[u8]) -> Option<u64> {
    let size = head.get(24..32).filter(|_| head.starts_with(QCOW2_MAGIC))?;
    Some(u64::from_be_bytes(size.try_into().ok()?))
}

/// A volume whose bytes come in. It appears when they are all there; dropped before, it is gone.
#[derive(Debug)]
pub struct Upload(Fresh);

impl Upload {
    /// Begins a volume at `path`, mode 0600.
    ///
    /// # Errors
    /// [`ImageError::Exists`], [`ImageError::Disk`], [`ImageError::TimedOut`].
    pub async fn begin(path: &Path) -> Result<Upload, ImageError> {
        Fresh::begin(path).await.map(Upload)
    }

    /// Appends bytes; runs of zeros become holes. After an error it must be dropped.
    ///
    /// # Errors
    /// [`ImageError::Disk`], [`ImageError::TimedOut`].
    pub async fn append(&mut self, bytes: Vec<u8>) -> Result<(), ImageError> {
        self.0.work("write", move |file| write_with_holes(file.as_file_mut(), &bytes)).await
    }

    /// All bytes are there: gives the volume its name.
    ///
    /// # Errors
    /// As [`Upload::begin`].
    pub async fn finish(mut self) -> Result<(), ImageError> {
        // A hole at the end is part of the file, too.
        let whole = |file: &mut tempfile::NamedTempFile| {
            let end = file.as_file_mut().stream_position()?;
            file.as_file().set_len(end)
        };
        self.0.work("write", whole).await?;
        self.0.finish().await
    }
}

fn write_with_holes(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for block in bytes.chunks(HOLE_BYTES) {
        if block.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(block.len() as i64))?;
        } else {
            file.write_all(block)?;
        }
    }
    Ok(())
}

/// A volume whose bytes go out.
#[derive(Debug)]
pub struct Download {
    file: Option<File>,
    path: PathBuf,
    left: u64,
}

impl Download {
    /// Opens a volume.
    ///
    /// # Errors
    /// [`ImageError::Disk`], [`ImageError::TimedOut`].
    pub async fn open(path: &Path) -> Result<Download, ImageError> {
        let owned = path.to_owned();
        let opened = file_operation("open", path, move || {
            let file = open(&owned)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        });
        let (file, left) = opened.await?;
        Ok(Download { file: Some(file), path: path.to_owned(), left })
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; none when all have come.
    ///
    /// # Errors
    /// [`ImageError::Disk`], [`ImageError::TimedOut`]; nothing comes after it.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(mut file) = self.file.take().filter(|_| self.left > 0) else { return Ok(None) };
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(CONTENT_BYTES);
        let read = file_operation("read", &self.path, move || {
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes)?;
            Ok((file, bytes))
        });
        let (file, bytes) = read.await?;
        self.file = Some(file);
        self.left -= bytes.len() as u64;
        Ok(Some(bytes))
    }
}
