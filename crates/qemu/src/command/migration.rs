//! Commands of live migration: capabilities, parameters, start, progress, the pause before switchover, cancel.

use serde::{Deserialize, Serialize};

use super::{Done, command};
use crate::open_enum::open_enum;

open_enum! {
    /// QAPI `MigrationStatus`.
    pub enum MigrationStatus {
        /// None was started.
        None = "none",
        /// The connection is made, on the target the listener waits.
        Setup = "setup",
        /// Being cancelled.
        Cancelling = "cancelling",
        /// Cancelled; the source's guest runs on by itself if it ran before.
        Cancelled = "cancelled",
        /// Memory flows.
        Active = "active",
        /// The guest runs on the target and fetches memory.
        PostcopyActive = "postcopy-active",
        /// A post-copy migration lost its connection.
        PostcopyPaused = "postcopy-paused",
        /// A post-copy migration may be resumed.
        PostcopyRecoverSetup = "postcopy-recover-setup",
        /// A post-copy migration is resumed.
        PostcopyRecover = "postcopy-recover",
        /// Everything was sent, and with the return path on also loaded.
        Completed = "completed",
        /// Failed; the source's guest runs on by itself if it ran before.
        Failed = "failed",
        /// Colo replication.
        Colo = "colo",
        /// The source's CPUs are stopped and wait for `migrate-continue`.
        PreSwitchover = "pre-switchover",
        /// Device states are sent.
        Device = "device",
        /// Waits for a device to be unplugged.
        WaitUnplug = "wait-unplug",
    }
}

open_enum! {
    /// QAPI `MigrationCapability`, those that Ferry sets.
    pub enum MigrationCapability {
        /// `MIGRATION` and `MIGRATION_PASS` events.
        Events = "events",
        /// The target answers the source.
        ReturnPath = "return-path",
        /// Wait for `migrate-continue` with the CPUs stopped.
        PauseBeforeSwitchover = "pause-before-switchover",
        /// Several connections.
        Multifd = "multifd",
        /// The target takes image locks only when it is continued.
        LateBlockActivate = "late-block-activate",
        /// Refuse a stream of another domain.
        ValidateUuid = "validate-uuid",
        /// Slow the guest down until memory fits.
        AutoConverge = "auto-converge",
        /// Delta compression.
        Xbzrle = "xbzrle",
        /// The guest may run on the target before all memory is there.
        PostcopyRam = "postcopy-ram",
        /// Urgent pages have a connection of their own.
        PostcopyPreempt = "postcopy-preempt",
        /// Devices agree before the CPUs stop.
        SwitchoverAck = "switchover-ack",
        /// Dirty bitmaps of block nodes go over, too.
        DirtyBitmaps = "dirty-bitmaps",
        /// Source memory is freed while it is sent.
        ReleaseRam = "release-ram",
    }
}

/// QAPI `query-migrate-capabilities`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryMigrateCapabilities;
command!(QueryMigrateCapabilities, "query-migrate-capabilities", Vec<MigrationCapabilityStatus>);

/// QAPI `migrate-set-capabilities`.
#[derive(Clone, Debug, Serialize)]
pub struct MigrateSetCapabilities {
    /// Those not named stay as they are.
    pub capabilities: Vec<MigrationCapabilityStatus>,
}
command!(MigrateSetCapabilities, "migrate-set-capabilities", Done);

/// QAPI `MigrationCapabilityStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationCapabilityStatus {
    /// Which.
    pub capability: MigrationCapability,
    /// On or off.
    pub state: bool,
}

/// QAPI `migrate-set-parameters`; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MigrateSetParameters {
    /// The values.
    #[serde(flatten)]
    pub parameters: MigrationParameters,
}
command!(MigrateSetParameters, "migrate-set-parameters", Done);

/// QAPI `query-migrate-parameters`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryMigrateParameters;
command!(QueryMigrateParameters, "query-migrate-parameters", MigrationParameters);

/// QAPI `MigrationParameters`, those that Ferry reads or sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrationParameters {
    /// Bytes per second; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bandwidth: Option<u64>,
    /// The same after switching to post-copy; pages that the guest waits for are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_postcopy_bandwidth: Option<u64>,
    /// Bytes per second that QEMU reckons with at switchover; 0 means it uses what it measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avail_switchover_bandwidth: Option<u64>,
    /// Longest blackout, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downtime_limit: Option<u64>,
    /// Connections of multifd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multifd_channels: Option<u8>,
    /// `none`, `zlib`, `zstd`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multifd_compression: Option<String>,
    /// Percent; first slowing by auto-converge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_throttle_initial: Option<u8>,
    /// Percent; each further slowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_throttle_increment: Option<u8>,
    /// Percent; most slowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu_throttle: Option<u8>,
    /// Percent of what went over in a period; where the guest dirtied more than that, auto-converge counts the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle_trigger_threshold: Option<u8>,
    /// Bytes, a power of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xbzrle_cache_size: Option<u64>,
    /// Object id of `tls-creds-x509`; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_creds: Option<String>,
    /// Name that the target's certificate must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_hostname: Option<String>,
    /// Object id of the `authz-*` that admits the source's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_authz: Option<String>,
    /// Announcements that the target sends by itself; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce_rounds: Option<u64>,
    /// Milliseconds before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce_initial: Option<u64>,
    /// Milliseconds; most between two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce_max: Option<u64>,
    /// Milliseconds added from one to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce_step: Option<u64>,
}

