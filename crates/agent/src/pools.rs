//! The storage pools of this host: defined, remembered, shown. What a pool is, `domain` reads; what its directory is,
//! `storage` finds out. They are started and stopped by `ready`, and the same order is given to every host that this one
//! knows by `everywhere`. Main type: [`Pools`].

pub(crate) mod everywhere;
pub(crate) mod ready;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use api::{PoolParts, PoolRequest};
use domain::{Netfs, Pool, PoolKind};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use uuid::Uuid;

use crate::failure::{Failure, PoolFailure};
use crate::node::Node;
use crate::store::{PoolRecord, Store, StoreError, blocking};

/// The pools by name.
pub(crate) struct Pools {
    table: Mutex<BTreeMap<String, Known>>,
    /// Held by who changes what is remembered of a pool, from the look at the table until file and table have the change.
    writing: tokio::sync::Mutex<()>,
    /// What this boot of the host is called; none where that cannot be read, and then no pool is taken up again.
    boot_id: Option<String>,
}

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
    fn uuid(&self) -> Uuid {
        self.pool.uuid.expect("a pool gets its UUID before it is kept")
    }

    fn busy(&self) -> Failure {
        PoolFailure::Busy { pool: self.pool.name.clone() }.into()
    }

    /// It as it is now that its lock is held. One that was undefined and defined anew meanwhile has another lock.
    fn locked(&self, node: &Node) -> Result<Known, Failure> {
        let now = known(node, &self.pool.name)?;
        if Arc::ptr_eq(&now.work, &self.work) { Ok(now) } else { Err(self.busy()) }
    }
}

/// A pool that is started, for as long as somebody works with its volumes.
pub(crate) struct InUse {
    pub(crate) pool: Pool,
    _work: OwnedRwLockReadGuard<()>,
}

impl Pools {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What an earlier agent knew. A pool that it had started in this boot of the host, and not stopped, is started still,
    /// unless its export is not mounted any more.
    pub(crate) fn load(store: &Store) -> Result<Pools, StoreError> {
        let boot_id =
            host::boot_id().inspect_err(|error| tracing::error!("no pool is taken up: {error}")).ok();
        let mut table = BTreeMap::new();
        for (pool, record) in store.pools()?.into_iter().filter(|(pool, _)| pool.uuid.is_some()) {
            let was_active = record.started_in.is_some() && record.started_in == boot_id;
            let active = was_active
                && match ready::check_mount(&pool) {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::warn!(pool = pool.name, "the pool is not started any more: {error}");
                        false
                    }
                };
            table.insert(pool.name.clone(), Known { pool, record, active, work: Arc::default() });
        }
        Ok(Pools { table: Mutex::new(table), writing: tokio::sync::Mutex::default(), boot_id })
    }

    /// Whether a file lies in a pool that is started.
    pub(crate) fn hold(&self, path: &Path) -> bool {
        let holds = |known: &Known| {
            // Where the export is not mounted any more, what lies there is not the pool's.
            known.active && path.starts_with(&known.pool.path) && ready::check_mount(&known.pool).is_ok()
        };
        self.table().values().any(holds)
    }

    fn all(&self) -> Vec<Known> {
        self.table().values().cloned().collect()
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
    let guard = Arc::clone(&known.work).try_write_owned().map_err(|_| known.busy())?;
    Ok((known.locked(node)?, guard))
}

