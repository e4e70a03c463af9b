//! Migrations as their source agent shows them. Main types: [`MigrationRequest`], [`MigrationEvent`],
//! [`MigrationReport`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    CopyProgress, CopyReport, CopyStorage, Decided, Identity, Maps, MirrorReport, OnStuck, Prediction,
    Verified,
};

/// `POST /domains/{domain}/migrations`: move a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrationRequest {
    /// Name of the target host.
    pub to: String,
    /// What stays of the definition on the source.
    #[serde(default)]
    pub source_definition: SourceDefinition,
    /// Do not keep the definition on the target: the domain is gone when it shuts off there.
    #[serde(default)]
    pub transient: bool,
    /// Longest blackout that memory may cause, in milliseconds. QEMU: `downtime-limit`.
    #[serde(default = "default_blackout_ms_max")]
    pub blackout_ms_max: u64,
    /// Longest blackout that memory may cause where the one wished cannot be had, in milliseconds.
    #[serde(default = "default_blackout_bound_ms")]
    pub blackout_bound_ms: u64,
    /// How much of its time may be taken from a guest that writes faster than its memory goes over, in per cent, at most 99. QEMU:
    /// `max-cpu-throttle`.
    #[serde(default = "default_throttle_percent_max")]
    pub throttle_percent_max: u8,
    /// How long memory may go over before the migration counts as stuck, in seconds; absent: as long as rounds make progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<u64>,
    /// What becomes of a migration that comes to no end by anything that it may do.
    #[serde(default)]
    pub on_stuck: OnStuck,
    /// Bandwidth for memory or files in bytes per second, 0 is without limit. QEMU: `max-bandwidth`.
    #[serde(default)]
    pub bandwidth_bytes_per_s: u64,
    /// Parallel connections for memory; 1 is QEMU's single stream. QEMU: `multifd-channels`. More than 1 needs
    /// `plaintext`, or a QEMU that does not die when such a migration ends early (before 10.0, or from 10.2 on).
    #[serde(default = "default_channels")]
    pub channels: u8,
    /// Where memory does not go over with the blackout that was wished: let the guest go on at the target before all its memory
    /// is there. Until it is, the guest is lost where either QEMU ends. Not for several connections, nor for disks that go
    /// with it. QEMU: `postcopy-ram`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_postcopy: bool,
    /// Send memory unencrypted.
    #[serde(default)]
    pub plaintext: bool,
    /// Rules of the preflight that are not to be looked at, by their codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
    /// Move it shut off.
    #[serde(default)]
    pub offline: bool,
    /// Its disks go with it; absent: both hosts see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_storage: Option<CopyStorage>,
    /// What is called otherwise on the target.
    #[serde(default, skip_serializing_if = "Maps::is_empty")]
    pub maps: Maps,
    /// Offline: what the domain on the target is to be, where it is not to be the same.
    #[serde(default, skip_serializing_if = "Identity::is_same")]
    pub identity: Identity,
}

fn default_blackout_ms_max() -> u64 {
    30
}

fn default_blackout_bound_ms() -> u64 {
    300
}

fn default_throttle_percent_max() -> u8 {
    80
}

pub(crate) fn default_channels() -> u8 {
    1
}

impl MigrationRequest {
    /// A migration to `to` with every default.
    #[must_use]
    pub fn to(to: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            source_definition: SourceDefinition::default(),
            transient: false,
            blackout_ms_max: default_blackout_ms_max(),
            blackout_bound_ms: default_blackout_bound_ms(),
            throttle_percent_max: default_throttle_percent_max(),
            deadline_s: None,
            on_stuck: OnStuck::default(),
            bandwidth_bytes_per_s: 0,
            channels: default_channels(),
            allow_postcopy: false,
            plaintext: false,
            skip: Vec::new(),
            offline: false,
            copy_storage: None,
            maps: Maps::default(),
            identity: Identity::default(),
        }
    }
}

/// What becomes of the definition on the source after a move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceDefinition {
    /// It becomes a tombstone that says where the domain went.
    #[default]
    Tombstone,
    /// It stays defined, and does not start while another host owns the domain.
    Keep,
}

/// The migration has begun; its events are at `/migrations/{id}/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrationStarted {
    /// The migration.
    pub id: Uuid,
}

/// Which side of a migration a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The domain leaves this host.
    Source,
    /// The domain comes to this host.
    Target,
}

/// Where a migration stands. The state diagrams are in `docs/handover.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationPhase {
    /// Source: everything was checked, nothing was changed.
    Planned,
    /// Source: the target has made room.
    Reserved,
    /// Source: memory goes over, the guest works.
    Streaming,
    /// Source: the guest stands still, the last state goes over.
    Stopped,
    /// Source: the right to run was given away, no verdict yet.
    Pledged,
    /// Source: post-copy; the guest runs on the target and fetches memory from here.
    Serving,
    /// Source: the domain runs on the target. An end.
    Moved,
    /// Source: the domain runs here as if nothing had happened. An end.
    Kept,
    /// Source: pledged, the verdict unknown.
    InDoubt,
    /// The QEMU that held the guest's memory died. An end.
    Lost,
    /// Target: an offer was accepted, nothing was made yet.
    Offered,
    /// Target: QEMU waits for memory, taps are muted.
    Prepared,
    /// Target: memory comes in.
    Receiving,
    /// Target: everything has come in, the guest stands still.
    Loaded,
    /// Target: the right to run was received.
    Granted,
    /// Target: post-copy; the guest runs, memory is still coming.
    Filling,
    /// Target: the guest runs here. An end.
    Running,
    /// Target: it gave everything back and proved that the guest never ran. An end.
    Refused,
}

