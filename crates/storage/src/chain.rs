//! The files that an image needs besides its own: the images below it, and external data files. It reads headers
//! through qemu-img, and opens nothing that the caller does not allow. The main type is [`Below`].

use std::path::{Path, PathBuf};

use crate::disk::open_check;
use crate::image::{Image, ImageError, ImageFormat, image};
use crate::limits::CHAIN_IMAGES_MAX;

/// What an image needs besides its own file. A name that is no path (`json:…`, `nbd://…`) stands here as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// The headers of the image itself and of those below, as far down as there are some: what is raw has none.
    pub headers: Vec<Image>,
    /// The images below, the uppermost first. The last may be one that was not allowed, and so was not opened.
    pub backing: Vec<PathBuf>,
    /// Where images keep their blocks outside their own file.
    pub data_files: Vec<PathBuf>,
}

/// Follows the chain from the image at `path`. `allowed` says which files may be opened; `path` itself is.
///
/// # Errors
/// As [`image()`]; [`ImageError::Below`] where an image below cannot be opened, and [`ImageError::Chain`] where there is no
/// end to them.
pub async fn below(
    path: &Path,
    format: ImageFormat,
    allowed: impl Fn(&Path) -> bool,
) -> Result<Below, ImageError> {
    let mut found = Below::default();
    let top = path;
    let (mut above, mut path, mut format) = (None, path.to_owned(), format);
    while format == ImageFormat::Qcow2 {
        let header = image(&path, format).await.map_err(|error| named_by(above, &path, error))?;
        found.data_files.extend(header.data_file.as_ref().map(|name| resolve(&path, name)));
        let (backing, backing_format) = (header.backing.clone(), header.backing_format.clone());
        found.headers.push(header);
        let Some(name) = backing else { break };
        let next = resolve(&path, &name);
        if next == top || found.backing.contains(&next) || found.backing.len() >= CHAIN_IMAGES_MAX {
            return Err(ImageError::Chain { path, limit: CHAIN_IMAGES_MAX });
        }
        found.backing.push(next.clone());
        // What is no path is found by QEMU, over the network.
        if !allowed(&next) || !next.is_absolute() {
            break;
        }
        if let Err(error) = open_check(&next, false).await {
            return Err(named_by(Some(path), &next, error.into()));
        }
        // What says no format is probed by QEMU; what is no qcow2 image has nothing below.
        format = match backing_format.as_deref() {
            Some("qcow2") => ImageFormat::Qcow2,
            Some(_) => ImageFormat::Raw,
            None if image(&next, ImageFormat::Qcow2).await.is_ok() => ImageFormat::Qcow2,
            None => ImageFormat::Raw,
        };
        above = Some(std::mem::replace(&mut path, next));
    }
    Ok(found)
}

/// Why an image cannot be read, and which one names it.
fn named_by(above: Option<PathBuf>, path: &Path, error: ImageError) -> ImageError {
    match above {
        Some(above) => ImageError::Below { path: above, below: path.to_owned(), source: Box::new(error) },
        None => error,
    }
}

/// As QEMU does it (`path_combine`): relative to the image, unless it is absolute or names a protocol.
fn resolve(image: &Path, name: &Path) -> PathBuf {
    let text = name.to_string_lossy();
    let protocol = text.find(':').is_some_and(|colon| !text[..colon].contains('/'));
    match image.parent() {
        Some(directory) if !protocol && name.is_relative() => directory.join(name),
        Some(_) | None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expect: &str) {
        assert_eq!(resolve(Path::new("/srv/vm/a.qcow2"), Path::new(name)), Path::new(expect));
    }

    #[test]
    fn names_are_taken_as_qemu_takes_them() {
        check("base.img", "/srv/vm/base.img");
        check("../base.img", "/srv/vm/../base.img");
        check("/etc/shadow", "/etc/shadow");
        check("./a:b", "/srv/vm/./a:b");
        check("nbd://host/x", "nbd://host/x");
        check("json:{}", "json:{}");
    }
}
