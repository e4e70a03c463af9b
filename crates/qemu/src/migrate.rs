//! Live migration as QEMU does it: preparing both sides, listening, starting, and its events as types.
//!
//! The order of events, seen with QEMU 10.0.2 (TCG, return path, `pause-before-switchover`, target with `-S`):
//!
//! ```text
//! source                                          target
//! migrate                                         migrate-incoming
//!   MIGRATION setup                                 MIGRATION setup
//!   MIGRATION_PASS 1                                MIGRATION active
//!   MIGRATION active
//!   MIGRATION_PASS n …
//!   STOP                    (CPUs stopped)
//!   MIGRATION pre-switchover
//! migrate-continue
//!   MIGRATION device
//!   MIGRATION_PASS n + 1
//!                                                   MIGRATION completed  (query-status: paused)
//!   MIGRATION completed     (query-status: postmigrate)
//!                                                 cont
//!                                                   RESUME
//! ```
//!
//! Here is no policy: when to switch over, whom to continue and what to do after a failure is decided elsewhere. The
//! main types are [`Means`] and [`Events`].

pub mod postcopy;

use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use crate::capabilities::Capabilities;
use crate::command::{
    AddAuthzSimple, AddTlsCreds, Migrate, MigrateIncoming, MigrateSetCapabilities, MigrateSetParameters,
    MigrationCapability, MigrationCapabilityStatus, MigrationParameters, MigrationStatus, ObjectDel,
    QueryMigrate, QueryYank, SocketAddress, TlsEndpoint, YankInstance,
};
use crate::limits;
use crate::mirror;
use crate::open_enum::open_enum;
use crate::qmp::{Event, Qmp, QmpError};

/// Object id of the TLS credentials of a migration.
const TLS_CREDS_ID: &str = "migration-tls";

/// Object id of the rule that admits the source's certificate.
const TLS_AUTHZ_ID: &str = "migration-authz";

/// What a source agrees on: everything but TLS 1.3. GnuTLS changes the keys of a TLS 1.3 session by itself after some 2²⁴
/// records, which with a page in each is 64 GiB, and QEMU before 10.1 has two threads on the session of a single stream, one
/// that sends and one that receives: there the stream breaks. TLS 1.2 changes no keys.
const TLS_PRIORITY: &str = "NORMAL:-VERS-TLS1.3";

/// The least and the most that auto-converge takes from a guest (`CPU_THROTTLE_PCT_MIN`, `CPU_THROTTLE_PCT_MAX`).
pub const THROTTLE_PERCENT_MIN: u8 = 1;
/// See [`THROTTLE_PERCENT_MIN`].
pub const THROTTLE_PERCENT_MAX: u8 = 99;

/// Which end of a migration a QEMU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its guest leaves.
    Source,
    /// Started with `-incoming defer`.
    Target,
}

/// What both QEMUs of one attempt have to agree on. QEMU fixes it for the attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// Connections for memory; `None` is one connection for everything.
    ///
    /// Not to be had together with [`tls`](Self::tls) without danger for the guest: when such a migration ends early,
    /// QEMU 10.0 and 10.1 say goodbye (`gnutls_bye`) on the sessions of connections on which their own threads still
    /// send. Two threads then use one session: QEMU aborts (`error_setv: Assertion`), finds its heap corrupted, or hangs
    /// in its main loop until a `yank`. It does not matter whether it was cancelled, the target died or the link broke.
    pub multifd_channels: Option<u8>,
    /// Whether only what has changed of a page is sent where QEMU still has what it sent before. Not with several connections.
    pub xbzrle: bool,
    /// Whether the guest can be slowed down, see [`throttle`].
    pub auto_converge: bool,
    /// Whether the target refuses a stream of another UUID; both ends need the capability.
    pub validate_uuid: bool,
    /// Whether the dirty bitmaps of disks go over: where both ends do not open the same images, which hold them.
    pub dirty_bitmaps: bool,
    /// Whether the guest may be continued on the target before all its memory is there. Both ends need the capability and,
    /// on the target, the kernel's userfaultfd: QEMU refuses the capability without. Before 10.1 it refuses it beside
    /// [`multifd_channels`](Self::multifd_channels), too.
    pub postcopy: bool,
    /// Encryption; `None` sends memory in plain text.
    pub tls: Option<Tls>,
}

