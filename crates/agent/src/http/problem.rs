//! The one place where a failure becomes HTTP: status, stable code, message, mend, details. Main function:
//! [`problem`].

mod join;

use std::path::PathBuf;

use api::{Detail, Problem};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use migration::preflight::{RULES, SelectionError};
use uuid::Uuid;

use super::rows::{self, Row};
use crate::failure::{
    CopyFailure, Failure, ImportFailure, InstallFailure, JoinFailure, PlugFailure, PoolFailure,
    RequestFailure, ScreenFailure,
};
use crate::limits::{BODY_BYTES_MAX, REFUSAL_BYTES_MAX};

/// A failure on its way to the one who asked.
pub(crate) struct Refusal(pub(crate) Problem);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let problem = problem(&failure);
        if problem.status >= 500 {
            tracing::error!(code = problem.code, "{}", failure.chain());
        } else {
            tracing::info!(code = problem.code, "{}", failure.chain());
        }
        Refusal(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

/// Gives what axum refuses by itself, in a sentence of plain text, the form of all other refusals: a body that is too long
/// or is not what the endpoint takes, a query that it does not know.
pub(crate) async fn in_form(response: Response) -> Response {
    let refused = response.status().is_client_error() || response.status().is_server_error();
    let plain = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/plain");
    if !refused || !response.headers().get(header::CONTENT_TYPE).is_some_and(plain) {
        return response;
    }
    let status = response.status().as_u16();
    // A sentence that is not to be had is missed less than the status.
    let words = axum::body::to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words).into_owned();
    Refusal::from(Failure::from(RequestFailure::Invalid { status, words })).into_response()
}

fn join<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

/// The words for a failure.
pub(crate) fn problem(failure: &Failure) -> Problem {
    if let Failure::Join(JoinFailure::Refused { host, problem })
    | Failure::RefusedByTarget { host, problem } = failure
    {
        return Problem { detail: format!("host {host} refuses: {}", problem.detail), ..(**problem).clone() };
    }
    let Row { status, code, mend } = row(failure);
    let mend = (!mend.is_empty()).then(|| mend.into_owned());
    Problem { status, code: code.into(), detail: failure.chain(), mend, details: details(failure) }
}

