//! Rule `mtu-differs`: bridges carry packets of the same size.

use super::bridges::each_pair;
use super::rule::{Answer, Rule};

/// The MTU of a bridge differs.
pub(super) static MTU_DIFFERS: Rule = Rule {
    code: "mtu-differs",
    what: "each bridge's MTU",
    why: "a guest goes on sending packets of the size that it knows; larger ones are dropped without a word",
    needed: false,
    judge: |facts| {
        each_pair(facts, |here, there| {
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
