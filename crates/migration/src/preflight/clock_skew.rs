//! Rule `clock-skew`: the hosts' clocks agree.

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
