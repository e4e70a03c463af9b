//! A check from the source: its own facts, the target's, and the way between them, gathered at once and judged. Main
//! function: [`check`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use api::{
    CheckMode, CheckOffer, CheckReport, CheckRequest, CopyFile, Finding, HostFacts, Maps, Pool, PoolOrder,
    Severity, TargetFacts,
};
use client::{Client, ClientError, ProtocolError};
use domain::Definition;
use migration::placement::{self, Belongings};
use migration::preflight::{Between, DomainFacts, Facts, GuestFacts, Selection, Unasked, judge, permits};
use uuid::Uuid;

use super::nonces::Nonces;
use super::{domain::wants, door, host, no_answer, qemu, target::chain_unshown, within};
use crate::failure::{Failure, chain};
use crate::guest::frozen_uuid;
use crate::keeper::{Ask, Surveyed};
use crate::limits::REACH_TIMEOUT;
use crate::node::Node;
use crate::placement::{Placing, Wanted, belongings, identified, place};
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

/// What a check found of a domain that is about to leave, and what it judged.
pub(crate) struct CheckedFirst {
    pub(crate) report: CheckReport,
    /// The domain as the target is to have it, and the files that go with it.
    pub(crate) placing: Placing,
}

/// Checks a domain that is about to leave; none where the migration itself refuses, for its guest is not here or its
/// target does not answer at all.
pub(crate) async fn check_first(
    node: Arc<Node>,
    domain: String,
    request: CheckRequest,
) -> Result<Option<CheckedFirst>, Failure> {
    let selection = Selection::of(&[], &request.skip).map_err(Failure::Rules)?;
    let offline = request.mode == Some(CheckMode::Offline);
    let surveyed = match node.ask(&domain, Ask::Survey).await {
        Ok(surveyed) if surveyed.guest.is_some() == offline => return not_so(&surveyed, offline),
        Ok(surveyed) => surveyed,
        Err(_) => return Ok(None),
    };
    let examined = examine(&node, &surveyed, &request).await?;
    let silent = matches!(examined.facts.target, Err(Unasked::Silent { .. }));
    let placing = examined.placing.clone();
    Ok((!silent).then(|| CheckedFirst { report: examined.report(&surveyed, &selection), placing }))
}

/// A domain that runs does not move shut off. That one which is shut off does not move live, the migration itself says.
fn not_so(surveyed: &Surveyed, offline: bool) -> Result<Option<CheckedFirst>, Failure> {
    if !offline {
        return Ok(None);
    }
    Err(Failure::WrongState {
        domain: surveyed.name.clone(),
        state: "running",
        mend: "`ferry shutdown` ends its guest first; without --offline it moves while it runs",
    })
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
    placing: Placing,
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
    let going = Going::of(node, surveyed, request, live);
    let (going, (source, guest), reached) = tokio::join!(going, here(node, surveyed), reaching);
    let going = going?;
    let asked = match (reached, client) {
        (Ok(between), Some(client)) => going.ask(source, &client, between).await?,
        (Ok(_), None) => going.unasked(source, Unasked::Same).await?,
        (Err(unasked), _) => going.unasked(source, unasked).await?,
    };
    let Asked { placing, shared, mut source, target, between } = asked;
    if !live {
        let files: Vec<CopyFile> = placing.files.iter().map(|placed| placed.file.clone()).collect();
        source.chain_unshown = chain_unshown(node, &files).await;
    }
    let domain = DomainFacts {
        copies: placing.files.clone(),
        shared,
        moved: placing.moved(),
        keeps_source: request.identity.keep_source,
        postcopy: request.allow_postcopy,
        ..wants(placing.definition.domain(), live, request.channels, !request.plaintext)
    };
    let facts = Facts { domain, source, guest, target, target_name: request.to.clone(), between };
    Ok(Examined { facts, placing, mode, began })
}

/// A domain that would go, and how.
struct Going<'a> {
    node: &'a Node,
    request: &'a CheckRequest,
    live: bool,
    /// Its UUID, where it gets another one.
    formerly: Option<Uuid>,
    /// With the identity that it is to have.
    identified: Definition,
    belongings: Belongings,
}

