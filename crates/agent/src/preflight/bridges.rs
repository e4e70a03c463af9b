//! The bridges of a domain's interfaces on this host. Main function: [`look`].

use api::{BridgeFacts, BridgeFault};
use domain::{Domain, Interface};
use network::NetworkError;

use crate::failure::Failure;
use crate::networks::bridge_of;
use crate::node::Node;

/// The bridge of each interface that has a tap.
pub(super) async fn look(node: &Node, domain: &Domain) -> Result<Vec<BridgeFacts>, Failure> {
    let mut bridges = Vec::new();
    for interface in domain.interfaces.iter().filter(|interface| interface.source.has_tap()) {
        bridges.push(one(node, interface).await?);
    }
    Ok(bridges)
}

async fn one(node: &Node, interface: &Interface) -> Result<BridgeFacts, Failure> {
    let mac = interface.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let faulty = |name: String, fault| BridgeFacts {
        mac: mac.clone(),
        name,
        fault: Some(fault),
        ..BridgeFacts::default()
    };
    let name = match bridge_of(&node.config, &interface.source) {
        Ok(name) => name.unwrap_or_default(),
        Err(Failure::NetworkUnknown { network, .. }) => {
            return Ok(faulty(network, BridgeFault::NetworkUnknown));
        }
        Err(other) => return Err(other),
    };
    match node.network.bridge(&name).await {
        Ok(is) => {
            let vlans = node.network.vlans(&name).await?;
            Ok(BridgeFacts { mac, name, fault: None, up: Some(is.up), mtu: Some(is.mtu), vlans })
        }
        Err(NetworkError::NoSuchLink { .. }) => Ok(faulty(name, BridgeFault::Missing)),
        Err(NetworkError::NotABridge { .. }) => Ok(faulty(name, BridgeFault::NotABridge)),
        Err(error) => Err(error.into()),
    }
}
