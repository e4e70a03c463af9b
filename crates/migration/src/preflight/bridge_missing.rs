//! Rule `bridge-missing`: each bridge of the guest is on the target.

use api::BridgeFault;

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
