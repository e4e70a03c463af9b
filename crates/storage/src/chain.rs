//! The files that an image needs besides its own: the images below it, and external data files. It reads headers
//! through qemu-img, and opens nothing that the caller does not allow. The main type is [`Below`].

use std::path::{Path, PathBuf};

use crate::image::{Image, ImageError, ImageFormat, image};
use crate::limits::CHAIN_IMAGES_MAX;

/// What an image needs besides its own file. A name that is no path (`json:…`, `nbd://…`) stands here as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// The header of the image itself, where it is one that can have others below it.
    pub top: Option<Image>,
    /// The images below, the uppermost first. The last may be one that was not allowed, and so was not opened.
    pub backing: Vec<PathBuf>,
    /// Where images keep their blocks outside their own file.
    pub data_files: Vec<PathBuf>,
}

/// Follows the chain from the image at `path`. `allowed` says which files may be opened; `path` itself is.
///
/// # Errors
/// As [`image()`]: an image in the chain cannot be read, or there is no end to it.
pub async fn below(
    path: &Path,
    format: ImageFormat,
    allowed: impl Fn(&Path) -> bool,
) -> Result<Below, ImageError> {
    let mut found = Below::default();
    let top = path;
    let (mut path, mut format) = (path.to_owned(), format);
    while format == ImageFormat::Qcow2 {
        let header = image(&path, format).await?;
        found.data_files.extend(header.data_file.as_ref().map(|name| resolve(&path, name)));
        let (backing, backing_format) = (header.backing.clone(), header.backing_format.clone());
        found.top.get_or_insert(header);
        let Some(name) = backing else { break };
        let next = resolve(&path, &name);
        if next == top || found.backing.contains(&next) || found.backing.len() >= CHAIN_IMAGES_MAX {
            return Err(ImageError::Chain { path, limit: CHAIN_IMAGES_MAX });
        }
        found.backing.push(next.clone());
        if !allowed(&next) {
            break;
        }
        // What says no format is probed by QEMU; what is no qcow2 image has nothing below.
        format = match backing_format.as_deref() {
            Some("qcow2") => ImageFormat::Qcow2,
            Some(_) => ImageFormat::Raw,
            None if image(&next, ImageFormat::Qcow2).await.is_ok() => ImageFormat::Qcow2,
            None => ImageFormat::Raw,
        };
        path = next;
    }
    Ok(found)
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
