//! Whether a bridge can be made as it was asked for, judged on facts that were gathered before: nothing is asked and
//! nothing changed here. Main function: [`admit`].

use api::BridgeRequest;
use network::{Carried, Connection, Link, NewVlan};

use super::record::BridgeRecord;
use crate::failure::BridgeFailure;
use crate::limits::{MTU_MAX, MTU_MIN, MTU_MIN_IPV6};

/// What is known of the host.
pub(super) struct Facts<'a> {
    pub(super) host: &'a str,
    pub(super) links: &'a [Link],
}

/// What is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Nothing: it is there.
    Exists,
    /// The bridge.
    Make {
        /// The uplink's address, which it gets.
        mac: [u8; 6],
        /// In bytes.
        mtu: u32,
    },
}

/// The link on which the bridge is made: the uplink, or a VLAN of it that has a link already. And the VLAN that needs one.
pub(super) fn link_of(
    request: &BridgeRequest,
    facts: &Facts<'_>,
) -> Result<(Link, Option<NewVlan>), BridgeFailure> {
    if !api::is_bridge_name(&request.name) {
        return Err(BridgeFailure::Name { name: request.name.clone() });
    }
    let uplink = named(facts.links, &request.uplink).ok_or_else(|| BridgeFailure::NoUplink {
        uplink: request.uplink.clone(),
        host: facts.host.to_owned(),
        known: facts.links.iter().filter(|link| !link.loopback).map(|link| link.name.clone()).collect(),
    })?;
    let Some(vlan) = request.vlan else { return Ok((uplink.clone(), None)) };
    if !(1..=4094).contains(&vlan) {
        return Err(BridgeFailure::Vlan { vlan });
    }
    let of_uplink =
        |link: &&Link| link.vlan.as_ref().is_some_and(|(id, on)| *id == vlan && *on == uplink.name);
    if let Some(link) = facts.links.iter().find(of_uplink) {
        return Ok((link.clone(), None));
    }
    let name = format!("{}.{vlan}", uplink.name);
    let uplink_name = uplink.name.clone();
    if name.len() > network::LINK_NAME_BYTES_MAX {
        return Err(BridgeFailure::VlanName { uplink: uplink_name, vlan, name });
    }
    if let Some(other) = named(facts.links, &name) {
        return Err(BridgeFailure::VlanNameTaken { uplink: uplink_name, vlan, name, kind: kind(other) });
    }
    Ok((uplink.clone(), Some(NewVlan { name, id: vlan })))
}

/// Refuses what cannot be, each with its reason, or says what is to be made.
pub(super) fn admit(
    request: &BridgeRequest,
    facts: &Facts<'_>,
    uplink: &Link,
    vlan: Option<&NewVlan>,
    carried: &Carried,
) -> Result<Admitted, BridgeFailure> {
    if let Some(there) = named(facts.links, &request.name) {
        return compare(request, there, uplink, vlan);
    }
    let mac = bridgeable(uplink, vlan)?;
    // A VLAN's bridge takes nothing over.
    let nothing = Carried::default();
    let carried = if vlan.is_some() { &nothing } else { carried };
    let mtu = mtu(request, uplink, carried)?;
    if let Some((route, id)) = carried.routes.iter().find_map(|route| Some((route, route.nexthop_object()?)))
    {
        let route = route.to_string();
        return Err(BridgeFailure::NexthopObject { uplink: uplink.name.clone(), route, id });
    }
    Ok(Admitted::Make { mac, mtu })
}

/// Refuses a bridge beside others that Ferry made: one change at a time, and one bridge on an uplink or on each VLAN.
pub(super) fn refuse_beside(request: &BridgeRequest, others: &[BridgeRecord]) -> Result<(), BridgeFailure> {
    if let Some(same) = others.iter().find(|it| it.name == request.name) {
        let how = "Ferry made it, and its link has been removed since".to_owned();
        return Err(BridgeFailure::Differs { name: same.name.clone(), how });
    }
    if let Some(open) = others.iter().find(|it| it.left().is_some()) {
        return Err(BridgeFailure::Unconfirmed { name: open.name.clone() });
    }
    let apart = |it: &BridgeRecord| it.vlan.is_some() && request.vlan.is_some() && it.vlan != request.vlan;
    match others.iter().find(|it| it.uplink == request.uplink && !apart(it)) {
        Some(other) => {
            let (uplink, other) = (request.uplink.clone(), other.name.clone());
            Err(BridgeFailure::UplinkShared { uplink, other })
        }
        None => Ok(()),
    }
}

