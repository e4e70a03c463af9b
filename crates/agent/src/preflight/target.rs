//! This host as the target of a domain that may come. Main function: [`facts`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use api::{CheckOffer, CopyFile, DeviceLack, TargetFacts};
use domain::{Definition, Domain, FileRole, FileUse};
use futures_util::future::join_all;
use qemu::capabilities::Capabilities;
use qemu::command_line::missing_devices;
use storage::Export;
use tokio::time::timeout;
use uuid::Uuid;

use super::nonces::NoncesRead;
use super::{door, host, known, macs, no_answer, places, qemu as asked_qemu, within};
use crate::bridges;
use crate::failure::Failure;
use crate::guest::{forbidden, frozen_uuid};
use crate::limits::FACT_TIMEOUT;
use crate::node::Node;

/// What a domain would find here, all that another host can ask.
pub(crate) async fn facts(node: &Node, offer: &CheckOffer) -> Result<TargetFacts, Failure> {
    let definition = Definition::parse(&offer.xml).map_err(Failure::Definition)?;
    let domain = definition.domain();
    let (found, source_fault, nonces) = tokio::join!(
        gather(node, domain, offer.formerly, &offer.files),
        unreachable(node, &offer.source),
        NoncesRead::read(node, offer)
    );
    let mut found = found?;
    nonces.note(&mut found.host.disks);
    nonces.note_places(&mut found.places);
    found.source_fault = source_fault;
    if !offer.live {
        found.host.chain_unshown = chain_unshown(node, &offer.files).await;
    }
    if offer.live
        && let Some(listen) = node.config.listen
    {
        let opened = within("a port as QEMU's", door::open(listen.ip())).await;
        if let Some((door, token)) = known(opened, &mut found.host.unknown) {
            found.door = Some(door.to_string());
            found.door_token = Some(token);
        }
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

/// What a domain would find here, and what lies where files of it would be copied to; `formerly` is its UUID on the source,
/// where it is to get another one.
pub(super) async fn gather(
    node: &Node,
    domain: &Domain,
    formerly: Option<Uuid>,
    files: &[CopyFile],
) -> Result<TargetFacts, Failure> {
    // Where its emulator is forbidden, the rest is judged by the one that is there, so that all is said at once.
    let emulator = node.emulator(domain).unwrap_or_else(|_forbidden| node.default_emulator());
    let capabilities = node.capabilities(emulator).await?;
    let asked = async { (asked_qemu::of_emulator(node, domain, &capabilities).await, ()) };
    let outside = forbidden(node, domain);
    let ((mut host, ()), kvm_unusable, files_missing, macs, uplinks, places) = tokio::join!(
        host::gather(node, domain, false, asked),
        kvm_unusable(node, domain),
        files_missing(domain, &outside),
        within("MAC addresses in use", macs::taken(node, domain)),
        within("cards that are free", bridges::uplinks_free(node)),
        places::look(node, formerly.unwrap_or(frozen_uuid(domain)), files),
    );
    let below = host.disks.iter().flat_map(|disk| &disk.below).map(|file| file.path.clone());
    let places_of_files = places.iter().map(|place| place.path.clone());
    let unnamed = below.chain(places_of_files).filter(|path| !node.allows(Path::new(path)));
    let files_forbidden: BTreeSet<String> = outside.iter().map(shown).chain(unnamed).collect();
    let macs_taken = known(macs, &mut host.unknown).unwrap_or_default();
    let uplinks_free = known(uplinks, &mut host.unknown).unwrap_or_default();
    let (name_of_uuid, uuid_of_name) = node.taken(frozen_uuid(domain), &domain.name);
    Ok(TargetFacts {
        host,
        kvm_unusable,
        has_machine: Some(capabilities.machine(&domain.os.machine).is_some()),
        devices_missing: lacking(domain, &capabilities)?,
        same_name: uuid_of_name.filter(|&uuid| uuid != frozen_uuid(domain) && Some(uuid) != formerly),
        same_uuid: name_of_uuid.filter(|name| *name != domain.name),
        files_missing,
        files_forbidden: files_forbidden.into_iter().collect(),
        emulator_forbidden: node.emulator(domain).err().and(domain.emulator.as_ref()).map(shown),
        macs_taken,
        uplinks_free,
        source_fault: None,
        door: None,
        door_token: None,
        places,
    })
}

/// Why no chain of images can be seen as one file on this host, where one of these files is to become one image.
pub(super) async fn chain_unshown(node: &Node, files: &[CopyFile]) -> Option<String> {
    if !files.iter().any(|file| file.converted) {
        return None;
    }
    let place = node.store.shown_image(Uuid::new_v4(), 0);
    within("a chain as one file", Export::try_out(&place)).await.err().map(|unknown| unknown.reason)
}

async fn kvm_unusable(node: &Node, domain: &Domain) -> Option<String> {
    match domain.kind {
        domain::Kind::Kvm => {
            let tried = timeout(FACT_TIMEOUT, node.kvm()).await;
            tried.unwrap_or_else(|_elapsed| Err(no_answer(FACT_TIMEOUT))).err()
        }
        domain::Kind::Qemu => None,
    }
}

fn lacking(domain: &Domain, capabilities: &Capabilities) -> Result<Vec<DeviceLack>, Failure> {
    let missing = missing_devices(domain, capabilities)?.into_iter();
    Ok(missing.map(|it| DeviceLack { device: it.device, mend: it.mend.to_owned() }).collect())
}

/// The files that cannot be read here; what this host does not allow is not touched.
async fn files_missing(domain: &Domain, outside: &[PathBuf]) -> Vec<String> {
    let nvram = domain.os.firmware.nvram.as_ref();
    let variables = nvram.and_then(|nvram| nvram.path.as_deref());
    let allowed = |path: &Path| !outside.iter().any(|outside| outside == path);
    let has_variables = match variables.filter(|path| allowed(path)) {
        Some(path) => is_there(path).await,
        None => false,
    };
    let template = nvram.and_then(|nvram| nvram.template.as_deref());
    // Variables that are there need no template, and a template makes those that are not.
    let needed = |file: &FileUse<'_>| match file.role {
        FileRole::Boot => true,
        FileRole::Firmware => template != Some(file.path) || !has_variables,
        FileRole::Nvram => nvram.is_some_and(|nvram| nvram.template.is_none()),
        FileRole::Emulator | FileRole::Disk | FileRole::Character | FileRole::Entropy => false,
    };
    let files = domain.files().into_iter().filter(|file| needed(file) && allowed(file.path));
    let looked = files.map(|file| async move { (!is_there(file.path).await).then(|| shown(file.path)) });
    join_all(looked).await.into_iter().flatten().collect()
}

async fn is_there(path: &Path) -> bool {
    matches!(timeout(FACT_TIMEOUT, storage::open_check(path, false)).await, Ok(Ok(_)))
}

fn shown(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}
