//! Rules about the bridges of a guest's interfaces: each is there, is a bridge, and is up.

use api::{BridgeFacts, BridgeFault};

use super::Facts;
use super::rule::{Answer, Rule};

/// The target does not know the bridge of a network.
pub(super) static NETWORK_UNKNOWN: Rule = Rule {
    code: "network-unknown",
    what: "the target knows each network's bridge",
    why: "a network is another bridge on each host, and the guest's tap needs one",
    needed: false,
    judge: |facts| {
        each(facts, |to, name, bridge| match bridge.fault {
            Some(BridgeFault::NetworkUnknown) => Some(Answer::fail(
                format!("{to} does not know the bridge of network {name}"),
                format!(
                    "add `{name} = \"BRIDGE\"` to `[networks]` in agent.toml on {to}, and restart the agent there"
                ),
            )),
            Some(BridgeFault::Missing | BridgeFault::NotABridge) | None => Some(Answer::pass()),
        })
    },
};

/// A bridge is missing on the target.
pub(super) static BRIDGE_MISSING: Rule = Rule {
    code: "bridge-missing",
    what: "each bridge is on the target",
    why: "the guest's packets go through a bridge; without it the guest has no network",
    needed: false,
    judge: |facts| {
        each(facts, |to, name, bridge| match bridge.fault {
            Some(BridgeFault::Missing) => Some(
                Answer::fail(
                    format!("{to} has no bridge {name}"),
                    format!("ferry --host ssh://{to} bridge create {name} --uplink LINK"),
                )
                .between(name, "missing"),
            ),
            Some(BridgeFault::NetworkUnknown) => None,
            Some(BridgeFault::NotABridge) | None => Some(Answer::pass().between(name, "there")),
        })
    },
};

/// The link of a bridge's name is none.
pub(super) static NOT_A_BRIDGE: Rule = Rule {
    code: "not-a-bridge",
    what: "what bears a bridge's name is a bridge",
    why: "a tap can be a port of a bridge only",
    needed: false,
    judge: |facts| {
        each(facts, |to, name, bridge| match bridge.fault {
            Some(BridgeFault::NotABridge) => Some(
                Answer::fail(
                    format!("{name} on {to} is not a bridge"),
                    format!("free the name on {to}: ip link set {name} name OTHER; then make a bridge"),
                )
                .between("a bridge", "something else"),
            ),
            Some(BridgeFault::Missing | BridgeFault::NetworkUnknown) => None,
            None => Some(Answer::pass()),
        })
    },
};

/// A bridge on the target is down.
pub(super) static BRIDGE_DOWN: Rule = Rule {
    code: "bridge-down",
    what: "each bridge is up on the target",
    why: "a bridge that is down forwards nothing",
    needed: false,
    judge: |facts| {
        each(facts, |to, name, bridge| match (bridge.fault, bridge.up?) {
            (Some(_), _) => None,
            (None, true) => Some(Answer::pass().between("", "up")),
            (None, false) => Some(
                Answer::fail(
                    format!("the bridge {name} on {to} is down"),
                    format!("on {to}: ip link set {name} up"),
                )
                .between("", "down"),
            ),
        })
    },
};

/// Asks about each bridge of the target once.
fn each(facts: &Facts, judge: impl Fn(&str, &str, &BridgeFacts) -> Option<Answer>) -> Vec<Answer> {
    let bridges = facts.told().map(|target| target.host.bridges.as_slice()).unwrap_or_default();
    let first = |place: usize| !bridges[..place].iter().any(|other| other.name == bridges[place].name);
    let named = bridges.iter().enumerate().filter(|(place, _)| first(*place)).map(|(_, bridge)| bridge);
    named
        .filter_map(|bridge| Some(judge(&facts.target_name, &bridge.name, bridge)?.about(&bridge.name)))
        .collect()
}
