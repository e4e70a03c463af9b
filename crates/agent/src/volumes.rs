//! The volumes of a pool: files that are made, looked at, resized, removed, filled and read. One that a domain uses is left
//! alone, whichever host the domain is on: the hosts are asked, and so are its lock and the owner record beside it. Main
//! functions: [`create`], [`delete`], [`resolved`].

pub(crate) mod users;

use std::path::PathBuf;

use api::{VolumeFormat, VolumeRequest, VolumeSizeRequest};
use domain::with_volumes_resolved;
use storage::{Download, ImageError, ImageFormat, Upload, Volume};
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

use crate::failure::{Failure, PoolFailure};
use crate::guest;
use crate::limits::{CONTENT_SILENCE, NAME_BYTES_MAX};
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
    let users = users::here(node, &volume.path).await.unwrap_or_else(|failure| {
        tracing::warn!("who uses {} is not known: {}", volume.path.display(), failure.chain());
        Vec::new()
    });
    let used_by = users.into_iter().map(|user| user.domain).collect();
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

/// Removes a volume that no domain uses, on any host.
pub(crate) async fn delete(node: &Node, pool: &str, volume: &str) -> Result<(), Failure> {
    let pool = pools::using(node, pool)?;
    let volume = find(&pool, volume).await?;
    users::none_here(node, &volume, |_| true).await?;
    if let Some(record) = guest::read_owner(&storage::owner_path(&volume.path)).await? {
        return Err(PoolFailure::VolumeOwned { volume: volume.name, host: record.host }.into());
    }
    users::none_elsewhere(node, &volume, |_| true).await?;
    // What it holds may be broken: only its lock counts.
    storage::check_unused(&volume.path, ImageFormat::Raw).await?;
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
    users::none_elsewhere(node, &found, |user| user.runs).await?;
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

/// The bytes of a volume on their way to somebody.
pub(crate) struct Outgoing {
    content: Download,
    pool: InUse,
}

/// Opens a volume that no guest writes to.
pub(crate) async fn download(node: &Node, pool: &str, volume: &str) -> Result<Outgoing, Failure> {
    let pool = pools::using(node, pool)?;
    let found = find(&pool, volume).await?;
    at_rest(node, &found).await?;
    Ok(Outgoing { content: Download::open(&found.path).await?, pool })
}

impl Outgoing {
    /// How many bytes it has.
    pub(crate) fn length(&self) -> u64 {
        self.content.left()
    }

    /// Hands the bytes over, piece by piece. The pool is held until the last was taken, nobody takes any more, or nobody
    /// has taken one for too long.
    pub(crate) async fn hand_over(self, taker: Sender<Result<Vec<u8>, ImageError>>) {
        let Outgoing { mut content, pool: _held } = self;
        while let Some(piece) = content.next().await.transpose() {
            if let Err(error) = &piece {
                tracing::error!("a download broke: {error}");
            }
            match timeout(CONTENT_SILENCE, taker.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_nobody)) => return,
                Err(_elapsed) => return tracing::warn!("a download that nobody takes is given up"),
            }
        }
    }
}

/// Whether no guest writes to a volume: none here runs on it, and its domain is no other host's.
async fn at_rest(node: &Node, volume: &Volume) -> Result<(), Failure> {
    users::none_here(node, volume, |user| user.runs).await?;
    match guest::read_owner(&storage::owner_path(&volume.path)).await? {
        Some(record) if record.host != node.config.host || record.offered.is_some() => {
            let host = record.offered.map_or(record.host, |offered| offered.host);
            Err(PoolFailure::VolumeOwned { volume: volume.name.clone(), host }.into())
        }
        Some(_) | None => Ok(()),
    }
}
