//! Another domain of the same kind: copies of the disks that the guest writes, a new name, UUID and MAC addresses. What
//! fails leaves nothing behind. Main function: [`clone`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::CloneRequest;
use domain::{Definition, FlashFormat};
use storage::ImageFormat;

use crate::define::define;
use crate::disks::discard;
use crate::failure::{CopyFailure, Failure};
use crate::guest::own_disks;
use crate::keeper::{Ask, Loan};
use crate::node::Node;
use crate::nonvolatile;

/// A file of the domain and its copy.
struct Copy {
    of: Of,
    from: PathBuf,
    to: PathBuf,
    format: ImageFormat,
}

/// What a file is to the domain.
enum Of {
    /// The disk of this name.
    Disk(String),
    /// The variables of its firmware.
    Nvram,
}

/// Clones a domain that is shut off.
pub(crate) async fn clone(
    node: &Arc<Node>,
    domain: &str,
    request: &CloneRequest,
) -> Result<api::Domain, Failure> {
    let loan = node.ask(domain, Ask::Lend).await?;
    if let (_, Some(uuid)) = node.taken(loan.uuid(), &request.name) {
        return Err(Failure::NameTaken { name: request.name.clone(), uuid });
    }
    let copies = plan(node, &loan.definition, request)?;
    let xml = renamed(&loan.definition, request, &copies).map_err(Failure::Definition)?;
    let mut made = Vec::new();
    let cloned = fill(node, &loan, &copies, &xml, &mut made).await;
    if cloned.is_err() {
        discard(&made).await;
    }
    cloned
}

/// Where each copy goes; refused before anything is copied.
fn plan(node: &Node, definition: &Definition, request: &CloneRequest) -> Result<Vec<Copy>, Failure> {
    let domain = definition.domain();
    let disks = own_disks(domain)?;
    if let Some(unknown) =
        request.files.keys().find(|target| disks.iter().all(|disk| &disk.target != *target))
    {
        return Err(Failure::Copy(CopyFailure::NoSuchDisk {
            domain: domain.name.clone(),
            disk: unknown.clone(),
        }));
    }
    let mut copies = Vec::new();
    for disk in disks {
        if disk.block {
            return Err(Failure::Copy(CopyFailure::DiskIsDevice { disk: disk.target, path: disk.path }));
        }
        let fallback = format!("{}-{}.{}", request.name, disk.target, disk.format.as_str());
        let to = match request.files.get(&disk.target) {
            Some(path) => PathBuf::from(path),
            None => beside(&disk.path, &domain.name, &request.name, fallback),
        };
        let format = disk.image_format();
        copies.push(Copy { of: Of::Disk(disk.target), from: disk.path, to, format });
    }
    if let Some((path, nvram)) = nonvolatile::variables(domain) {
        let to = beside(path, &domain.name, &request.name, format!("{}_VARS.fd", request.name));
        let format = match nvram.format {
            FlashFormat::Raw => ImageFormat::Raw,
            FlashFormat::Qcow2 => ImageFormat::Qcow2,
        };
        copies.push(Copy { of: Of::Nvram, from: path.to_owned(), to, format });
    }
    if let Some(copy) = copies.iter().find(|copy| !node.allows(&copy.to)) {
        let (path, allowed) = (copy.to.clone(), node.config.allowed_paths.clone());
        return Err(Failure::PathNotAllowed { path, allowed });
    }
    Ok(copies)
}

/// `web1.qcow2` of `web1` becomes `web2.qcow2` of `web2`; what does not bear the domain's name gets another one.
fn beside(path: &Path, old: &str, new: &str, fallback: String) -> PathBuf {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let named = file.strip_prefix(old).map_or(fallback, |rest| format!("{new}{rest}"));
    path.parent().unwrap_or(Path::new("/")).join(named)
}

/// The new domain's definition; what it lacks is filled in when it is defined.
fn renamed(
    definition: &Definition,
    request: &CloneRequest,
    copies: &[Copy],
) -> Result<Definition, domain::DefinitionError> {
    let mut renamed = definition.with_name(&request.name)?.without_uuid()?.without_macs()?;
    for copy in copies {
        renamed = match &copy.of {
            Of::Disk(target) => renamed.with_disk_source(target, &copy.to)?,
            Of::Nvram => renamed.with_nvram(&copy.to)?,
        };
    }
    Ok(renamed)
}

async fn fill<'a>(
    node: &Arc<Node>,
    _disks: &Loan,
    copies: &'a [Copy],
    definition: &Definition,
    made: &mut Vec<&'a Path>,
) -> Result<api::Domain, Failure> {
    for Copy { of, from, to, format } in copies {
        // A guest that was never started has no variables yet; they are made from their template.
        if matches!(of, Of::Nvram) && !from.exists() {
            continue;
        }
        storage::copy(from, to, *format).await?;
        made.push(to);
    }
    define(node, definition.xml()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: &str) {
        let beside = beside(Path::new(path), "web1", "shop", "shop-vdb.qcow2".into());
        assert_eq!(beside, Path::new(expect));
    }

    #[test]
    fn copies_lie_beside_under_the_new_name() {
        check("/srv/web1.qcow2", "/srv/shop.qcow2");
        check("/srv/web1-data.img", "/srv/shop-data.img");
        check("/srv/disk0", "/srv/shop-vdb.qcow2");
    }
}