/// The row of a failure. One exhaustive match: a failure without a row does not compile.
fn row(failure: &Failure) -> Row {
    match failure {
        Failure::DomainNotFound { .. } => rows::DOMAIN_NOT_FOUND,
        Failure::MigrationNotFound { .. } => rows::MIGRATION_NOT_FOUND,
        Failure::Definition(_) => rows::DEFINITION_INVALID,
        Failure::PathNotAllowed { allowed, .. } => rows::PATH_NOT_ALLOWED.say(below_one_of(allowed)),
        Failure::EmulatorNotAllowed { allowed, .. } => rows::EMULATOR_NOT_ALLOWED.say(one_of(allowed)),
        Failure::KvmUnusable { .. } => rows::KVM_UNUSABLE,
        Failure::NameTaken { .. } => rows::NAME_TAKEN,
        Failure::UuidTaken { .. } => rows::UUID_TAKEN,
        Failure::WrongState { mend, .. } => rows::WRONG_STATE.say((*mend).to_owned()),
        Failure::Migrating { migration, .. } => rows::MIGRATING.say(wait_for(*migration)),
        Failure::MovedAway { to, .. } => rows::MOVED_AWAY.say(over_there(to)),
        Failure::Fenced { .. } => rows::FENCED,
        Failure::Record { .. } => rows::OWNER_RECORD_UNREADABLE,
        Failure::RecordFile(_) => rows::OWNER_RECORD_FAILED,
        Failure::Disk(_) => rows::DISK_UNUSABLE,
        Failure::Backing { .. } => rows::BACKING_DIFFERS,
        Failure::Facts(_) => rows::FACTS_UNREADABLE,
        Failure::CommandLine(_) => rows::COMMAND_LINE,
        Failure::Tpm(_) => rows::TPM_FAILED,
        Failure::Variables(_) => rows::VARIABLES_NOT_MADE,
        Failure::Spawn(_) => rows::QEMU_DID_NOT_START,
        Failure::Probe(_) => rows::QEMU_PROBE_FAILED,
        Failure::Qmp(_) => rows::QMP_FAILED,
        Failure::Network(_) => rows::NETWORK_FAILED,
        Failure::NetworkUnknown { network, .. } => rows::NETWORK_UNKNOWN.say(map(network)),
        Failure::DevicesMissing { missing, .. } => rows::DEVICES_MISSING.say(mends(missing)),
        Failure::NoSpicePort { .. } => rows::NO_SPICE_PORT,
        Failure::Store(_) => rows::STORE_FAILED,
        Failure::Journal(_) => rows::JOURNAL_FAILED,
        Failure::ShutdownTimedOut { .. } => rows::SHUTDOWN_TIMED_OUT,
        Failure::RebootTimedOut { .. } => rows::REBOOT_TIMED_OUT,
        Failure::DefinitionChanged { .. } => rows::DEFINITION_CHANGED,
        Failure::IdentityEdited { mend, .. } => rows::IDENTITY_EDITED.say((*mend).to_owned()),
        Failure::Image(error) => image(error),
        Failure::NvramUnsaid { .. } => rows::NVRAM_UNSAID,
        Failure::HostUnknown { known, .. } => rows::HOST_UNKNOWN.say(hosts(known)),
        Failure::Neighbour { source, .. } => neighbour(source),
        Failure::RefusedByTarget { problem, .. } => refused_there(problem),
        Failure::Preflight { .. } => rows::PREFLIGHT_REFUSED,
        Failure::Rules(error) => rules(error),
        Failure::MigrationEnded { .. } => rows::MIGRATION_ENDED,
        Failure::WrongSide { .. } => rows::WRONG_SIDE,
        Failure::Word(_) => rows::WORD_REFUSED,
        Failure::WrongToken => rows::WRONG_TOKEN,
        Failure::Cancelled => rows::CANCELLED,
        Failure::TargetSilent { .. } => rows::TARGET_SILENT,
        Failure::TargetGaveUp { .. } => rows::TARGET_GAVE_UP,
        Failure::StreamFailed { .. } => rows::STREAM_FAILED,
        Failure::GuestShutDown => rows::GUEST_SHUT_DOWN,
        Failure::SourceQemuGone => rows::SOURCE_QEMU_GONE,
        Failure::AgentRestarted { .. } => rows::AGENT_RESTARTED,
        Failure::VerdictRefused { .. } => rows::VERDICT_REFUSED,
        Failure::VerdictLost { .. } => rows::VERDICT_LOST,
        Failure::Prepare(_) => rows::QEMU_NOT_PREPARED,
        Failure::Listen(_) | Failure::Recover(_) => rows::QEMU_NOT_LISTENING,
        Failure::TicketAddress { .. } => rows::TICKET_ADDRESS,
        Failure::NotListening => rows::NOT_LISTENING,
        Failure::StillRuns { .. } => rows::STILL_RUNS,
        Failure::Find(_) => rows::QEMU_NOT_FOUND_AGAIN,
        Failure::NotFrozen => rows::NOT_FROZEN,
        Failure::MigrationKnown { .. } => rows::MIGRATION_KNOWN,
        Failure::Bridge(failure) => rows::bridge::row(failure),
        Failure::Placement(error) => rows::NOT_PLACEABLE.say(error.mend()),
        Failure::Copy(failure) => copy(failure),
        Failure::Drain(failure) => rows::drain::row_of(failure),
        Failure::Converge(failure) => rows::converge::row_of(failure),
        Failure::Carry(failure) => rows::carry::row_of(failure),
        Failure::Pool(failure) => pool(failure),
        Failure::Import(failure) => import(failure),
        Failure::Install(failure) => install(failure),
        Failure::Join(failure) => join::row(failure),
        Failure::Screen(failure) => screen(failure),
        Failure::Plug(failure) => plug(failure),
        Failure::NoTime { .. } => rows::NO_TIME,
        Failure::Request(failure) => request(failure),
        Failure::Stopping => rows::STOPPING,
    }
}

fn over_there(host: &str) -> String {
    format!("use it on host {host}, or migrate it back from there")
}

fn refused_there(problem: &Problem) -> Row {
    rows::REFUSED_BY_TARGET.say(problem.mend.clone().unwrap_or_default())
}

