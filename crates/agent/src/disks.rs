//! The disks of a domain as files of this host: whether they can be opened, and whether all that they stand on lies
//! where this host allows. It never changes one. Main function: [`check`].

use std::path::{Path, PathBuf};

use domain::{Definition, Disk, DiskFormat, DiskSource, Domain, StartupPolicy};
use storage::{Below, DiskError, ImageFormat};

use crate::failure::Failure;
use crate::node::Node;

/// The file or device of a disk on this host.
pub(crate) fn path_of(disk: &Disk) -> Option<&Path> {
    disk.source.as_ref().and_then(DiskSource::path)
}

/// Where a disk is, as `storage` is told: the file or device, or `nfs://HOST/PATH`.
pub(crate) fn location(disk: &Disk) -> Option<PathBuf> {
    let source = disk.source.as_ref()?;
    Some(source.path().map_or_else(|| source.to_string().into(), Path::to_owned))
}

/// Whether this host may use every disk of a domain, down to the lowest image.
pub(crate) async fn check(node: &Node, domain: &Domain) -> Result<(), Failure> {
    for disk in &domain.disks {
        let Some(location) = location(disk) else { continue };
        if !storage::is_over_nfs(&location) {
            storage::open_check(&location, !disk.readonly).await?;
        }
        let below = below(node, disk, &location).await?;
        let outside = below.backing.iter().chain(&below.data_files).find(|file| !node.allows(file));
        if let Some(outside) = outside {
            let allowed = node.config.allowed_paths.clone();
            return Err(Failure::PathNotAllowed { path: outside.clone(), allowed });
        }
        if !below.backing.starts_with(&disk.backing) {
            let (target, written, found) = (disk.target.clone(), disk.backing.clone(), below.backing);
            return Err(Failure::Backing { target, written, found });
        }
    }
    Ok(())
}

/// Removes images that were made for something that came to nothing.
pub(crate) async fn discard(made: &[&Path]) {
    for path in made {
        if let Err(error) = storage::remove(path).await {
            tracing::warn!(path = %path.display(), "an image was left behind: {error}");
        }
    }
}

/// What a disk's image stands on.
pub(crate) async fn below(node: &Node, disk: &Disk, path: &Path) -> Result<Below, storage::ImageError> {
    storage::below(path, image_format(disk), |file| node.allows(file)).await
}

/// The format of a disk's image, as `storage` calls it.
pub(crate) fn image_format(disk: &Disk) -> ImageFormat {
    match disk.format {
        DiskFormat::Qcow2 => ImageFormat::Qcow2,
        DiskFormat::Raw => ImageFormat::Raw,
    }
}

/// The definition without the media that may be missing (`startupPolicy='optional'`), and are.
pub(crate) async fn without_missing_media(definition: &Definition) -> Result<Definition, Failure> {
    let mut present = definition.clone();
    for disk in &definition.domain().disks {
        let optional = disk.is_cdrom() && disk.startup_policy == StartupPolicy::Optional;
        let Some(path) = path_of(disk).filter(|_| optional) else { continue };
        if let Err(DiskError::Missing { .. }) = storage::open_check(path, false).await {
            present = present.change_media(&disk.target, None).map_err(Failure::Definition)?;
        }
    }
    Ok(present)
}
