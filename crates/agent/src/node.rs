//! What every task of the agent shares: configuration, drivers, neighbours, and the tables of domains and migrations.
//! Main type: [`Node`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use domain::Domain;
use futures_util::future::join_all;
use network::Network;
use qemu::accelerator::Accelerator;
use qemu::capabilities::{Capabilities, cpu};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::bridges::Bridges;
use crate::config::{self, Config};
use crate::console::Consoles;
use crate::drain::Drains;
use crate::failure::Failure;
use crate::guest::accelerator;
use crate::keeper::{Ask, KeeperHandle, Reply};
use crate::landing::Landings;
use crate::limits::REPORTS_KEPT;
use crate::neighbour::Neighbours;
use crate::news::News;
use crate::plan::Plans;
use crate::pools::Pools;
use crate::store::Store;
use crate::tracker::Tracker;
use crate::turns::Turns;

/// One agent's shared parts.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) network: Network,
    pub(crate) neighbours: Neighbours,
    pub(crate) news: News,
    pub(crate) consoles: Consoles,
    pub(crate) bridges: Bridges,
    pub(crate) pools: Pools,
    pub(crate) landings: Landings,
    pub(crate) plans: Plans,
    pub(crate) drains: Drains,
    pub(crate) turns: Turns,
    capabilities: tokio::sync::Mutex<HashMap<PathBuf, Arc<Capabilities>>>,
    kvm: OnceCell<Result<(), String>>,
    cpus: tokio::sync::Mutex<HashMap<CpuAsked, Vec<String>>>,
    host_cpus: tokio::sync::Mutex<HashMap<PathBuf, BTreeSet<String>>>,
    registry: Mutex<Registry>,
}

/// A question about a CPU: the value of `-cpu` with a machine type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CpuAsked {
    pub(crate) emulator: PathBuf,
    pub(crate) kvm: bool,
    pub(crate) machine: String,
    pub(crate) cpu: String,
}

#[derive(Default)]
struct Registry {
    domains: HashMap<Uuid, KeeperHandle>,
    migrations: BTreeMap<Uuid, (Uuid, Tracker)>,
}