/// Refuses a change of an uplink for good while it carries connections of other machines.
pub(super) fn refuse_cut_off(
    uplink: &str,
    carried: &Carried,
    connections: &[Connection],
) -> Result<(), BridgeFailure> {
    let over = over(carried, connections);
    match over.first() {
        Some(first) => {
            let first = first.there.ip();
            Err(BridgeFailure::CutsOff { uplink: uplink.to_owned(), first, count: over.len() })
        }
        None => Ok(()),
    }
}

/// The bridge's name is taken: by the very bridge that is asked for, or by something else.
fn compare(
    request: &BridgeRequest,
    there: &Link,
    uplink: &Link,
    vlan: Option<&NewVlan>,
) -> Result<Admitted, BridgeFailure> {
    if there.kind.as_deref() != Some("bridge") {
        return Err(BridgeFailure::NameTaken { name: there.name.clone(), kind: kind(there) });
    }
    let differs = |how: String| Err(BridgeFailure::Differs { name: there.name.clone(), how });
    if vlan.is_some() || uplink.controller.as_deref() != Some(there.name.as_str()) {
        let wanted = vlan.map_or(&uplink.name, |vlan| &vlan.name);
        return differs(format!("{wanted} is not its port"));
    }
    match request.mtu {
        Some(mtu) if mtu != there.mtu => differs(format!("its MTU is {}", there.mtu)),
        Some(_) | None => Ok(Admitted::Exists),
    }
}

/// What `br_add_if` of the kernel's net/bridge/br_if.c asks of a port.
fn bridgeable(uplink: &Link, vlan: Option<&NewVlan>) -> Result<[u8; 6], BridgeFailure> {
    let refuse = |why, mend| Err(BridgeFailure::NotBridgeable { uplink: uplink.name.clone(), why, mend });
    if !api::is_bridge_name(&uplink.name) {
        return refuse(
            "its name has characters that mean something else in configurations",
            "rename it with `ip link set LINK name NAME`, with letters, digits, '.', '_' and '-' alone",
        );
    }
    if uplink.loopback {
        return refuse("it is the loopback, which leads nowhere", "name the card that leads to the network");
    }
    if let (Some(controller), None) = (&uplink.controller, vlan) {
        return Err(BridgeFailure::Enslaved { uplink: uplink.name.clone(), controller: controller.clone() });
    }
    if uplink.kind.as_deref() == Some("bridge") && vlan.is_none() {
        return refuse("it is a bridge itself", "let guests use that bridge, or name a port of it");
    }
    if uplink.wireless {
        return refuse(
            "it is a wireless card, and an access point takes no frames with a guest's address from it",
            "use a wired card, or a network that is routed instead of bridged",
        );
    }
    match uplink.mac {
        Some(mac) if uplink.ethernet => Ok(mac),
        Some(_) | None => refuse(
            "its frames are not Ethernet's, as those of a tunnel or a mobile connection are not",
            "name an Ethernet card, a bond or a VLAN",
        ),
    }
}

fn mtu(request: &BridgeRequest, uplink: &Link, carried: &Carried) -> Result<u32, BridgeFailure> {
    let Some(mtu) = request.mtu else { return Ok(uplink.mtu) };
    let ipv6 = carried.addresses.iter().any(|address| address.ip().is_some_and(|ip| ip.is_ipv6()));
    let min = if ipv6 { MTU_MIN_IPV6 } else { MTU_MIN };
    let max = uplink.mtu_max.unwrap_or(MTU_MAX).min(MTU_MAX);
    let refuse = |why: String| Err(BridgeFailure::Mtu { uplink: uplink.name.clone(), mtu, why, min, max });
    match mtu {
        _ if mtu < MTU_MIN => refuse(format!("IPv4 needs at least {MTU_MIN}")),
        _ if mtu < min => refuse(format!("it has IPv6 addresses, and IPv6 needs at least {min}")),
        _ if mtu > max => refuse(format!("it takes at most {max}")),
        _ => Ok(mtu),
    }
}

/// The connections of other machines with an address that is to be moved.
fn over<'a>(carried: &Carried, connections: &'a [Connection]) -> Vec<&'a Connection> {
    let ours = |ip| carried.addresses.iter().any(|address| address.ip() == Some(ip));
    connections.iter().filter(|it| ours(it.here.ip()) && !ours(it.there.ip())).collect()
}

pub(super) fn named<'a>(links: &'a [Link], name: &str) -> Option<&'a Link> {
    links.iter().find(|link| link.name == name)
}

fn kind(link: &Link) -> String {
    match &link.kind {
        Some(kind) => format!("a {kind}"),
        None => "a card".to_owned(),
    }
}

#[cfg(test)]
mod tests;
