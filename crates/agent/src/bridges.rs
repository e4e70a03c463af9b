//! Bridges of this host: made in the place of an uplink, listed, confirmed, removed. A bridge that nobody confirms in time
//! is undone, by this agent or by the next one: how is written down before anything is changed. Main functions:
//! [`create`], [`delete`].
//!
//! ```text
//!            record written             made                confirm
//! (nothing) ───────────────▶ Unfinished ─────▶ Unconfirmed ────────▶ Confirmed
//!     ▲                       │      ▲   time is over │                  │
//!     └───────────────────────┘      └────────────────┴──────────────────┘ delete
//!             undone
//! ```

mod admit;
mod reach;
pub(crate) mod record;
mod undo;

use std::sync::Arc;
use std::time::Duration;

use api::BridgeRequest;
use jiff::Timestamp;
use network::{Carried, Link, Native, NetworkError, Takeover, Wanted};
use tokio::time::timeout;

use self::admit::{Admitted, Facts, admit, link_of, named, refuse_beside, refuse_cut_off};
use self::record::{BridgeRecord, Deadline};
pub(crate) use self::undo::Bridges;
use crate::failure::{BridgeFailure, Failure};
use crate::limits::{BRIDGE_WITHIN_MAX, CONFIRM_WITHIN_MAX, NEIGHBOUR_AGAIN_TIMEOUT};
use crate::node::Node;

/// Makes a bridge. What it would cut off is checked before, and what it did cut off afterwards.
pub(crate) async fn create(node: &Arc<Node>, request: &BridgeRequest) -> Result<api::Bridge, Failure> {
    let bridges = &node.bridges;
    let turn = bridges.turn().await;
    let Some(mut record) = plan(node, request).await? else { return show(node, &request.name).await };
    let reached = reach::reached(node).await;

    record.confirm_by = deadline(request)?;
    let within = record.confirm_by.as_ref().map_or(BRIDGE_WITHIN_MAX, |_| confirm_within(request) / 2);
    bridges.write(&record).await?;
    if let Err(source) = make(node, &record, within).await {
        let undone = bridges.undo(&record).await.is_ok();
        bridges.count_down(&record.name);
        return Err(BridgeFailure::NotMade { name: record.name, undone, source: Box::new(source) }.into());
    }
    // It waits for its turn, and undoes what is unfinished.
    bridges.count_down(&record.name);
    record.unfinished = false;
    bridges.write(&record).await?;
    tracing::info!(bridge = record.name, uplink = record.uplink, "a bridge is made");
    drop(turn);

    if let Some(left) = record.left() {
        let lost = reach::lost(node, reached, left.min(NEIGHBOUR_AGAIN_TIMEOUT)).await;
        let _turn = bridges.turn().await;
        // It may have been confirmed meanwhile, or undone.
        let Some(mut now) = bridges.record(&record.name).await? else {
            return Err(BridgeFailure::NotPending { name: record.name }.into());
        };
        if now.confirm_by == record.confirm_by {
            now.lost = lost;
            bridges.write(&now).await?;
        }
    }
    show(node, &record.name).await
}

/// Makes the changes, or has them made by what configures the uplink. Time is left for confirming it.
async fn make(node: &Node, record: &BridgeRecord, within: Duration) -> Result<(), NetworkError> {
    let network = &node.network;
    let made = async {
        let Some(native) = &record.native else {
            return network.change_all(&record.takeover.changes()).await;
        };
        for step in &native.make {
            network.step(step).await?;
        }
        let moved: &[_] = if record.takes_over() { &record.addresses } else { &[] };
        network.carries(&record.name, Some(&record.port), moved, within).await?;
        if record.takes_over() {
            return Ok(());
        }
        // What configures the uplink may have done so anew, for its VLAN.
        network.carries(&record.replaced, None, &record.addresses, within).await
    };
    timeout(within, made).await.unwrap_or_else(|_elapsed| {
        let addresses = record.addresses.clone();
        Err(NetworkError::NotCarried { link: record.name.clone(), addresses, within })
    })
}

