//! Rule `nx-differs`: pages that hold no code.

use super::rule::{Answer, Rule, none};

/// No-execute is on at one side only.
pub(super) static NX_DIFFERS: Rule = Rule {
    code: "nx-differs",
    what: "no-execute pages (nx)",
    why: "a guest that marks pages as not executable stops on a CPU that takes the mark for an error",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (Some(from), Some(to)) = (facts.source.nx, target.host.nx) else { return none() };
        let word = |on: bool| if on { "on" } else { "off" };
        if from == to {
            return vec![Answer::pass().between(word(from), word(to))];
        }
        let (source, target) = (&facts.source.host, &facts.target_name);
        let (on, off) = if from { (source, target) } else { (target, source) };
        let said = format!("no-execute pages (nx) are on at {on} and off at {off}");
        let mend = format!("turn NX (XD, EVP) on in the firmware of {off}");
        let answer = if facts.domain.kvm { Answer::fail(said, mend) } else { Answer::warn(said, mend) };
        vec![answer.between(word(from), word(to))]
    },
};
