//! Rule `not-a-bridge`: what bears a bridge's name is one.

use api::BridgeFault;

use super::bridges::each_there;
use super::rule::{Answer, Rule};

/// The link of a bridge's name is none.
pub(super) static NOT_A_BRIDGE: Rule = Rule {
    code: "not-a-bridge",
    what: "what bears a bridge's name is a bridge",
    why: "a tap can be a port of a bridge only",
    needed: false,
    judge: |facts| {
        each_there(facts, |to, name, bridge| match bridge.fault {
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