fn request(failure: &RequestFailure) -> Row {
    match failure {
        RequestFailure::Protocol { .. } => rows::PROTOCOL_VERSION,
        RequestFailure::NotAnAgent => rows::NOT_AN_AGENT,
        RequestFailure::NotLocal => rows::NOT_LOCAL,
        RequestFailure::NoEndpoint => rows::NO_ENDPOINT,
        RequestFailure::Invalid { status, .. } if *status == rows::REQUEST_TOO_LONG.status => {
            rows::REQUEST_TOO_LONG.say(format!("send at most {BODY_BYTES_MAX} bytes"))
        }
        RequestFailure::Invalid { status, .. } => Row { status: *status, ..rows::REQUEST_INVALID },
    }
}

fn copy(failure: &CopyFailure) -> Row {
    match failure {
        CopyFailure::NoDisks { .. } => rows::NO_DISKS,
        CopyFailure::DiskElsewhere { .. } => rows::DISK_ELSEWHERE,
        CopyFailure::DiskIsDevice { .. } => rows::DISK_IS_DEVICE,
        CopyFailure::NoSuchDisk { .. } => rows::NO_SUCH_DISK,
        CopyFailure::SnapshotFormat { path, .. } => {
            let path = path.display();
            rows::SNAPSHOT_FORMAT.say(format!(
                "convert it, as in `qemu-img convert -O qcow2 {path} NEW`, and `ferry edit` the domain"
            ))
        }
        CopyFailure::SnapshotName { .. } => rows::SNAPSHOT_NAME,
        CopyFailure::SnapshotExists { .. } => rows::SNAPSHOT_EXISTS,
        CopyFailure::SnapshotNotFound { .. } => rows::SNAPSHOT_NOT_FOUND,
        CopyFailure::SnapshotLacking { .. } => rows::SNAPSHOT_LACKING,
    }
}

fn pool(failure: &PoolFailure) -> Row {
    match failure {
        PoolFailure::NotFound { .. } => rows::POOL_NOT_FOUND,
        PoolFailure::NameTaken { .. } => rows::POOL_NAME_TAKEN,
        PoolFailure::UuidTaken { .. } => rows::POOL_UUID_TAKEN,
        PoolFailure::PathTaken { .. } => rows::POOL_PATH_TAKEN,
        PoolFailure::Source { .. } | PoolFailure::NoSource => {
            rows::POOL_INCOMPLETE.say("name server and export, as in nfs.example:/export".to_owned())
        }
        PoolFailure::DirHas { .. } => {
            rows::POOL_INCOMPLETE.say("leave it out, or define a pool of type netfs".to_owned())
        }
        PoolFailure::PlaceNotAllowed { .. } => rows::POOL_PLACE_NOT_ALLOWED,
        PoolFailure::Active { .. } => rows::POOL_ACTIVE,
        PoolFailure::Inactive { .. } => rows::POOL_INACTIVE,
        PoolFailure::Busy { .. } => rows::POOL_BUSY,
        PoolFailure::HasGuests { .. } => rows::POOL_HAS_GUESTS,
        PoolFailure::Storage { .. } => rows::POOL_UNUSABLE,
        PoolFailure::VolumeName { .. } => rows::VOLUME_NAME,
        PoolFailure::VolumeNotFound { .. } => rows::VOLUME_NOT_FOUND,
        PoolFailure::VolumeExists { .. } => rows::VOLUME_EXISTS,
        PoolFailure::VolumeUsed { .. } => rows::VOLUME_USED,
        PoolFailure::UseUnknown { .. } => rows::VOLUME_USE_UNKNOWN,
        PoolFailure::HostSilent { .. } => rows::VOLUME_HOST_SILENT,
        PoolFailure::VolumeOwned { .. } => rows::VOLUME_OWNED,
        PoolFailure::VolumeShrinks { .. } => rows::VOLUME_SHRINKS,
        PoolFailure::VolumeBelow { .. } => rows::VOLUME_BELOW,
        PoolFailure::ContentCut { .. } | PoolFailure::ContentSilent { .. } => rows::VOLUME_CUT,
    }
}

fn import(failure: &ImportFailure) -> Row {
    match failure {
        ImportFailure::NotInLibvirt { .. } => rows::NOT_IN_LIBVIRT,
        ImportFailure::LibvirtRuns { name, .. } => {
            rows::LIBVIRT_RUNS.say(format!("`virsh shutdown {name}` ends it; import it then"))
        }
        ImportFailure::LibvirtSaved { name } => rows::LIBVIRT_SAVED.say(format!(
            "`virsh start {name}` goes on with it, to be shut down in order; `virsh managedsave-remove {name}` gives it up"
        )),
    }
}

