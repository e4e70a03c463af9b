//! What the agent remembers on disk: definitions, tombstones, reports. Written to a temporary file, fsynced, renamed,
//! and the directory fsynced, so that a crash leaves the old or the new. Main type: [`Store`].
//!
//! ```text
//! state_dir/domains/<name>.xml      the definition
//! state_dir/domains/<name>.json     DomainRecord: tombstone, autostart
//! state_dir/checks/<id>.json        where the nonces of a check lie that goes on
//! state_dir/bridges/<name>.json     how a bridge that Ferry made is undone
//! state_dir/hosts.json              the hosts that have joined, and the issuer's tokens (`join::hosts`)
//! state_dir/ca/                     the CA, on the host that holds its key
//! state_dir/boot_id                 the boot of this host for which domains were started
//! state_dir/tpm/<uuid>/             the state of its TPM, swtpm's
//! state_dir/pools/<name>.xml           the definition of a storage pool
//! state_dir/pools/<name>.json          PoolRecord: autostart, started in which boot
//! state_dir/migrations/<id>.journal
//! state_dir/migrations/<id>.xml     what is coming here, until it has come: as it runs
//! state_dir/migrations/<id>.inactive.xml  the same as this host is to keep it
//! state_dir/migrations/<id>.json    the report of an ended migration
//! run_dir/<uuid>/                   what lives as long as its QEMU
//! run_dir/<id>.<number>.image       a chain of images as one file, while it is copied
//! ```

mod pools;

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use domain::Definition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bridges::record::BridgeRecord;
use crate::config::Config;
use crate::failure::chain;
use crate::limits::{NAME_BYTES_MAX, REPORTS_KEPT};
pub(crate) use pools::PoolRecord;

/// A file of the agent's own cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{path} cannot be {verb}")]
    File {
        path: PathBuf,
        verb: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the name {name:?} cannot be a file's name")]
    Name { name: String },
}

/// Endings of the names of an arrival's definitions.
const LIVE: &str = "xml";
/// See [`LIVE`].
const INACTIVE: &str = "inactive.xml";

/// What is remembered of a domain besides its definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DomainRecord {
    /// Where it went: the definition here is a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<MovedTo>,
    /// Whether it starts when this host boots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) autostart: bool,
}

/// A tombstone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MovedTo {
    /// The host that has it.
    pub(crate) host: String,
    /// The migration that took it there.
    pub(crate) migration: Uuid,
    /// When, RFC 3339.
    pub(crate) at: String,
}

/// The agent's directories.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    state_dir: PathBuf,
    run_dir: PathBuf,
    log_dir: PathBuf,
}

impl Store {
    /// Makes the directories, 0700.
    pub(crate) fn open(config: &Config) -> Result<Store, StoreError> {
        let store = Store {
            state_dir: config.state_dir.clone(),
            run_dir: config.run_dir.clone(),
            log_dir: config.log_dir.clone(),
        };
        for directory in [
            store.domains(),
            store.migrations(),
            store.pools_directory(),
            store.bridges_dir(),
            store.checks_directory(),
            store.run_dir.clone(),
            store.log_dir.clone(),
        ] {
            make_directory(&directory)?;
        }
        Ok(store)
    }

    fn domains(&self) -> PathBuf {
        self.state_dir.join("domains")
    }

    fn migrations(&self) -> PathBuf {
        self.state_dir.join("migrations")
    }

    fn pools_directory(&self) -> PathBuf {
        self.state_dir.join("pools")
    }

    fn definition_path(&self, name: &str, extension: &str) -> Result<PathBuf, StoreError> {
        named_file(&self.domains(), name, extension)
    }

    /// Where a domain's QEMU lives while it lives.
    pub(crate) fn run_directory(&self, uuid: Uuid) -> PathBuf {
        self.run_dir.join(uuid.to_string())
    }

