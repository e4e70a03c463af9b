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

    /// The record after the offer to `target` came true, for either side to write: the target once the guest has
    /// run there, the source once it knows that it did. `None` where this offer does not stand (any more), so that a
    /// late writer never overrules the host that has taken the domain back; read the record again right before.
    #[must_use]
    pub fn handed(&self, target: &str, generation: u64) -> Option<OwnerRecord> {
        let offered = self.offered.as_ref().filter(|o| o.host == target && o.generation == generation)?;
        Some(OwnerRecord {
            domain: self.domain,
            host: offered.host.clone(),
            generation: offered.generation,
            offered: None,
        })
    }

    /// The record after `host`, which holds `generation`, took its offer back: the migration ended *kept* or *lost*.
    /// `None` where the record is not its own any more (then the domain is the target's) or nothing is offered.
    /// A later migration offers under the same generation, so nobody withdraws for an older one while it is open.
    #[must_use]
    pub fn withdrawn(&self, host: &str, generation: u64) -> Option<OwnerRecord> {
        let own = self.host == host && self.generation == generation && self.offered.is_some();
        own.then(|| OwnerRecord { offered: None, ..self.clone() })
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
    fn an_offer_comes_true_or_is_taken_back_once() {
        let offered = owned("kvm1").offer("kvm2");
        let handed = offered.handed("kvm2", 5).unwrap();
        assert_eq!(handed, OwnerRecord { generation: 5, ..owned("kvm2") });
        assert_eq!(offered.withdrawn("kvm1", 4), Some(owned("kvm1")));
        for (late, why) in [
            (handed.withdrawn("kvm1", 4), "it is the target's"),
            (handed.handed("kvm2", 5), "it is done"),
            (owned("kvm1").handed("kvm2", 5), "it was taken back"),
            (owned("kvm1").withdrawn("kvm1", 4), "it is done"),
            (offered.handed("kvm3", 5), "it was offered to another"),
            (offered.handed("kvm2", 6), "it is another offer"),
            (offered.withdrawn("kvm1", 3), "it is another ownership"),
        ] {
            assert_eq!(late, None, "{why}");
        }
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
