//! The storage pools of this host: defined, started, stopped, shown. What a pool is, `domain` reads; what its directory
//! is, `storage` finds out. The same order is given to every host that this one knows by `everywhere`. Main type: [`Pools`].

pub(crate) mod everywhere;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use api::{PoolParts, PoolRequest};
use domain::{Netfs, Pool, PoolKind};
use storage::{PoolError, Space};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use uuid::Uuid;

use crate::failure::{Failure, PoolFailure};
use crate::node::Node;
use crate::store::{PoolRecord, Store, StoreError};

/// The pools by name.
#[derive(Default)]
pub(crate) struct Pools(Mutex<BTreeMap<String, Known>>);

/// One of them.
#[derive(Clone)]
struct Known {
    pool: Pool,
    record: PoolRecord,
    active: bool,
    /// Read by who works with its volumes, written by who starts, stops or redefines it. Nobody waits for it.
    work: Arc<RwLock<()>>,
}

impl Known {
    fn new(pool: Pool, record: PoolRecord) -> Known {
        Known { pool, record, active: false, work: Arc::default() }
    }

    fn uuid(&self) -> Uuid {
        self.pool.uuid.expect("a pool gets its UUID before it is kept")
    }
}

/// A pool that is started, for as long as somebody works with its volumes.
pub(crate) struct InUse {
    pub(crate) pool: Pool,
    _work: OwnedRwLockReadGuard<()>,
}

impl Pools {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What an earlier agent knew; nothing is looked at yet.
    pub(crate) fn load(store: &Store) -> Result<Pools, StoreError> {
        let known = store.pools()?.into_iter().filter(|(pool, _)| pool.uuid.is_some());
        let known = known.map(|(pool, record)| (pool.name.clone(), Known::new(pool, record)));
        Ok(Pools(Mutex::new(known.collect())))
    }

    /// Whether a file lies in a pool that is started.
    pub(crate) fn hold(&self, path: &Path) -> bool {
        self.table().values().any(|known| known.active && path.starts_with(&known.pool.path))
    }

    fn names(&self) -> Vec<String> {
        self.table().keys().cloned().collect()
    }
}

/// A pool by name or UUID.
fn known(node: &Node, pool: &str) -> Result<Known, Failure> {
    let uuid = pool.parse::<Uuid>().ok();
    let table = node.pools.table();
    let found =
        table.values().find(|known| known.pool.name == pool || known.pool.uuid == uuid && uuid.is_some());
    let missing = || PoolFailure::NotFound { pool: pool.to_owned(), host: node.config.host.clone() };
    Ok(found.cloned().ok_or_else(missing)?)
}

/// A pool for who changes it.
fn change(node: &Node, pool: &str) -> Result<(Known, OwnedRwLockWriteGuard<()>), Failure> {
    let known = known(node, pool)?;
    let guard = Arc::clone(&known.work).try_write_owned();
    let guard = guard.map_err(|_| PoolFailure::Busy { pool: known.pool.name.clone() })?;
    // It may have changed before the lock was there.
    Ok((self::known(node, &known.pool.name)?, guard))
}

/// A pool for who works with its volumes.
pub(crate) fn using(node: &Node, pool: &str) -> Result<InUse, Failure> {
    let known = known(node, pool)?;
    let name = || known.pool.name.clone();
    let work = Arc::clone(&known.work).try_read_owned().map_err(|_| PoolFailure::Busy { pool: name() })?;
    let known = self::known(node, &name())?;
    if !known.active {
        return Err(PoolFailure::Inactive { pool: known.pool.name }.into());
    }
    Ok(InUse { pool: known.pool, _work: work })
}

/// The pool that somebody asks for.
fn read(request: PoolRequest) -> Result<Pool, Failure> {
    let xml = match request {
        PoolRequest::Xml(xml) => xml,
        PoolRequest::Parts(parts) => from_parts(parts)?.xml(),
    };
    Pool::parse(&xml).map_err(Failure::Definition)
}

