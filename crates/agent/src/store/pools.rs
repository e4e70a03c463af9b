//! The storage pools of a host, as files. Main type: [`PoolRecord`].

use domain::Pool;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, json, list, named_file, read_fault, read_json, remove, write};

/// What is remembered of a storage pool besides its definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolRecord {
    /// Whether it is started with this host.
    #[serde(default)]
    pub(crate) autostart: bool,
}

impl Store {
    /// Remembers a storage pool.
    pub(crate) fn write_pool(&self, pool: &Pool, record: PoolRecord) -> Result<(), StoreError> {
        write(&named_file(&self.pools_directory(), &pool.name, "json")?, &json(&record))?;
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
            let read = std::fs::read_to_string(&path).map_err(|source| read_fault(&path, source))?;
            match Pool::parse(&read) {
                Ok(pool) => found.push((pool, read_json(&path.with_extension("json"))?.unwrap_or_default())),
                Err(error) => tracing::error!(path = %path.display(), "a pool is left alone: {error}"),
            }
        }
        Ok(found)
    }
}
