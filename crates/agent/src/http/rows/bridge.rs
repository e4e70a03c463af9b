//! Status, stable code and mend of failures about bridges. Main function: [`row`].

use super::{Row, row as plain};
use crate::failure::BridgeFailure;

pub(in crate::http) fn row(failure: &BridgeFailure) -> Row {
    match failure {
        BridgeFailure::Name { .. } => plain(422, "bridge-name", "choose another name, as in br0"),
        BridgeFailure::NameTaken { .. } => plain(409, "bridge-name-taken", "choose another name"),
        BridgeFailure::Differs { name, .. } => plain(409, "bridge-differs", "")
            .say(format!("choose another name, or `ferry bridge delete {name}` first")),
        BridgeFailure::NoUplink { .. } => plain(404, "uplink-not-found", "name a link that is there"),
        BridgeFailure::Enslaved { controller, .. } => plain(409, "uplink-enslaved", "").say(format!(
            "if {controller} is a bridge, let guests use it; else name {controller} itself as the uplink"
        )),
        BridgeFailure::UplinkUsed { uplink } => plain(409, "uplink-used", "")
            .say(format!("make the bridge on that host itself: ferry bridge create NAME --uplink {uplink}")),
        BridgeFailure::NotBridgeable { mend, .. } => plain(409, "uplink-not-bridgeable", mend),
        BridgeFailure::CutsOff { .. } => plain(
            409,
            "uplink-carries-connections",
            "give --confirm-within, as in 30s: unless it is confirmed, the change is then undone by itself",
        ),
        BridgeFailure::Vlan { .. } => plain(422, "vlan-range", "give one of 1 to 4094, or leave --vlan out"),
        BridgeFailure::VlanName { uplink, vlan, .. } => plain(409, "vlan-name", "").say(format!(
            "make it under a shorter name, and the bridge on that: `ip link add link {uplink} name vlan{vlan} type vlan id {vlan}`"
        )),
        BridgeFailure::VlanNameTaken { .. } => {
            plain(409, "vlan-name-taken", "remove or rename that link")
        }
        BridgeFailure::Mtu { min, max, .. } => {
            plain(422, "mtu-impossible", "").say(format!("give one from {min} to {max}"))
        }
        BridgeFailure::NexthopObject { .. } => {
            plain(409, "nexthop-object", "write the route with its gateway (`ip route replace … via …`)")
        }
        BridgeFailure::UplinkShared { other, .. } => plain(409, "uplink-shared", "").say(format!(
            "let guests use {other}; several bridges on one uplink need a VLAN each (--vlan)"
        )),
        BridgeFailure::Unconfirmed { name } => plain(409, "bridge-unconfirmed", "").say(format!(
            "`ferry bridge confirm {name}`, or `ferry bridge delete {name}`, or wait until it is undone"
        )),
        BridgeFailure::NotFound { .. } => {
            plain(404, "bridge-not-found", "`ferry bridge list` shows those that are there")
        }
        BridgeFailure::NotOurs { name } => plain(409, "bridge-not-ours", "")
            .say(format!("remove it the way it was made, or with `ip link delete {name}`")),
        BridgeFailure::Used { .. } => {
            plain(409, "bridge-used", "move or undefine the domain, or give it another bridge")
        }
        BridgeFailure::NotPending { .. } => {
            plain(409, "bridge-not-pending", "`ferry bridge list` shows what is there")
        }
        BridgeFailure::Configuration { .. } => plain(
            409,
            "uplink-configuration",
            "configure the bridge there yourself; a bridge that is there already is used as it is",
        ),
        BridgeFailure::NotMade { .. } => plain(500, "bridge-not-made", "the message says what was refused"),
        BridgeFailure::NotRemoved { .. } => {
            plain(500, "bridge-not-removed", "the message and the agent's log say what stands in the way")
        }
        BridgeFailure::Connections(_) => plain(500, "connections-unreadable", "see that /proc is mounted"),
    }
}