/// QEMU's own TLS, with certificates from files. Both ends verify.
///
/// QEMU checks a certificate before it uses it: its key usage must hold digital signature *and* key encipherment (for
/// an elliptic-curve key too), its extended key usage the side's, and the CA's key usage certificate signing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Holds `ca-cert.pem` and, for this side, `server-cert.pem` and `server-key.pem` (target) or `client-cert.pem`
    /// and `client-key.pem` (source).
    pub directory: PathBuf,
    /// Source: the name that the target's certificate must hold. Needed where the address is not in it.
    pub hostname: Option<String>,
    /// Target: the one subject that may connect, as GnuTLS writes it (`CN=kvm1`). None admits every certificate
    /// of the CA.
    pub authorized: Option<String>,
}

/// Why a QEMU could not be prepared for a migration.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It lacks what the attempt needs.
    #[error("this QEMU has no migration capability {capability}; use a QEMU that has it")]
    Lacks {
        /// Which.
        capability: MigrationCapability,
    },
    /// A path that is not text cannot be sent over QMP.
    #[error("the certificate directory {} is not valid UTF-8", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// It has not cleaned up after its last migration.
    #[error(
        "QEMU still holds connections of its last migration; try again in two minutes, or when the host it connected to answers"
    )]
    Unsettled,
    /// It refused a step.
    #[error("could not {step} for a migration")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        #[source]
        source: QmpError,
    },
}

/// Sets capabilities, parameters and TLS on one end. For the target it comes before [`listen`].
///
/// Always: `events`, `return-path`, `pause-before-switchover`. On the target also `late-block-activate` where this
/// QEMU has it, and one announcement by QEMU itself (`announce-rounds` 1), since it announces at load even though
/// the guest stays stopped.
pub async fn prepare(
    qmp: &Qmp,
    capabilities: &Capabilities,
    side: Side,
    means: &Means,
) -> Result<(), PrepareError> {
    let set = wanted(capabilities, side, means)?;
    let step = |step| move |source| PrepareError::Step { step, source };
    timeout(limits::CLEANUP_TIMEOUT, settled(qmp))
        .await
        .map_err(|_elapsed| PrepareError::Unsettled)?
        .map_err(step("see the end of the last one"))?;
    qmp.execute(MigrateSetCapabilities { capabilities: set }).await.map_err(step("set the capabilities"))?;
    // Empty is none: a QEMU that took part in a migration before keeps what that one set. Only for `tls-authz` QEMU 10.0
    // takes the empty name for a name and refuses everybody, so that one is set on targets only, which are always new.
    let none = Some(String::new());
    let mut parameters = MigrationParameters {
        multifd_channels: means.multifd_channels,
        tls_creds: none.clone(),
        tls_hostname: none,
        ..Default::default()
    };
    if side == Side::Target && capabilities.has_parameter("migrate-set-parameters", "announce-rounds") {
        // Not 0: then QEMU 10.0 frees virtio-net's announce timer at load, and dies of a null pointer in
        // `virtio_net_reset` as soon as the guest resets the card, at its next reboot or shutdown.
        parameters.announce_rounds = Some(1);
    }
    if let Some(tls) = &means.tls {
        add_tls(qmp, side, tls, &mut parameters).await?;
    }
    qmp.execute(MigrateSetParameters { parameters }).await.map_err(step("set the parameters"))?;
    Ok(())
}

/// Waits until QEMU has cleaned up after its last migration. It says `failed` before that, and takes new capabilities and
/// a new `migrate` too: QEMU 10.0 then overwrites the state that its old threads still use, and dies of a null pointer, or
/// takes no migration any more.
async fn settled(qmp: &Qmp) -> Result<(), QmpError> {
    while qmp.execute(QueryYank).await?.contains(&YankInstance::Migration) {
        sleep(limits::QUERY_MIGRATE_PAUSE).await;
    }
    Ok(())
}

