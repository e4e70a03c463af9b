//! Bridges of this host: made in the place of an uplink, listed, confirmed, removed. A bridge that nobody confirms in time
//! is undone, by this agent or by the next one: how is written down before anything is changed. Main functions:
//! [`create`], [`recover`].
//!
//! ```text
//!            record written            confirm
//! (nothing) ───────────────▶ Unconfirmed ───────▶ Confirmed
//!     ▲                        │ time is over          │
//!     └────────────────────────┴───────────────────────┘ delete
//! ```

mod admit;
mod reach;
pub(crate) mod record;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::BridgeRequest;
use futures_util::future::join_all;
use jiff::Timestamp;
use network::{Carried, Change, Link, Native, NetworkError, Takeover, Wanted, inverse};
use tokio::sync::{Mutex, MutexGuard};

use self::admit::{Admitted, Facts, admit, link_of, named};
use self::record::{BridgeRecord, Deadline};
use crate::failure::{BridgeFailure, Failure, chain};
use crate::keeper::Ask;
use crate::limits::{CONFIRM_WITHIN_MAX, NATIVE_TIMEOUT, UNDO_AGAIN_EVERY};
use crate::node::Node;

/// Whoever changes this host's bridges: one at a time.
#[derive(Debug, Default)]
pub(crate) struct Bridges(Mutex<()>);

impl Bridges {
    async fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

/// Makes a bridge. What it would cut off is checked before, and what it did cut off afterwards.
pub(crate) async fn create(node: &Arc<Node>, request: &BridgeRequest) -> Result<api::Bridge, Failure> {
    let _turn = node.bridges.turn().await;
    let Some(mut record) = plan(node, request).await? else { return show(node, &request.name).await };
    if let Some(open) = node.store.bridges()?.into_iter().find(|it| it.confirm_by.is_some()) {
        return Err(BridgeFailure::Unconfirmed { name: open.name }.into());
    }
    let reached = reach::reached(node).await;

    record.confirm_by = deadline(request)?;
    node.store.write_bridge(&record)?;
    if let Err(source) = make(node, &record, request).await {
        if undo(node, &record).await.is_err() {
            // It is tried again, as if its time were over.
            let over = Deadline::within(Duration::ZERO, Duration::ZERO, Timestamp::now());
            record.confirm_by = Some(over.clone());
            node.store.write_bridge(&record)?;
            count_down(node, &record.name, over);
        }
        return Err(BridgeFailure::NotMade { name: record.name, source: Box::new(source) }.into());
    }
    tracing::info!(bridge = record.name, uplink = record.uplink, "a bridge is made");
    if let Some(deadline) = record.confirm_by.clone() {
        count_down(node, &record.name, deadline);
        record.lost = reach::lost(node, reached).await;
        node.store.write_bridge(&record)?;
    }
    show(node, &record.name).await
}

/// Makes the changes, or has them made by what configures the uplink.
async fn make(node: &Node, record: &BridgeRecord, request: &BridgeRequest) -> Result<(), NetworkError> {
    let Some(native) = &record.native else {
        return node.network.change_all(&record.takeover.changes()).await;
    };
    for step in &native.make {
        node.network.step(step).await?;
    }
    // Half of the time in which it is to be confirmed is left for that.
    let within = match request.confirm_within_ms {
        0 => NATIVE_TIMEOUT,
        ms => NATIVE_TIMEOUT.min(Duration::from_millis(ms / 2)),
    };
    node.network.carries(&record.name, Some(&record.port), &record.addresses, within).await
}

/// What is to be done; nothing where the bridge is there.
async fn plan(node: &Node, request: &BridgeRequest) -> Result<Option<BridgeRecord>, Failure> {
    let links = node.network.inventory().await?;
    let connections = network::connections().map_err(BridgeFailure::Connections)?;
    let facts = Facts { host: &node.config.host, links: &links, connections: &connections };
    let (link, vlan) = link_of(request, &facts)?;
    let carried = match vlan {
        Some(_) => Carried::default(),
        None => node.network.carried(&link.name).await?,
    };
    let Admitted::Make { uplink, mac, mtu, vlan } = admit(request, &facts, &carried)? else {
        return Ok(None);
    };
    let wanted = Wanted {
        bridge: &request.name,
        uplink: &uplink,
        mac,
        mtu,
        mtu_asked: request.mtu.is_some(),
        vlan: vlan.as_ref(),
    };
    let native = Native::plan(Path::new("/"), &wanted).await.map_err(|source| {
        BridgeFailure::Configuration { uplink: request.uplink.clone(), source: Box::new(source) }
    })?;
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
        confirm_by: None,
        lost: Vec::new(),
    }))
}