fn from_parts(parts: PoolParts) -> Result<Pool, PoolFailure> {
    let PoolParts { name, kind, path, source, nfs_version: version, options } = parts;
    let kind = match kind {
        api::PoolKind::Dir => {
            let has = [
                ("source", source.is_some()),
                ("NFS version", version.is_some()),
                ("mount options", !options.is_empty()),
            ];
            match has.into_iter().find(|(_, has)| *has) {
                Some((part, _)) => return Err(PoolFailure::DirHas { part }),
                None => PoolKind::Dir,
            }
        }
        api::PoolKind::Netfs => {
            let text = source.ok_or(PoolFailure::NoSource)?;
            let (host, export) =
                Netfs::split_device(&text).ok_or_else(|| PoolFailure::Source { text: text.clone() })?;
            let (host, export) = (host.to_owned(), export.into());
            PoolKind::Netfs(Netfs { host, export, version, options })
        }
    };
    Ok(Pool { name, uuid: None, path: path.into(), kind })
}

/// Defines a pool, or defines one anew that is not started; the text that is kept is the answer.
pub(crate) fn define(node: &Node, request: PoolRequest) -> Result<String, Failure> {
    let mut pool = read(request)?;
    let known = known(node, &pool.name).ok().filter(|known| known.pool.name == pool.name);
    let uuid = pool.uuid.or(known.as_ref().map(Known::uuid)).unwrap_or_else(Uuid::new_v4);
    pool.uuid = Some(uuid);
    // Nobody works with it while it is replaced.
    let _guard = known.as_ref().map(|known| change(node, &known.pool.name)).transpose()?;
    let mut table = node.pools.table();
    for other in table.values() {
        let (name, same_name) = (other.pool.name.clone(), other.pool.name == pool.name);
        if same_name && other.uuid() != uuid {
            return Err(PoolFailure::NameTaken { name, uuid: other.uuid() }.into());
        }
        if !same_name && other.uuid() == uuid {
            return Err(PoolFailure::UuidTaken { uuid, name }.into());
        }
        if !same_name && other.pool.path == pool.path {
            return Err(PoolFailure::PathTaken { path: pool.path, pool: name }.into());
        }
        if same_name && other.active && other.pool != pool {
            return Err(PoolFailure::Active { pool: name }.into());
        }
    }
    let (record, active) = table.get(&pool.name).map_or_else(Default::default, |it| (it.record, it.active));
    node.store.write_pool(&pool, record)?;
    let xml = pool.xml();
    table.insert(pool.name.clone(), Known { active, ..Known::new(pool, record) });
    Ok(xml)
}

/// Forgets a pool that is not started; its directory stays as it is.
pub(crate) fn undefine(node: &Node, pool: &str) -> Result<(), Failure> {
    let (known, _guard) = change(node, pool)?;
    if known.active {
        return Err(PoolFailure::Active { pool: known.pool.name }.into());
    }
    node.store.remove_pool(&known.pool.name)?;
    node.pools.table().remove(&known.pool.name);
    Ok(())
}

/// Whether a pool is started with this host.
pub(crate) async fn set_autostart(node: &Node, pool: &str, autostart: bool) -> Result<api::Pool, Failure> {
    let Known { pool, .. } = known(node, pool)?;
    let record = PoolRecord { autostart };
    node.store.write_pool(&pool, record)?;
    if let Some(known) = node.pools.table().get_mut(&pool.name) {
        known.record = record;
    }
    show(node, &pool.name).await
}

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
            mounted = mount(&pool.path, netfs).await?;
        }
        check(&pool, true).await
    };
    if let Err(source) = ready.await {
        if mounted && let Err(error) = storage::unmount(&pool.path).await {
            tracing::warn!(pool = pool.name, "a mount was left behind: {error}");
        }
        return Err(PoolFailure::Storage { pool: pool.name, source }.into());
    }
    set_active(node, &pool.name, true);
    drop(guard);
    show(node, &pool.name).await
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

/// Lets go of a pool: unmounts what was mounted. Nobody may have a file of it open.
pub(crate) async fn stop(node: &Node, pool: &str) -> Result<api::Pool, Failure> {
    let (Known { pool, active, .. }, guard) = change(node, pool)?;
    if !active {
        return Err(PoolFailure::Inactive { pool: pool.name }.into());
    }
    let unmounted = async {
        match &pool.kind {
            PoolKind::Netfs(_) if storage::mounted(&pool.path)?.is_some() => {
                storage::unmount(&pool.path).await
            }
            PoolKind::Netfs(_) | PoolKind::Dir => Ok(()),
        }
    };
    unmounted.await.map_err(|source| PoolFailure::Storage { pool: pool.name.clone(), source })?;
    set_active(node, &pool.name, false);
    drop(guard);
    show(node, &pool.name).await
}

