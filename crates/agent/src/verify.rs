//! What this host sees of a domain that has just come here: whether its bridges have learned its addresses, whether its
//! disks are open, what time it is in the guest. It changes nothing. Main functions: [`verify`] on the target,
//! [`complete`] on the source.

use std::sync::Arc;
use std::time::Instant;

use api::{DiskSeen, InterfaceSeen, Verified};
use domain::Domain;
use network::Learned;
use qemu::command::{Drive, QueryBlock, QueryChardev, QueryStatus, RunState};
use qemu::command_line::node_name;
use qemu::console::Place;
use qemu::process::Process;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::allocate::tap_name;
use crate::failure::Failure;
use crate::keeper::{Ask, Surveyed};
use crate::limits::{
    GUEST_AGENT_TIMEOUT, LEARN_TIMEOUT, LEARNED_EVERY, LOOK_AGAIN_EVERY, SHOW_TIMEOUT, VERIFY_TIMEOUT,
};
use crate::networks::bridge_of;
use crate::node::Node;
use crate::preflight::agent_channel;
use crate::store::blocking;
use crate::tracker::{Tracker, ahead_ms, unix_ms};

/// Has the report of a migration that has moved say what the target sees, as soon as that has told, and ends its story.
/// The domain is free meanwhile. `written` says whether its report was kept already, and is to be written anew.
pub(crate) async fn complete(node: Arc<Node>, tracker: Tracker, written: bool) {
    let target = tracker.migration().report.target;
    let verified = ask(&node, &target, tracker.id()).await;
    tracker.record(|report| report.verified = verified);
    tracker.tell_end();
    if !written {
        return;
    }
    let (store, migration) = (node.store.clone(), tracker.migration());
    if let Err(error) = blocking(move || store.write_report(&migration)).await {
        tracing::warn!("what was seen afterwards is not in the report that is kept: {error}");
    }
}

/// Asks the target; none where it does not say in time, or its agent is too old to.
async fn ask(node: &Node, target: &str, migration: Uuid) -> Option<Verified> {
    let client = node.neighbours.client(target).ok()?;
    match timeout(VERIFY_TIMEOUT, client.verified(migration)).await {
        Ok(Ok(verified)) => Some(verified),
        Ok(Err(error)) => {
            tracing::info!(%migration, "{target} did not say what it saw afterwards: {error}");
            None
        }
        Err(_elapsed) => {
            tracing::info!(%migration, "{target} did not say what it saw afterwards within {VERIFY_TIMEOUT:?}");
            None
        }
    }
}

/// Looks at a domain whose guest is here, or is about to be this host's for good.
pub(crate) async fn verify(node: &Node, uuid: Uuid) -> Result<Verified, Failure> {
    let surveyed = settled(node, uuid).await?;
    let domain = surveyed.definition.domain();
    let Some(guest) = &surveyed.guest else {
        return Err(Failure::WrongState {
            domain: surveyed.name.clone(),
            state: "shut off",
            mend: "its log says why its QEMU has ended",
        });
    };
    let status = guest.process.qmp.execute_within(QueryStatus, SHOW_TIMEOUT).await;
    let works = status.is_ok_and(|status| status.status == RunState::Running);
    let (interfaces, disks, clock_ahead_ms) = tokio::join!(
        interfaces(node, uuid, domain, works),
        disks(domain, &guest.process),
        clock(domain, &guest.process),
    );
    Ok(Verified { interfaces, disks, clock_ahead_ms })
}

/// The verdict is out before the domain's task has the guest.
async fn settled(node: &Node, uuid: Uuid) -> Result<Surveyed, Failure> {
    let began = Instant::now();
    loop {
        match node.ask(&uuid.to_string(), Ask::Survey).await {
            Err(Failure::Migrating { .. }) if began.elapsed() < LEARN_TIMEOUT => {
                sleep(LOOK_AGAIN_EVERY).await
            }
            answer => return answer,
        }
    }
}

/// The interfaces that are on a bridge. QEMU has announced them; a bridge learns an address with the first packet that
/// comes, and none comes from a guest that stands still, or over a link that is down.
async fn interfaces(node: &Node, uuid: Uuid, domain: &Domain, works: bool) -> Vec<InterfaceSeen> {
    let on_bridges = domain.interfaces.iter().enumerate().filter_map(|(place, interface)| {
        let (mac, bridge) = (interface.mac?, bridge_of(&node.config, &interface.source).ok()??);
        let learned = (works && interface.link_up).then_some(false);
        let port = tap_name(uuid, place);
        Some((mac.0, port, InterfaceSeen { mac: mac.to_string(), bridge, learned }))
    });
    let mut seen: Vec<_> = on_bridges.collect();
    let began = Instant::now();
    while seen.iter().any(|(.., interface)| interface.learned == Some(false)) {
        let all = node.network.learned().await;
        for (mac, port, interface) in seen.iter_mut().filter(|(.., interface)| interface.learned.is_some()) {
            let is_here = |it: &Learned| it.mac == *mac && it.bridge == interface.bridge && it.port == *port;
            let found = all.as_ref().ok().map(|all| all.iter().any(is_here));
            interface.learned = found.map(|found| found || interface.learned == Some(true));
        }
        if began.elapsed() > LEARN_TIMEOUT {
            break;
        }
        sleep(LEARNED_EVERY).await;
    }
    seen.into_iter().map(|(.., interface)| interface).collect()
}

async fn disks(domain: &Domain, process: &Process) -> Vec<DiskSeen> {
    let drives = process.qmp.execute_within(QueryBlock, SHOW_TIMEOUT).await.ok();
    let filled = domain.disks.iter().filter(|disk| disk.source.is_some());
    let seen = filled.map(|disk| {
        let node = node_name(&disk.target);
        let open = drives.as_ref().map(|drives| drives.iter().any(|drive| is_open(drive, &node)));
        DiskSeen { disk: disk.target.clone(), open }
    });
    seen.collect()
}

fn is_open(drive: &Drive, node: &str) -> bool {
    let medium = drive.inserted.as_ref().and_then(|medium| medium.node_name.as_deref());
    let well = drive.io_status.as_deref().is_none_or(|status| status == "ok");
    // Filters and layers above an image bear its name with more behind it.
    well && medium.is_some_and(|medium| medium == node || medium.starts_with(&format!("{node}-")))
}

/// How far the guest's clock is ahead, where an agent in the guest says what time it is there.
async fn clock(domain: &Domain, process: &Process) -> Option<i64> {
    let label = format!("channel-{}", agent_channel(domain)?);
    let ports = process.qmp.execute_within(QueryChardev, SHOW_TIMEOUT).await.ok()?;
    let port = ports.into_iter().find(|port| port.label == label && port.frontend_open)?;
    let channel = Place::of(&port.filename?)?;
    let (began, began_ms) = (Instant::now(), unix_ms());
    let theirs = timeout(GUEST_AGENT_TIMEOUT, qemu::guest_agent::time(&channel)).await.ok()?.ok()?;
    Some(ahead_ms(u64::try_from(theirs.as_millis()).ok()?, began_ms, began.elapsed()))
}
