//! The disks of a domain as this host sees them: files, devices, and what QEMU reaches on an NFS server. It never opens
//! what this host does not allow: that is a finding of its own. Main function: [`look`].

use std::path::{Path, PathBuf};

use api::{BrokenChain, DiskFacts, FileFacts};
use domain::{Disk, Domain};
use futures_util::future::join_all;
use storage::{Below, DiskError, DiskKind, Image, ImageError, ImageFormat};

use super::no_answer;
use crate::disks::{below, image_format, location};
use crate::failure::chain;
use crate::limits::FACT_TIMEOUT;
use crate::node::Node;

/// Every disk that is not empty, in the order of the definition; `unused` where nobody may have one open, for its domain is
/// shut off.
pub(super) async fn look(node: &Node, domain: &Domain, unused: bool) -> Vec<DiskFacts> {
    let disks = domain.disks.iter().filter_map(|disk| Some((disk, location(disk)?)));
    join_all(disks.map(|(disk, location)| async move {
        let mut seen = bounded(node, disk, &location).await;
        if unused && seen.file.is_some() && !disk.shareable && !storage::is_over_nfs(&location) {
            seen.in_use = in_use(&location, image_format(disk)).await;
        }
        seen
    }))
    .await
}

/// What QEMU says of the lock of an image that somebody has open for writing.
pub(super) async fn in_use(path: &Path, format: ImageFormat) -> Option<String> {
    match tokio::time::timeout(FACT_TIMEOUT, storage::check_unused(path, format)).await {
        Ok(Err(ImageError::Refused { message, .. })) if message.contains("lock") => Some(message),
        // Whatever else is wrong with it is said of the disk.
        Ok(Ok(()) | Err(_)) | Err(_) => None,
    }
}

async fn bounded(node: &Node, disk: &Disk, path: &Path) -> DiskFacts {
    let named =
        DiskFacts { disk: disk.target.clone(), path: path.display().to_string(), ..DiskFacts::default() };
    if !node.allows(path) {
        return named;
    }
    match tokio::time::timeout(FACT_TIMEOUT, one(node, disk, path, &named)).await {
        Ok(seen) => seen,
        Err(_elapsed) => {
            let stale = "the server of its mount does not answer, or its export is stale";
            DiskFacts { fault: Some(format!("{}: {stale}", no_answer(FACT_TIMEOUT))), ..named }
        }
    }
}

async fn one(node: &Node, disk: &Disk, path: &Path, named: &DiskFacts) -> DiskFacts {
    if storage::is_over_nfs(path) {
        return over_nfs(node, disk, path, named).await;
    }
    let opened = match storage::open_check(path, !disk.readonly).await {
        Ok(opened) => opened,
        Err(error) => {
            let missing = matches!(error, DiskError::Missing { .. });
            // What room there would be for it.
            let directory = path.parent().filter(|_| missing);
            let room = match directory {
                Some(directory) => storage::filesystem(directory).await.ok(),
                None => None,
            };
            return DiskFacts {
                fault: Some(chain(&error)),
                missing,
                filesystem: room.map(|room| room.id),
                free_bytes: room.map(|room| room.free_bytes),
                ..named.clone()
            };
        }
    };
    let (images, file, room, looks) = tokio::join!(
        images(node, disk, path),
        file(path.display().to_string(), opened),
        storage::filesystem(path),
        storage::looks(path)
    );
    let seen = match images {
        Ok(images) => seen(node, images, named).await,
        Err(ImageError::Below { path, below, source }) => {
            let (image, below) = (path.display().to_string(), below.display().to_string());
            let broken = BrokenChain { image, below, fault: chain(&source) };
            DiskFacts { broken: Some(broken), ..named.clone() }
        }
        Err(error) => return DiskFacts { fault: Some(chain(&error)), ..named.clone() },
    };
    let room = room.ok();
    DiskFacts {
        file: Some(file),
        looks: looks.ok().map(|format| format.to_string()),
        filesystem: room.map(|room| room.id),
        free_bytes: room.map(|room| room.free_bytes),
        ..seen
    }
}

/// A disk that QEMU reaches by its own NFS client. It is as large as its server says; whether the guest may write it shows
/// the nonce beside it.
async fn over_nfs(node: &Node, disk: &Disk, path: &Path, named: &DiskFacts) -> DiskFacts {
    let (below, image) = match images(node, disk, path).await {
        Ok(images) => images,
        Err(error) => return DiskFacts { fault: Some(chain(&error)), ..named.clone() },
    };
    let bytes = Some(image.actual_size.unwrap_or_default());
    DiskFacts {
        file: Some(FileFacts { path: named.path.clone(), bytes, ..FileFacts::default() }),
        // It has a header then, which was read. Anything can be read as raw.
        looks: (image.format == ImageFormat::Qcow2).then(|| image.format.to_string()),
        ..seen(node, (below, image), named).await
    }
}

/// What an image says of itself, and what it stands on.
async fn seen(node: &Node, (below, image): (Below, Image), named: &DiskFacts) -> DiskFacts {
    let images = std::iter::once(Path::new(&named.path)).chain(below.backing.iter().map(PathBuf::as_path));
    let encrypted = images.zip(&below.headers).filter(|(_, header)| header.encrypted);
    let encrypted = encrypted.map(|(path, _)| path.display().to_string()).collect();
    let below = below.backing.iter().chain(&below.data_files);
    DiskFacts {
        encrypted,
        size_bytes: Some(image.virtual_size),
        taken_bytes: image.actual_size,
        below: join_all(below.map(|file| one_below(node, file))).await,
        snapshots: image.snapshots.into_iter().map(|snapshot| snapshot.name).collect(),
        ..named.clone()
    }
}

/// A disk's image, and what it stands on.
async fn images(node: &Node, disk: &Disk, path: &Path) -> Result<(Below, Image), ImageError> {
    let below = below(node, disk, path).await?;
    match below.headers.first().cloned() {
        Some(top) => Ok((below, top)),
        None => storage::image(path, image_format(disk)).await.map(|top| (below, top)),
    }
}

/// What a disk stands on; of what may not be opened only the name.
async fn one_below(node: &Node, path: &Path) -> FileFacts {
    let name = path.display().to_string();
    if node.allows(path)
        && let Ok(opened) = storage::open_check(path, false).await
    {
        return file(name, opened).await;
    }
    FileFacts { path: name, ..FileFacts::default() }
}

async fn file(path: String, opened: storage::Disk) -> FileFacts {
    let bytes = Some(opened.size);
    match opened.kind {
        DiskKind::File => {
            let filesystem = storage::filesystem(Path::new(&path)).await.ok().map(|is| is.kind);
            FileFacts { path, bytes, inode: Some(opened.identity.inode), filesystem, ..FileFacts::default() }
        }
        DiskKind::BlockDevice => {
            let device = storage::device_name(opened.identity).await;
            FileFacts { path, bytes, block: true, device, ..FileFacts::default() }
        }
    }
}
