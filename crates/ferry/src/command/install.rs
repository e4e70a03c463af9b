//! `create`: from a file, a domain that is not kept; by a few words, one that is.

use api::{Chipset, InstallDisk, InstallInterface, InstallNetwork, InstallRequest};

use super::Desk;
use super::define::create_from;
use super::devices::absolute;
use crate::args::{Card, Create, Graphics, Machine, NewDomain};
use crate::failure::{Exit, Failure};
use crate::printer;

pub(super) async fn create(desk: &Desk<'_>, typed: &Create) -> Result<Exit, Failure> {
    match (&typed.file, &typed.new.name, typed.new.memory) {
        (Some(file), _, _) => create_from(desk, file).await,
        (None, Some(name), Some(memory_bytes)) => {
            install(desk, &request(name, memory_bytes, &typed.new)?).await
        }
        (None, _, _) => unreachable!("clap asks for a file, or for a name and memory"),
    }
}

async fn install(desk: &Desk<'_>, request: &InstallRequest) -> Result<Exit, Failure> {
    let domain = desk.client.install(request).await?;
    desk.printer.answer(&domain, |_| {
        let disks = domain.disks.iter().filter(|disk| !disk.readonly);
        let disks = disks.map(|disk| format!("  {}: {}\n", disk.target, disk.source));
        let state = printer::state(domain.state);
        format!("Domain {} is defined and {state}.\n{}", domain.name, disks.collect::<String>())
    });
    Ok(Exit::Done)
}

/// Paths go whole: the agent's own directory is another.
fn request(name: &str, memory_bytes: u64, typed: &NewDomain) -> Result<InstallRequest, Failure> {
    let whole = |path| absolute(path).map(|path| path.to_string_lossy().into_owned());
    let mut disks = Vec::new();
    for disk in &typed.disk {
        let path = disk.path.as_deref().map(whole).transpose()?;
        let (format, bus) = (disk.format.clone(), disk.bus.clone());
        disks.push(InstallDisk { path, size_bytes: disk.size_bytes, format, bus });
    }
    let usual = [Card::Network { name: "default".to_owned(), model: None }];
    let networks = if typed.network.is_empty() { &usual[..] } else { &typed.network };
    Ok(InstallRequest {
        name: name.to_owned(),
        os: typed.os.clone(),
        memory_bytes,
        vcpus: typed.vcpus,
        machine: match typed.machine {
            Machine::Q35 => Chipset::Q35,
            Machine::Pc => Chipset::Pc,
        },
        uefi: typed.uefi,
        disks,
        cdrom: typed.cdrom.as_deref().map(whole).transpose()?,
        interfaces: networks.iter().filter_map(interface).collect(),
        vnc: typed.graphics == Graphics::Vnc,
    })
}

fn interface(typed: &Card) -> Option<InstallInterface> {
    let (on, model) = match typed {
        Card::Bridge { name, model } => (InstallNetwork::Bridge(name.clone()), model),
        Card::Network { name, model } => (InstallNetwork::Network(name.clone()), model),
        Card::None => return None,
    };
    Some(InstallInterface { on, model: model.clone() })
}
