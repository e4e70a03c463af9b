//! The volumes of a pool: files that are made, looked at, resized, removed, filled and read. One that a domain uses is left
//! alone, whichever host the domain is on: the owner record beside a volume says so on all of them. Main functions:
//! [`create`], [`delete`], [`resolved`].

use std::path::{Path, PathBuf};

use api::{VolumeFormat, VolumeRequest, VolumeSizeRequest};
use domain::{Definition, with_volumes_resolved};
use storage::{Download, ImageError, ImageFormat, Upload, Volume};

use crate::disks;
use crate::failure::{Failure, PoolFailure};
use crate::guest;
use crate::keeper::Ask;
use crate::limits::NAME_BYTES_MAX;
use crate::node::Node;
use crate::pools::{self, InUse};

/// The text of a definition, its volumes made the files that they are on this host.
pub(crate) fn resolved(node: &Node, xml: &str) -> Result<String, Failure> {
    let resolve = |pool: &str, volume: &str| {
        let mend = |failure: &Failure| match failure {
            Failure::Pool(PoolFailure::Inactive { pool }) => format!("`ferry pool start {pool}` starts it"),
            _ => "`ferry pool list` and `ferry vol list POOL` show what there is".to_owned(),
        };
        let path = pools::using(node, pool).and_then(|pool| path_in(&pool, volume));
        path.map_err(|failure| (failure.to_string(), mend(&failure)))
    };
    with_volumes_resolved(xml, resolve).map_err(Failure::Definition)
}

/// Where a volume lies, or would lie.
fn path_in(pool: &InUse, volume: &str) -> Result<PathBuf, Failure> {
    let fits = !volume.is_empty()
        && volume.len() <= NAME_BYTES_MAX
        && !volume.starts_with('.')
        && !volume.contains('/')
        && !volume.chars().any(char::is_control)
        && !volume.ends_with(storage::OWNER_SUFFIX);
    if !fits {
        return Err(PoolFailure::VolumeName { name: volume.to_owned() }.into());
    }
    Ok(pool.pool.path.join(volume))
}

/// A volume that is there.
async fn find(pool: &InUse, volume: &str) -> Result<Volume, Failure> {
    let path = path_in(pool, volume)?;
    let missing = || PoolFailure::VolumeNotFound { volume: volume.to_owned(), pool: pool.pool.name.clone() };
    Ok(storage::volume(&path).await?.ok_or_else(missing)?)
}

fn exists(pool: &InUse, volume: &str, error: ImageError) -> Failure {
    match error {
        ImageError::Exists { .. } => {
            PoolFailure::VolumeExists { volume: volume.to_owned(), pool: pool.pool.name.clone() }.into()
        }
        error => error.into(),
    }
}

/// All volumes, by name.
pub(crate) async fn list(node: &Node, pool: &str) -> Result<Vec<api::Volume>, Failure> {
    let pool = pools::using(node, pool)?;
    let volumes = storage::volumes(&pool.pool.path).await?;
    Ok(volumes.into_iter().map(as_told).collect())
}

fn as_told(volume: Volume) -> api::Volume {
    api::Volume {
        name: volume.name,
        path: volume.path.display().to_string(),
        format: match volume.format {
            ImageFormat::Qcow2 => VolumeFormat::Qcow2,
            ImageFormat::Raw => VolumeFormat::Raw,
        },
        capacity_bytes: volume.capacity,
        allocation_bytes: volume.allocation,
        backing: None,
        used_by: Vec::new(),
        owner: None,
    }
}

/// One volume, with what it stands on and who uses it.
pub(crate) async fn show(node: &Node, pool: &str, volume: &str) -> Result<api::Volume, Failure> {
    let pool = pools::using(node, pool)?;
    told(node, find(&pool, volume).await?).await
}

async fn told(node: &Node, volume: Volume) -> Result<api::Volume, Failure> {
    let image = storage::image(&volume.path, volume.format).await?;
    let used_by = users(node, &volume.path).await.into_iter().map(|user| user.domain).collect();
    let owner = guest::read_owner(&storage::owner_path(&volume.path)).await?.map(|record| record.host);
    let backing = image.backing.map(|path| path.display().to_string());
    Ok(api::Volume { backing, used_by, owner, ..as_told(volume) })
}

/// Makes an empty volume.
pub(crate) async fn create(node: &Node, pool: &str, request: VolumeRequest) -> Result<api::Volume, Failure> {
    let pool = pools::using(node, pool)?;
    let path = path_in(&pool, &request.name)?;
    let format = match request.format {
        VolumeFormat::Qcow2 => ImageFormat::Qcow2,
        VolumeFormat::Raw => ImageFormat::Raw,
    };
    let created = storage::create(&path, request.capacity_bytes, format).await;
    created.map_err(|error| exists(&pool, &request.name, error))?;
    find(&pool, &request.name).await.map(as_told)
}

/// Removes a volume that no domain uses.
pub(crate) async fn delete(node: &Node, pool: &str, volume: &str) -> Result<(), Failure> {
    let pool = pools::using(node, pool)?;
    let volume = find(&pool, volume).await?;
    unused(node, &volume, |_| true).await?;
    if let Some(record) = guest::read_owner(&storage::owner_path(&volume.path)).await? {
        return Err(PoolFailure::VolumeOwned { volume: volume.name, host: record.host }.into());
    }
    storage::remove(&volume.path).await.map_err(Failure::from)
}

