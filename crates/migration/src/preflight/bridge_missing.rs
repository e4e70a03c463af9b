//! Rule `bridge-missing`: each bridge of the guest is on the target.

use api::{BridgeFault, Fix};

use super::Facts;
use super::bridges::each_there;
use super::rule::{Answer, Rule};

/// A bridge is missing on the target.
pub(super) static BRIDGE_MISSING: Rule = Rule {
    code: "bridge-missing",
    what: "each bridge is on the target",
    why: "the guest's packets go through a bridge; without it the guest has no network",
    needed: false,
    judge: |facts| {
        each_there(facts, |to, name, bridge| match bridge.fault {
            Some(BridgeFault::Missing) => Some(missing(facts, to, name)),
            Some(BridgeFault::NetworkUnknown) => None,
            Some(BridgeFault::NotABridge) | None => Some(Answer::pass().between(name, "there")),
        })
    },
};

fn missing(facts: &Facts, to: &str, bridge: &str) -> Answer {
    // Of several cards a person must say which leads where the guest's network is.
    let free = match facts.told().map(|target| target.uplinks_free.as_slice()) {
        Some([uplink]) => Some(uplink),
        Some(_) | None => None,
    };
    let uplink = free.map_or("LINK", String::as_str);
    let mend = format!("ferry --host ssh://{to} bridge create {bridge} --uplink {uplink}");
    let answer = Answer::fail(format!("{to} has no bridge {bridge}"), mend).between(bridge, "missing");
    match free {
        Some(uplink) => {
            answer.fixed_by(Fix::CreateBridge { bridge: bridge.to_owned(), uplink: uplink.clone() })
        }
        None => answer,
    }
}
