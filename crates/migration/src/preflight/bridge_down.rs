//! Rule `bridge-down`: each bridge of the guest is up.

use super::bridges::each_there;
use super::rule::{Answer, Rule};

/// A bridge on the target is down.
pub(super) static BRIDGE_DOWN: Rule = Rule {
    code: "bridge-down",
    what: "each bridge is up on the target",
    why: "a bridge that is down forwards nothing",
    needed: false,
    judge: |facts| {
        each_there(facts, |to, name, bridge| match (bridge.fault, bridge.up?) {
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
