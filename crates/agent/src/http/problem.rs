//! The one place where a failure becomes HTTP: status, stable code, message, mend, details. Main function:
//! [`problem`].

use api::{Detail, Problem};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::failure::Failure;

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

fn join<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

/// The words for a failure.
pub(crate) fn problem(failure: &Failure) -> Problem {
    if let Failure::RefusedByTarget { host, problem } = failure {
        return Problem { detail: format!("host {host} refuses: {}", problem.detail), ..(**problem).clone() };
    }
    let (status, code, mend) = words(failure);
    Problem { status, code: code.into(), detail: failure.chain(), mend, details: details(failure) }
}

#[expect(clippy::too_many_lines, reason = "one exhaustive table, a row a failure")]
fn words(failure: &Failure) -> (u16, &'static str, Option<String>) {
    let some = |text: &str| Some(text.to_owned());
    match failure {
        Failure::DomainNotFound { .. } => {
            (404, "domain-not-found", some("`ferry list --all` shows all domains"))
        }
        Failure::MigrationNotFound { .. } => {
            (404, "migration-not-found", some("`ferry migrations list` shows all that are known"))
        }
        Failure::Definition(_) => {
            (422, "definition-invalid", some("mend the places named and define it again"))
        }
        Failure::PathNotAllowed { allowed, .. } => (
            422,
            "path-not-allowed",
            Some(format!(
                "move the file below one of: {}; or add its directory to `allowed_paths` in the agent's configuration",
                join(allowed.iter().map(|path| path.display()))
            )),
        ),
        Failure::EmulatorNotAllowed { allowed, .. } => (
            422,
            "emulator-not-allowed",
            Some(format!(
                "name one of: {}; or add it to `emulators` in the agent's configuration",
                join(allowed.iter().map(|path| path.display()))
            )),
        ),
        Failure::KvmUnusable { .. } => (
            422,
            "kvm-unusable",
            some("make KVM work (firmware setting, kvm module), or use <domain type='qemu'>, which is slow"),
        ),
        Failure::NameTaken { .. } => (
            409,
            "name-taken",
            some("choose another name, or give the definition that domain's UUID to replace it"),
        ),
        Failure::UuidTaken { .. } => (
            409,
            "uuid-taken",
            some("leave <uuid> out to get a new one, or keep that domain's name to replace it"),
        ),
        Failure::WrongState { mend, .. } => (409, "wrong-state", some(mend)),
        Failure::Migrating { migration, .. } => (
            409,
            "migrating",
            Some(format!("wait for it (`ferry migrations watch {migration}`) or cancel it")),
        ),
        Failure::MovedAway { to, .. } => {
            (409, "moved-away", Some(format!("use it on host {to}, or migrate it back from there")))
        }
        Failure::Fenced { .. } => (
            409,
            "fenced",
            some(
                "start it where it belongs; if that host is gone for good and you are certain that the guest is not \
                 running, remove the record beside its first disk (its name ends in .ferry)",
            ),
        ),
        Failure::Record { .. } => {
            (409, "owner-record-unreadable", some("look at the file; Ferry did not write it so"))
        }
        Failure::RecordFile(_) => {
            (500, "owner-record-failed", some("make the storage writable for this host's root"))
        }
        Failure::Disk(_) => (409, "disk-unusable", some("make the disk readable and writable on this host")),
        Failure::Facts(_) => (500, "facts-unreadable", None),
        Failure::CommandLine(_) => (422, "command-line", some("change the definition as the message says")),
        Failure::Spawn(_) => (500, "qemu-did-not-start", some("QEMU's own words are in the domain's log")),
        Failure::Probe(_) => {
            (500, "qemu-probe-failed", some("check that the emulator is installed and runs"))
        }
        Failure::Qmp(_) => (500, "qmp-failed", some("QEMU's own words are in the domain's log")),
        Failure::Network(_) => (409, "network-failed", some("check the bridges that the definition names")),
        Failure::Store(_) => (507, "store-failed", some("make room in the agent's state directory")),
        Failure::Journal(_) => (507, "journal-failed", some("make room in the agent's state directory")),
        Failure::ShutdownTimedOut { .. } => (
            504,
            "shutdown-timed-out",
            some("look at its console; `ferry destroy` ends it without asking the guest"),
        ),
        Failure::HostUnknown { known, .. } => {
            (404, "host-unknown", Some(format!("hosts known here: {}", join(known))))
        }
        Failure::Neighbour { source, .. } => match &**source {
            client::ClientError::ProtocolVersion { .. } => {
                (409, "protocol-version", some("run the same version of Ferry on both hosts"))
            }
            _unreachable => (502, "host-unreachable", source.mend()),
        },
        Failure::RefusedByTarget { problem, .. } => {
            (problem.status, "refused-by-target", problem.mend.clone())
        }
        Failure::Preflight { .. } => (422, "preflight-refused", some("mend what is named and migrate again")),
        Failure::MigrationEnded { .. } => (409, "migration-ended", None),
        Failure::WrongSide { .. } => (409, "wrong-side", some("ask the agent of the source host")),
        Failure::Word(_) => {
            (409, "word-refused", some("look at both hosts again with `ferry migrations show`"))
        }
        Failure::WrongToken => (403, "wrong-token", None),
        Failure::Protocol { .. } => {
            (409, "protocol-version", some("run the same version of Ferry on both hosts"))
        }
        Failure::NotAnAgent => (403, "not-an-agent", None),
        Failure::NotLocal => (403, "not-local", None),
        Failure::Cancelled => (409, "cancelled", None),
        Failure::TargetSilent { .. } => (502, "target-silent", some("check the network between the hosts")),
        Failure::TargetGaveUp { .. } => (502, "target-gave-up", some("the target agent's log says why")),
        Failure::StreamFailed { .. } => (502, "stream-failed", some("QEMU's logs on both hosts say more")),
        Failure::SourceQemuGone => {
            (500, "source-qemu-gone", some("the domain's log says why; it may be started afresh"))
        }
        Failure::SwitchoverTimedOut { .. } => {
            (504, "switchover-timed-out", some("try again when the link is free"))
        }
        Failure::AgentRestarted { .. } => (500, "agent-restarted", some("migrate again")),
        Failure::VerdictRefused { .. } => (502, "verdict-refused", some("the target agent's log says why")),
        Failure::VerdictLost { .. } => (502, "verdict-lost", some("`ferry start` boots the domain afresh")),
        Failure::Prepare(_) => (502, "qemu-not-prepared", some("QEMU's own words are in the domain's log")),
        Failure::Listen(_) => {
            (502, "qemu-not-listening", some("check the target's address and certificates"))
        }
        Failure::TicketAddress { .. } => {
            (502, "ticket-address", some("run the same version of Ferry on both hosts"))
        }
        Failure::NotListening => {
            (409, "not-listening", some("add `listen = \"ADDRESS:PORT\"` and restart the agent"))
        }
        Failure::StillRuns { .. } => {
            (409, "still-runs", some("restart the agent: it takes that QEMU up again"))
        }
        Failure::Find(_) => {
            (500, "qemu-not-found-again", some("restart the agent: it takes that QEMU up again"))
        }
        Failure::NotFrozen => (422, "not-frozen", some("define the domain with Ferry, which fills it in")),
        Failure::MigrationKnown { .. } => (409, "migration-known", None),
        Failure::NoEndpoint => (404, "no-endpoint", some("`/api/v1/openapi.json` lists them all")),
        Failure::Stopping => (503, "stopping", some("ask again when the agent is back")),
    }
}

fn details(failure: &Failure) -> Vec<Detail> {
    match failure {
        Failure::Definition(error) => {
            let detail = |problem: &domain::Problem| Detail {
                code: "definition-invalid".into(),
                message: if problem.element.is_empty() {
                    problem.message.clone()
                } else {
                    format!("{}: {}", problem.element, problem.message)
                },
                mend: problem.mend.clone(),
                line: Some(problem.line),
                column: Some(problem.column),
            };
            error.problems.iter().map(detail).collect()
        }
        Failure::Preflight { findings, .. } => {
            let detail = |finding: &api::Finding| Detail {
                code: finding.code.clone(),
                message: finding.message.clone(),
                mend: finding.mend.clone(),
                line: None,
                column: None,
            };
            findings.iter().filter(|finding| finding.fatal).map(detail).collect()
        }
        _ => Vec::new(),
    }
}
