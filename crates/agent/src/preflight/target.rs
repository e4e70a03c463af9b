//! This host as the target of a domain that may come. Main function: [`facts`].

use api::{CheckOffer, DeviceLack, MacUse, TargetFacts};
use domain::{Definition, Domain, FileRole, FileUse};
use futures_util::future::join_all;
use qemu::capabilities::Capabilities;
use qemu::command_line::missing_devices;

use super::{disks, door, host, known, qemu as asked_qemu, within};
use crate::disks::forbidden_below;
use crate::failure::Failure;
use crate::guest::{forbidden, frozen_uuid};
use crate::keeper::Ask;
use crate::limits::FACT_TIMEOUT;
use crate::node::Node;

/// What a domain would find here, all that another host can ask.
pub(crate) async fn facts(node: &Node, offer: &CheckOffer) -> Result<TargetFacts, Failure> {
    let definition = Definition::parse(&offer.xml).map_err(Failure::Definition)?;
    let domain = definition.domain();
    let (found, source_fault) = tokio::join!(gather(node, domain), unreachable(node, &offer.source));
    let mut found = found?;
    disks::read_nonces(node, domain, offer, &mut found.host.disks).await;
    found.source_fault = source_fault;
    if offer.live
        && let Some(listen) = node.config.listen
        && let Ok((door, token)) = door::open(listen.ip()).await
    {
        found.door = Some(door.to_string());
        found.door_token = Some(token);
    }
    Ok(found)
}

/// Why the source's agent cannot be asked from here.
async fn unreachable(node: &Node, source: &str) -> Option<String> {
    let asked = within("the source", async {
        let client = node.neighbours.client(source)?;
        let said = client.version().await;
        said.map_err(|error| Failure::Neighbour { host: source.to_owned(), source: Box::new(error) })
    });
    asked.await.err().map(|unknown| unknown.reason)
}

/// What a domain would find here.
pub(super) async fn gather(node: &Node, domain: &Domain) -> Result<TargetFacts, Failure> {
    // Where its emulator is forbidden, the rest is judged by the one that is there, so that all is said at once.
    let emulator = node.emulator(domain).unwrap_or_else(|_forbidden| node.default_emulator());
    let capabilities = node.capabilities(emulator).await?;
    let of_host = async {
        let qemu = asked_qemu::of_emulator(node, domain, &capabilities).await;
        host::gather(node, domain, qemu).await
    };
    let (host, kvm_unusable, files_missing, below, macs) = tokio::join!(
        of_host,
        kvm_unusable(node, domain),
        files_missing(domain),
        within("the files below the disks", async { Ok::<_, Failure>(forbidden_below(node, domain).await) }),
        within("MAC addresses in use", macs_taken(node, domain)),
    );
    let mut host = host;
    let below = known(below, &mut host.unknown).unwrap_or_default();
    let macs_taken = known(macs, &mut host.unknown).unwrap_or_default();
    let (name_of_uuid, uuid_of_name) = node.taken(frozen_uuid(domain), &domain.name);
    let shown = |path: &std::path::PathBuf| path.display().to_string();
    Ok(TargetFacts {
        host,
        kvm_unusable,
        has_machine: Some(capabilities.machine(&domain.os.machine).is_some()),
        devices_missing: lacking(domain, &capabilities)?,
        same_name: uuid_of_name.filter(|&uuid| uuid != frozen_uuid(domain)),
        same_uuid: name_of_uuid.filter(|name| *name != domain.name),
        files_missing,
        files_forbidden: forbidden(node, domain).iter().chain(&below).map(shown).collect(),
        emulator_forbidden: node.emulator(domain).err().and_then(|_| domain.emulator.as_ref().map(shown)),
        macs_taken,
        source_fault: None,
        door: None,
        door_token: None,
    })
}

async fn kvm_unusable(node: &Node, domain: &Domain) -> Option<String> {
    match domain.kind {
        domain::Kind::Kvm => node.kvm().await.err(),
        domain::Kind::Qemu => None,
    }
}

fn lacking(domain: &Domain, capabilities: &Capabilities) -> Result<Vec<DeviceLack>, Failure> {
    let missing = missing_devices(domain, capabilities)?.into_iter();
    Ok(missing.map(|it| DeviceLack { device: it.device, mend: it.mend.to_owned() }).collect())
}

async fn files_missing(domain: &Domain) -> Vec<String> {
    let needed = domain.files().into_iter().filter(|file| is_needed(domain, file));
    let looked = join_all(needed.map(|file| async move {
        let opened = tokio::time::timeout(FACT_TIMEOUT, storage::open_check(file.path, false)).await;
        (!matches!(opened, Ok(Ok(_)))).then(|| file.path.display().to_string())
    }));
    looked.await.into_iter().flatten().collect()
}

/// Whether a file must be there before the guest comes. Variables that are there need no template.
fn is_needed(domain: &Domain, file: &FileUse<'_>) -> bool {
    match file.role {
        FileRole::Boot => true,
        FileRole::Firmware => {
            let nvram = domain.os.firmware.nvram.as_ref();
            let is_template = nvram.is_some_and(|nvram| nvram.template.as_deref() == Some(file.path));
            !is_template || nvram.and_then(|nvram| nvram.path.as_deref()).is_some_and(|path| !path.exists())
        }
        FileRole::Nvram => domain.os.firmware.nvram.as_ref().is_some_and(|nvram| nvram.template.is_none()),
        FileRole::Emulator | FileRole::Disk | FileRole::Character | FileRole::Entropy => false,
    }
}

/// The guest's MAC addresses that another guest of this host has, or that a bridge here has learned on a tap.
async fn macs_taken(node: &Node, domain: &Domain) -> Result<Vec<MacUse>, Failure> {
    let mut taken = Vec::new();
    let macs: Vec<_> = domain.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let keepers = node.keepers();
    let shown = join_all(keepers.iter().map(|keeper| keeper.ask(Ask::Show))).await;
    for other in shown.into_iter().flatten().flatten() {
        if Some(other.uuid) == domain.uuid || other.pid.is_none() {
            continue;
        }
        for interface in other.interfaces {
            if macs.iter().any(|mac| mac.to_string() == interface.mac) {
                taken.push(MacUse { mac: interface.mac, by: format!("domain {}", other.name) });
            }
        }
    }
    for mac in macs {
        for learned in node.network.learned(mac.0).await?.into_iter().filter(|learned| learned.tap) {
            let mac = mac.to_string();
            if !taken.iter().any(|taken| taken.mac == mac) {
                taken.push(MacUse { mac, by: format!("port {} of bridge {}", learned.port, learned.bridge) });
            }
        }
    }
    Ok(taken)
}