fn deadline(request: &BridgeRequest) -> Result<Option<Deadline>, Failure> {
    if request.confirm_within_ms == 0 {
        return Ok(None);
    }
    let within = Duration::from_millis(request.confirm_within_ms).min(CONFIRM_WITHIN_MAX);
    Ok(Some(Deadline::within(within, host::uptime()?, Timestamp::now())))
}

/// Undoes the bridge when its time is over.
fn count_down(node: &Arc<Node>, name: &str, deadline: Deadline) {
    // Without a clock its time is over: a host that is cut off cannot be asked.
    let left = host::uptime().map_or(Duration::ZERO, |uptime| deadline.left(uptime));
    undo_after(node, name, deadline, left);
}

/// Undoes the bridge after a while, unless it has been confirmed or has gone by then. Tried until it is done.
fn undo_after(node: &Arc<Node>, name: &str, deadline: Deadline, left: Duration) {
    let (node, name) = (Arc::clone(node), name.to_owned());
    tokio::spawn(async move {
        tokio::time::sleep(left).await;
        loop {
            let turn = node.bridges.turn().await;
            match node.store.bridge(&name) {
                Ok(Some(record)) if record.confirm_by.as_ref() == Some(&deadline) => {
                    tracing::warn!(bridge = name, "nobody has confirmed it: it is undone");
                    if undo(&node, &record).await.is_ok() {
                        return;
                    }
                }
                Ok(_) => return,
                Err(error) => tracing::error!(bridge = name, "not undone yet: {}", chain(&error)),
            }
            drop(turn);
            tokio::time::sleep(UNDO_AGAIN_EVERY).await;
        }
    });
}

/// Makes everything as it was before the bridge, as far as it can be, and forgets it when that is done.
async fn undo(node: &Node, record: &BridgeRecord) -> Result<(), Failure> {
    if !unmake(node, record, &record.addresses).await {
        undo_all(node, &record.takeover.undo()).await?;
    }
    Ok(node.store.remove_bridge(&record.name)?)
}

/// Has what configures the uplink give it these addresses again. Where nothing does, or it fails, the caller must.
async fn unmake(node: &Node, record: &BridgeRecord, addresses: &[IpAddr]) -> bool {
    let Some(native) = &record.native else { return false };
    for step in &native.unmake {
        if let Err(error) = node.network.step(step).await {
            tracing::warn!(bridge = record.name, "{}", chain(&error));
        }
    }
    // The link that was made for a VLAN has gone with the addresses that it got.
    let addresses = if record.replaced == record.port { addresses } else { &[] };
    match node.network.carries(&record.replaced, None, addresses, NATIVE_TIMEOUT).await {
        Ok(()) => true,
        Err(error) => {
            let keeper = native.keeper.as_str();
            tracing::error!("{keeper} does not undo it, so the agent does: {}", chain(&error));
            false
        }
    }
}

/// Goes on after a failure, and tells of the last one.
async fn undo_all(node: &Node, changes: &[Change]) -> Result<(), NetworkError> {
    let mut outcome = Ok(());
    for change in changes {
        if let Err(error) = node.network.change_fact(change).await {
            tracing::error!("not undone: {}", chain(&error));
            outcome = Err(error);
        }
    }
    outcome
}

/// Takes up what an earlier agent left. Guests go on where that cannot be read, so the agent does, too.
pub(crate) async fn recover(node: &Arc<Node>) {
    if let Err(failure) = take_up(node).await {
        tracing::error!("bridges that an earlier agent made are not undone: {}", failure.chain());
    }
}

/// What is unconfirmed is counted down further, what went with a boot is forgotten.
async fn take_up(node: &Arc<Node>) -> Result<(), Failure> {
    let boot_id = host::boot_id()?;
    let links = node.network.inventory().await?;
    for mut record in node.store.bridges()? {
        let this_boot = record.boot_id == boot_id;
        let is_kept = this_boot && named(&links, &record.name).is_some() || record.native.is_some();
        match record.confirm_by.clone() {
            Some(deadline) if this_boot => count_down(node, &record.name, deadline),
            // Whoever boots a host does so to get it back.
            Some(deadline) if record.native.is_some() => {
                undo_after(node, &record.name, deadline, Duration::ZERO)
            }
            None if is_kept => {
                record.boot_id.clone_from(&boot_id);
                node.store.write_bridge(&record)?;
            }
            Some(_) | None => node.store.remove_bridge(&record.name)?,
        }
    }
    Ok(())
}

