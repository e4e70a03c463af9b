//! A pool made ready and let go: its export mounted and unmounted, its directory tried out. It never touches a volume. Main
//! functions: [`start`], [`stop`].

use std::path::Path;

use domain::{Definition, Netfs, Pool, PoolKind};
use futures_util::future::join_all;
use storage::{PoolError, Space};
use uuid::Uuid;

use super::{Known, change, set_active, show};
use crate::failure::{Failure, PoolFailure};
use crate::keeper::Ask;
use crate::node::Node;

/// Makes a pool ready: mounts what is to be mounted, and finds out whether this host can work in it. What was mounted for
/// a pool that does not serve is unmounted again.
pub(crate) async fn start(node: &Node, pool: &str) -> Result<api::Pool, Failure> {
    let (Known { pool, active, .. }, guard) = change(node, pool)?;
    if active {
        return Err(PoolFailure::Active { pool: pool.name }.into());
    }
    let mut mounted = false;
    let ready = async {
        if let PoolKind::Netfs(netfs) = &pool.kind {
            mounted = mount(&pool.path, netfs).await.map_err(|source| unusable(&pool, source))?;
        }
        check(&pool, true).await.map_err(|source| unusable(&pool, source))?;
        set_active(node, &pool.name, true).await
    };
    if let Err(failure) = ready.await {
        if mounted && let Err(error) = storage::unmount(&pool.path).await {
            tracing::warn!(pool = pool.name, "a mount was left behind: {error}");
        }
        return Err(failure);
    }
    drop(guard);
    show(node, &pool.name).await
}

fn unusable(pool: &Pool, source: PoolError) -> Failure {
    PoolFailure::Storage { pool: pool.name.clone(), source }.into()
}

/// Mounts an export, unless it is mounted already; says whether it did.
async fn mount(path: &Path, netfs: &Netfs) -> Result<bool, PoolError> {
    if storage::mounted(path)?.is_some() {
        // Whether it is the right one is found out by the check.
        return Ok(false);
    }
    storage::make_mount_point(path).await?;
    storage::mount(&netfs.device(), path, netfs.version.as_deref(), &netfs.options).await?;
    Ok(true)
}

/// Lets go of a pool: unmounts what was mounted. No guest may run on a file in it, and nobody may have one open.
pub(crate) async fn stop(node: &Node, pool: &str) -> Result<api::Pool, Failure> {
    let (Known { pool, active, .. }, guard) = change(node, pool)?;
    if !active {
        return Err(PoolFailure::Inactive { pool: pool.name }.into());
    }
    let domains = guests_below(node, &pool.path).await;
    if !domains.is_empty() {
        return Err(PoolFailure::HasGuests { pool: pool.name, domains }.into());
    }
    let unmounted = async {
        match &pool.kind {
            PoolKind::Netfs(_) if storage::mounted(&pool.path)?.is_some() => {
                storage::unmount(&pool.path).await
            }
            PoolKind::Netfs(_) | PoolKind::Dir => Ok(()),
        }
    };
    unmounted.await.map_err(|source| unusable(&pool, source))?;
    set_active(node, &pool.name, false).await?;
    drop(guard);
    show(node, &pool.name).await
}

/// Domains that run on files below a directory.
async fn guests_below(node: &Node, directory: &Path) -> Vec<String> {
    let mut domains = Vec::new();
    for keeper in node.keepers() {
        let Some(Ok(shown)) = keeper.ask(Ask::Show).await else { continue };
        let Some(Ok(xml)) = keeper.ask(|reply| Ask::Xml { inactive: false, reply }).await else { continue };
        let Ok(definition) = Definition::parse(&xml) else { continue };
        let below = definition.domain().files().iter().any(|file| file.path.starts_with(directory));
        if shown.pid.is_some() && below {
            domains.push(shown.name);
        }
    }
    domains
}

/// Whether a pool's directory is what the definition says; with `nonce` also whether this host can work in it.
pub(super) async fn check(pool: &Pool, nonce: bool) -> Result<Space, PoolError> {
    check_mount(pool)?;
    let space = storage::space(&pool.path).await?;
    if nonce {
        storage::check_writable(&pool.path, Uuid::new_v4()).await?;
    }
    Ok(space)
}

/// Whether what is to be mounted on a pool's directory is. Only the kernel is asked, so a server that is gone is not waited
/// for.
pub(super) fn check_mount(pool: &Pool) -> Result<(), PoolError> {
    let PoolKind::Netfs(netfs) = &pool.kind else { return Ok(()) };
    let (device, path) = (netfs.device(), pool.path.clone());
    let Some(mounted) = storage::mounted(&path)? else { return Err(PoolError::NotMounted { device, path }) };
    if !mounted.is_nfs(&device) {
        let found = format!("{} ({})", mounted.device, mounted.filesystem);
        return Err(PoolError::OtherMount { device, found, path });
    }
    let found = mounted.option("vers").unwrap_or_default();
    match &netfs.version {
        // Version 4 is any 4.x.
        Some(wanted) if found != wanted && !(wanted == "4" && found.starts_with("4.")) => {
            Err(PoolError::OtherVersion { path, found: found.to_owned(), wanted: wanted.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Starts the pools that are started with the host, at once: a server that is gone holds up its own pool, and no other.
pub(crate) async fn start_with_host(node: &Node) {
    let waiting = node.pools.all().into_iter().filter(|known| known.record.autostart && !known.active);
    join_all(waiting.map(|Known { pool, .. }| async move {
        if let Err(failure) = start(node, &pool.name).await {
            tracing::error!(pool = pool.name, "not started with its host: {}", failure.chain());
        }
    }))
    .await;
}