/// Gives a volume that no guest has open another size.
pub(crate) async fn resize(
    node: &Node,
    pool: &str,
    volume: &str,
    request: &VolumeSizeRequest,
) -> Result<api::Volume, Failure> {
    let pool = pools::using(node, pool)?;
    let found = find(&pool, volume).await?;
    at_rest(node, &found).await?;
    let below = storage::below(&found.path, found.format, |file| node.allows(file)).await?;
    if let Some(outside) = below.backing.iter().chain(&below.data_files).find(|file| !node.allows(file)) {
        return Err(PoolFailure::VolumeBelow { volume: found.name, below: outside.clone() }.into());
    }
    let capacity = storage::image(&found.path, found.format).await?.virtual_size;
    if request.capacity_bytes < capacity && !request.shrink {
        return Err(PoolFailure::VolumeShrinks { volume: found.name, capacity }.into());
    }
    storage::resize(&found.path, request.capacity_bytes, found.format, request.shrink).await?;
    find(&pool, volume).await.map(as_told)
}

/// A volume whose bytes come in, while its pool is held.
pub(crate) struct Incoming {
    upload: Upload,
    pool: InUse,
    volume: String,
}

/// Begins a volume whose bytes come from elsewhere.
pub(crate) async fn upload(node: &Node, pool: &str, volume: &str) -> Result<Incoming, Failure> {
    let pool = pools::using(node, pool)?;
    let begun = Upload::begin(&path_in(&pool, volume)?).await;
    let upload = begun.map_err(|error| exists(&pool, volume, error))?;
    Ok(Incoming { upload, pool, volume: volume.to_owned() })
}

impl Incoming {
    /// Takes more bytes.
    pub(crate) async fn append(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        self.upload.append(bytes).await.map_err(Failure::from)
    }

    /// All are there.
    pub(crate) async fn finish(self) -> Result<api::Volume, Failure> {
        let Incoming { upload, pool, volume } = self;
        upload.finish().await.map_err(|error| exists(&pool, &volume, error))?;
        find(&pool, &volume).await.map(as_told)
    }
}

/// Opens a volume that no guest writes to; the pool is held as long as it is read.
pub(crate) async fn download(node: &Node, pool: &str, volume: &str) -> Result<(Download, InUse), Failure> {
    let pool = pools::using(node, pool)?;
    let found = find(&pool, volume).await?;
    at_rest(node, &found).await?;
    Ok((Download::open(&found.path).await?, pool))
}

/// Whether no guest writes to a volume: none here runs on it, and its domain is no other host's.
async fn at_rest(node: &Node, volume: &Volume) -> Result<(), Failure> {
    unused(node, volume, |user| user.runs).await?;
    match guest::read_owner(&storage::owner_path(&volume.path)).await? {
        Some(record) if record.host != node.config.host || record.offered.is_some() => {
            let host = record.offered.map_or(record.host, |offered| offered.host);
            Err(PoolFailure::VolumeOwned { volume: volume.name.clone(), host }.into())
        }
        Some(_) | None => Ok(()),
    }
}

/// A domain of this host whose disk is, or stands on, a volume.
struct User {
    domain: String,
    runs: bool,
}

async fn unused(node: &Node, volume: &Volume, counts: impl Fn(&User) -> bool) -> Result<(), Failure> {
    let users = users(node, &volume.path).await.into_iter().filter(counts);
    let domains: Vec<String> = users.map(|user| user.domain).collect();
    if domains.is_empty() {
        return Ok(());
    }
    Err(PoolFailure::VolumeUsed { volume: volume.name.clone(), domains }.into())
}

async fn users(node: &Node, volume: &Path) -> Vec<User> {
    let mut users = Vec::new();
    for keeper in node.keepers() {
        let mut uses = false;
        for inactive in [false, true] {
            let Some(Ok(xml)) = keeper.ask(|reply| Ask::Xml { inactive, reply }).await else { continue };
            let Ok(definition) = Definition::parse(&xml) else { continue };
            uses = uses || stands_on(node, &definition, volume).await;
        }
        if uses && let Some(Ok(shown)) = keeper.ask(Ask::Show).await {
            users.push(User { domain: shown.name, runs: shown.pid.is_some() });
        }
    }
    users
}

/// Whether a disk of a domain is this file, by whatever path, or stands on it.
async fn stands_on(node: &Node, definition: &Definition, volume: &Path) -> bool {
    let identity = storage::open_check(volume, false).await.map(|disk| disk.identity).ok();
    for disk in &definition.domain().disks {
        let Some(path) = disks::path_of(disk) else { continue };
        let below = disks::below(node, disk, path).await.unwrap_or_default();
        for file in std::iter::once(path.to_owned()).chain(below.backing).chain(below.data_files) {
            let same = || async { storage::open_check(&file, false).await.ok().map(|disk| disk.identity) };
            if file == volume || identity.is_some() && same().await == identity {
                return true;
            }
        }
    }
    false
}
