//! Rule `target-older`: the target's agent knows of checks.

use super::Unasked;
use super::rule::{Answer, Rule, none};

/// The target's agent is of a version that knows no checks.
pub(super) static TARGET_OLDER: Rule = Rule {
    code: "target-older",
    what: "the target's agent can be asked for its facts",
    why: "an older agent looks at less, and only when the domain is about to come",
    needed: false,
    judge: |facts| match &facts.target {
        Ok(_) => vec![Answer::pass()],
        Err(Unasked::Older) => vec![Answer::warn(
            format!("the agent of {} is older and tells no facts", facts.target_name),
            format!("update Ferry on {}", facts.target_name),
        )],
        Err(Unasked::Silent { .. } | Unasked::Untold { .. } | Unasked::Same) => none(),
    },
};
