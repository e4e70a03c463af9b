//! What this host sees of a domain that has just come here: whether its bridges have learned its addresses, whether its
//! disks are open, what time it is in the guest. It changes nothing. Main functions: [`verify`] on the target, [`ask`] on
//! the source.

use std::time::Instant;

use api::{DiskSeen, InterfaceSeen, Verified};
use domain::{Domain, Interface};
use futures_util::future::join_all;
use qemu::command::{Drive, QueryBlock, QueryChardev};
use qemu::command_line::node_name;
use qemu::console::Place;
use qemu::process::Process;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::allocate::tap_name;
use crate::failure::Failure;
use crate::keeper::{Ask, Surveyed};
use crate::limits::{GUEST_AGENT_TIMEOUT, LEARN_TIMEOUT, LOOK_AGAIN_EVERY, SHOW_TIMEOUT, VERIFY_TIMEOUT};
use crate::networks::bridge_of;
use crate::node::Node;
use crate::preflight::agent_channel;
use crate::tracker::{ahead_ms, unix_ms};

/// Asks the target of a migration that has moved; none where it does not say in time, or its agent is too old to.
pub(crate) async fn ask(node: &Node, target: &str, migration: Uuid) -> Option<Verified> {
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
    let (interfaces, disks, clock_ahead_ms) = tokio::join!(
        join_all(domain.interfaces.iter().enumerate().map(|(place, it)| interface(node, uuid, place, it))),
        disks(domain, &guest.process),
        clock(domain, &guest.process),
    );
    Ok(Verified { interfaces: interfaces.into_iter().flatten().collect(), disks, clock_ahead_ms })
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

/// An interface that is on a bridge. QEMU has announced it; the bridge learns it with the first packet that comes.
async fn interface(node: &Node, uuid: Uuid, place: usize, interface: &Interface) -> Option<InterfaceSeen> {
    let (mac, bridge) = (interface.mac?, bridge_of(&node.config, &interface.source).ok()??);
    let tap = tap_name(uuid, place);
    let learning = async {
        loop {
            let learned = node.network.learned(mac.0).await.unwrap_or_default();
            if learned.iter().any(|learned| learned.bridge == bridge && learned.port == tap) {
                return;
            }
            sleep(LOOK_AGAIN_EVERY).await;
        }
    };
    let learned = timeout(LEARN_TIMEOUT, learning).await.is_ok();
    Some(InterfaceSeen { mac: mac.to_string(), bridge, learned })
}

async fn disks(domain: &Domain, process: &Process) -> Vec<DiskSeen> {
    let drives = process.qmp.execute_within(QueryBlock, SHOW_TIMEOUT).await.unwrap_or_default();
    let filled = domain.disks.iter().filter(|disk| disk.source.is_some());
    let seen = filled.map(|disk| {
        let node = node_name(&disk.target);
        let open = drives.iter().any(|drive| is_open(drive, &node));
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
