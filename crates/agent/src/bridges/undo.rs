//! How a bridge is undone: when its time is over or somebody removes it, by this agent or by the next one, and again until
//! it is done. It needs nothing but the network and the records, so that an agent can do it before it can do anything else.
//! Main type: [`Bridges`].

use std::sync::Arc;
use std::time::Duration;

use network::{Change, Fact, Native, Network, NetworkError, Step};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::record::BridgeRecord;
use crate::failure::{Failure, chain};
use crate::limits::{NATIVE_TIMEOUT, UNDO_AGAIN_EVERY};
use crate::store::{Store, StoreError, blocking};

/// The bridges that Ferry made, and the right to change them.
#[derive(Debug, Clone)]
pub(crate) struct Bridges {
    store: Store,
    network: Network,
    turn: Arc<Mutex<()>>,
}

impl Bridges {
    pub(crate) fn new(store: Store, network: Network) -> Bridges {
        Bridges { store, network, turn: Arc::default() }
    }

    /// Whoever changes this host's bridges: one at a time.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(super) async fn records(&self) -> Result<Vec<BridgeRecord>, StoreError> {
        let store = self.store.clone();
        blocking(move || store.bridges()).await
    }

    pub(super) async fn record(&self, name: &str) -> Result<Option<BridgeRecord>, StoreError> {
        let (store, name) = (self.store.clone(), name.to_owned());
        blocking(move || store.bridge(&name)).await
    }

    pub(super) async fn write(&self, record: &BridgeRecord) -> Result<(), StoreError> {
        let (store, record) = (self.store.clone(), record.clone());
        blocking(move || store.write_bridge(&record)).await
    }

    async fn forget(&self, name: &str) -> Result<(), StoreError> {
        let (store, name) = (self.store.clone(), name.to_owned());
        blocking(move || store.remove_bridge(&name)).await
    }

    /// Undoes the bridge when its time is over, unless it has been confirmed or has gone by then.
    pub(super) fn count_down(&self, name: &str) {
        let (bridges, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            while let Some(wait) = bridges.end(&name).await {
                sleep(wait).await;
            }
        });
    }

    /// Undoes the bridge if its time is over. Says after how long to come back; not at all where nothing is left to do.
    async fn end(&self, name: &str) -> Option<Duration> {
        let _turn = self.turn().await;
        match self.record(name).await {
            Ok(record) => {
                let record = record?;
                let left = record.left()?;
                if !left.is_zero() {
                    return Some(left);
                }
                tracing::warn!(bridge = name, "its time is over, and it is undone");
                self.undo(&record).await.err().map(|_told| UNDO_AGAIN_EVERY)
            }
            Err(error) => {
                tracing::error!(bridge = name, "not undone yet: {}", chain(&error));
                Some(UNDO_AGAIN_EVERY)
            }
        }
    }

    /// Makes everything as it was before the bridge, as far as it can be, and forgets it when that is done.
    pub(super) async fn undo(&self, record: &BridgeRecord) -> Result<(), Failure> {
        let undone = async {
            let changes = self.changes(record).await?;
            match &record.native {
                Some(native) => self.unmake(record, native, &changes).await?,
                None => self.undo_all(&changes).await?,
            }
            Ok(self.forget(&record.name).await?)
        };
        let undone: Result<(), Failure> = undone.await;
        if let Err(failure) = &undone {
            tracing::error!(bridge = record.name, "not undone yet: {}", failure.chain());
        }
        undone
    }

    /// The changes that undo it. An uplink that other bridges stand on stays up, and as wide as it is.
    async fn changes(&self, record: &BridgeRecord) -> Result<Vec<Change>, StoreError> {
        let others = self.records().await?;
        let shared = others.iter().any(|it| it.name != record.name && it.uplink == record.uplink);
        let mut changes = record.takeover.undo();
        changes.retain(|change| match &change.fact {
            Fact::Up { link } | Fact::Mtu { link, .. } => !shared || *link != record.uplink,
            Fact::Bridge { .. }
            | Fact::Vlan { .. }
            | Fact::Port { .. }
            | Fact::Address { .. }
            | Fact::Route { .. } => true,
        });
        Ok(changes)
    }

    /// Has what configures the uplink give it its addresses again, and does that itself where it does not.
    async fn unmake(
        &self,
        record: &BridgeRecord,
        native: &Native,
        changes: &[Change],
    ) -> Result<(), NetworkError> {
        let mut configured = Ok(());
        for step in &native.unmake {
            if let Err(error) = self.network.step(step).await {
                tracing::warn!(bridge = record.name, "{}", chain(&error));
                // What a program was to bring about is looked at below; what is still configured comes back.
                if !matches!(step, Step::Run { .. }) {
                    configured = Err(error);
                }
            }
        }
        // No configuration says which MTU the uplink had without one.
        let mtu = |change: &&Change| matches!(&change.fact, Fact::Mtu { link, .. } if *link == record.uplink);
        let mtu: Vec<Change> = changes.iter().filter(mtu).cloned().collect();
        self.undo_all(&mtu).await?;
        if let Err(error) =
            self.network.carries(&record.replaced, None, &record.addresses, NATIVE_TIMEOUT).await
        {
            let keeper = native.keeper.as_str();
            tracing::error!("{keeper} does not undo it, so the agent does: {}", chain(&error));
            self.undo_all(changes).await?;
        }
        configured
    }

    /// Goes on after a failure, and tells of the last one. A link that is gone has what it is to have.
    async fn undo_all(&self, changes: &[Change]) -> Result<(), NetworkError> {
        let mut outcome = Ok(());
        for change in changes {
            match self.network.change_fact(change).await {
                Ok(()) => {}
                Err(NetworkError::NoSuchLink { name }) => tracing::warn!("cannot {change}: {name} is gone"),
                Err(error) => {
                    tracing::error!("not undone: {}", chain(&error));
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// Takes up what an earlier agent left: what is over is undone, the rest is counted down further, and what went with a
    /// boot is forgotten. Guests go on where that fails, so the agent does, too.
    pub(crate) async fn recover(&self) {
        let records = self.records().await.unwrap_or_else(|error| {
            tracing::error!("bridges that an earlier agent made are not undone: {}", chain(&error));
            Vec::new()
        });
        for record in records {
            if !record.can_be_there() {
                if let Err(error) = self.forget(&record.name).await {
                    tracing::error!(bridge = record.name, "not forgotten: {}", chain(&error));
                }
            } else if self.end(&record.name).await.is_some() {
                self.count_down(&record.name);
            }
        }
    }

    /// Undoes what is not confirmed, without waiting: an agent that cannot serve cannot be told that it is well.
    pub(crate) async fn give_up(&self) {
        let _turn = self.turn().await;
        for record in self.records().await.unwrap_or_default() {
            if record.left().is_some() {
                tracing::warn!(bridge = record.name, "the agent cannot serve, and it is undone");
                // The failure has been told, and the next agent goes on.
                drop(self.undo(&record).await);
            }
        }
    }
}
