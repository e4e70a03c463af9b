//! Rule `cpus-short`: as many processors as the guest has.

use super::rule::{Answer, Rule, none};

/// The guest has more vCPUs than the target has processors.
pub(super) static CPUS_SHORT: Rule = Rule {
    code: "cpus-short",
    what: "processors for the guest's vCPUs",
    why: "a guest with more vCPUs than its host has processors waits for itself",
    needed: false,
    judge: |facts| {
        let Some(cpus) = facts.told().and_then(|target| target.host.cpus) else { return none() };
        let (vcpus, to) = (facts.domain.vcpus, &facts.target_name);
        // As short on both sides is what the guest knows.
        let worse = vcpus > cpus && facts.source.cpus.is_none_or(|source| cpus < source);
        let answer = if worse {
            Answer::warn(
                format!("the guest has {vcpus} vCPUs, {to} has {cpus} processors"),
                format!(
                    "choose a larger target, or give the guest fewer: ferry setvcpus {} {cpus}",
                    facts.domain.name
                ),
            )
        } else {
            Answer::pass()
        };
        vec![answer.between(format!("{vcpus} vCPUs"), format!("{cpus} processors"))]
    },
};