impl Node {
    pub(crate) fn new(
        config: Config,
        store: Store,
        network: Network,
        bridges: Bridges,
        neighbours: Neighbours,
        pools: Pools,
    ) -> Arc<Node> {
        Arc::new(Node {
            drains: Drains::default(),
            turns: Turns::new(&config),
            config,
            store,
            network,
            neighbours,
            news: News::new(),
            consoles: Consoles::default(),
            bridges,
            pools,
            landings: Landings::default(),
            plans: Plans::default(),
            capabilities: tokio::sync::Mutex::default(),
            kvm: OnceCell::new(),
            cpus: tokio::sync::Mutex::default(),
            host_cpus: tokio::sync::Mutex::default(),
            registry: Mutex::default(),
        })
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a definition may name a file: below an allowed directory, in a pool that is started, or on a server
    /// (`nfs://HOST/PATH`), where it is none of this host's.
    pub(crate) fn allows(&self, path: &Path) -> bool {
        storage::is_over_nfs(path)
            || self.config.allows(path)
            || config::is_plain(path) && self.pools.hold(path)
    }

    /// The emulator of a domain, where this host allows it.
    pub(crate) fn emulator<'a>(&'a self, domain: &'a Domain) -> Result<&'a Path, Failure> {
        let Some(wanted) = &domain.emulator else { return Ok(self.default_emulator()) };
        if self.config.emulators.contains(wanted) {
            return Ok(wanted);
        }
        Err(Failure::EmulatorNotAllowed { path: wanted.clone(), allowed: self.config.emulators.clone() })
    }

    /// The emulator of a domain that names none.
    pub(crate) fn default_emulator(&self) -> &Path {
        &self.config.emulators[0]
    }

    /// What an emulator can do; asked once.
    pub(crate) async fn capabilities(&self, emulator: &Path) -> Result<Arc<Capabilities>, Failure> {
        let mut known = self.capabilities.lock().await;
        if let Some(found) = known.get(emulator) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(qemu::capabilities::probe(emulator, Accelerator::Tcg).await?);
        known.insert(emulator.to_owned(), Arc::clone(&found));
        Ok(found)
    }

    /// Features of a CPU that an emulator cannot give here; asked once.
    pub(crate) async fn cpu_features_missing(&self, asked: CpuAsked) -> Result<Vec<String>, Failure> {
        let mut known = self.cpus.lock().await;
        if let Some(missing) = known.get(&asked) {
            return Ok(missing.clone());
        }
        let missing =
            cpu::check_cpu(&asked.emulator, accelerator(asked.kvm), &asked.machine, &asked.cpu).await?;
        known.insert(asked, missing.clone());
        Ok(missing)
    }

    /// Features of this host's own CPU as an emulator shows it to a guest under KVM; asked once.
    pub(crate) async fn host_cpu_features(&self, emulator: &Path) -> Result<BTreeSet<String>, Failure> {
        let mut known = self.host_cpus.lock().await;
        if let Some(features) = known.get(emulator) {
            return Ok(features.clone());
        }
        let features = cpu::host_features(emulator, Accelerator::Kvm).await?;
        known.insert(emulator.to_owned(), features.clone());
        Ok(features)
    }

    /// Whether KVM works here, found out by using it once; else why not.
    pub(crate) async fn kvm(&self) -> Result<(), String> {
        let probe = || async {
            let probed = qemu::accelerator::probe_kvm(self.default_emulator()).await;
            probed.map_err(|error| error.to_string())
        };
        self.kvm.get_or_init(probe).await.clone()
    }

    /// The task of a domain, by name or UUID.
    pub(crate) fn keeper(&self, domain: &str) -> Result<KeeperHandle, Failure> {
        let uuid = domain.parse::<Uuid>().ok();
        let registry = self.registry();
        let found = registry.domains.iter().find(|(id, keeper)| keeper.name == domain || Some(**id) == uuid);
        found.map(|(_, keeper)| keeper.clone()).ok_or_else(|| Failure::DomainNotFound {
            domain: domain.to_owned(),
            host: self.config.host.clone(),
        })
    }

    /// All domains' tasks, by name.
    pub(crate) fn keepers(&self) -> Vec<KeeperHandle> {
        let mut keepers: Vec<KeeperHandle> = self.registry().domains.values().cloned().collect();
        keepers.sort_by(|one, other| one.name.cmp(&other.name));
        keepers
    }

    /// All domains as they are now, by name. One that has just been forgotten is not there.
    pub(crate) async fn domains(&self) -> Vec<api::Domain> {
        let keepers = self.keepers();
        let shown = join_all(keepers.iter().map(|keeper| keeper.ask(Ask::Show))).await;
        shown.into_iter().flatten().flatten().collect()
    }

    /// Adds a domain's task, unless its name or UUID is another's. Under one lock, so that two cannot both get in.
    pub(crate) fn admit(
        &self,
        uuid: Uuid,
        name: &str,
        make: impl FnOnce() -> KeeperHandle,
    ) -> Result<KeeperHandle, Failure> {
        let mut registry = self.registry();
        match registry.domains.get(&uuid) {
            Some(known) if known.name == name => return Ok(known.clone()),
            Some(known) => return Err(Failure::UuidTaken { uuid, name: known.name.clone() }),
            None => {}
        }
        if let Some((&other, _)) = registry.domains.iter().find(|(_, keeper)| keeper.name == name) {
            return Err(Failure::NameTaken { name: name.to_owned(), uuid: other });
        }
        let keeper = make();
        registry.domains.insert(uuid, keeper.clone());
        Ok(keeper)
    }

    /// Makes a domain known by another name.
    pub(crate) fn rename(&self, uuid: Uuid, name: &str) -> Result<(), Failure> {
        let mut registry = self.registry();
        let taken = registry.domains.iter().find(|(id, keeper)| keeper.name == name && **id != uuid);
        if let Some((&other, _)) = taken {
            return Err(Failure::NameTaken { name: name.to_owned(), uuid: other });
        }
        if let Some(keeper) = registry.domains.get_mut(&uuid) {
            keeper.name = name.to_owned();
        }
        Ok(())
    }

    /// A domain's task has ended.
    pub(crate) fn dismiss(&self, uuid: Uuid) {
        self.registry().domains.remove(&uuid);
    }

    /// The name that belongs to a UUID, and the UUID that belongs to a name.
    pub(crate) fn taken(&self, uuid: Uuid, name: &str) -> (Option<String>, Option<Uuid>) {
        let registry = self.registry();
        let by_uuid = registry.domains.get(&uuid).map(|keeper| keeper.name.clone());
        let by_name = registry.domains.iter().find(|(_, keeper)| keeper.name == name).map(|(&id, _)| id);
        (by_uuid, by_name)
    }

    /// Makes a migration known. Beyond the bound the oldest that have ended are forgotten, as their reports are.
    pub(crate) fn track(&self, domain: Uuid, tracker: &Tracker) {
        let mut registry = self.registry();
        registry.migrations.insert(tracker.id(), (domain, tracker.clone()));
        let surplus = registry.migrations.len().saturating_sub(REPORTS_KEPT);
        let ended = registry.migrations.iter().filter(|(_, (_, tracker))| tracker.is_settled());
        let oldest: Vec<Uuid> = ended.map(|(id, _)| *id).take(surplus).collect();
        for id in oldest {
            registry.migrations.remove(&id);
        }
    }

    /// Forgets a migration that was refused before anything was changed.
    pub(crate) fn untrack(&self, id: Uuid) {
        self.registry().migrations.remove(&id);
    }

    /// All migrations, oldest first (their ids are UUIDv7).
    pub(crate) fn migrations(&self) -> Vec<Tracker> {
        self.registry().migrations.values().map(|(_, tracker)| tracker.clone()).collect()
    }

    /// A migration and the domain that it is of.
    pub(crate) fn migration(&self, id: Uuid) -> Result<(Uuid, Tracker), Failure> {
        let found = self.registry().migrations.get(&id).cloned();
        found.ok_or_else(|| Failure::MigrationNotFound { id, host: self.config.host.clone() })
    }

    /// Asks a domain's task and waits for its answer.
    pub(crate) async fn ask<T>(&self, domain: &str, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Failure> {
        let keeper = self.keeper(domain)?;
        keeper.ask(ask).await.unwrap_or_else(|| {
            Err(Failure::DomainNotFound { domain: domain.to_owned(), host: self.config.host.clone() })
        })
    }
}
