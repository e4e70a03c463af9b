//! Rules about time: the hosts' clocks agree, and both count it the same way.

use super::rule::{Answer, Rule, none};
use crate::limits::CLOCK_SKEW_MS_MAX;

/// The clocks of the hosts differ.
pub(super) static CLOCK_SKEW: Rule = Rule {
    code: "clock-skew",
    what: "the hosts' clocks agree",
    why: "a guest whose clock follows its host's sees time jump, and logs of both hosts cannot be compared",
    needed: false,
    judge: |facts| {
        let Some(ahead_ms) = facts.between.ahead_ms else { return none() };
        let to = &facts.target_name;
        let apart_ms = ahead_ms.unsigned_abs();
        if apart_ms <= CLOCK_SKEW_MS_MAX + facts.between.round_trip_ms {
            return vec![Answer::pass().between("", format!("{ahead_ms:+} ms"))];
        }
        let word = if ahead_ms > 0 { "ahead of" } else { "behind" };
        let apart_s = apart_ms / 1000;
        let said = format!("the clock of {to} is {apart_s}.{:03} s {word} the source's", apart_ms % 1000);
        let mend = "run an NTP client on both hosts: timedatectl set-ntp true";
        vec![Answer::warn(said, mend).between("", format!("{ahead_ms:+} ms"))]
    },
};

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
