//! Why an agent did not do what it was asked: one enum for the verbs on a domain and on a migration. The words for
//! HTTP are `http::problem`'s. Main type: [`Failure`].

mod bridge;
mod carry;
mod converge;
mod drain;
mod join;
mod pool;
mod request;
mod verb;

use std::path::PathBuf;
use std::time::Duration;

use client::ClientError;
use migration::handover::WordRefused;
use migration::owner::{Fenced, OwnerRecordError};
use uuid::Uuid;

pub(crate) use self::bridge::BridgeFailure;
pub(crate) use self::carry::CarryFailure;
pub(crate) use self::converge::ConvergeFailure;
pub(crate) use self::drain::DrainFailure;
pub(crate) use self::join::JoinFailure;
pub(crate) use self::pool::PoolFailure;
pub(crate) use self::request::RequestFailure;
pub(crate) use self::verb::{CopyFailure, ImportFailure, InstallFailure, PlugFailure, ScreenFailure};
use crate::journal::JournalError;
use crate::store::StoreError;

/// Why something was not done. Whatever had been made for it was given back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no domain {domain:?} on host {host}")]
    DomainNotFound { domain: String, host: String },
    #[error("no migration {id} on host {host}")]
    MigrationNotFound { id: Uuid, host: String },
    #[error(transparent)]
    Definition(domain::DefinitionError),
    #[error("the definition names {path}, which lies outside the directories that this host allows")]
    PathNotAllowed { path: PathBuf, allowed: Vec<PathBuf> },
    #[error("the definition names the emulator {path}, which this host does not allow")]
    EmulatorNotAllowed { path: PathBuf, allowed: Vec<PathBuf> },
    #[error("the definition's domain is of type kvm, and KVM does not work on host {host}: {reason}")]
    KvmUnusable { host: String, reason: String },
    #[error("the name {name} is taken by another domain (UUID {uuid})")]
    NameTaken { name: String, uuid: Uuid },
    #[error("the UUID {uuid} is taken by the domain {name}")]
    UuidTaken { uuid: Uuid, name: String },
    #[error("domain {domain} is {state}")]
    WrongState { domain: String, state: &'static str, mend: &'static str },
    #[error("domain {domain} is being migrated ({migration})")]
    Migrating { domain: String, migration: Uuid },
    #[error("domain {domain} has moved to host {to}")]
    MovedAway { domain: String, to: String },
    #[error("domain {domain} must not be started here")]
    Fenced {
        domain: String,
        #[source]
        source: Fenced,
    },
    #[error("the owner record {path} cannot be used")]
    Record {
        path: PathBuf,
        #[source]
        source: OwnerRecordError,
    },
    #[error("the owner record cannot be read or written")]
    RecordFile(#[from] storage::RecordError),
    #[error("a disk of the domain cannot be used")]
    Disk(#[from] storage::DiskError),
    #[error("an image cannot be read or written")]
    Image(#[from] storage::ImageError),
    #[error("disk {target} stands on {found:?}, and its <backingStore> says {written:?}")]
    Backing { target: String, written: Vec<PathBuf>, found: Vec<PathBuf> },
    #[error("facts about this host cannot be read")]
    Facts(#[from] host::FactsError),
    #[error("QEMU's command line cannot be made")]
    CommandLine(#[from] qemu::command_line::CommandLineError),
    #[error("QEMU did not start")]
    Spawn(#[from] qemu::process::SpawnError),
    #[error("the guest's TPM did not start")]
    Tpm(#[from] qemu::process::swtpm::SwtpmError),
    #[error("the variables of the guest's firmware could not be made")]
    Variables(#[from] storage::TemplateError),
    #[error("QEMU could not be asked what it can do")]
    Probe(#[from] qemu::capabilities::ProbeError),
    #[error("QEMU did not do as it was told")]
    Qmp(#[from] qemu::qmp::QmpError),
    #[error("the network of the domain could not be made ready")]
    Network(#[from] network::NetworkError),
    #[error("host {host} has no bridge for the network {network}: {reason}")]
    NetworkUnknown { network: String, host: String, reason: String },
    #[error("QEMU on host {host} lacks what the definition needs: {}", devices(.missing))]
    DevicesMissing { host: String, missing: Vec<qemu::command_line::MissingDevice> },
    #[error("there is no free TCP port for SPICE on {listen}")]
    NoSpicePort { listen: String },
    #[error("the agent's files cannot be written")]
    Store(#[from] StoreError),
    #[error("the migration cannot be written down, so it was not begun")]
    Journal(#[from] JournalError),
    #[error("the guest of {domain} did not shut itself down within {after:?}; it still runs")]
    ShutdownTimedOut { domain: String, after: Duration },
    #[error("the guest of {domain} did not shut itself down within {after:?}, so it was not booted again")]
    RebootTimedOut { domain: String, after: Duration },
    #[error("the definition of {domain} has been changed since it was read")]
    DefinitionChanged { domain: String },
    #[error("the {what} of a domain cannot be edited")]
    IdentityEdited { what: &'static str, mend: &'static str },
    #[error("domain {domain} has variables of its UEFI firmware, in {path}")]
    NvramUnsaid { domain: String, path: PathBuf },
    #[error("host {here} knows no host {host}")]
    HostUnknown { host: String, here: String, known: Vec<String> },
    #[error("host {host} cannot be asked")]
    Neighbour {
        host: String,
        #[source]
        source: Box<ClientError>,
    },
    #[error("host {host} refuses to take the domain")]
    RefusedByTarget { host: String, problem: Box<api::Problem> },
    #[error("the rules of the preflight cannot be selected so")]
    Rules(#[source] migration::preflight::SelectionError),
    #[error("the domain cannot come to host {host}")]
    Preflight { host: String, findings: Vec<api::Finding> },
    #[error("the migration has ended: {phase}")]
    MigrationEnded { phase: &'static str },
    #[error("only the source of a migration can be asked that; this host is its {role}")]
    WrongSide { role: &'static str },
    #[error("the word was not taken")]
    Word(#[source] WordRefused),
    #[error("the pledge does not carry the ticket's token")]
    WrongToken,
    #[error("the migration was cancelled")]
    Cancelled,
    #[error("host {host} gave no sign of life: {last}")]
    TargetSilent { host: String, last: String },
    #[error("host {host} gave the domain up: it is {phase}")]
    TargetGaveUp { host: String, phase: &'static str },
    #[error("QEMU's migration failed: {reason}")]
    StreamFailed { reason: String },
    #[error("QEMU on the source ended while the domain was moving")]
    SourceQemuGone,
    #[error("the guest shut itself down while it was being moved")]
    GuestShutDown,
    #[error("the agent was restarted in the middle of it{}", .before.as_ref().map(|before| format!(" ({before})")).unwrap_or_default())]
    AgentRestarted { before: Option<String> },
    #[error("host {host} proved that the guest never ran there, and refused: {reason}")]
    VerdictRefused { host: String, reason: String },
    #[error("host {host} lost the guest: {reason}")]
    VerdictLost { host: String, reason: String },
    #[error("QEMU could not be prepared for the migration")]
    Prepare(#[from] qemu::migrate::PrepareError),
    #[error("QEMU on the target does not listen")]
    Listen(#[from] qemu::migrate::ListenError),
    #[error("a broken connection for memory was not taken up again")]
    Recover(#[from] qemu::migrate::postcopy::RecoverError),
    #[error("the target's address {address} is none")]
    TicketAddress { address: String },
    #[error("this agent talks to no other host: it has no certificate, or no address for them")]
    NotListening,
    #[error(
        "a QEMU of domain {domain} still runs here with process id {pid}, though nothing was known of it"
    )]
    StillRuns { domain: String, pid: u32 },
    #[error("whether a QEMU of the domain still runs here is not known")]
    Find(#[from] qemu::process::FindError),
    #[error("the definition is not frozen: it has no UUID, or its two forms are of two domains")]
    NotFrozen,
    #[error("migration {id} is known here already")]
    MigrationKnown { id: Uuid },
    #[error(transparent)]
    Placement(#[from] migration::placement::PlacementError),
    #[error(transparent)]
    Bridge(#[from] BridgeFailure),
    #[error(transparent)]
    Carry(#[from] CarryFailure),
    #[error(transparent)]
    Drain(#[from] DrainFailure),
    #[error(transparent)]
    Converge(#[from] ConvergeFailure),
    #[error(transparent)]
    Copy(#[from] CopyFailure),
    #[error(transparent)]
    Join(#[from] JoinFailure),
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    #[error(transparent)]
    Import(#[from] ImportFailure),
    #[error(transparent)]
    Install(#[from] InstallFailure),
    #[error(transparent)]
    Screen(#[from] ScreenFailure),
    #[error(transparent)]
    Plug(#[from] PlugFailure),
    #[error("{text:?} is no time")]
    NoTime { text: String },
    #[error(transparent)]
    Request(#[from] RequestFailure),
    #[error("the agent is stopping")]
    Stopping,
}

impl Failure {
    /// Another host did not do what it was asked.
    pub(crate) fn of_host(host: &str, error: ClientError) -> Failure {
        let host = host.to_owned();
        match error {
            ClientError::Problem(problem) => Failure::RefusedByTarget { host, problem: Box::new(problem) },
            source => Failure::Neighbour { host, source: Box::new(source) },
        }
    }

    /// The whole chain in one line, for a reason that is stored and shown.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        if let Failure::RefusedByTarget { problem, .. } = self {
            text = format!("{text}: {}", problem.detail);
        }
        causes(text, self)
    }
}

fn devices(missing: &[qemu::command_line::MissingDevice]) -> String {
    missing.iter().map(|it| it.device.as_str()).collect::<Vec<_>>().join(", ")
}

/// An error and everything that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    causes(error.to_string(), error)
}

fn causes(mut text: String, error: &dyn std::error::Error) -> String {
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