/// Keeps a bridge that would be undone.
pub(crate) async fn confirm(node: &Node, name: &str) -> Result<api::Bridge, Failure> {
    let _turn = node.bridges.turn().await;
    let record = node.store.bridge(name)?.filter(|record| record.confirm_by.is_some());
    let Some(mut record) = record else {
        return Err(BridgeFailure::NotPending { name: name.to_owned() }.into());
    };
    record.confirm_by = None;
    record.lost.clear();
    node.store.write_bridge(&record)?;
    show(node, name).await
}

/// Removes a bridge that Ferry made; its uplink takes back what the bridge carries by now.
pub(crate) async fn delete(node: &Node, name: &str) -> Result<(), Failure> {
    let _turn = node.bridges.turn().await;
    let links = node.network.inventory().await?;
    if named(&links, name).is_none_or(|link| link.kind.as_deref() != Some("bridge")) {
        return Err(BridgeFailure::NotFound { name: name.to_owned(), host: node.config.host.clone() }.into());
    }
    let Some(record) = node.store.bridge(name)? else {
        return Err(BridgeFailure::NotOurs { name: name.to_owned() }.into());
    };
    if let Some(by) = user(node, &links, &record).await {
        return Err(BridgeFailure::Used { name: name.to_owned(), by }.into());
    }
    let carried = node.network.carried(name).await?;
    if unmake(node, &record, &carried.lasting()).await {
        return Ok(node.store.remove_bridge(name)?);
    }
    let changes = record.takeover.end(name, &record.port, &carried);
    if let Err(source) = node.network.change_all(&changes).await {
        undo_all(node, &inverse(&changes)).await?;
        return Err(BridgeFailure::NotRemoved { name: name.to_owned(), source: Box::new(source) }.into());
    }
    Ok(node.store.remove_bridge(name)?)
}

/// Who needs the bridge: a domain, running or not, or a port that is not its uplink.
async fn user(node: &Node, links: &[Link], record: &BridgeRecord) -> Option<String> {
    let keepers = node.keepers();
    let domains = join_all(keepers.iter().map(|keeper| keeper.ask(Ask::Show))).await;
    for domain in domains.into_iter().flatten().flatten() {
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

/// The host's bridges by name.
pub(crate) async fn list(node: &Node) -> Result<Vec<api::Bridge>, Failure> {
    let links = node.network.inventory().await?;
    let mut bridges = Vec::new();
    for link in links.iter().filter(|link| link.kind.as_deref() == Some("bridge")) {
        // One that has gone meanwhile is not there.
        let Ok(carried) = node.network.carried(&link.name).await else { continue };
        bridges.push(shown(link, &links, &carried, node.store.bridge(&link.name)?));
    }
    bridges.sort_by(|one: &api::Bridge, other| one.name.cmp(&other.name));
    Ok(bridges)
}

async fn show(node: &Node, name: &str) -> Result<api::Bridge, Failure> {
    let found = list(node).await?.into_iter().find(|bridge| bridge.name == name);
    Ok(found
        .ok_or_else(|| BridgeFailure::NotFound { name: name.to_owned(), host: node.config.host.clone() })?)
}

fn shown(link: &Link, links: &[Link], carried: &Carried, record: Option<BridgeRecord>) -> api::Bridge {
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let mut bridge = api::Bridge {
        name: link.name.clone(),
        mac: link.mac.map(mac),
        mtu: link.mtu,
        up: link.up,
        ports: ports(links, &link.name).map(str::to_owned).collect(),
        addresses: carried.addresses.iter().map(ToString::to_string).collect(),
        uplink: None,
        vlan: None,
        kept_by: None,
        undone_at: None,
        lost: Vec::new(),
    };
    if let Some(record) = record {
        bridge.uplink = Some(record.uplink);
        bridge.vlan = record.vlan;
        bridge.kept_by = record.native.map(|native| native.keeper.as_str().to_owned());
        bridge.undone_at = record.confirm_by.map(|deadline| deadline.at.to_string());
        bridge.lost = record.lost;
    }
    bridge
}
