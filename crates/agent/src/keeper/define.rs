//! The definition that outlives the guest: replaced, forgotten.

use domain::Definition;

use super::{Keeper, State};
use crate::failure::Failure;
use crate::guest;

impl Keeper {
    pub(super) async fn redefine(&mut self, definition: Definition) -> Result<api::Domain, Failure> {
        self.free()?;
        if let Some(moved) = &self.record.moved {
            return Err(Failure::MovedAway { domain: self.name.clone(), to: moved.host.clone() });
        }
        self.node.store.write_definition(&definition, &self.record)?;
        self.definition = Some(definition);
        Ok(self.show().await)
    }

    pub(super) async fn undefine(&mut self) -> Result<(), Failure> {
        self.free()?;
        self.node.store.remove_definition(&self.name)?;
        let definition = self.definition.take();
        // As in libvirt, a running domain goes on, and is forgotten when it ends.
        let shut_off = matches!(self.state, State::ShutOff { .. });
        if let (true, None, Some(definition)) = (shut_off, &self.record.moved, &definition) {
            self.release_ownership(definition).await;
        }
        Ok(())
    }

    /// Removes the owner record of a domain that is forgotten, where it names this host and nothing is open.
    pub(super) async fn release_ownership(&self, definition: &Definition) {
        let Some(path) = guest::owner_path(definition.domain()) else { return };
        let ours = match guest::read_owner(&path).await {
            Ok(Some(record)) => {
                record.domain == self.uuid && record.host == self.node.config.host && record.offered.is_none()
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(path = %path.display(), "an owner record is left alone: {error}");
                false
            }
        };
        if ours && let Err(error) = storage::remove_record(&path).await {
            tracing::warn!(path = %path.display(), "an owner record was left behind: {error}");
        }
    }
}
