//! A check from the source: its own facts, the target's, and the way between them, gathered at once and judged. Main
//! function: [`check`].

use std::sync::Arc;
use std::time::Instant;

use api::{
    CheckMode, CheckOffer, CheckReport, CheckRequest, Checked, Finding, HostFacts, Severity, TargetFacts,
    UnknownFact,
};
use client::{Client, ClientError, ProtocolError};
use migration::preflight::{Between, Facts, GuestFacts, Selection, Unasked, judge, permits};
use uuid::Uuid;

use super::disks::Nonces;
use super::{domain::wants, door, host, no_answer, qemu};
use crate::failure::{Failure, chain};
use crate::keeper::{Ask, Surveyed};
use crate::limits::REACH_TIMEOUT;
use crate::node::Node;
use crate::tracker::{ahead_ms, unix_ms};

/// Checks whether a domain can move. It must not be dropped half-way: its nonces would stay.
pub(crate) async fn check(
    node: Arc<Node>,
    domain: String,
    request: CheckRequest,
) -> Result<CheckReport, Failure> {
    let selection = Selection::of(&request.only, &request.skip).map_err(Failure::Rules)?;
    let surveyed = node.ask(&domain, Ask::Survey).await?;
    examine(&node, &surveyed, &request, &selection).await
}

/// Where the target gave no answer, a migration says so itself.
const SILENT: &str = "target-unreachable";

/// Checks a domain that is about to leave; none where the migration itself refuses, for its guest is not here or its
/// target does not answer.
pub(crate) async fn check_first(
    node: Arc<Node>,
    domain: String,
    request: CheckRequest,
) -> Result<Option<CheckReport>, Failure> {
    let selection = Selection::of(&[], &request.skip).map_err(Failure::Rules)?;
    let surveyed = match node.ask(&domain, Ask::Survey).await {
        Ok(surveyed) if surveyed.guest.is_some() => surveyed,
        Ok(_) | Err(_) => return Ok(None),
    };
    let report = examine(&node, &surveyed, &request, &selection).await?;
    let silent = |checked: &Checked| checked.severity == Severity::Fail && checked.rule == SILENT;
    Ok(Some(report).filter(|report| !report.checked.iter().any(silent)))
}

/// The warnings of a check that forbids nothing.
///
/// # Errors
/// [`Failure::Preflight`] with everything that forbids the migration.
pub(crate) fn permitted(report: CheckReport) -> Result<Vec<Finding>, Failure> {
    let permitted = permits(&report.checked);
    let told = report.checked.into_iter().filter(|checked| checked.severity > Severity::Pass);
    let findings = told.map(Finding::from).collect();
    if permitted { Ok(findings) } else { Err(Failure::Preflight { host: report.target, findings }) }
}

