//! Rules about bridges that are there: packets of the same size, on the same VLAN.

use api::BridgeFacts;

use super::Facts;
use super::rule::{Answer, Rule};

/// The MTU of a bridge differs.
pub(super) static MTU_DIFFERS: Rule = Rule {
    code: "mtu-differs",
    what: "each bridge's MTU",
    why: "a guest goes on sending packets of the size that it knows; larger ones are dropped without a word",
    needed: false,
    judge: |facts| {
        each(facts, |here, there| {
            let (from, to) = (here.mtu?, there.mtu?);
            let mend =
                format!("on {}: ip link set {} mtu {from}, its uplink first", facts.target_name, there.name);
            let (name, host) = (&there.name, &facts.target_name);
            let answer = match to.cmp(&from) {
                std::cmp::Ordering::Equal => Answer::pass(),
                std::cmp::Ordering::Less => Answer::fail(
                    format!(
                        "the bridge {name} on {host} has an MTU of {to} bytes, {} one of {from}",
                        facts.source.host
                    ),
                    mend,
                ),
                std::cmp::Ordering::Greater => Answer::warn(
                    format!(
                        "the bridge {name} on {host} has an MTU of {to} bytes, {} one of {from}",
                        facts.source.host
                    ),
                    mend,
                ),
            };
            Some(answer.between(from, to))
        })
    },
};

/// The VLANs of a bridge's uplinks differ.
pub(super) static VLAN_DIFFERS: Rule = Rule {
    code: "vlan-differs",
    what: "each bridge's VLAN",
    why: "on another VLAN the guest meets other machines, or none",
    needed: false,
    judge: |facts| {
        each(facts, |here, there| {
            let (from, to) = (shown(&here.vlans), shown(&there.vlans));
            let answer = if here.vlans == there.vlans {
                Answer::pass()
            } else {
                Answer::warn(
                    format!(
                        "the bridge {} carries VLAN {from} on {}, VLAN {to} on {}",
                        there.name, facts.source.host, facts.target_name
                    ),
                    format!(
                        "make it again on the same VLAN: ferry --host ssh://{} bridge create {} --uplink LINK --vlan {from}",
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

/// Compares the bridges of each interface, once for each pair, where both are there.
fn each(facts: &Facts, judge: impl Fn(&BridgeFacts, &BridgeFacts) -> Option<Answer>) -> Vec<Answer> {
    let there = facts.told().map(|target| target.host.bridges.as_slice()).unwrap_or_default();
    let mut pairs: Vec<(&BridgeFacts, &BridgeFacts)> = Vec::new();
    for there in there.iter().filter(|bridge| bridge.fault.is_none()) {
        let here = facts.source.bridges.iter().find(|here| here.mac == there.mac && here.fault.is_none());
        let known = pairs.iter().any(|(_, known)| known.name == there.name);
        pairs.extend(here.filter(|_| !known).map(|here| (here, there)));
    }
    pairs.into_iter().filter_map(|(here, there)| Some(judge(here, there)?.about(&there.name))).collect()
}
