//! Why a bridge was not made, kept or removed. Main type: [`BridgeFailure`].

use crate::failure::Failure;
use crate::limits::UNDO_AGAIN_EVERY;

/// Why nothing was changed, or everything was undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeFailure {
    #[error("{name:?} cannot name a bridge: a name must have {}", api::BRIDGE_NAME)]
    Name { name: String },
    #[error("the name {name} is taken by a link that is no bridge but {kind}")]
    NameTaken { name: String, kind: String },
    #[error("the bridge {name} is there already, and it is another one: {how}")]
    Differs { name: String, how: String },
    #[error("there is no link {uplink} on host {host}{}", there_are(.known))]
    NoUplink { uplink: String, host: String, known: Vec<String> },
    #[error("{uplink} is a port of {controller} already, and a link can be a port of one only")]
    Enslaved { uplink: String, controller: String },
    #[error("{uplink} is not a card that this host leaves alone: another host must not take it")]
    UplinkUsed { uplink: String },
    #[error("{uplink} cannot be a bridge's port: {why}")]
    NotBridgeable { uplink: String, why: &'static str, mend: &'static str },
    #[error(
        "{uplink} carries connections of other machines with this one ({count}; that from {first} is among them), and a mistake would cut them off for good"
    )]
    CutsOff { uplink: String, first: std::net::IpAddr, count: usize },
    #[error("there is no VLAN {vlan}: VLANs are numbered 1 to 4094")]
    Vlan { vlan: u16 },
    #[error("the link for VLAN {vlan} of {uplink} would be named {name:?}, which is longer than 15 bytes")]
    VlanName { uplink: String, vlan: u16, name: String },
    #[error("the link for VLAN {vlan} of {uplink} would be named {name}, and that is taken by {kind}")]
    VlanNameTaken { uplink: String, vlan: u16, name: String, kind: String },
    #[error("{uplink} cannot have an MTU of {mtu} bytes: {why}")]
    Mtu { uplink: String, mtu: u32, why: String, min: u32, max: u32 },
    #[error("the route {route} over {uplink} goes by the nexthop object {id}, which cannot be moved")]
    NexthopObject { uplink: String, route: String, id: u32 },
    #[error("the bridge {name} has not been confirmed yet; one change at a time")]
    Unconfirmed { name: String },
    #[error("the bridge {other} stands on {uplink} already")]
    UplinkShared { uplink: String, other: String },
    #[error("there is no bridge {name} on host {host}")]
    NotFound { name: String, host: String },
    #[error("the bridge {name} was not made by Ferry, so what was there before it is not known")]
    NotOurs { name: String },
    #[error("the bridge {name} is used by {by}")]
    Used { name: String, by: String },
    #[error("no change of {name} waits for being confirmed: it was confirmed before, or it has been undone")]
    NotPending { name: String },
    #[error("what configures {uplink} cannot be given a bridge")]
    Configuration {
        uplink: String,
        #[source]
        source: Box<network::NetworkError>,
    },
    #[error("the bridge {name} could not be made, and {}", undone_or_not(*.undone))]
    NotMade {
        name: String,
        undone: bool,
        #[source]
        source: Box<network::NetworkError>,
    },
    #[error("the bridge {name} is not removed yet, and that is tried again every {} s", UNDO_AGAIN_EVERY.as_secs())]
    NotRemoved {
        name: String,
        #[source]
        source: Box<Failure>,
    },
    #[error("this host's connections cannot be looked at")]
    Connections(#[source] std::io::Error),
}

fn undone_or_not(undone: bool) -> String {
    if undone {
        return "everything is as it was".to_owned();
    }
    format!("what was done is not undone yet: that is tried again every {} s", UNDO_AGAIN_EVERY.as_secs())
}

fn there_are(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) }
}
