//! What two agents say to each other during one migration, over one mutually authenticated connection:
//!
//! ```text
//! source                                target
//!   POST /agent/migrations         →             Offer
//!                                  ←             Ticket, or a Problem with every finding
//!   GET  /agent/migrations/{id}    →             is it still there?  (TargetStatus)
//!   GET  /agent/migrations/{id}/files/{n}           →   what do you hold of this file?
//!   POST /agent/migrations/{id}/files/{n}/blocks    →   some of what you lack; several at once
//!   POST /agent/migrations/{id}/files/{n}/complete  →   is it whole, and equal?  (FileTaken)
//!   GET  /agent/migrations/{id}/disks    →       a disk goes over, while the guest works: NBD from here on
//!   POST /agent/migrations/{id}/pledge   →       "I will not run it again"
//!                                  ←             Verdict
//!   DELETE /agent/migrations/{id}  →             "it stays here, give everything back"
//!                                  ←             Verdict
//!   GET  /agent/migrations/{id}/verified   →     what do you see of it now?  (Verified)
//! target                                source
//!   GET  /agent/migrations/{id}/settlement →     what became of it?  (Settlement)
//! ```
//!
//! Main types: [`Offer`], [`Ticket`], [`Verdict`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{CopyFile, Verify};

/// What a connection turns into over which a disk goes while its guest works, as in HTTP's `Upgrade`: NBD between two QEMUs.
pub const DISK_PROTOCOL: &str = "nbd";

/// The source's request to take a domain over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// The migration.
    pub migration: Uuid,
    /// The source host.
    pub source: String,
    /// The frozen definition, with `host-model` expanded: libvirt domain XML.
    pub xml: String,
    /// The generation of the right to run that the pledge will give.
    pub generation: u64,
    /// Whether the domain is suspended and is to stay so.
    pub suspended: bool,
    /// The definition that the target keeps for the next start, where it keeps one: `xml` before the start filled it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_xml: Option<String>,
    /// Whether memory is to be encrypted.
    pub encrypted: bool,
    /// Parallel connections for memory.
    pub channels: u8,
    /// Whether the guest may be handed over before all its memory has come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postcopy: bool,
    /// Facts of the source that the target checks against its own.
    pub source_facts: SourceFacts,
    /// Rules of the preflight that are not to be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
    /// Whether the domain is shut off and stays so: there is no memory to take in.
    #[serde(default)]
    pub offline: bool,
    /// The files that come with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<CopyFile>,
    /// How these are proven.
    #[serde(default)]
    pub verify: Verify,
    /// The domain's UUID on the source, where it gets another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Uuid>,
}

/// What the target must know of the source to check the offer for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceFacts {
    /// Architecture, as in `x86_64`.
    pub arch: String,
    /// `vendor_id` of `/proc/cpuinfo`.
    pub cpu_vendor: String,
    /// Whether no-execute pages are on.
    pub nx: bool,
    /// Whether the domain runs under `kvm`; else under `tcg`.
    pub kvm: bool,
    /// QEMU's migration capabilities there.
    pub migrate_capabilities: Vec<String>,
    /// CPU features that the domain asks for and that its guest was not given there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_unavailable: Option<Vec<String>>,
}

/// One answer of a preflight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Stable code, as in `bridge-missing`.
    pub code: String,
    /// Whether it forbids the migration; else it is a warning.
    pub fatal: bool,
    /// What is so, and where.
    pub message: String,
    /// What to do.
    pub mend: String,
}

/// The target has made room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ticket {
    /// Where the source's QEMU sends memory, as in `10.0.0.2:49152`; empty for a domain that is shut off.
    pub address: String,
    /// Name in the target's certificate, for QEMU's `tls-hostname`.
    pub tls_hostname: String,
    /// One-time token; the pledge must carry it.
    pub token: Uuid,
    /// Findings that do not forbid the migration.
    pub warnings: Vec<Finding>,
    /// Whether the target's QEMU takes a guest before all its memory has come. An agent that does not know of it says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub postcopy: bool,
}

/// `POST /agent/migrations/{id}/listen`: where the rest of the memory is to be sent, after a connection broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listening {
    /// As in [`Ticket::address`].
    pub address: String,
}

/// `POST /agent/migrations/{id}/pledge`: the source's irrevocable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pledge {
    /// The ticket's token.
    pub token: Uuid,
    /// That the source has nothing left to serve a guest with that still needs memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_left: bool,
}

/// Where the target stands, as its agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetPhase {
    /// QEMU waits for memory or takes it in.
    Receiving,
    /// The right to run was received, the guest is being continued.
    Granted,
    /// The guest runs, or ran.
    Running,
    /// Everything was given back; the guest never ran.
    Refused,
    /// The guest's memory is gone and it may have run.
    Lost,
}

/// `GET /agent/migrations/{id}`: a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetStatus {
    /// Where the target stands.
    pub phase: TargetPhase,
}

/// The target's answer to a pledge, or to being asked to give everything back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The guest runs on the target, or ran: the source must never run it again.
    Running {
        /// Time stamp of the RESUME event, RFC 3339 with microseconds; absent for a suspended domain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumed_at: Option<String>,
    },
    /// The guest runs on the target, or ran, and needs memory that the source still has.
    Filling {
        /// Time stamp of the RESUME event, RFC 3339 with microseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumed_at: Option<String>,
        /// Whether the target has noticed that the connection for memory is broken.
        cut: bool,
    },
    /// The guest never ran on the target and never will in this migration.
    Refused {
        /// Why.
        reason: String,
    },
    /// The target's QEMU is gone and the guest may have run: old memory must not be continued.
    Lost {
        /// Why.
        reason: String,
    },
}

/// What the source knows of a migration, told to a target that has lost its memory of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Settlement {
    /// It has not ended: the source still works on it.
    Open,
    /// The domain belongs to the target.
    Moved,
    /// The domain stayed on the source.
    Kept,
    /// The guest's memory is gone; the domain belongs to the source, shut off.
    Lost,
    /// The source does not know this migration.
    Unknown,
}