async fn examine(
    node: &Node,
    surveyed: &Surveyed,
    request: &CheckRequest,
    selection: &Selection,
) -> Result<CheckReport, Failure> {
    let began = Instant::now();
    let runs = surveyed.guest.is_some();
    let mode = request.mode.unwrap_or(if runs { CheckMode::Live } else { CheckMode::Offline });
    if mode == CheckMode::Live && !runs {
        return Err(Failure::WrongState {
            domain: surveyed.name.clone(),
            state: "shut off",
            mend: "`ferry start` starts it, and --offline checks it as it is",
        });
    }
    let here = &node.config.host;
    let client = if request.to == *here { None } else { Some(node.neighbours.client(&request.to)?) };
    let live = mode == CheckMode::Live;
    let facts = gather(node, surveyed, request, client, live).await;
    Ok(CheckReport {
        domain: surveyed.name.clone(),
        uuid: surveyed.uuid,
        source: here.clone(),
        target: request.to.clone(),
        mode,
        checked: judge(&facts, selection),
        skipped: selection.skipped(),
        wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

async fn gather(
    node: &Node,
    surveyed: &Surveyed,
    request: &CheckRequest,
    client: Option<Client>,
    live: bool,
) -> Facts {
    let ((source, guest), (target, between, unwritten)) =
        tokio::join!(here(node, surveyed), there(node, surveyed, client, live),);
    let unknown = source.unknown.into_iter().chain(unwritten).collect();
    Facts {
        domain: wants(surveyed.definition.domain(), live, request.channels, !request.plaintext),
        source: HostFacts { unknown, ..source },
        guest,
        target,
        target_name: request.to.clone(),
        between,
    }
}

/// This host, and its guest.
async fn here(node: &Node, surveyed: &Surveyed) -> (HostFacts, GuestFacts) {
    let domain = surveyed.definition.domain();
    let (qemu, guest) = match &surveyed.guest {
        Some(guest) => qemu::of_guest(node, domain, &guest.emulator, &guest.process).await,
        None => match node.capabilities(node.default_emulator()).await {
            Ok(capabilities) => (qemu::of_emulator(node, domain, &capabilities).await, GuestFacts::default()),
            Err(failure) => {
                let unknown = vec![UnknownFact { what: "QEMU".to_owned(), reason: failure.chain() }];
                (HostFacts { unknown, ..HostFacts::default() }, GuestFacts::default())
            }
        },
    };
    (host::gather(node, domain, qemu).await, guest)
}

/// The target, and the way to it. The last are nonces that could not be written.
async fn there(
    node: &Node,
    surveyed: &Surveyed,
    client: Option<Client>,
    live: bool,
) -> (Result<TargetFacts, Unasked>, Between, Vec<UnknownFact>) {
    let Some(client) = client else { return (Err(Unasked::Same), Between::default(), Vec::new()) };
    let mut between = match reach(&client).await {
        Ok(between) => between,
        Err(silent) => return (Err(silent), Between::default(), Vec::new()),
    };
    let domain = surveyed.definition.domain();
    let mut unwritten = Vec::new();
    let check = Uuid::new_v4();
    let nonces = Nonces::write(node, domain, check, &mut unwritten).await;
    let asked = client
        .facts(&CheckOffer {
            source: node.config.host.clone(),
            xml: surveyed.definition.xml().to_owned(),
            live,
            check,
            nonces: nonces.disks(),
        })
        .await;
    nonces.remove().await;
    if let Ok(facts) = &asked
        && let (Some(at), Some(token)) = (&facts.door, facts.door_token)
    {
        between.door = Some(at.clone());
        between.door_fault = door::knock(at, token).await.err();
    }
    (asked.map_err(|error| unasked(&error)), between, unwritten)
}

/// Asks the target what time it is there: that it answers at all, and how fast.
async fn reach(client: &Client) -> Result<Between, Unasked> {
    let asked = tokio::time::timeout(REACH_TIMEOUT, async {
        client.connect().await?;
        let began = (Instant::now(), unix_ms());
        Ok((client.version().await?, began))
    });
    match asked.await {
        Ok(Ok((version, (began, began_ms)))) => {
            let round_trip = began.elapsed();
            let ahead_ms = version.now_ms.map(|theirs| ahead_ms(theirs, began_ms, round_trip));
            let round_trip_ms = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
            Ok(Between { ahead_ms, round_trip_ms, ..Between::default() })
        }
        Ok(Err(error)) => Err(unasked(&error)),
        Err(_elapsed) => Err(Unasked::Silent {
            reason: no_answer(REACH_TIMEOUT),
            mend: "see that the host is up and that its agent's port is open".to_owned(),
        }),
    }
}

fn unasked(error: &ClientError) -> Unasked {
    match error {
        // It has said what time it is, so it is an agent; what it does not know it answers without the agents' header.
        ClientError::Protocol { source: ProtocolError::NoVersion, .. } => Unasked::Older,
        error => Unasked::Silent {
            reason: chain(error),
            mend: error.mend().unwrap_or_else(|| "see that the host is up and its agent runs".to_owned()),
        },
    }
}