/// What a target said, and what becomes of the domain by that.
struct Asked {
    placing: Placing,
    /// Files that would be copied, and that the target sees.
    shared: BTreeSet<String>,
    source: HostFacts,
    target: Result<TargetFacts, Unasked>,
    between: Between,
}

impl<'a> Going<'a> {
    async fn of(
        node: &'a Node,
        surveyed: &Surveyed,
        request: &'a CheckRequest,
        live: bool,
    ) -> Result<Going<'a>, Failure> {
        let identified = identified(node, &surveyed.definition, &request.identity).await?;
        // A guest that moves as it is, over storage that both hosts have, takes nothing along.
        let needed = !live || request.copy_storage.is_some() || !request.maps.is_empty();
        let belongings = match needed {
            true => belongings(node, surveyed.definition.domain()).await,
            false => Belongings::default(),
        };
        let formerly = frozen_uuid(identified.domain()) != surveyed.uuid && !request.identity.keep_source;
        let formerly = formerly.then_some(surveyed.uuid);
        Ok(Going { node, request, live, formerly, identified, belongings })
    }

    async fn place(
        &self,
        maps: &Maps,
        pools_there: &[Pool],
        shared: &BTreeSet<String>,
    ) -> Result<Placing, Failure> {
        let wanted =
            Wanted { live: self.live, copy: self.request.copy_storage.as_ref(), maps, pools_there, shared };
        place(self.node, &self.identified, &self.belongings, &wanted).await
    }

    /// Without a target's answer nothing is known of its names.
    async fn unasked(&self, source: HostFacts, why: Unasked) -> Result<Asked, Failure> {
        let placing = self.place(&Maps::default(), &[], &BTreeSet::new()).await?;
        let (shared, between) = (BTreeSet::new(), Between::default());
        Ok(Asked { placing, shared, source, target: Err(why), between })
    }

    /// Asks the target, which answers, what it has for the domain as it would be there.
    async fn ask(&self, source: HostFacts, client: &Client, between: Between) -> Result<Asked, Failure> {
        let (to, maps) = (&self.request.to, &self.request.maps);
        let neighbour = |source| Failure::Neighbour { host: to.clone(), source: Box::new(source) };
        let pools_there =
            if maps.pools.is_empty() { Ok(Vec::new()) } else { client.order_pools(&PoolOrder::List).await };
        let pools_there = pools_there.map_err(neighbour)?;
        let placing = self.place(maps, &pools_there, &BTreeSet::new()).await?;
        let mut source = source;
        let (target, between) = there(self, &placing, &mut source, client, between).await?;
        let seen =
            target.as_ref().map(|told| placement::seen(&placing.files, &told.places)).unwrap_or_default();
        if seen.is_empty() || self.request.identity.keep_source {
            return Ok(Asked { placing, shared: seen, source, target, between });
        }
        let placing = self.place(maps, &pools_there, &seen).await?;
        Ok(Asked { placing, shared: seen, source, target, between })
    }
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
    host::gather(node, domain, surveyed.guest.is_none(), asked).await
}

/// The target, which answers, and the way to it. Nonces lie beside the source's disks as long as it is asked.
async fn there(
    going: &Going<'_>,
    placing: &Placing,
    source: &mut HostFacts,
    client: &Client,
    between: Between,
) -> Result<(Result<TargetFacts, Unasked>, Between), StoreError> {
    let nonces = Nonces::write(going.node, &source.disks).await?;
    nonces.note(&mut source.disks);
    let asked = client
        .facts(&CheckOffer {
            source: going.node.config.host.clone(),
            xml: placing.definition.xml().to_owned(),
            live: going.live,
            check: nonces.check(),
            nonces: directories_there(&nonces, placing),
            formerly: going.formerly,
            files: placing.files.iter().map(|placed| placed.file.clone()).collect(),
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

/// Where the target looks for nonces: where they were written, and where it would have the files, whatever its mounts are
/// called.
fn directories_there(nonces: &Nonces, placing: &Placing) -> Vec<String> {
    let places = placing.elsewhere.files.values().map(PathBuf::as_path);
    let places = places.chain(placing.files.iter().map(|placed| Path::new(&placed.file.path)));
    let mut directories = nonces.directories();
    for directory in places.filter_map(Path::parent).map(|directory| directory.display().to_string()) {
        if !directory.is_empty() && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
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
