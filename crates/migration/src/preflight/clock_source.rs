//! Rule `clock-source-differs`: both kernels count time in the same way.

use super::rule::{Answer, Rule, none};

/// One host trusts its CPUs' time stamp counter, the other does not.
pub(super) static CLOCK_SOURCE_DIFFERS: Rule = Rule {
    code: "clock-source-differs",
    what: "the kernels' clock sources",
    why: "under KVM a guest reads time through its host's clock; off the TSC that is slower and may step",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told().filter(|_| facts.domain.kvm) else { return none() };
        let (Some(from), Some(to)) = (&facts.source.clock_source, &target.host.clock_source) else {
            return none();
        };
        let answer = if (from == "tsc") == (to == "tsc") {
            Answer::pass()
        } else {
            let other = if to == "tsc" { &facts.source.host } else { &facts.target_name };
            Answer::warn(
                format!("{} counts time by {from}, {} by {to}", facts.source.host, facts.target_name),
                format!(
                    "find out in the kernel's log of {other} why it does not use the TSC: dmesg | grep -i tsc"
                ),
            )
        };
        vec![answer.between(from, to)]
    },
};