/// What is to be done; nothing where the bridge is there.
async fn plan(node: &Node, request: &BridgeRequest) -> Result<Option<BridgeRecord>, Failure> {
    let links = node.network.inventory().await?;
    let facts = Facts { host: &node.config.host, links: &links };
    let (uplink, vlan) = link_of(request, &facts)?;
    let carried = node.network.carried(&uplink.name).await?;
    let Admitted::Make { mac, mtu } = admit(request, &facts, &uplink, vlan.as_ref(), &carried)? else {
        return Ok(None);
    };
    refuse_beside(request, &node.bridges.records().await?)?;
    let wanted = Wanted {
        bridge: &request.name,
        uplink: &uplink,
        mac,
        mtu,
        mtu_asked: request.mtu.is_some(),
        vlan: vlan.as_ref(),
    };
    let native = Native::plan(&wanted).await.map_err(|source| BridgeFailure::Configuration {
        uplink: request.uplink.clone(),
        source: Box::new(source),
    })?;
    // What configures a link may take its addresses away for a moment, also for a VLAN.
    if request.confirm_within_ms == 0 && (vlan.is_none() || native.is_some()) {
        let connections = network::connections().map_err(BridgeFailure::Connections)?;
        refuse_cut_off(&uplink.name, &carried, &connections)?;
    }
    let takeover = Takeover::plan(&request.name, &uplink, mac, mtu, vlan.as_ref(), &carried);
    Ok(Some(BridgeRecord {
        name: request.name.clone(),
        uplink: request.uplink.clone(),
        vlan: request.vlan,
        port: vlan.map_or_else(|| uplink.name.clone(), |vlan| vlan.name),
        replaced: uplink.name,
        boot_id: host::boot_id()?,
        takeover,
        native,
        addresses: carried.lasting(),
        unfinished: true,
        confirm_by: None,
        lost: Vec::new(),
    }))
}

fn confirm_within(request: &BridgeRequest) -> Duration {
    Duration::from_millis(request.confirm_within_ms).min(CONFIRM_WITHIN_MAX)
}

fn deadline(request: &BridgeRequest) -> Result<Option<Deadline>, Failure> {
    match confirm_within(request) {
        Duration::ZERO => Ok(None),
        within => Ok(Some(Deadline::within(within, host::uptime()?, Timestamp::now()))),
    }
}

/// Keeps a bridge that would be undone.
pub(crate) async fn confirm(node: &Node, name: &str) -> Result<api::Bridge, Failure> {
    let _turn = node.bridges.turn().await;
    let pending = |record: &BridgeRecord| record.left().is_some_and(|left| !left.is_zero());
    let Some(mut record) = node.bridges.record(name).await?.filter(pending) else {
        return Err(BridgeFailure::NotPending { name: name.to_owned() }.into());
    };
    record.confirm_by = None;
    record.lost.clear();
    node.bridges.write(&record).await?;
    show(node, name).await
}

/// Removes a bridge that Ferry made; its uplink takes back what the bridge carries by now.
pub(crate) async fn delete(node: &Node, name: &str) -> Result<(), Failure> {
    let bridges = &node.bridges;
    let _turn = bridges.turn().await;
    let links = node.network.inventory().await?;
    let is_there = named(&links, name).is_some_and(|link| link.kind.as_deref() == Some("bridge"));
    let Some(mut record) = bridges.record(name).await? else {
        let name = name.to_owned();
        return Err(match is_there {
            true => BridgeFailure::NotOurs { name },
            false => BridgeFailure::NotFound { name, host: node.config.host.clone() },
        }
        .into());
    };
    if let Some(by) = user(node, &links, &record).await {
        return Err(BridgeFailure::Used { name: name.to_owned(), by }.into());
    }
    let carrier = if record.takes_over() { name } else { &record.replaced };
    // Where it is gone, the uplink gets what it had.
    if named(&links, carrier).is_some() {
        let carried = node.network.carried(carrier).await?;
        record.addresses = carried.lasting();
        if record.takes_over() {
            record.takeover = record.takeover.carrying(&record.replaced, name, &carried);
        }
    }
    record.unfinished = true;
    bridges.write(&record).await?;
    bridges.undo(&record).await.map_err(|failure| {
        bridges.count_down(name);
        BridgeFailure::NotRemoved { name: name.to_owned(), source: Box::new(failure) }.into()
    })
}

