//! Rule `tsc-differs`: the CPUs' time stamp counters count alike.

use super::rule::{Answer, Rule, none};
use crate::limits::TSC_PPM_MAX;

/// The time stamp counters run at different rates, or one of them does not run evenly.
pub(super) static TSC_DIFFERS: Rule = Rule {
    code: "tsc-differs",
    what: "the time stamp counters' frequency, and that they count evenly",
    why: "a guest that measured its counter at boot finds its clock too fast or too slow where another rate is",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told().filter(|_| facts.domain.kvm) else { return none() };
        let (Some(from), Some(to)) = (facts.source.tsc_khz, target.host.tsc_khz) else { return none() };
        let (source, name) = (&facts.source.host, &facts.target_name);
        let answer = if from.abs_diff(to).saturating_mul(1_000_000) > from.saturating_mul(TSC_PPM_MAX) {
            Answer::warn(
                format!("the time stamp counter of {name} runs at {to} kHz, that of {source} at {from}"),
                "let the guest keep time by kvm-clock, which follows its host: cat \
                 /sys/devices/system/clocksource/clocksource0/current_clocksource in the guest",
            )
        } else if facts.source.tsc_even == Some(true) && target.host.tsc_even == Some(false) {
            Answer::warn(
                format!("the time stamp counter of {name} does not count evenly, that of {source} does"),
                format!(
                    "turn off what changes it in the firmware of {name} (deep C-states), or choose another target"
                ),
            )
        } else {
            Answer::pass()
        };
        vec![answer.between(format!("{from} kHz"), format!("{to} kHz"))]
    },
};
