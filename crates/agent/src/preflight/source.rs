//! A check from the source: its own facts, the target's, and the way between them, gathered at once and judged. Main
//! function: [`check`].

use std::sync::Arc;
use std::time::Instant;

use api::{CheckMode, CheckOffer, CheckReport, CheckRequest, Finding, HostFacts, Severity, TargetFacts};
use client::{Client, ClientError, ProtocolError};
use migration::preflight::{Between, Facts, GuestFacts, Selection, Unasked, judge, permits};

use super::nonces::Nonces;
use super::{domain::wants, door, host, no_answer, qemu, within};
use crate::failure::{Failure, chain};
use crate::keeper::{Ask, Surveyed};
use crate::limits::REACH_TIMEOUT;
use crate::node::Node;
use crate::store::StoreError;
use crate::tracker::{ahead_ms, unix_ms};

/// Checks whether a domain can move. It must not be dropped half-way: its nonces would stay.
pub(crate) async fn check(
    node: Arc<Node>,
    domain: String,
    request: CheckRequest,
) -> Result<CheckReport, Failure> {
    let selection = Selection::of(&request.only, &request.skip).map_err(Failure::Rules)?;
    let surveyed = node.ask(&domain, Ask::Survey).await?;
    Ok(examine(&node, &surveyed, &request).await?.report(&surveyed, &selection))
}

/// Checks a domain that is about to leave; none where the migration itself refuses, for its guest is not here or its
/// target does not answer at all.
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
    let examined = examine(&node, &surveyed, &request).await?;
    let silent = matches!(examined.facts.target, Err(Unasked::Silent { .. }));
    Ok((!silent).then(|| examined.report(&surveyed, &selection)))
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

/// What was found out.
struct Examined {
    facts: Facts,
    mode: CheckMode,
    began: Instant,
}

impl Examined {
    fn report(self, surveyed: &Surveyed, selection: &Selection) -> CheckReport {
        CheckReport {
            domain: surveyed.name.clone(),
            uuid: surveyed.uuid,
            source: self.facts.source.host.clone(),
            target: self.facts.target_name.clone(),
            mode: self.mode,
            checked: judge(&self.facts, selection),
            skipped: selection.skipped(),
            wall_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

async fn examine(node: &Node, surveyed: &Surveyed, request: &CheckRequest) -> Result<Examined, Failure> {
    let began = Instant::now();
    let runs = surveyed.guest.is_some();
    let mode = request.mode.unwrap_or(if runs { CheckMode::Live } else { CheckMode::Offline });
    let live = mode == CheckMode::Live;
    if live && !runs {
        return Err(Failure::WrongState {
            domain: surveyed.name.clone(),
            state: "shut off",
            mend: "`ferry start` starts it, and --offline checks it as it is",
        });
    }
    let same = request.to == node.config.host;
    let client = if same { None } else { Some(node.neighbours.client(&request.to)?) };
    let reaching = async {
        match &client {
            Some(client) => reach(client).await,
            None => Err(Unasked::Same),
        }
    };
    let ((mut source, guest), reached) = tokio::join!(here(node, surveyed), reaching);
    let (target, between) = match (reached, client) {
        (Ok(between), Some(client)) => there(node, surveyed, &mut source, &client, between, live).await?,
        (Ok(_), None) => (Err(Unasked::Same), Between::default()),
        (Err(unasked), _) => (Err(unasked), Between::default()),
    };
    let domain = wants(surveyed.definition.domain(), live, request.channels, !request.plaintext);
    let facts = Facts { domain, source, guest, target, target_name: request.to.clone(), between };
    Ok(Examined { facts, mode, began })
}

/// This host, and its guest.
async fn here(node: &Node, surveyed: &Surveyed) -> (HostFacts, GuestFacts) {
    let domain = surveyed.definition.domain();
    let asked = async {
        if let Some(guest) = &surveyed.guest {
            return qemu::of_guest(node, domain, &guest.emulator, &guest.process).await;
        }
        let emulator = node.emulator(domain).unwrap_or_else(|_forbidden| node.default_emulator());
        match within("QEMU", node.capabilities(emulator)).await {
            Ok(capabilities) => (qemu::of_emulator(node, domain, &capabilities).await, GuestFacts::default()),
            Err(unknown) => {
                (HostFacts { unknown: vec![unknown], ..HostFacts::default() }, GuestFacts::default())
            }
        }
    };
    host::gather(node, domain, asked).await
}

/// The target, which answers, and the way to it. Nonces lie beside the source's disks as long as it is asked.
async fn there(
    node: &Node,
    surveyed: &Surveyed,
    source: &mut HostFacts,
    client: &Client,
    between: Between,
    live: bool,
) -> Result<(Result<TargetFacts, Unasked>, Between), StoreError> {
    let nonces = Nonces::write(node, &source.disks).await?;
    nonces.note(&mut source.disks);
    let asked = client
        .facts(&CheckOffer {
            source: node.config.host.clone(),
            xml: surveyed.definition.xml().to_owned(),
            live,
            check: nonces.check(),
            nonces: nonces.directories(),
            formerly: None,
        })
        .await;
    nonces.remove().await;
    let mut between = between;
    if let Ok(facts) = &asked
        && let (Some(at), Some(token)) = (&facts.door, facts.door_token)
    {
        between.door = Some(at.clone());
        between.door_fault = door::knock(at, token).await.err();
    }
    let untold = |error: ClientError| match unasked(&error) {
        // Two that have no version in common say so in words of their own, which a migration repeats.
        silent @ Unasked::Silent { .. } if matches!(error, ClientError::ProtocolVersion { .. }) => silent,
        Unasked::Silent { reason, mend } => Unasked::Untold { reason, mend },
        other @ (Unasked::Untold { .. } | Unasked::Older | Unasked::Same) => other,
    };
    Ok((asked.map_err(untold), between))
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