/// The capabilities to switch on or off, or the first needed one that is not there.
fn wanted(
    capabilities: &Capabilities,
    side: Side,
    means: &Means,
) -> Result<Vec<MigrationCapabilityStatus>, PrepareError> {
    let needed = [
        (MigrationCapability::Events, true),
        (MigrationCapability::ReturnPath, true),
        (MigrationCapability::PauseBeforeSwitchover, true),
        (MigrationCapability::Multifd, means.multifd_channels.is_some()),
        (MigrationCapability::Xbzrle, means.xbzrle),
        (MigrationCapability::AutoConverge, means.auto_converge),
        (MigrationCapability::ValidateUuid, means.validate_uuid),
        (MigrationCapability::DirtyBitmaps, means.dirty_bitmaps),
        (MigrationCapability::PostcopyRam, means.postcopy),
        (MigrationCapability::LateBlockActivate, side == Side::Target),
    ];
    let mut set = Vec::new();
    for (capability, state) in needed {
        let optional = !state || capability == MigrationCapability::LateBlockActivate;
        match capabilities.has_migrate_capability(&capability) {
            true => set.push(MigrationCapabilityStatus { capability, state }),
            false if optional => {}
            false => return Err(PrepareError::Lacks { capability }),
        }
    }
    Ok(set)
}