/// QAPI `migrate`. Give `uri` or `channels`, not both.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Migrate {
    /// `tcp:HOST:PORT`, `unix:PATH`, `fd:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The same as objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<MigrationChannel>>,
    /// Take up a paused post-copy migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<bool>,
}
command!(Migrate, "migrate", Done);

/// QAPI `migrate-incoming`. Give `uri` or `channels`, not both.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrateIncoming {
    /// `tcp:ADDRESS:0` lets the kernel choose a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The same as objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<MigrationChannel>>,
    /// Whether QEMU exits when the migration fails; it keeps the reason for `query-migrate` if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_on_error: Option<bool>,
}
command!(MigrateIncoming, "migrate-incoming", Done);

/// QAPI `MigrationChannel`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrationChannel {
    /// Always `main` here.
    pub channel_type: ChannelType,
    /// Where to.
    pub addr: MigrationAddress,
}

/// QAPI `MigrationChannelType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelType {
    /// The stream itself.
    Main,
}

/// QAPI `MigrationAddress`, sockets only.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "transport", rename_all = "kebab-case")]
pub enum MigrationAddress {
    /// A socket.
    Socket(SocketAddress),
}

/// QAPI `SocketAddress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SocketAddress {
    /// TCP.
    Inet {
        /// Name or address.
        host: String,
        /// Port number as text; `0` lets the kernel choose.
        port: String,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: String,
    },
    /// A descriptor, by `getfd` name.
    Fd {
        /// The name.
        str: String,
    },
    /// Any other form.
    #[serde(other, skip_serializing)]
    Other,
}

/// QAPI `migrate-continue`: goes on from where the migration waits.
#[derive(Clone, Debug, Serialize)]
pub struct MigrateContinue {
    /// Where it waits now: `pre-switchover`.
    pub state: MigrationStatus,
}
command!(MigrateContinue, "migrate-continue", Done);

/// QAPI `migrate_cancel`. The source's guest runs on by itself if it ran before.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MigrateCancel;
command!(MigrateCancel, "migrate_cancel", Done);

/// QAPI `migrate-start-postcopy`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MigrateStartPostcopy;
command!(MigrateStartPostcopy, "migrate-start-postcopy", Done);

/// QAPI `migrate-pause`: cuts a post-copy migration. Send it out of band.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MigratePause;
command!(MigratePause, "migrate-pause", Done);

/// QAPI `migrate-recover`: a new address for a paused post-copy migration. Send it out of band.
#[derive(Clone, Debug, Serialize)]
pub struct MigrateRecover {
    /// Where to listen.
    pub uri: String,
}
command!(MigrateRecover, "migrate-recover", Done);

/// QAPI `announce-self`: every network device announces its MAC by RARP. Times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct AnnounceSelf {
    /// Before the first round.
    pub initial: u64,
    /// Most between two rounds.
    pub max: u64,
    /// How many.
    pub rounds: u64,
    /// Added from one round to the next.
    pub step: u64,
}
command!(AnnounceSelf, "announce-self", Done);

/// QAPI `query-migrate`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryMigrate;
command!(QueryMigrate, "query-migrate", MigrationInfo);

/// QAPI `MigrationInfo`. Times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrationInfo {
    /// Missing where no migration was started.
    pub status: Option<MigrationStatus>,
    /// Memory.
    pub ram: Option<MigrationRam>,
    /// Since the start.
    pub total_time: Option<u64>,
    /// What the blackout would be now.
    pub expected_downtime: Option<u64>,
    /// What the blackout was, as the source sees it.
    pub downtime: Option<u64>,
    /// Until memory flowed.
    pub setup_time: Option<u64>,
    /// Why it failed.
    pub error_desc: Option<String>,
    /// Where the target listens.
    pub socket_address: Option<Vec<SocketAddress>>,
    /// Why this guest cannot be migrated now.
    #[serde(default)]
    pub blocked_reasons: Vec<String>,
    /// How much auto-converge slows the guest.
    pub cpu_throttle_percentage: Option<u64>,
    /// Delta compression, where it is on.
    pub xbzrle_cache: Option<XbzrleCache>,
}

/// QAPI `XBZRLECacheStats`, what Ferry reads of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct XbzrleCache {
    /// Pages of which only what had changed was sent; they are not among [`MigrationRam::normal`].
    pub pages: u64,
}

/// QAPI `MigrationRAMInfo`. Bytes unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrationRam {
    /// Sent so far, overhead included.
    pub transferred: u64,
    /// Left of this round.
    pub remaining: u64,
    /// Size of the guest's memory.
    pub total: u64,
    /// Pages that hold one byte only.
    pub duplicate: Option<u64>,
    /// Pages sent whole.
    pub normal: Option<u64>,
    /// Bytes of pages sent whole.
    pub normal_bytes: Option<u64>,
    /// Pages per second that the guest dirties, at the last round's end.
    pub dirty_pages_rate: Option<u64>,
    /// Megabits per second.
    pub mbps: Option<f64>,
    /// How many rounds have begun.
    pub dirty_sync_count: Option<u64>,
    /// Of a page.
    pub page_size: Option<u64>,
    /// Through multifd's connections.
    pub multifd_bytes: Option<u64>,
    /// Pages per second sent.
    pub pages_per_second: Option<u64>,
    /// Before the CPUs stopped.
    pub precopy_bytes: Option<u64>,
    /// While the CPUs were stopped.
    pub downtime_bytes: Option<u64>,
    /// After switching to post-copy.
    pub postcopy_bytes: Option<u64>,
    /// Pages the target asked for.
    pub postcopy_requests: Option<u64>,
}
