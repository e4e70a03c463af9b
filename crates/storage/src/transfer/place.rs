//! Where a copy lies: a fresh file under a hidden name until it is complete, an older copy, a block device, a file that is
//! only compared. It never writes over what is no copy. Main type: [`Placed`].

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::TempPath;

use super::error::TransferError;
use super::log::{Head, Log, parse_head, read_head};
use super::replica::{Opening, There};
use crate::disk::{DiskKind, check_absolute, open_disk};
use crate::record::{directory_of, sync_directory};

/// A copy in its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) file: File,
    /// Where it lies now.
    pub(super) place: PathBuf,
    pub(super) head: Head,
    /// Whether its log goes on; else it has just begun.
    pub(super) resumed: bool,
}

impl Placed {
    /// Finds or makes the file, and the log's head. It may block.
    pub(super) fn open(
        opening: &Opening,
        log: &mut Log,
        first: Option<&Vec<u8>>,
    ) -> Result<Placed, TransferError> {
        check_absolute(&opening.path)?;
        let logged = first.and_then(|first| parse_head(first)).filter(|head| head.path == opening.path);
        let is_device = std::fs::metadata(&opening.path)
            .is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type()));
        match opening.there {
            There::Kept => kept(opening, log, logged),
            There::Nothing if !is_device => fresh(opening, log, logged),
            There::Nothing | There::Older => in_place(opening, log, logged),
        }
    }
}

/// What a log says of this copy at its beginning.
fn head(opening: &Opening, hidden: Option<PathBuf>, inode: u64, was_empty: bool) -> Head {
    let (path, stamp) = (opening.path.clone(), opening.stamp.to_string());
    Head { version: 1, path, hidden, inode, length: opening.length, stamp, was_empty }
}

/// Whether the log goes on; else it begins with `head`.
fn go_on(log: &mut Log, logged: Option<Head>, head: Head) -> Result<(Head, bool), TransferError> {
    match logged {
        Some(logged) if logged == (Head { was_empty: logged.was_empty, ..head.clone() }) => {
            Ok((logged, true))
        }
        Some(_) | None => {
            log.begin(&head)?;
            Ok((head, false))
        }
    }
}

fn in_place(opening: &Opening, log: &mut Log, logged: Option<Head>) -> Result<Placed, TransferError> {
    let (file, disk) = open_disk(&opening.path, true)?;
    let (size, length) = (disk.size, opening.length);
    match disk.kind {
        DiskKind::File if size == length => {}
        DiskKind::File => file.set_len(length).map_err(TransferError::io("resize", &opening.path))?,
        DiskKind::BlockDevice if size < length => {
            return Err(TransferError::TooSmall { path: opening.path.clone(), size, length });
        }
        DiskKind::BlockDevice => {}
    }
    let (head, resumed) = go_on(log, logged, head(opening, None, disk.identity.inode, false))?;
    Ok(Placed { file, place: opening.path.clone(), head, resumed })
}

/// It is not even opened for writing.
fn kept(opening: &Opening, log: &mut Log, logged: Option<Head>) -> Result<Placed, TransferError> {
    let (file, disk) = open_disk(&opening.path, false)?;
    if disk.size != opening.length {
        return Err(TransferError::Kept { path: opening.path.clone() });
    }
    let (head, resumed) = go_on(log, logged, head(opening, None, disk.identity.inode, false))?;
    Ok(Placed { file, place: opening.path.clone(), head, resumed })
}

fn fresh(opening: &Opening, log: &mut Log, logged: Option<Head>) -> Result<Placed, TransferError> {
    let path = &opening.path;
    let fault = TransferError::io("create", path);
    let exists = || TransferError::Exists { path: path.clone() };
    let hidden = hidden(path, &opening.tag);
    let (at_hidden, at_path) = (look(&hidden).map_err(fault)?, look(path).map_err(fault)?);
    let place = match (at_hidden, at_path) {
        // Naming it was interrupted between its two steps, where it takes two.
        (Some(hid), Some(named)) if hid.ino() == named.ino() && hid.dev() == named.dev() => {
            remove(&hidden).map_err(fault)?;
            path.clone()
        }
        (Some(_), Some(_)) => return Err(exists()),
        (Some(_), None) => hidden.clone(),
        (None, Some(metadata)) => {
            // One that was published already has the name.
            let is_it = |head: &Head| head.hidden.as_ref() == Some(&hidden) && head.inode == metadata.ino();
            logged.as_ref().filter(|head| is_it(head)).ok_or_else(exists)?;
            path.clone()
        }
        (None, None) => {
            // Noted before it is made: whoever gives up can remove it.
            log.begin(&head(opening, Some(hidden.clone()), 0, true))?;
            let file = create(&hidden, opening.length).map_err(fault)?;
            let inode = file.metadata().map_err(fault)?.ino();
            let head = head(opening, Some(hidden.clone()), inode, true);
            log.begin(&head)?;
            return Ok(Placed { file, place: hidden, head, resumed: false });
        }
    };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::options().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(&place);
    let file = file.map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    if metadata.len() != opening.length {
        file.set_len(opening.length).map_err(fault)?;
    }
    let (head, resumed) = go_on(log, logged, head(opening, Some(hidden), metadata.ino(), false))?;
    Ok(Placed { file, place, head, resumed })
}

fn hidden(path: &Path, tag: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".ferry-{tag}"));
    directory_of(path).join(name)
}

fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A hole of this length, whose name is durable.
fn create(hidden: &Path, length: u64) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(hidden)?;
    file.set_len(length)?;
    file.sync_all()?;
    sync_directory(hidden)?;
    Ok(file)
}

/// Gives a fresh copy its name, never over something. It may block.
pub(super) fn publish(hidden: &Path, path: &Path) -> Result<(), TransferError> {
    let fault = TransferError::io("name", path);
    File::open(hidden).and_then(|file| file.sync_all()).map_err(fault)?;
    let hidden = TempPath::try_from_path(hidden).map_err(fault)?;
    match hidden.persist_noclobber(path) {
        Ok(()) => sync_directory(path).map_err(fault),
        Err(error) => {
            // Dropped it would be removed.
            let kept = error.path.keep();
            match error.error.kind() {
                io::ErrorKind::AlreadyExists => Err(TransferError::Exists { path: path.to_owned() }),
                _ => Err(fault(kept.err().map_or(error.error, |kept| kept.error))),
            }
        }
    }
}

/// Removes what the log at `log` is about, if that was made for it, and the log. It may block.
pub(super) fn discard(log: &Path) -> Result<(), TransferError> {
    if let Some(Head { path, hidden: Some(hidden), inode, .. }) = read_head(log)? {
        let fault = TransferError::io("remove", &path);
        remove(&hidden).map_err(fault)?;
        if look(&path).map_err(fault)?.is_some_and(|it| it.is_file() && it.ino() == inode) {
            remove(&path).map_err(fault)?;
        }
    }
    forget(log)
}

/// Removes what the log at `log` is about, as long as it has no name, and the log. It may block.
pub(super) fn sweep(log: &Path) -> Result<(), TransferError> {
    if let Some(Head { path, hidden: Some(hidden), .. }) = read_head(log)? {
        remove(&hidden).map_err(TransferError::io("remove", &path))?;
    }
    forget(log)
}

/// Removes the log alone. It may block.
pub(super) fn forget(log: &Path) -> Result<(), TransferError> {
    remove(log).map_err(TransferError::io("remove", log))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
