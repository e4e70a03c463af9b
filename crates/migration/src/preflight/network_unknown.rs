//! Rule `network-unknown`: the target knows which bridge a network is.

use api::BridgeFault;

use super::bridges::each_there;
use super::rule::{Answer, Rule};

/// The target does not know the bridge of a network.
pub(super) static NETWORK_UNKNOWN: Rule = Rule {
    code: "network-unknown",
    what: "the target knows each network's bridge",
    why: "a network is another bridge on each host, and the guest's tap needs one",
    needed: false,
    judge: |facts| {
        each_there(facts, |to, name, bridge| match bridge.fault {
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
