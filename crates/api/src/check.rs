//! The preflight as people and programs see it: what is asked, and what every rule found. Main types:
//! [`CheckRequest`], [`CheckReport`], [`Checked`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{CopyStorage, Finding, Identity, Maps, MigrationRequest};

/// `POST /domains/{domain}/check`: what stands in the way of a migration. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckRequest {
    /// Name of the target host.
    pub to: String,
    /// How the domain is to move; absent: as its state has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<CheckMode>,
    /// The only rules to look at; empty is all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Rules to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
    /// Parallel connections for memory that the migration is to have.
    #[serde(default = "crate::migration::default_channels")]
    pub channels: u8,
    /// Whether memory is to go unencrypted.
    #[serde(default)]
    pub plaintext: bool,
    /// Whether the guest may be handed over before its memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_postcopy: bool,
    /// Whether and how its disks are to go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_storage: Option<CopyStorage>,
    /// What is called otherwise on the target.
    #[serde(default, skip_serializing_if = "Maps::is_empty")]
    pub maps: Maps,
    /// What the domain on the target is to be.
    #[serde(default, skip_serializing_if = "Identity::is_same")]
    pub identity: Identity,
}

impl CheckRequest {
    /// A check of every rule.
    #[must_use]
    pub fn to(to: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            mode: None,
            only: Vec::new(),
            skip: Vec::new(),
            channels: crate::migration::default_channels(),
            plaintext: false,
            allow_postcopy: false,
            copy_storage: None,
            maps: Maps::default(),
            identity: Identity::default(),
        }
    }

    /// The check that a migration begins with.
    #[must_use]
    pub fn of(request: &MigrationRequest) -> Self {
        Self {
            mode: Some(if request.offline { CheckMode::Offline } else { CheckMode::Live }),
            skip: request.skip.clone(),
            channels: request.channels,
            plaintext: request.plaintext,
            allow_postcopy: request.allow_postcopy,
            copy_storage: request.copy_storage.clone(),
            maps: request.maps.clone(),
            identity: request.identity.clone(),
            ..Self::to(&request.to)
        }
    }
}

/// How a domain is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckMode {
    /// While its guest works.
    Live,
    /// Shut off.
    Offline,
}

/// How grave an answer is, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// All is well.
    Pass,
    /// It goes on, and somebody should know.
    Warn,
    /// The migration is refused.
    Fail,
}

/// What one rule found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// The rule's stable code, as in `bridge-missing`.
    pub rule: String,
    /// How grave it is.
    pub severity: Severity,
    /// What it is about, where the rule looks at several things: a disk, a bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What the source has; empty where only the target counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What the target has; empty where only the source counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// What is so, and where; of a pass, what was looked at.
    pub message: String,
    /// Why it matters.
    pub why: String,
    /// What to do, as a command where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// What Ferry can do about it by itself, where that is safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

/// `POST /hosts/{host}/fixes`: a mend on another host that takes nothing from anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    /// Define a pool as this host has it, and start it.
    DefinePool {
        /// Its name.
        pool: String,
    },
    /// Start a pool: mount what is to be mounted.
    StartPool {
        /// Its name.
        pool: String,
    },
    /// Make a bridge on a card that the host itself does not use.
    CreateBridge {
        /// The bridge's name.
        bridge: String,
        /// The card.
        uplink: String,
    },
}

impl From<Checked> for Finding {
    fn from(checked: Checked) -> Self {
        Finding {
            code: checked.rule,
            fatal: checked.severity == Severity::Fail,
            message: checked.message,
            mend: checked.mend.unwrap_or_default(),
        }
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckReport {
    /// Name of the domain.
    pub domain: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// The host that has it.
    pub source: String,
    /// The host that it is to go to.
    pub target: String,
    /// How it is to move.
    pub mode: CheckMode,
    /// What the rules found, the gravest first.
    pub checked: Vec<Checked>,
    /// Rules that were left out because somebody wanted it so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
}

impl CheckReport {
    /// The gravest answer.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.checked.iter().map(|checked| checked.severity).max().unwrap_or(Severity::Pass)
    }
}
