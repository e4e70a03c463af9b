//! The owner record: who may run a domain, written beside its first writable disk, where every host that could
//! start it can see it. It does not expire. Main type: [`OwnerRecord`].
//!
//! ```text
//! {"domain":"<uuid>","host":"kvm1","generation":3}
//! {"domain":"<uuid>","host":"kvm1","generation":3,"offered":{"host":"kvm2","generation":4}}   while it moves
//! {"domain":"<uuid>","host":"kvm2","generation":4}                                            after it moved
//! ```

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::RunRight;
use crate::limits::OWNER_RECORD_BYTES_MAX;

/// Who owns a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRecord {
    /// The domain.
    pub domain: Uuid,
    /// The host that may run it.
    pub host: String,
    /// Counts changes of owner.
    pub generation: u64,
    /// The host that it is being moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Offered>,
}

/// To whom a domain is being moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The target.
    pub host: String,
    /// The generation that it gets.
    pub generation: u64,
}

/// Why a host may not start a domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fenced {
    /// The record names another host.
    #[error("its disk belongs to host {owner} (generation {generation}): it may be running there")]
    OwnedElsewhere {
        /// That host.
        owner: String,
        /// The generation there.
        generation: u64,
    },
    /// This host has offered it and does not know how that ended.
    #[error("a migration to host {target} has not been settled: the guest may be running there")]
    OfferedElsewhere {
        /// The target.
        target: String,
    },
    /// The disk belongs to another domain.
    #[error("its disk belongs to another domain, {owner}")]
    OtherDomain {
        /// That domain's UUID.
        owner: Uuid,
    },
}

/// The bytes beside the disk are not an owner record.
#[derive(Debug, thiserror::Error)]
pub enum OwnerRecordError {
    /// Too long.
    #[error("{length} bytes are too many for an owner record (at most {OWNER_RECORD_BYTES_MAX})")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not the JSON that Ferry writes.
    #[error("it is not an owner record")]
    Malformed(#[source] serde_json::Error),
}

impl OwnerRecord {
    /// Claims a domain for a fresh start on `host`: the right to run and the record to write before QEMU is
    /// started. `record` is what lies beside the disk now.
    ///
    /// # Errors
    /// [`Fenced`] where the record names another host, another domain, or an offer that was not settled.
    pub fn claim(
        record: Option<&OwnerRecord>,
        domain: Uuid,
        host: &str,
    ) -> Result<(RunRight, OwnerRecord), Fenced> {
        let generation = match record {
            None => 1,
            Some(found) if found.domain != domain => return Err(Fenced::OtherDomain { owner: found.domain }),
            Some(found) if found.host != host => {
                return Err(Fenced::OwnedElsewhere {
                    owner: found.host.clone(),
                    generation: found.generation,
                });
            }
            Some(OwnerRecord { offered: Some(offered), .. }) => {
                return Err(Fenced::OfferedElsewhere { target: offered.host.clone() });
            }
            Some(found) => found.generation,
        };
        let claimed = OwnerRecord { domain, host: host.to_owned(), generation, offered: None };
        Ok((RunRight::mint(domain, generation), claimed))
    }

    /// The record of the holder of `right` on `host`.
    #[must_use]
    pub fn of(right: &RunRight, host: &str) -> OwnerRecord {
        OwnerRecord {
            domain: right.domain(),
            host: host.to_owned(),
            generation: right.generation(),
            offered: None,
        }
    }

    /// The same record while the domain is being moved to `target`.
    #[must_use]
    pub fn offer(self, target: &str) -> OwnerRecord {
        let offered = Offered { host: target.to_owned(), generation: self.generation + 1 };
        OwnerRecord { offered: Some(offered), ..self }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`OwnerRecordError`] for anything that Ferry did not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<OwnerRecord, OwnerRecordError> {
        if bytes.len() > OWNER_RECORD_BYTES_MAX {
            return Err(OwnerRecordError::TooLong { length: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(OwnerRecordError::Malformed)
    }

    /// The bytes to write.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("strings, numbers and a UUID are always JSON");
        bytes.push(b'\n');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Fenced, OwnerRecord};
    use uuid::Uuid;

    const WEB1: Uuid = Uuid::from_u128(1);
    const WEB2: Uuid = Uuid::from_u128(2);

    fn check(record: Option<OwnerRecord>, expect: Result<u64, Fenced>) {
        let claim = OwnerRecord::claim(record.as_ref(), WEB1, "kvm1");
        assert_eq!(claim.map(|(right, _)| right.generation()), expect);
    }

    fn owned(host: &str) -> OwnerRecord {
        OwnerRecord { domain: WEB1, host: host.into(), generation: 4, offered: None }
    }

    #[test]
    fn a_start_is_allowed_only_to_the_owner() {
        check(None, Ok(1));
        check(Some(owned("kvm1")), Ok(4));
        check(Some(owned("kvm2")), Err(Fenced::OwnedElsewhere { owner: "kvm2".into(), generation: 4 }));
        check(Some(owned("kvm1").offer("kvm2")), Err(Fenced::OfferedElsewhere { target: "kvm2".into() }));
        check(Some(OwnerRecord { domain: WEB2, ..owned("kvm1") }), Err(Fenced::OtherDomain { owner: WEB2 }));
    }

    #[test]
    fn bytes_round_trip_and_junk_is_refused() {
        let record = owned("kvm1").offer("kvm2");
        assert_eq!(OwnerRecord::from_bytes(&record.to_bytes()).unwrap(), record);
        assert_eq!(record.offered.unwrap().generation, 5);
        assert!(OwnerRecord::from_bytes(b"not json").is_err());
        assert!(OwnerRecord::from_bytes(&[b' '; 5000]).is_err());
    }
}
