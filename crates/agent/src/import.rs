//! A domain is taken over from a libvirt on this host, with its disks in place. What libvirt runs, or has saved the memory
//! of, stays libvirt's. Main function: [`import`].

use std::sync::Arc;

use api::{ImportRequest, Imported};
use domain::Definition;

use crate::define::define;
use crate::failure::{Failure, ImportFailure};
use crate::guest::own_disks;
use crate::node::Node;
use crate::volumes;

/// Defines the domain here; libvirt's files are left as they are.
pub(crate) async fn import(node: &Arc<Node>, request: ImportRequest) -> Result<Imported, Failure> {
    let (name, xml) = match request {
        ImportRequest::Libvirt(name) if is_file_name(&name) => (name, None),
        ImportRequest::Libvirt(name) => return Err(Failure::Import(ImportFailure::NotInLibvirt { name })),
        ImportRequest::Xml(xml) => {
            let xml = volumes::resolved(node, &xml)?;
            let definition = Definition::parse(&xml).map_err(Failure::Definition)?;
            (definition.domain().name.clone(), Some(xml))
        }
    };
    let known = host::libvirt_domain(&name)?;
    let not_there = || Failure::Import(ImportFailure::NotInLibvirt { name: name.clone() });
    let xml = volumes::resolved(node, &xml.or_else(|| known.xml.clone()).ok_or_else(not_there)?)?;
    if let Some(pid) = known.pid {
        return Err(Failure::Import(ImportFailure::LibvirtRuns { name, pid }));
    }
    if known.saved {
        return Err(Failure::Import(ImportFailure::LibvirtSaved { name }));
    }
    let definition = Definition::parse(&xml).map_err(Failure::Definition)?;
    for disk in own_disks(definition.domain())? {
        storage::check_unused(&disk.path, disk.image_format()).await?;
    }
    let notes = definition.notes().iter().map(|note| format!("{}: {}", note.element, note.message)).collect();
    let domain = define(node, &xml).await?;
    Ok(Imported { domain, in_libvirt: known.xml.is_some(), libvirt_autostart: known.autostart, notes })
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}
