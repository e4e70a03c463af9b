//! Who else has a MAC address of a guest, as far as this host's bridges know. Main functions: [`taken`], [`heard`].

use api::MacUse;
use domain::Domain;
use network::Learned;

use crate::failure::Failure;
use crate::node::Node;

/// The guest's MAC addresses that another guest of this host has, or that a bridge here has learned on a tap.
pub(super) async fn taken(node: &Node, domain: &Domain) -> Result<Vec<MacUse>, Failure> {
    let mut taken = Vec::new();
    let macs: Vec<_> = domain.interfaces.iter().filter_map(|interface| interface.mac).collect();
    for other in node.domains().await {
        if Some(other.uuid) == domain.uuid || other.pid.is_none() {
            continue;
        }
        for interface in other.interfaces {
            if macs.iter().any(|mac| mac.to_string() == interface.mac) {
                taken.push(MacUse { mac: interface.mac, by: format!("domain {}", other.name) });
            }
        }
    }
    for learned in learned(node, domain, |learned| learned.tap).await? {
        if !taken.iter().any(|taken| taken.mac == learned.mac) {
            taken.push(learned);
        }
    }
    Ok(taken)
}

/// The guest's MAC addresses that a bridge here has learned from its network: on a port that is no tap.
pub(super) async fn heard(node: &Node, domain: &Domain) -> Result<Vec<MacUse>, Failure> {
    learned(node, domain, |learned| !learned.tap).await
}

async fn learned(
    node: &Node,
    domain: &Domain,
    counts: impl FnMut(&Learned) -> bool,
) -> Result<Vec<MacUse>, Failure> {
    let macs: Vec<_> = domain.interfaces.iter().filter_map(|interface| interface.mac).collect();
    let learned = node.network.learned().await?.into_iter().filter(counts);
    let found = learned.filter_map(|learned| {
        let mac = macs.iter().find(|mac| mac.0 == learned.mac)?.to_string();
        Some(MacUse { mac, by: format!("port {} of bridge {}", learned.port, learned.bridge) })
    });
    Ok(found.collect())
}