    /// Where QEMU's words go.
    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.log_dir.join(format!("{name}.log"))
    }

    /// Where a migration's journal is.
    pub(crate) fn journal_path(&self, id: Uuid) -> PathBuf {
        self.migrations().join(format!("{id}.journal"))
    }

    /// What is known over restarts of a file that comes here.
    pub(crate) fn copy_log(&self, id: Uuid, number: usize) -> PathBuf {
        self.migrations().join(format!("{id}.{number}.copy"))
    }

    /// All such logs, with their migrations.
    pub(crate) fn copy_logs(&self) -> Result<Vec<(Uuid, PathBuf)>, StoreError> {
        let migration = |path: &Path| path.file_name()?.to_str()?.split_once('.')?.0.parse().ok();
        let logs = list(&self.migrations(), "copy")?.into_iter();
        Ok(logs.filter_map(|path| Some((migration(&path)?, path))).collect())
    }

    /// Where a chain of images is seen as one file while it is copied.
    pub(crate) fn shown_image(&self, id: Uuid, number: usize) -> PathBuf {
        self.run_dir.join(format!("{id}.{number}.image"))
    }

    /// What an agent before has left of those.
    pub(crate) fn shown_images(&self) -> Result<Vec<PathBuf>, StoreError> {
        list(&self.run_dir, "image")
    }

    fn arrival(&self, id: Uuid, which: &str) -> PathBuf {
        self.migrations().join(format!("{id}.{which}"))
    }

    /// Remembers the definitions of a domain that is coming here, before anything else of it exists.
    pub(crate) fn write_arrival(
        &self,
        id: Uuid,
        live: &Definition,
        inactive: Option<&Definition>,
    ) -> Result<(), StoreError> {
        if let Some(inactive) = inactive {
            write(&self.arrival(id, INACTIVE), inactive.xml().as_bytes())?;
        }
        write(&self.arrival(id, LIVE), live.xml().as_bytes())
    }

    /// Reads them again, the live one and the one to keep; `None` where there is none or it cannot be read.
    pub(crate) fn read_arrival(&self, id: Uuid) -> (Option<Definition>, Option<Definition>) {
        let read = |which| Definition::parse(&std::fs::read_to_string(self.arrival(id, which)).ok()?).ok();
        (read(LIVE), read(INACTIVE))
    }

    /// It has come, or it has not.
    pub(crate) fn remove_arrival(&self, id: Uuid) {
        for which in [LIVE, INACTIVE] {
            if let Err(error) = remove(&self.arrival(id, which)) {
                tracing::warn!("the definition of an arrival was left behind: {error}");
            }
        }
    }

    /// Remembers a definition.
    pub(crate) fn write_definition(
        &self,
        definition: &Definition,
        record: &DomainRecord,
    ) -> Result<(), StoreError> {
        let name = &definition.domain().name;
        write(&self.definition_path(name, "json")?, &json(record))?;
        write(&self.definition_path(name, "xml")?, definition.xml().as_bytes())
    }

    /// Remembers a definition under its new name. Written in the old one's place, the new definition counts; a crash
    /// before its files have their new names is made good by [`Store::definitions`].
    pub(crate) fn rename_definition(&self, old: &str, definition: &Definition) -> Result<(), StoreError> {
        let path = self.definition_path(old, "xml")?;
        self.definition_path(&definition.domain().name, "xml")?;
        write(&path, definition.xml().as_bytes())?;
        self.name_files(&path, definition).map(drop)
    }

    /// Gives the files of a definition the domain's name.
    fn name_files(&self, path: &Path, definition: &Definition) -> Result<PathBuf, StoreError> {
        let named = self.definition_path(&definition.domain().name, "xml")?;
        if named != path {
            let old = path.file_stem().unwrap_or_default().to_string_lossy();
            let log = (self.log_path(&old), self.log_path(&definition.domain().name));
            let record = (path.with_extension("json"), named.with_extension("json"));
            // The definition last: while it has its old name, the others are looked for again.
            for (old, new) in [log, record, (path.to_owned(), named.clone())] {
                match std::fs::rename(&old, &new) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(StoreError::File { path: old, verb: "renamed", source });
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(named)
    }

    /// Whether the domains of this boot of the host were started already.
    pub(crate) fn started_at_boot(&self, boot_id: &str) -> bool {
        std::fs::read_to_string(self.boot_path()).is_ok_and(|known| known == boot_id)
    }

    /// They were.
    pub(crate) fn write_started_at_boot(&self, boot_id: &str) -> Result<(), StoreError> {
        write(&self.boot_path(), boot_id.as_bytes())
    }

    fn boot_path(&self) -> PathBuf {
        self.state_dir.join("boot_id")
    }

    /// Forgets a definition.
    pub(crate) fn remove_definition(&self, name: &str) -> Result<(), StoreError> {
        remove(&self.definition_path(name, "xml")?)?;
        remove(&self.definition_path(name, "json")?)
    }

    /// Every definition; one that cannot be read is logged and left alone.
    pub(crate) fn definitions(&self) -> Result<Vec<(Definition, DomainRecord)>, StoreError> {
        let mut found = Vec::new();
        for path in list(&self.domains(), "xml")? {
            let read = std::fs::read_to_string(&path).map_err(|source| read_fault(&path, source))?;
            match Definition::parse(&read) {
                Ok(definition) => {
                    let path = self.name_files(&path, &definition)?;
                    let record = read_json(&path.with_extension("json"))?.unwrap_or_default();
                    found.push((definition, record));
                }
                Err(error) => tracing::error!(path = %path.display(), "a definition is left alone: {error}"),
            }
        }
        Ok(found)
    }

    /// UUIDs that have a run directory.
    pub(crate) fn run_directories(&self) -> Result<Vec<Uuid>, StoreError> {
        let entries = std::fs::read_dir(&self.run_dir).map_err(|source| read_fault(&self.run_dir, source))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Where the state of a domain's TPM lies.
    pub(crate) fn tpm_directory(&self, uuid: Uuid) -> PathBuf {
        self.state_dir.join("tpm").join(uuid.to_string())
    }

    /// Removes a file, or a directory with all that is in it, where it is there.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<(), StoreError> {
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::File { path: path.to_owned(), verb: "removed", source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes what lived as long as a QEMU.
    pub(crate) fn remove_run_directory(&self, uuid: Uuid) -> Result<(), StoreError> {
        self.remove_tree(&self.run_directory(uuid))
    }

    /// Remembers something that lives as long as a QEMU.
    pub(crate) fn write_run<T: Serialize>(
        &self,
        uuid: Uuid,
        name: &str,
        value: &T,
    ) -> Result<(), StoreError> {
        let directory = self.run_directory(uuid);
        make_directory(&directory)?;
        write(&directory.join(name), &json(value))
    }

    /// Forgets it before the QEMU ends.
    pub(crate) fn remove_run(&self, uuid: Uuid, name: &str) -> Result<(), StoreError> {
        remove(&self.run_directory(uuid).join(name))
    }

    /// Reads it again; `None` where there is none.
    pub(crate) fn read_run<T: DeserializeOwned>(
        &self,
        uuid: Uuid,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        read_json(&self.run_directory(uuid).join(name))
    }

    /// Keeps the report of an ended migration and its role; the oldest beyond the bound go, with their journals.
    pub(crate) fn write_report(&self, migration: &api::Migration) -> Result<(), StoreError> {
        write(&self.migrations().join(format!("{}.json", migration.report.id)), &json(migration))?;
        let mut reports = list(&self.migrations(), "json")?;
        reports.sort();
        let surplus = reports.len().saturating_sub(REPORTS_KEPT);
        // Ids are UUIDv7: their order is the order of time.
        for old in &reports[..surplus] {
            // A journal without a report would be taken up again.
            remove(&old.with_extension("journal"))?;
            remove(old)?;
        }
        Ok(())
    }

    fn bridges_dir(&self) -> PathBuf {
        self.state_dir.join("bridges")
    }

    fn bridge_path(&self, name: &str) -> PathBuf {
        self.bridges_dir().join(format!("{name}.json"))
    }

    /// Remembers how a bridge is undone.
    pub(crate) fn write_bridge(&self, record: &BridgeRecord) -> Result<(), StoreError> {
        write(&self.bridge_path(&record.name), &json(record))
    }

    /// Forgets a bridge.
    pub(crate) fn remove_bridge(&self, name: &str) -> Result<(), StoreError> {
        remove(&self.bridge_path(name))
    }

    /// Reads it again; `None` where Ferry made no such bridge.
    pub(crate) fn bridge(&self, name: &str) -> Result<Option<BridgeRecord>, StoreError> {
        if network::is_link_name(name) { read_json(&self.bridge_path(name)) } else { Ok(None) }
    }

    /// Of every bridge that Ferry made; one that cannot be read is logged and left alone.
    pub(crate) fn bridges(&self) -> Result<Vec<BridgeRecord>, StoreError> {
        let read = |path: PathBuf| {
            read_json(&path).unwrap_or_else(|error| {
                tracing::error!("a bridge is left alone: {}", chain(&error));
                None
            })
        };
        Ok(list(&self.bridges_dir(), "json")?.into_iter().filter_map(read).collect())
    }

    fn checks_directory(&self) -> PathBuf {
        self.state_dir.join("checks")
    }

    fn check_path(&self, check: Uuid) -> PathBuf {
        self.checks_directory().join(format!("{check}.json"))
    }

    /// Remembers where a check will write, before it does.
    pub(crate) fn write_check(&self, check: Uuid, nonces: &[PathBuf]) -> Result<(), StoreError> {
        write(&self.check_path(check), &json(&nonces))
    }

    /// Nothing of it is left.
    pub(crate) fn remove_check(&self, check: Uuid) -> Result<(), StoreError> {
        remove(&self.check_path(check))
    }

    /// Checks of which something may be left; one that cannot be read is logged and left alone.
    pub(crate) fn checks(&self) -> Result<Vec<(Uuid, Vec<PathBuf>)>, StoreError> {
        let read = |path: PathBuf| {
            let check: Uuid = path.file_stem()?.to_str()?.parse().ok()?;
            match read_json(&path) {
                Ok(nonces) => Some((check, nonces?)),
                Err(error) => {
                    tracing::error!("{}", crate::failure::chain(&error));
                    None
                }
            }
        };
        Ok(list(&self.checks_directory(), "json")?.into_iter().filter_map(read).collect())
    }

    /// The reports that were kept.
    pub(crate) fn reports(&self) -> Result<Vec<api::Migration>, StoreError> {
        let read = |path: PathBuf| read_json(&path).transpose();
        list(&self.migrations(), "json")?.into_iter().filter_map(read).collect()
    }

    /// Journals on disk.
    pub(crate) fn journals(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut journals = list(&self.migrations(), "journal")?;
        journals.sort();
        Ok(journals)
    }
}

/// The path of a file that is named after something that a person has named.
fn named_file(directory: &Path, name: &str, extension: &str) -> Result<PathBuf, StoreError> {
    let fits =
        !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('/') && !name.starts_with('.');
    if !fits || name.chars().any(char::is_control) {
        return Err(StoreError::Name { name: name.to_owned() });
    }
    Ok(directory.join(format!("{name}.{extension}")))
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| StoreError::File {
        path: path.to_owned(),
        verb: "made",
        source,
    })
}

fn read_fault(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), verb: "read", source }
}

fn list(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, StoreError> {
    let entries = std::fs::read_dir(directory).map_err(|source| read_fault(directory, source))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("the agent's own records are always JSON");
    bytes.push(b'\n');
    bytes
}

/// Reads a record; `None` where there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| read_fault(path, error.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(read_fault(path, source)),
    }
}

/// Writes a record, for its owner alone.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    write(path, &json(value))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let durable = || {
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(directory)?.sync_all()
    };
    durable().map_err(|source| StoreError::File { path: path.to_owned(), verb: "written", source })
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::File { path: path.to_owned(), verb: "removed", source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Does what waits for a disk on a thread that nothing else waits for: a disk is slow when it likes, and another domain may
/// be in its blackout.
pub(crate) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

#[cfg(test)]
mod tests;
