//! Who uses a volume: domains of this host, and of every host that it knows. What cannot be found out is refused, for it
//! could be a use. Main functions: [`none_here`], [`none_elsewhere`].

use std::path::{Path, PathBuf};

use api::{DomainState, VolumeAsked, VolumeUser};
use domain::Definition;
use futures_util::future::join_all;
use storage::{DiskError, Identity, Volume};
use uuid::Uuid;

use crate::disks;
use crate::failure::{Failure, PoolFailure};
use crate::keeper::Ask;
use crate::node::Node;

/// Refuses a volume that domains of this host use, of those that count.
pub(super) async fn none_here(
    node: &Node,
    volume: &Volume,
    counts: impl Fn(&VolumeUser) -> bool,
) -> Result<(), Failure> {
    let users = here(node, &volume.path).await?.into_iter().filter(counts);
    refuse(volume, users.map(|user| user.domain).collect())
}

/// Refuses a volume that domains of other hosts use, of those that count. Storage says nothing of a domain that is shut
/// off, nor of a disk that is not its first, so the hosts are asked.
pub(super) async fn none_elsewhere(
    node: &Node,
    volume: &Volume,
    counts: impl Fn(&VolumeUser) -> bool,
) -> Result<(), Failure> {
    let inode = storage::open_check(&volume.path, false).await?.identity.inode;
    let asked = VolumeAsked { path: volume.path.display().to_string(), inode };
    let answers = node.neighbours.list().into_iter().map(|host| ask(node, host.name, &asked));
    let mut domains = Vec::new();
    for (host, answer) in join_all(answers).await {
        let silent = |source| {
            let (volume, host) = (volume.name.clone(), host.clone());
            PoolFailure::HostSilent { volume, host, source: Box::new(source) }
        };
        let users = answer.map_err(silent)?.into_iter().filter(&counts);
        domains.extend(users.map(|user| format!("{} on host {host}", user.domain)));
    }
    refuse(volume, domains)
}

async fn ask(node: &Node, host: String, asked: &VolumeAsked) -> (String, Result<Vec<VolumeUser>, Failure>) {
    let answer = async {
        let client = node.neighbours.client(&host)?;
        client.volume_users(asked).await.map_err(|error| Failure::of_host(&host, error))
    };
    let answer = answer.await;
    (host, answer)
}

fn refuse(volume: &Volume, domains: Vec<String>) -> Result<(), Failure> {
    if domains.is_empty() {
        return Ok(());
    }
    Err(PoolFailure::VolumeUsed { volume: volume.name.clone(), domains }.into())
}

/// What this host answers another one. A file of its own by that name, which another inode shows, is not meant.
pub(crate) async fn answer(node: &Node, asked: &VolumeAsked) -> Result<Vec<VolumeUser>, Failure> {
    let path = PathBuf::from(&asked.path);
    let found = if node.allows(&path) { identity(&path).await? } else { None };
    if found.is_some_and(|found| found.inode != asked.inode) {
        return Ok(Vec::new());
    }
    users(node, &path, found).await
}

/// The domains of this host that use a file.
pub(super) async fn here(node: &Node, path: &Path) -> Result<Vec<VolumeUser>, Failure> {
    users(node, path, identity(path).await?).await
}

/// The domains of this host, but for one, that use a file or stand on it.
pub(crate) async fn others(node: &Node, path: &Path, domain: Uuid) -> Result<Vec<String>, Failure> {
    let found = identity(path).await?;
    let users = users_among(node, path, found, |shown| shown.uuid != domain).await?;
    Ok(users.into_iter().map(|user| user.domain).collect())
}

async fn users(node: &Node, path: &Path, found: Option<Identity>) -> Result<Vec<VolumeUser>, Failure> {
    users_among(node, path, found, |_| true).await
}

/// A domain that has moved away uses nothing here.
async fn users_among(
    node: &Node,
    path: &Path,
    found: Option<Identity>,
    counts: impl Fn(&api::Domain) -> bool,
) -> Result<Vec<VolumeUser>, Failure> {
    let mut users = Vec::new();
    for keeper in node.keepers() {
        let Some(shown) = keeper.ask(Ask::Show).await else { continue };
        let shown = shown?;
        if shown.state == DomainState::Moved || !counts(&shown) {
            continue;
        }
        let unknown =
            |source| PoolFailure::UseUnknown { domain: shown.name.clone(), source: Box::new(source) };
        for inactive in [false, true] {
            // A domain without a definition to keep is refused here, and one that is gone gives no answer.
            let Some(Ok(xml)) = keeper.ask(|reply| Ask::Xml { inactive, reply }).await else { continue };
            let definition = Definition::parse(&xml).map_err(|error| unknown(Failure::Definition(error)))?;
            if uses(node, &definition, path, found).await.map_err(unknown)? {
                users.push(VolumeUser { domain: shown.name.clone(), runs: shown.pid.is_some() });
                break;
            }
        }
    }
    Ok(users)
}

/// Whether a file of a domain is this one, by whatever path, or a disk of it stands on it.
async fn uses(
    node: &Node,
    definition: &Definition,
    path: &Path,
    found: Option<Identity>,
) -> Result<bool, Failure> {
    let domain = definition.domain();
    let mut files: Vec<PathBuf> = domain.files().iter().map(|file| file.path.to_owned()).collect();
    if files.iter().any(|file| file == path) {
        return Ok(true);
    }
    for disk in &domain.disks {
        let Some(path) = disks::path_of(disk) else { continue };
        let below = disks::below(node, disk, path).await?;
        files.extend(below.backing.into_iter().chain(below.data_files));
    }
    for file in &files {
        if file == path || found.is_some() && identity(file).await? == found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which file it is; none where there is none.
async fn identity(path: &Path) -> Result<Option<Identity>, DiskError> {
    match storage::open_check(path, false).await {
        Ok(disk) => Ok(Some(disk.identity)),
        // A name that is no path (`nbd://…`) stands in a chain, too.
        Err(DiskError::Missing { .. } | DiskError::NotADisk { .. } | DiskError::NotAbsolute { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