/// A pool for who works with its volumes.
pub(crate) fn using(node: &Node, pool: &str) -> Result<InUse, Failure> {
    let known = known(node, pool)?;
    let work = Arc::clone(&known.work).try_read_owned().map_err(|_| known.busy())?;
    let Known { pool, active, .. } = known.locked(node)?;
    if !active {
        return Err(PoolFailure::Inactive { pool: pool.name }.into());
    }
    // Unmounted by somebody else, its directory would take what is meant for the server.
    match ready::check_mount(&pool) {
        Ok(()) => Ok(InUse { pool, _work: work }),
        Err(source) => Err(PoolFailure::Storage { pool: pool.name, source }.into()),
    }
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

/// Defines a pool, or defines one anew that is not started; what is kept is the answer.
async fn define(node: &Node, pool: Pool) -> Result<Pool, Failure> {
    let _writing = node.pools.writing.lock().await;
    let known = node.pools.table().get(&pool.name).cloned();
    // Nobody works with it while it is replaced.
    let _guard = known.map(|known| change(node, &known.pool.name)).transpose()?;
    let known = admit(&node.pools.table(), pool)?;
    let pool = known.pool.clone();
    keep(node, known).await?;
    Ok(pool)
}

/// What a pool that is defined becomes in the table; refused where it would be two pools in one.
fn admit(table: &BTreeMap<String, Known>, mut pool: Pool) -> Result<Known, PoolFailure> {
    let same = table.get(&pool.name);
    let uuid = pool.uuid.or(same.map(Known::uuid)).unwrap_or_else(Uuid::new_v4);
    pool.uuid = Some(uuid);
    for other in table.values() {
        let (name, same_name) = (other.pool.name.clone(), other.pool.name == pool.name);
        if same_name && other.uuid() != uuid {
            return Err(PoolFailure::NameTaken { name, uuid: other.uuid() });
        }
        if !same_name && other.uuid() == uuid {
            return Err(PoolFailure::UuidTaken { uuid, name });
        }
        if !same_name && other.pool.path == pool.path {
            return Err(PoolFailure::PathTaken { path: pool.path, pool: name });
        }
        if same_name && other.active && other.pool != pool {
            return Err(PoolFailure::Active { pool: name });
        }
    }
    Ok(match same {
        Some(same) => Known { pool, ..same.clone() },
        None => Known { pool, record: PoolRecord::default(), active: false, work: Arc::default() },
    })
}

/// Writes down what is known of a pool, and only then knows it. For whoever holds [`Pools::writing`].
async fn keep(node: &Node, known: Known) -> Result<(), Failure> {
    let (store, pool, record) = (node.store.clone(), known.pool.clone(), known.record.clone());
    blocking(move || store.write_pool(&pool, &record)).await?;
    node.pools.table().insert(known.pool.name.clone(), known);
    Ok(())
}

/// Forgets a pool that is not started; its directory stays as it is.
pub(crate) async fn undefine(node: &Node, pool: &str) -> Result<(), Failure> {
    let _writing = node.pools.writing.lock().await;
    let (Known { pool, active, .. }, _guard) = change(node, pool)?;
    if active {
        return Err(PoolFailure::Active { pool: pool.name }.into());
    }
    let (store, name) = (node.store.clone(), pool.name.clone());
    blocking(move || store.remove_pool(&name)).await?;
    node.pools.table().remove(&pool.name);
    Ok(())
}

/// Whether a pool is started with this host.
pub(crate) async fn set_autostart(node: &Node, pool: &str, autostart: bool) -> Result<api::Pool, Failure> {
    let writing = node.pools.writing.lock().await;
    let mut known = known(node, pool)?;
    let name = known.pool.name.clone();
    known.record.autostart = autostart;
    keep(node, known).await?;
    drop(writing);
    show(node, &name).await
}

/// Remembers whether a pool is started, for this agent and the next.
async fn set_active(node: &Node, pool: &str, active: bool) -> Result<(), Failure> {
    let _writing = node.pools.writing.lock().await;
    let mut known = known(node, pool)?;
    known.active = active;
    known.record.started_in = node.pools.boot_id.clone().filter(|_| active);
    keep(node, known).await
}

/// One pool as it is, its faults found by a nonce.
pub(crate) async fn show(node: &Node, pool: &str) -> Result<api::Pool, Failure> {
    Ok(shown(known(node, pool)?, true).await)
}

/// All pools, by name.
pub(crate) async fn list(node: &Node) -> Vec<api::Pool> {
    // At once: a server that is gone makes its own pool slow, and no other.
    futures_util::future::join_all(node.pools.all().into_iter().map(|known| shown(known, false))).await
}

/// The definition of a pool.
pub(crate) fn xml(node: &Node, pool: &str) -> Result<String, Failure> {
    known(node, pool).map(|known| known.pool.xml())
}

async fn shown(known: Known, nonce: bool) -> api::Pool {
    let uuid = known.uuid();
    let Known { pool, record, active, .. } = known;
    let checked = if active { Some(ready::check(&pool, nonce).await) } else { None };
    let (space, fault) = match checked {
        Some(Ok(space)) => (Some(space), None),
        Some(Err(error)) => (None, Some(crate::failure::chain(&error))),
        None => (None, None),
    };
    let netfs = pool.netfs();
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
