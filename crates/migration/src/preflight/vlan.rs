//! Rule `vlan-differs`: bridges stand on the same VLAN.

use super::bridges::each_pair;
use super::rule::{Answer, Rule};

/// The VLANs of a bridge's uplinks differ.
pub(super) static VLAN_DIFFERS: Rule = Rule {
    code: "vlan-differs",
    what: "each bridge's VLAN",
    why: "on another VLAN the guest meets other machines, or none",
    needed: false,
    judge: |facts| {
        each_pair(facts, |here, there| {
            let (from, to) = (shown(&here.vlans), shown(&there.vlans));
            let vlan = if let [vlan] = here.vlans[..] { format!(" --vlan {vlan}") } else { String::new() };
            let answer = if here.vlans == there.vlans {
                Answer::pass()
            } else {
                Answer::warn(
                    format!(
                        "the bridge {} carries VLAN {from} on {}, VLAN {to} on {}",
                        there.name, facts.source.host, facts.target_name
                    ),
                    format!(
                        "make it again on the same VLAN: ferry --host ssh://{} bridge create {} --uplink LINK{vlan}",
                        facts.target_name, there.name
                    ),
                )
            };
            Some(answer.between(from, to))
        })
    },
};

fn shown(vlans: &[u16]) -> String {
    if vlans.is_empty() {
        return "none".to_owned();
    }
    vlans.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}
