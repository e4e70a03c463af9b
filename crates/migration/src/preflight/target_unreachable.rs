//! Rule `target-unreachable`: the target's agent answers.

use super::Unasked;
use super::rule::{Answer, Rule, none};

/// The target's agent does not answer.
pub(super) static TARGET_UNREACHABLE: Rule = Rule {
    code: "target-unreachable",
    what: "the target's agent answers",
    why: "what the target does not tell cannot be judged, and a domain cannot go there",
    needed: true,
    judge: |facts| match &facts.target {
        Ok(_) | Err(Unasked::Older) => vec![Answer::pass().between("", "answers")],
        Err(Unasked::Silent { reason, mend }) => {
            let said = format!("{} cannot be asked: {reason}", facts.target_name);
            vec![Answer::fail(said, mend).between("", "no answer")]
        }
        Err(Unasked::Untold { reason, mend }) => {
            let said = format!(
                "{} answers, and does not tell what the domain would find there: {reason}",
                facts.target_name
            );
            vec![Answer::fail(said, mend).between("", "no facts")]
        }
        Err(Unasked::Same) => none(),
    },
};
