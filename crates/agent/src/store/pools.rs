//! The storage pools of a host, as files. Main type: [`PoolRecord`].

use std::path::Path;

use domain::Pool;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, json, list, named_file, read_json, remove, write};
use crate::failure::chain;

/// What is remembered of a storage pool besides its definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolRecord {
    /// Whether it is started with this host.
    #[serde(default)]
    pub(crate) autostart: bool,
    /// The boot of this host (`host::boot_id`) in which it was started, until it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started_in: Option<String>,
}

impl Store {
    /// Remembers a storage pool.
    pub(crate) fn write_pool(&self, pool: &Pool, record: &PoolRecord) -> Result<(), StoreError> {
        write(&named_file(&self.pools_directory(), &pool.name, "json")?, &json(record))?;
        write(&named_file(&self.pools_directory(), &pool.name, "xml")?, pool.xml().as_bytes())
    }

    /// Forgets a storage pool.
    pub(crate) fn remove_pool(&self, name: &str) -> Result<(), StoreError> {
        remove(&named_file(&self.pools_directory(), name, "xml")?)?;
        remove(&named_file(&self.pools_directory(), name, "json")?)
    }

    /// Every storage pool; one that cannot be read is logged and left alone.
    pub(crate) fn pools(&self) -> Result<Vec<(Pool, PoolRecord)>, StoreError> {
        let mut found = Vec::new();
        for path in list(&self.pools_directory(), "xml")? {
            match read(&path) {
                Ok(pool) => found.push((pool, record(&path.with_extension("json")))),
                Err(error) => {
                    tracing::error!(path = %path.display(), "a pool is left alone: {}", chain(error.as_ref()));
                }
            }
        }
        Ok(found)
    }
}

fn read(path: &Path) -> Result<Pool, Box<dyn std::error::Error>> {
    Ok(Pool::parse(&std::fs::read_to_string(path)?)?)
}

/// The pool itself is worth more than what is remembered besides it.
fn record(path: &Path) -> PoolRecord {
    let read = read_json(path).inspect_err(|error| {
        tracing::error!("a pool does not start with its host: {}", chain(error));
    });
    read.ok().flatten().unwrap_or_default()
}