/// Who needs the bridge: a domain, running or not, or a port that is not its uplink.
async fn user(node: &Node, links: &[Link], record: &BridgeRecord) -> Option<String> {
    for domain in node.domains().await {
        if domain.interfaces.iter().any(|interface| interface.bridge == record.name) {
            return Some(format!("domain {}", domain.name));
        }
    }
    ports(links, &record.name).find(|port| *port != record.port).map(|port| format!("its port {port}"))
}

fn ports<'a>(links: &'a [Link], bridge: &'a str) -> impl Iterator<Item = &'a str> {
    let of_bridge = links.iter().filter(move |link| link.controller.as_deref() == Some(bridge));
    of_bridge.map(|link| link.name.as_str())
}

/// Cards that lead to a network and that this host itself does not use, so that a bridge on one of them cuts nobody off:
/// Ethernet, set up, without addresses, routes, VLANs or a controller.
pub(crate) async fn uplinks_free(node: &Node) -> Result<Vec<String>, NetworkError> {
    let links = node.network.inventory().await?;
    let below = |name: &str| links.iter().any(|other| other.vlan.as_ref().is_some_and(|(_, on)| on == name));
    // On a host, a veth leads to a container; where the host is a namespace with a name, it is the card.
    let inside = network::in_named_namespace();
    let fits = |link: &&Link| {
        let is_card = match link.kind.as_deref() {
            None | Some("bond") => true,
            Some(kind) => inside && kind == "veth",
        };
        is_card && link.ethernet && link.up && !link.loopback && !link.wireless && link.controller.is_none()
    };
    let mut free = Vec::new();
    for link in links.iter().filter(fits).filter(|link| !below(&link.name)) {
        match node.network.carried(&link.name).await {
            Ok(carried) if carried.addresses.is_empty() && carried.routes.is_empty() => {
                free.push(link.name.clone());
            }
            Ok(_) | Err(NetworkError::NoSuchLink { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(free)
}

/// The host's bridges by name.
pub(crate) async fn list(node: &Node) -> Result<Vec<api::Bridge>, Failure> {
    let links = node.network.inventory().await?;
    let records = node.bridges.records().await?;
    let mut bridges = Vec::new();
    for link in links.iter().filter(|link| link.kind.as_deref() == Some("bridge")) {
        // One that has gone meanwhile is not there.
        let Ok(carried) = node.network.carried(&link.name).await else { continue };
        let record = records.iter().find(|record| record.name == link.name);
        bridges.push(shown(link, &links, &carried, record));
    }
    bridges.sort_by(|one: &api::Bridge, other| one.name.cmp(&other.name));
    Ok(bridges)
}

async fn show(node: &Node, name: &str) -> Result<api::Bridge, Failure> {
    let found = list(node).await?.into_iter().find(|bridge| bridge.name == name);
    Ok(found
        .ok_or_else(|| BridgeFailure::NotFound { name: name.to_owned(), host: node.config.host.clone() })?)
}

fn shown(link: &Link, links: &[Link], carried: &Carried, record: Option<&BridgeRecord>) -> api::Bridge {
    let mut bridge = api::Bridge {
        name: link.name.clone(),
        mac: link.mac.map(network::colons),
        mtu: link.mtu,
        up: link.up,
        ports: ports(links, &link.name).map(str::to_owned).collect(),
        addresses: carried.addresses.iter().map(ToString::to_string).collect(),
        uplink: None,
        vlan: None,
        kept_by: None,
        undone_at: None,
        lost: Vec::new(),
        unrenewed: Vec::new(),
    };
    let Some(record) = record else { return bridge };
    bridge.uplink = Some(record.uplink.clone());
    bridge.vlan = record.vlan;
    bridge.kept_by = record.native.as_ref().map(|native| native.keeper.as_str().to_owned());
    bridge.undone_at = record.confirm_by.as_ref().map(|deadline| deadline.at.to_string());
    bridge.lost.clone_from(&record.lost);
    if record.native.is_none() {
        let leased = carried.addresses.iter().filter(|address| address.is_leased());
        bridge.unrenewed = leased.map(ToString::to_string).collect();
    }
    bridge
}