fn set_active(node: &Node, pool: &str, active: bool) {
    if let Some(known) = node.pools.table().get_mut(pool) {
        known.active = active;
    }
}

/// Whether a pool's directory is what the definition says; with `nonce` also whether this host can work in it.
async fn check(pool: &Pool, nonce: bool) -> Result<Space, PoolError> {
    if let PoolKind::Netfs(netfs) = &pool.kind {
        check_mount(pool, netfs)?;
    }
    let space = storage::space(&pool.path).await?;
    if nonce {
        storage::check_writable(&pool.path, Uuid::new_v4().into_bytes()).await?;
    }
    Ok(space)
}

fn check_mount(pool: &Pool, netfs: &Netfs) -> Result<(), PoolError> {
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

/// One pool as it is, its faults found by a nonce.
pub(crate) async fn show(node: &Node, pool: &str) -> Result<api::Pool, Failure> {
    Ok(shown(known(node, pool)?, true).await)
}

/// All pools, by name.
pub(crate) async fn list(node: &Node) -> Vec<api::Pool> {
    let known: Vec<Known> = node.pools.table().values().cloned().collect();
    // At once: a server that is gone makes its own pool slow, and no other.
    futures_util::future::join_all(known.into_iter().map(|known| shown(known, false))).await
}

/// The definition of a pool.
pub(crate) fn xml(node: &Node, pool: &str) -> Result<String, Failure> {
    known(node, pool).map(|known| known.pool.xml())
}

async fn shown(known: Known, nonce: bool) -> api::Pool {
    let uuid = known.uuid();
    let Known { pool, record, active, .. } = known;
    let checked = if active { Some(check(&pool, nonce).await) } else { None };
    let (space, fault) = match checked {
        Some(Ok(space)) => (Some(space), None),
        Some(Err(error)) => (None, Some(crate::failure::chain(&error))),
        None => (None, None),
    };
    let netfs = match &pool.kind {
        PoolKind::Dir => None,
        PoolKind::Netfs(netfs) => Some(netfs),
    };
    let mounted = netfs.filter(|_| active).and_then(|_| storage::mounted(&pool.path).ok().flatten());
    api::Pool {
        kind: if netfs.is_some() { api::PoolKind::Netfs } else { api::PoolKind::Dir },
        path: pool.path.display().to_string(),
        source: netfs.map(Netfs::device),
        nfs_version: netfs.and_then(|netfs| netfs.version.clone()),
        options: netfs.map(|netfs| netfs.options.clone()).unwrap_or_default(),
        name: pool.name,
        uuid,
        active,
        autostart: record.autostart,
        capacity_bytes: space.map(|space| space.capacity),
        available_bytes: space.map(|space| space.available),
        mounted_version: mounted.and_then(|mounted| mounted.option("vers").map(str::to_owned)),
        fault,
    }
}

/// Finds out which pools are ready, as an earlier agent or the host itself has left them: a directory that is there, an
/// export that is mounted.
pub(crate) async fn take_up(node: &Node) {
    for name in node.pools.names() {
        let Ok(Known { pool, .. }) = known(node, &name) else { continue };
        let found = match &pool.kind {
            PoolKind::Dir => storage::space(&pool.path).await.map(drop),
            PoolKind::Netfs(netfs) => check_mount(&pool, netfs),
        };
        match found {
            Ok(()) => set_active(node, &name, true),
            Err(error) => tracing::info!(pool = name, "the pool is not started: {error}"),
        }
    }
}

/// Starts the pools that are started with the host.
pub(crate) async fn start_pools(node: &Node) {
    for name in node.pools.names() {
        match known(node, &name) {
            Ok(known) if known.record.autostart && !known.active => {}
            Ok(_) | Err(_) => continue,
        }
        if let Err(failure) = start(node, &name).await {
            tracing::error!(pool = name, "not started with its host: {}", failure.chain());
        }
    }
}