/// How a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The domain runs on the target.
    Moved,
    /// The domain is on the source as if nothing had happened.
    Kept,
    /// The guest's memory is gone; its disks are intact and it may be booted afresh.
    Lost,
    /// The source gave its word and does not know the verdict.
    InDoubt,
    /// A copy of the domain, with an identity of its own, is on the target, shut off; the domain is where it was.
    Copied,
}

/// One thing that happened to a migration; sent as server-sent events, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum MigrationEvent {
    /// A phase was entered.
    Phase {
        /// The phase.
        phase: MigrationPhase,
        /// When, RFC 3339.
        at: String,
    },
    /// Something a person watching wants to know: what is waited for, what was decided and why.
    Note {
        /// The text.
        text: String,
        /// When, RFC 3339.
        at: String,
    },
    /// Figures while memory goes over.
    Progress(Progress),
    /// Figures while files are copied.
    Copying(CopyProgress),
    /// The migration has ended, or is in doubt. Always the last event.
    Ended(Box<MigrationReport>),
}

/// Figures of a running migration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// The round, counted from 1. QEMU: `dirty-sync-count`.
    pub round: u64,
    /// Bytes sent so far.
    pub sent_bytes: u64,
    /// Bytes of guest memory known to be left in this round.
    pub left_bytes: u64,
    /// Guest memory in bytes.
    pub total_bytes: u64,
    /// Throughput in bytes per second.
    pub rate_bytes_per_s: u64,
    /// How fast the guest dirties memory, bytes per second; known from the second round on.
    pub dirty_bytes_per_s: u64,
    /// The blackout expected if the guest stopped now, in milliseconds. QEMU: `expected-downtime`.
    pub expected_blackout_ms: u64,
    /// How much vCPUs are throttled, per cent.
    pub throttle_percent: u8,
    /// Time since the migration began, in milliseconds.
    pub elapsed_ms: u64,
}

/// What is known of a migration's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    /// Guest memory in bytes.
    pub total_bytes: u64,
    /// Bytes sent over the network for memory and devices.
    pub sent_bytes: u64,
    /// Rounds over memory.
    pub rounds: u64,
    /// Pages sent whole.
    pub normal_pages: u64,
    /// Pages that were zero.
    pub zero_pages: u64,
    /// How long memory took to go over, in milliseconds; 0 where that is not known.
    #[serde(default)]
    pub streamed_ms: u64,
}

/// When the guest stood still, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Downtime {
    /// QEMU's own figure, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_ms: Option<u64>,
    /// From the source's STOP event to the target's RESUME event, by the hosts' clocks, in milliseconds. Only as
    /// good as these clocks agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_to_resume_ms: Option<f64>,
    /// Time stamp of the source QEMU's STOP event, RFC 3339 with microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_stopped_at: Option<String>,
    /// Time stamp of the target QEMU's RESUME event, RFC 3339 with microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_resumed_at: Option<String>,
}

/// The whole story of a migration, so far or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MigrationReport {
    /// The migration.
    pub id: Uuid,
    /// Name of the domain.
    pub domain: String,
    /// UUID of the domain.
    pub uuid: Uuid,
    /// Host that it left.
    pub source: String,
    /// Host that it went to.
    pub target: String,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The last phase.
    pub phase: MigrationPhase,
    /// Why it ended so, where it is not *moved*.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do now, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// How long it took until its last phase, in milliseconds.
    pub wall_ms: u64,
    /// Memory figures.
    pub memory: Memory,
    /// The blackout.
    pub downtime: Downtime,
    /// Whether memory was encrypted on its way.
    pub encrypted: bool,
    /// Whether the domain is suspended, before as after.
    pub suspended: bool,
    /// Rules of the preflight that were not looked at because somebody wanted it so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// What the target saw once the guest ran there; absent where it did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// Whether the domain moved shut off.
    #[serde(default)]
    pub offline: bool,
    /// The files that were copied; absent where none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<CopyReport>,
    /// The disks that went over while the guest worked; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<MirrorReport>,
    /// What was expected of it before memory went over; absent where nobody knew enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Box<Prediction>>,
    /// What was decided to bring it to its end, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decided>,
}

/// A migration as one host knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Migration {
    /// Which side this host is.
    pub role: Role,
    /// The story.
    #[serde(flatten)]
    pub report: MigrationReport,
}

/// An operator's word about a migration in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResolveAs {
    /// The guest runs on the target, or did: give it up here.
    Moved,
    /// The guest never ran on the target: go on here with the memory of then.
    Kept,
    /// Nobody has the guest's memory any more: it may be booted afresh here.
    Lost,
}

/// `POST /migrations/{id}/resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolveRequest {
    /// What the operator says is true.
    #[serde(rename = "as")]
    pub word: ResolveAs,
}