async fn add_tls(
    qmp: &Qmp,
    side: Side,
    tls: &Tls,
    parameters: &mut MigrationParameters,
) -> Result<(), PrepareError> {
    let dir = text(&tls.directory)?;
    // An earlier migration of the same QEMU left its own, perhaps of the other side and with older certificates.
    for id in [TLS_CREDS_ID, TLS_AUTHZ_ID] {
        match qmp.execute(ObjectDel { id: id.into() }).await {
            Ok(_) | Err(QmpError::Refused { .. }) => {}
            Err(source) => return Err(PrepareError::Step { step: "drop old certificates", source }),
        }
    }
    let endpoint = match side {
        Side::Source => TlsEndpoint::Client,
        Side::Target => TlsEndpoint::Server,
    };
    let priority = (side == Side::Source).then(|| TLS_PRIORITY.to_owned());
    let creds = AddTlsCreds { id: TLS_CREDS_ID.into(), endpoint, dir, verify_peer: true, priority };
    qmp.execute(creds)
        .await
        .map_err(|source| PrepareError::Step { step: "load the certificates", source })?;
    parameters.tls_creds = Some(TLS_CREDS_ID.into());
    match side {
        Side::Source => parameters.tls_hostname = Some(tls.hostname.clone().unwrap_or_default()),
        Side::Target => {
            if let Some(identity) = tls.authorized.clone() {
                let rule = AddAuthzSimple { id: TLS_AUTHZ_ID.into(), identity };
                qmp.execute(rule)
                    .await
                    .map_err(|source| PrepareError::Step { step: "name the source's certificate", source })?;
                parameters.tls_authz = Some(TLS_AUTHZ_ID.into());
            }
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, PrepareError> {
    path.to_str().map(str::to_owned).ok_or_else(|| PrepareError::Path { path: path.to_owned() })
}

/// Why a target does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// QEMU refused.
    #[error("the target's QEMU does not listen on {address}")]
    Refused {
        /// Where it should.
        address: IpAddr,
        /// Why.
        #[source]
        source: QmpError,
    },
    /// QEMU does not say where it listens.
    #[error("the target's QEMU does not say which port on {address} it listens on")]
    NoPort {
        /// Where it should.
        address: IpAddr,
    },
    /// QEMU names a port that is none.
    #[error("the target's QEMU listens on a port that is no number")]
    Port(#[source] ParseIntError),
    /// QEMU names an address that is none.
    #[error("the target's QEMU listens on an address that is none")]
    Address(#[source] AddrParseError),
}

/// Makes a target listen on a port that the kernel chooses, and says which. The QEMU stays when the migration fails
/// (`exit-on-error` off, where it has that), so that it can be asked why.
pub async fn listen(
    qmp: &Qmp,
    capabilities: &Capabilities,
    address: IpAddr,
) -> Result<SocketAddr, ListenError> {
    let refused = |source| ListenError::Refused { address, source };
    let can_stay = capabilities.has_parameter("migrate-incoming", "exit-on-error");
    let uri = Some(uri(SocketAddr::new(address, 0)));
    let incoming = MigrateIncoming { uri, channels: None, exit_on_error: can_stay.then_some(false) };
    qmp.execute(incoming).await.map_err(refused)?;
    let asked = async {
        loop {
            if let Some(found) = listens(qmp, address).await? {
                return Ok(found);
            }
            // QEMU 10.0 knows it at once; nothing tells when another one does.
            sleep(limits::QUERY_MIGRATE_PAUSE).await;
        }
    };
    timeout(limits::INCOMING_TIMEOUT, asked).await.map_err(|_| ListenError::NoPort { address })?
}

/// Where a target says that it listens, or listened last.
async fn listens(qmp: &Qmp, address: IpAddr) -> Result<Option<SocketAddr>, ListenError> {
    let refused = |source| ListenError::Refused { address, source };
    let sockets = qmp.execute(QueryMigrate).await.map_err(refused)?.socket_address.unwrap_or_default();
    let inet = sockets.into_iter().find_map(|socket| match socket {
        SocketAddress::Inet { host, port } => Some((host, port)),
        SocketAddress::Unix { .. } | SocketAddress::Fd { .. } | SocketAddress::Other => None,
    });
    let Some((host, port)) = inet else { return Ok(None) };
    let host: IpAddr = host.parse().map_err(ListenError::Address)?;
    Ok(Some(SocketAddr::new(host, port.parse().map_err(ListenError::Port)?)))
}

/// What has auto-converge slow the guest down by so many per cent; 0 lets it stand ready.
///
/// QEMU reads these while it migrates: the capability is fixed for the attempt, its figures are not. It compares at every look for
/// dirty pages that comes more than a second after the last, and slows down at every second one at which the guest has dirtied
/// more than the threshold; standing ready, that is at most the least that it knows, 1 %. It lets go when the migration ends,
/// however that is.
pub fn throttle(percent: u8) -> MigrationParameters {
    let percent = percent.clamp(THROTTLE_PERCENT_MIN, THROTTLE_PERCENT_MAX);
    let ready = percent == THROTTLE_PERCENT_MIN;
    MigrationParameters {
        cpu_throttle_initial: Some(percent),
        // In one step.
        cpu_throttle_increment: Some(THROTTLE_PERCENT_MAX),
        max_cpu_throttle: Some(percent),
        throttle_trigger_threshold: Some(if ready { 100 } else { 1 }),
        ..MigrationParameters::default()
    }
}

/// Starts a migration to where a target listens. It returns at once; events tell the rest.
pub async fn start(qmp: &Qmp, target: SocketAddr) -> Result<(), QmpError> {
    qmp.execute(Migrate { uri: Some(uri(target)), ..Migrate::default() }).await.map(|_| ())
}

fn uri(address: SocketAddr) -> String {
    format!("tcp:{address}")
}

/// Whether an address listens on every interface, so that a source needs another one.
pub fn is_wildcard(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

open_enum! {
    /// QAPI `ShutdownCause`.
    pub enum ShutdownReason {
        /// None given.
        None = "none",
        /// QEMU failed.
        HostError = "host-error",
        /// `quit`.
        HostQmpQuit = "host-qmp-quit",
        /// `system_reset`.
        HostQmpSystemReset = "host-qmp-system-reset",
        /// SIGINT, SIGTERM or SIGHUP.
        HostSignal = "host-signal",
        /// The window was closed.
        HostUi = "host-ui",
        /// The guest powered off.
        GuestShutdown = "guest-shutdown",
        /// The guest reboots.
        GuestReset = "guest-reset",
        /// The guest's kernel panicked.
        GuestPanic = "guest-panic",
        /// A part of the machine reset itself.
        SubsystemReset = "subsystem-reset",
        /// A snapshot was loaded.
        SnapshotLoad = "snapshot-load",
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// `MIGRATION`.
    Migration(MigrationStatus),
    /// `MIGRATION_PASS`: a round begins; the first is 1.
    Pass(u64),
    /// `STOP`: the CPUs have stopped.
    Stopped,
    /// `RESUME`: the CPUs run.
    Resumed,
    /// `SHUTDOWN`.
    Shutdown {
        /// Whether the guest asked for it.
        guest: bool,
        /// Why.
        reason: ShutdownReason,
    },
    /// `RESET`.
    Reset {
        /// Whether the guest asked for it.
        guest: bool,
        /// Why.
        reason: ShutdownReason,
    },
    /// `POWERDOWN`: the power button was pressed.
    PowerdownAsked,
    /// `GUEST_PANICKED`: what QEMU does about it.
    GuestPanicked {
        /// QAPI `GuestPanicAction`.
        action: String,
    },
    /// `BLOCK_JOB_READY`, `BLOCK_JOB_ERROR`, `BLOCK_JOB_COMPLETED` or `BLOCK_JOB_CANCELLED` of a disk that goes over.
    Mirror {
        /// Its target.
        disk: String,
        /// What.
        told: mirror::Told,
    },
    /// `UNPLUG_PRIMARY` and everything else.
    Other(Event),
}

/// An event with QEMU's wall clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// What.
    pub what: What,
    /// When.
    pub at: SystemTime,
}

impl From<Event> for Happened {
    fn from(event: Event) -> Self {
        let at = event.timestamp;
        let what = typed(&event).unwrap_or(What::Other(event));
        Self { what, at }
    }
}

/// `None` where the event is not known or its data is not as QAPI has it.
fn typed(event: &Event) -> Option<What> {
    #[derive(Deserialize)]
    struct Migration {
        status: MigrationStatus,
    }
    #[derive(Deserialize)]
    struct Pass {
        pass: u64,
    }
    #[derive(Deserialize)]
    struct Cause {
        guest: bool,
        reason: ShutdownReason,
    }
    #[derive(Deserialize)]
    struct Panic {
        action: String,
    }
    fn data<T: serde::de::DeserializeOwned>(data: &Value) -> Option<T> {
        serde_json::from_value(data.clone()).ok()
    }
    Some(match event.name.as_str() {
        "MIGRATION" => What::Migration(data::<Migration>(&event.data)?.status),
        "MIGRATION_PASS" => What::Pass(data::<Pass>(&event.data)?.pass),
        "STOP" => What::Stopped,
        "RESUME" => What::Resumed,
        "POWERDOWN" => What::PowerdownAsked,
        "SHUTDOWN" => data(&event.data).map(|Cause { guest, reason }| What::Shutdown { guest, reason })?,
        "RESET" => data(&event.data).map(|Cause { guest, reason }| What::Reset { guest, reason })?,
        "GUEST_PANICKED" => data(&event.data).map(|Panic { action }| What::GuestPanicked { action })?,
        _ => mirror::told(event).map(|(disk, told)| What::Mirror { disk, told })?,
    })
}

/// Why no further event comes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// The connection is closed: QEMU is gone.
    #[error("QEMU is gone: no more events")]
    Gone,
    /// The reader was too slow; ask QEMU for its state and read on.
    #[error("{count} events were lost; ask QEMU for its state")]
    Lost {
        /// How many.
        count: u64,
    },
}

/// Typed events from now on.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// Begins to listen. Do so *before* sending the command whose events matter.
    pub fn of(qmp: &Qmp) -> Self {
        Self { receiver: qmp.events() }
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Result<Happened, EventsError> {
        match self.receiver.recv().await {
            Ok(event) => Ok(event.into()),
            Err(broadcast::error::RecvError::Closed) => Err(EventsError::Gone),
            Err(broadcast::error::RecvError::Lagged(count)) => Err(EventsError::Lost { count }),
        }
    }

    /// The next event that `pick` takes; others are passed over. Cancel safe.
    pub async fn find<T>(&mut self, mut pick: impl FnMut(&Happened) -> Option<T>) -> Result<T, EventsError> {
        loop {
            if let Some(picked) = pick(&self.next().await?) {
                return Ok(picked);
            }
        }
    }

    /// The next `MIGRATION` status that is one of `statuses`.
    pub async fn status(&mut self, statuses: &[MigrationStatus]) -> Result<MigrationStatus, EventsError> {
        self.find(|happened| match &happened.what {
            What::Migration(status) if statuses.contains(status) => Some(status.clone()),
            _ => None,
        })
        .await
    }
}

#[cfg(test)]
mod tests;
