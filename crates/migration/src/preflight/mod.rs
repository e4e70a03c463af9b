//! Every check before anything is changed, as rules over facts: a rule a file, each answer a [`Checked`], and all of
//! them at once. The facts are gathered by the agents; here they are only judged. Main function: [`judge`].
//!
//! ```text
//! source's agent ─ facts of the source ─┐
//!        └── asks ─► target's agent     ├─► judge ─► every rule's answers, the gravest first
//!                └─ facts of the target ┘
//! ```

mod arch;
mod blocked;
mod bridge_down;
mod bridge_missing;
mod bridges;
mod cache;
mod capabilities;
mod certificate;
mod chain_broken;
mod clock_skew;
mod clock_source;
mod copy_exists;
mod copy_place_missing;
mod copy_shared;
mod copy_too_small;
mod cpu_features;
mod cpu_model;
mod cpu_vendor;
mod cpus;
mod descriptors;
mod devices;
mod disk;
mod disk_space;
mod emulator;
mod encrypted_channels;
pub mod example;
mod export_missing;
mod facts;
mod file;
mod filesystem;
mod flatten_unsupported;
mod format;
mod guest_agent;
mod host_device;
mod hugepages;
mod image;
mod image_encrypted;
mod image_in_use;
mod kvm;
mod local_character;
mod lock;
mod mac;
mod mac_heard;
mod machine;
mod memory;
mod mtu;
mod name_taken;
mod network_unknown;
mod nfs_unreachable;
mod nonce;
mod not_a_bridge;
mod nx;
mod path;
mod pool;
mod port_unreachable;
mod postcopy;
mod qemu_newer;
mod qemu_version;
mod rule;
mod same_host;
mod snapshots;
mod snapshots_lost;
mod source_unreachable;
mod state_space;
mod target_older;
mod target_unreachable;
mod tsc;
mod unknown;
mod user_networking;
mod uuid_taken;
mod vlan;

use api::{Checked, Severity};

pub use capabilities::CAPABILITIES_NEEDED;
pub use facts::{Between, DomainDisk, DomainFacts, Facts, GuestFacts, LocalCharacter, Unasked};
pub use rule::Rule;

/// Every rule, in the order in which people read about them.
pub static RULES: &[&Rule] = &[
    &same_host::SAME_HOST,
    &target_unreachable::TARGET_UNREACHABLE,
    &target_older::TARGET_OLDER,
    &source_unreachable::SOURCE_UNREACHABLE,
    &port_unreachable::PORT_UNREACHABLE,
    &certificate::CERTIFICATE_EXPIRES,
    &clock_skew::CLOCK_SKEW,
    &clock_source::CLOCK_SOURCE_DIFFERS,
    &tsc::TSC_DIFFERS,
    &arch::ARCH_DIFFERS,
    &cpu_vendor::CPU_VENDOR_DIFFERS,
    &cpu_model::CPU_MODEL_DIFFERS,
    &cpu_features::CPU_FEATURES_MISSING,
    &nx::NX_DIFFERS,
    &kvm::KVM_UNUSABLE,
    &machine::MACHINE_MISSING,
    &devices::DEVICE_MISSING,
    &qemu_version::QEMU_OLDER,
    &qemu_newer::QEMU_NEWER,
    &capabilities::MIGRATE_CAPABILITY_MISSING,
    &encrypted_channels::ENCRYPTED_CHANNELS,
    &postcopy::POSTCOPY_MISSING,
    &blocked::MIGRATION_BLOCKED,
    &host_device::HOST_DEVICE,
    &local_character::LOCAL_CHARACTER,
    &memory::MEMORY_SHORT,
    &hugepages::HUGEPAGES_SHORT,
    &cpus::CPUS_SHORT,
    &descriptors::DESCRIPTORS_SHORT,
    &state_space::STATE_SPACE_SHORT,
    &copy_shared::COPY_SHARED,
    &copy_place_missing::COPY_PLACE_MISSING,
    &copy_exists::COPY_EXISTS,
    &copy_too_small::COPY_TOO_SMALL,
    &flatten_unsupported::FLATTEN_UNSUPPORTED,
    &disk_space::DISK_SPACE_SHORT,
    &name_taken::NAME_TAKEN,
    &uuid_taken::UUID_TAKEN,
    &disk::DISK_MISSING,
    &chain_broken::CHAIN_BROKEN,
    &image_in_use::IMAGE_IN_USE,
    &image_encrypted::IMAGE_ENCRYPTED,
    &nonce::STORAGE_NOT_SHARED,
    &image::IMAGE_DIFFERS,
    &format::FORMAT_DIFFERS,
    &filesystem::FILESYSTEM_DIFFERS,
    &pool::POOL_DIFFERS,
    &nfs_unreachable::NFS_UNREACHABLE,
    &export_missing::EXPORT_MISSING,
    &cache::CACHE_UNSAFE,
    &lock::LOCK_UNAVAILABLE,
    &snapshots::SNAPSHOTS_INSIDE,
    &snapshots_lost::SNAPSHOTS_LOST,
    &path::PATH_NOT_ALLOWED,
    &emulator::EMULATOR_NOT_ALLOWED,
    &file::FILE_MISSING,
    &network_unknown::NETWORK_UNKNOWN,
    &bridge_missing::BRIDGE_MISSING,
    &not_a_bridge::NOT_A_BRIDGE,
    &bridge_down::BRIDGE_DOWN,
    &mtu::MTU_DIFFERS,
    &vlan::VLAN_DIFFERS,
    &mac::MAC_IN_USE,
    &mac_heard::MAC_HEARD,
    &user_networking::USER_NETWORKING,
    &guest_agent::GUEST_AGENT_SILENT,
    &unknown::FACT_UNKNOWN,
];

