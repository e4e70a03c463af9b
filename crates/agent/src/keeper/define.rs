//! The definition that outlives the guest: replaced, edited, renamed, forgotten. A guest that runs keeps what it was
//! started with.

use std::path::PathBuf;

use api::{EventKind, Nvram, SizeRequest};
use domain::{Bytes, Definition};

use super::{Keeper, State};
use crate::failure::Failure;
use crate::guest;
use crate::nonvolatile;

impl Keeper {
    /// The definition that outlives the guest, where it may be changed.
    pub(super) fn kept(&self) -> Result<&Definition, Failure> {
        self.free()?;
        if let Some(moved) = &self.record.moved {
            return Err(Failure::MovedAway { domain: self.name.clone(), to: moved.host.clone() });
        }
        let mend = "`ferry dumpxml` prints what it runs with, `ferry define` keeps that";
        self.definition.as_ref().ok_or_else(|| self.wrong_state("transient: no definition is kept", mend))
    }

    pub(super) fn inactive_xml(&self) -> Result<String, Failure> {
        let mend = "`ferry dumpxml` prints what it runs with";
        let kept = self.definition.as_ref().map(|definition| definition.xml().to_owned());
        kept.ok_or_else(|| self.wrong_state("transient: no definition is kept", mend))
    }

    /// Stores a definition in the place of the one that is there, which it returns.
    pub(super) fn replace(&mut self, definition: Definition) -> Result<Option<Definition>, Failure> {
        self.node.store.write_definition(&definition, &self.record)?;
        let before = self.definition.replace(definition);
        self.tell(EventKind::Defined, None);
        Ok(before)
    }

    /// Keeps another definition.
    async fn keep(&mut self, definition: Definition) -> Result<api::Domain, Failure> {
        self.replace(definition)?;
        Ok(self.show().await)
    }

    pub(super) async fn redefine(&mut self, definition: Definition) -> Result<api::Domain, Failure> {
        self.free()?;
        if let Some(moved) = &self.record.moved {
            return Err(Failure::MovedAway { domain: self.name.clone(), to: moved.host.clone() });
        }
        self.keep(definition).await
    }

    pub(super) async fn edit(
        &mut self,
        definition: Definition,
        replaces: &str,
    ) -> Result<api::Domain, Failure> {
        if self.kept()?.xml() != replaces {
            return Err(Failure::DefinitionChanged { domain: self.name.clone() });
        }
        let edited = definition.domain();
        if edited.name != self.name {
            return Err(Failure::IdentityEdited { what: "name", mend: "`ferry rename` renames a domain" });
        }
        if edited.uuid != Some(self.uuid) {
            let mend = "`ferry clone` makes another domain of it";
            return Err(Failure::IdentityEdited { what: "UUID", mend });
        }
        self.keep(definition).await
    }

    pub(super) async fn resize(&mut self, size: SizeRequest) -> Result<api::Domain, Failure> {
        let mut definition = self.kept()?.clone();
        if let Some(vcpus) = size.vcpus {
            definition = definition.with_vcpus(vcpus).map_err(Failure::Definition)?;
        }
        if let Some(memory_bytes) = size.memory_bytes {
            definition = definition.with_memory(Bytes(memory_bytes)).map_err(Failure::Definition)?;
        }
        self.keep(definition).await
    }

    pub(super) async fn set_autostart(&mut self, enabled: bool) -> Result<api::Domain, Failure> {
        let definition = self.kept()?.clone();
        self.record.autostart = enabled;
        self.keep(definition).await
    }

    pub(super) async fn rename(&mut self, name: String) -> Result<api::Domain, Failure> {
        let definition = self.kept()?.with_name(&name).map_err(Failure::Definition)?;
        if let State::Active { .. } = self.state {
            return Err(self.wrong_state("running", "`ferry shutdown` it first: its QEMU has its name"));
        }
        self.node.rename(self.uuid, &name)?;
        if let Err(error) = self.node.store.rename_definition(&self.name, &definition) {
            self.node.rename(self.uuid, &self.name)?;
            return Err(error.into());
        }
        tracing::info!(domain = self.name, name, "renamed");
        self.name = name;
        self.definition = Some(definition);
        self.tell(EventKind::Defined, None);
        Ok(self.show().await)
    }

    pub(super) async fn undefine(&mut self, nvram: Option<Nvram>) -> Result<(), Failure> {
        self.free()?;
        let variables = self.variables_to_remove(nvram).await?;
        self.node.store.remove_definition(&self.name)?;
        let definition = self.definition.take();
        self.tell(EventKind::Undefined, None);
        // As in libvirt, a running domain goes on, and is forgotten when it ends.
        let shut_off = matches!(self.state, State::ShutOff { .. });
        if let (true, None, Some(definition)) = (shut_off, &self.record.moved, &definition) {
            self.release(definition).await;
        }
        if let Some(path) = variables
            && let Err(error) = storage::remove(&path).await
        {
            tracing::warn!(path = %path.display(), "the firmware's variables were left behind: {error}");
        }
        Ok(())
    }

    /// The file with the firmware's variables, where it is to go. As in libvirt, it must be said whether it is. A
    /// tombstone has none: they belong to the host that has the domain.
    async fn variables_to_remove(&self, nvram: Option<Nvram>) -> Result<Option<PathBuf>, Failure> {
        let Some(definition) = self.definition.as_ref().filter(|_| self.record.moved.is_none()) else {
            return Ok(None);
        };
        let Some((path, _)) = nonvolatile::variables(definition.domain()).filter(|(path, _)| path.exists())
        else {
            return Ok(None);
        };
        match nvram {
            Some(Nvram::Keep) => Ok(None),
            Some(Nvram::Remove) => {
                if let State::Active { .. } = self.state {
                    return Err(self.wrong_state("running", "shut it down first: its firmware has them open"));
                }
                self.own(definition.domain()).await?;
                Ok(Some(path.to_owned()))
            }
            None => Err(Failure::NvramUnsaid { domain: self.name.clone(), path: path.to_owned() }),
        }
    }

    /// Removes what was kept of a domain that is forgotten: its TPM's state, and its owner record, where it names this host
    /// and nothing is open.
    pub(super) async fn release(&self, definition: &Definition) {
        if !definition.domain().tpms.iter().any(|tpm| tpm.persistent_state) {
            nonvolatile::forget_tpm(&self.node, self.uuid);
        }
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