fn install(failure: &InstallFailure) -> Row {
    match failure {
        InstallFailure::SystemUnknown { .. } => {
            rows::SYSTEM_UNKNOWN.say(format!("write one of: {}", join(domain::System::names())))
        }
        InstallFailure::DiskUnsaid => rows::DISK_UNSAID,
        InstallFailure::Format { .. } => rows::DISK_FORMAT,
    }
}

fn screen(failure: &ScreenFailure) -> Row {
    match failure {
        ScreenFailure::NoConsole { .. } => rows::NO_CONSOLE,
        ScreenFailure::ConsoleBusy { .. } => rows::CONSOLE_BUSY,
        ScreenFailure::ConsoleClosed { .. } => rows::CONSOLE_CLOSED,
        ScreenFailure::NoVnc { .. } => rows::NO_VNC,
        ScreenFailure::Picture { .. } => rows::PICTURE_UNREADABLE,
    }
}

fn plug(failure: &PlugFailure) -> Row {
    match failure {
        PlugFailure::NoDevice { .. } => rows::NO_DEVICE,
        PlugFailure::NoMac { .. } => rows::NO_MAC,
        PlugFailure::DeviceRefused { .. } => rows::DEVICE_REFUSED,
        PlugFailure::DeviceStays { .. } => rows::DEVICE_STAYS,
    }
}

fn image(error: &storage::ImageError) -> Row {
    match error {
        storage::ImageError::Disk(_)
        | storage::ImageError::Chain { .. }
        | storage::ImageError::Below { .. } => rows::DISK_UNUSABLE,
        storage::ImageError::Exists { .. } => rows::IMAGE_EXISTS,
        storage::ImageError::NoQemuImg { .. }
        | storage::ImageError::Refused { .. }
        | storage::ImageError::TimedOut { .. }
        | storage::ImageError::Answer { .. }
        | storage::ImageError::Io { .. } => rows::IMAGE_FAILED,
    }
}

fn below_one_of(allowed: &[PathBuf]) -> String {
    let allowed = join(allowed.iter().map(|path| path.display()));
    format!(
        "move the file below one of: {allowed}; or add its directory to `allowed_paths` in the agent's configuration"
    )
}

fn one_of(allowed: &[PathBuf]) -> String {
    let allowed = join(allowed.iter().map(|path| path.display()));
    format!("name one of: {allowed}; or add it to `emulators` in the agent's configuration")
}

fn hosts(known: &[String]) -> String {
    format!("hosts known here: {}", join(known))
}

fn wait_for(migration: Uuid) -> String {
    format!("wait for it (`ferry migrations watch {migration}`) or cancel it")
}

fn neighbour(error: &client::ClientError) -> Row {
    match error {
        client::ClientError::ProtocolVersion { .. } => rows::PROTOCOL_VERSION,
        other => join::distrusted(other).say(other.mend().unwrap_or_default()),
    }
}

fn details(failure: &Failure) -> Vec<Detail> {
    if let Failure::Definition(error) = failure {
        let detail = |problem: &domain::Problem| Detail {
            code: rows::DEFINITION_INVALID.code.into(),
            message: if problem.element.is_empty() {
                problem.message.clone()
            } else {
                format!("{}: {}", problem.element, problem.message)
            },
            mend: problem.mend.clone(),
            line: Some(problem.line),
            column: Some(problem.column),
        };
        return error.problems.iter().map(detail).collect();
    }
    if let Failure::Preflight { findings, .. } = failure {
        let detail = |finding: &api::Finding| Detail {
            code: finding.code.clone(),
            message: finding.message.clone(),
            mend: finding.mend.clone(),
            line: None,
            column: None,
        };
        return findings.iter().filter(|finding| finding.fatal).map(detail).collect();
    }
    Vec::new()
}

fn rules(error: &SelectionError) -> Row {
    match error {
        SelectionError::Unknown { .. } => {
            rows::RULE_UNKNOWN.say(format!("the rules are {}", join(RULES.iter().map(|rule| rule.code))))
        }
        SelectionError::Needed { .. } => rows::RULE_NEEDED,
    }
}

fn map(network: &str) -> String {
    format!("add `{network} = \"BRIDGE\"` to `[networks]` in the agent's configuration on that host")
}

fn mends(missing: &[qemu::command_line::MissingDevice]) -> String {
    missing.iter().map(|it| it.mend).collect::<Vec<_>>().join("; ")
}
