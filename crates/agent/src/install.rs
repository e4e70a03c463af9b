//! A new domain by a few words: its disks are made, it is defined and started. What fails leaves nothing behind. Main
//! function: [`install`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Chipset, InstallDisk, InstallInterface, InstallNetwork, InstallRequest, Nvram};
use domain::{
    Bytes, Definition, DiskFormat, InterfaceSource, Kind, MachineFamily, NewDisk, NewDomain, NewInterface,
    System,
};
use storage::ImageFormat;

use crate::define::{define, freeze};
use crate::disks::discard;
use crate::failure::{Failure, InstallFailure};
use crate::guest::frozen_uuid;
use crate::keeper::Ask;
use crate::node::Node;
use crate::nonvolatile;

/// An image that is to be made.
struct NewImage {
    path: PathBuf,
    size_bytes: u64,
    format: ImageFormat,
}

/// Makes and starts a new domain.
pub(crate) async fn install(node: &Arc<Node>, request: &InstallRequest) -> Result<api::Domain, Failure> {
    let (new, images) = plan(node, request).await?;
    let definition = freeze(node, &new.xml()).await?;
    let uuid = frozen_uuid(definition.domain());
    if let (_, Some(uuid)) = node.taken(uuid, &request.name) {
        return Err(Failure::NameTaken { name: request.name.clone(), uuid });
    }
    let mut made = Vec::new();
    let installed = build(node, &definition, &images, &mut made).await;
    if installed.is_err() {
        discard(&made).await;
    }
    installed
}

/// What is asked for, as a new domain, and the images that it needs.
async fn plan(node: &Node, request: &InstallRequest) -> Result<(NewDomain, Vec<NewImage>), Failure> {
    let system = System::named(&request.os)
        .ok_or_else(|| Failure::Install(InstallFailure::SystemUnknown { os: request.os.clone() }))?;
    let mut disks = Vec::new();
    let mut images = Vec::new();
    for (number, asked) in request.disks.iter().enumerate() {
        let disk = disk(&node.config.images, &request.name, number, asked)?;
        if let Some(size_bytes) = asked.size_bytes {
            let format = match disk.format {
                DiskFormat::Qcow2 => ImageFormat::Qcow2,
                DiskFormat::Raw => ImageFormat::Raw,
            };
            images.push(NewImage { path: disk.path.clone(), size_bytes, format });
        }
        disks.push(disk);
    }
    let new = NewDomain {
        name: request.name.clone(),
        kind: if node.kvm().await.is_ok() { Kind::Kvm } else { Kind::Qemu },
        system,
        memory: Bytes(request.memory_bytes),
        vcpus: request.vcpus,
        machine: match request.machine {
            Chipset::Q35 => MachineFamily::Q35,
            Chipset::Pc => MachineFamily::I440fx,
        },
        uefi: request.uefi,
        disks,
        cdrom: request.cdrom.as_ref().map(PathBuf::from),
        interfaces: request.interfaces.iter().map(interface).collect(),
        vnc: request.vnc,
    };
    Ok((new, images))
}

fn interface(InstallInterface { on, model }: &InstallInterface) -> NewInterface {
    let source = match on {
        InstallNetwork::Bridge(bridge) => InterfaceSource::Bridge(bridge.clone()),
        InstallNetwork::Network(network) => InterfaceSource::Network(network.clone()),
    };
    NewInterface { source, model: model.clone() }
}

fn disk(images: &Path, name: &str, number: usize, asked: &InstallDisk) -> Result<NewDisk, Failure> {
    let format = match (asked.format.as_deref(), &asked.path) {
        (Some("qcow2"), _) | (None, None) => DiskFormat::Qcow2,
        (Some("raw"), _) => DiskFormat::Raw,
        (Some(other), _) => {
            return Err(Failure::Install(InstallFailure::Format { format: other.to_owned() }));
        }
        (None, Some(path)) if path.ends_with(".qcow2") => DiskFormat::Qcow2,
        (None, Some(_)) => DiskFormat::Raw,
    };
    let path = match (&asked.path, asked.size_bytes) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(_)) => {
            let place = if number == 0 { String::new() } else { format!("-{number}") };
            images.join(format!("{name}{place}.{}", format.as_str()))
        }
        (None, None) => return Err(Failure::Install(InstallFailure::DiskUnsaid)),
    };
    Ok(NewDisk { path, format, bus: asked.bus.clone() })
}

/// Makes the images, defines the domain and starts it. A domain that does not start is forgotten again; `made` are the
/// images that are there then.
async fn build<'a>(
    node: &Arc<Node>,
    definition: &Definition,
    images: &'a [NewImage],
    made: &mut Vec<&'a Path>,
) -> Result<api::Domain, Failure> {
    for NewImage { path, size_bytes, format } in images {
        if path.parent() == Some(&node.config.images) {
            storage::make_directory(&node.config.images).await?;
        }
        storage::create(path, *size_bytes, *format).await?;
        made.push(path);
    }
    let had_variables = nonvolatile::variables(definition.domain()).is_some_and(|(path, _)| path.exists());
    let uuid = define(node, definition.xml()).await?.uuid.to_string();
    let started = node.ask(&uuid, Ask::Start).await;
    if started.is_err() {
        let nvram = if had_variables { Nvram::Keep } else { Nvram::Remove };
        if let Err(failure) = node.ask(&uuid, |reply| Ask::Undefine(Some(nvram), reply)).await {
            tracing::warn!(domain = uuid, "a domain that did not start stays defined: {}", failure.chain());
        }
    }
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: usize, asked: &InstallDisk, expect: Result<(&str, DiskFormat), &str>) {
        let found = disk(Path::new("/srv/images"), "web1", number, asked);
        let found = found.map(|disk| (disk.path.display().to_string(), disk.format));
        let expect = expect.map(|(path, format)| (path.to_owned(), format));
        assert_eq!(found.map_err(|failure| failure.to_string()), expect.map_err(str::to_owned));
    }

    #[test]
    fn where_a_disk_lies() {
        let size = InstallDisk { size_bytes: Some(1 << 30), ..InstallDisk::default() };
        check(0, &size, Ok(("/srv/images/web1.qcow2", DiskFormat::Qcow2)));
        check(2, &size, Ok(("/srv/images/web1-2.qcow2", DiskFormat::Qcow2)));
        let raw = InstallDisk { format: Some("raw".to_owned()), ..size.clone() };
        check(0, &raw, Ok(("/srv/images/web1.raw", DiskFormat::Raw)));
        let there = InstallDisk { path: Some("/srv/a.qcow2".to_owned()), ..InstallDisk::default() };
        check(0, &there, Ok(("/srv/a.qcow2", DiskFormat::Qcow2)));
        check(0, &InstallDisk { format: raw.format, ..there.clone() }, Ok(("/srv/a.qcow2", DiskFormat::Raw)));
        check(
            0,
            &InstallDisk { path: Some("/srv/a".to_owned()), ..size.clone() },
            Ok(("/srv/a", DiskFormat::Raw)),
        );
        check(
            0,
            &InstallDisk { format: Some("vmdk".to_owned()), ..size },
            Err("no image of the format vmdk can be used"),
        );
        check(0, &InstallDisk::default(), Err("a disk has neither a path nor a size"));
    }
}