/// Rules about a guest that goes on: the next start of one that is shut off finds whatever is there.
static OF_A_GUEST_THAT_RUNS: &[&Rule] = &[
    &clock_source::CLOCK_SOURCE_DIFFERS,
    &tsc::TSC_DIFFERS,
    &cpu_vendor::CPU_VENDOR_DIFFERS,
    &cpu_model::CPU_MODEL_DIFFERS,
];

/// Rules about a guest's start: of one that is shut off they only warn, for until it starts there all may be mended.
static OF_A_START: &[&Rule] = &[
    &cpu_features::CPU_FEATURES_MISSING,
    &nx::NX_DIFFERS,
    &memory::MEMORY_SHORT,
    &hugepages::HUGEPAGES_SHORT,
];

/// Which rules are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    only: Vec<&'static Rule>,
    skip: Vec<&'static Rule>,
}

/// Why rules cannot be selected so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// There is no such rule.
    #[error("there is no rule {rule:?}")]
    Unknown {
        /// What was asked for.
        rule: String,
    },
    /// The rule guards what is not the asker's to risk.
    #[error("the rule {rule} cannot be skipped")]
    Needed {
        /// The rule.
        rule: &'static str,
    },
}

impl Selection {
    /// The rules of these codes; `only` empty means all of them.
    ///
    /// # Errors
    /// [`SelectionError`] names the first code that cannot be.
    pub fn of(only: &[String], skip: &[String]) -> Result<Selection, SelectionError> {
        let find = |code: &String| {
            let found = RULES.iter().find(|rule| rule.code == code.as_str());
            found.copied().ok_or_else(|| SelectionError::Unknown { rule: code.clone() })
        };
        let only = only.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let skip = skip.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        match skip.iter().find(|rule| rule.needed) {
            Some(needed) => Err(SelectionError::Needed { rule: needed.code }),
            None => Ok(Selection { only, skip }),
        }
    }

    /// A selection that was made on another host, by rules that may be others there: what cannot be left out here is
    /// looked at.
    #[must_use]
    pub fn offered(skip: &[String]) -> Selection {
        let known = RULES.iter().filter(|rule| !rule.needed && skip.iter().any(|code| code == rule.code));
        Selection { only: Vec::new(), skip: known.copied().collect() }
    }

    /// Whether a rule is looked at.
    #[must_use]
    pub fn includes(&self, rule: &Rule) -> bool {
        let is = |other: &&'static Rule| other.code == rule.code;
        (self.only.is_empty() || self.only.iter().any(is)) && !self.skip.iter().any(is)
    }

    /// The codes of the rules that were left out by name.
    #[must_use]
    pub fn skipped(&self) -> Vec<String> {
        self.skip.iter().map(|rule| rule.code.to_owned()).collect()
    }
}

/// Judges a migration: what every rule says, the gravest first and else in the order of [`RULES`]. A rule that has
/// nothing to look at says nothing.
#[must_use]
pub fn judge(facts: &Facts, selection: &Selection) -> Vec<Checked> {
    let mut checked = Vec::new();
    for rule in RULES.iter().filter(|rule| selection.includes(rule)) {
        // One host is no pair: all else would be said of it twice.
        if facts.is_one_host() && rule.code != same_host::SAME_HOST.code {
            continue;
        }
        if !facts.domain.live && OF_A_GUEST_THAT_RUNS.contains(rule) {
            continue;
        }
        let warns = !facts.domain.live && OF_A_START.contains(rule);
        let answers = (rule.judge)(facts).into_iter().map(|answer| answer.of(rule));
        checked.extend(answers.map(|found| Checked {
            severity: if warns { found.severity.min(Severity::Warn) } else { found.severity },
            ..found
        }));
    }
    checked.sort_by_key(|checked| std::cmp::Reverse(checked.severity));
    checked
}

/// Whether nothing of what was found forbids the migration.
#[must_use]
pub fn permits(checked: &[Checked]) -> bool {
    checked.iter().all(|checked| checked.severity < Severity::Fail)
}

#[cfg(test)]
mod tests {
    use super::{RULES, Selection, SelectionError};

    fn of(only: &[&str], skip: &[&str]) -> Result<Selection, SelectionError> {
        let owned = |codes: &[&str]| codes.iter().map(|&code| code.to_owned()).collect::<Vec<_>>();
        Selection::of(&owned(only), &owned(skip))
    }

    #[test]
    fn rules_are_selected_by_their_codes() {
        let codes = |selection: &Selection| -> Vec<&str> {
            RULES.iter().filter(|rule| selection.includes(rule)).map(|rule| rule.code).collect()
        };
        assert_eq!(codes(&of(&[], &[]).unwrap()).len(), RULES.len());
        assert_eq!(codes(&of(&["nx-differs", "memory-short"], &["nx-differs"]).unwrap()), ["memory-short"]);
        assert_eq!(codes(&of(&[], &["clock-skew"]).unwrap()).len(), RULES.len() - 1);
        assert_eq!(of(&["nx"], &[]), Err(SelectionError::Unknown { rule: "nx".into() }));
        let offered = Selection::offered(&["clock-skew".into(), "name-taken".into(), "of-tomorrow".into()]);
        assert_eq!(offered.skipped(), ["clock-skew"]);
        assert_eq!(of(&[], &["name-taken"]), Err(SelectionError::Needed { rule: "name-taken" }));
    }

    #[test]
    fn codes_are_unique_and_every_rule_says_why() {
        let mut codes: Vec<_> = RULES.iter().map(|rule| rule.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), RULES.len());
        assert!(RULES.iter().all(|rule| !rule.why.is_empty() && !rule.what.is_empty()));
    }
}
