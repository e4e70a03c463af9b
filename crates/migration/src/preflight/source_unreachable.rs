//! Rule `source-unreachable`: the target's agent reaches the source's.

use super::rule::{Answer, Rule, none};

/// The source's agent cannot be asked from the target.
pub(super) static SOURCE_UNREACHABLE: Rule = Rule {
    code: "source-unreachable",
    what: "the target reaches the source's agent",
    why: "a target that lost its connection must ask the source what became of the domain",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (from, to) = (&facts.source.host, &target.host.host);
        let answer = match &target.source_fault {
            None => Answer::pass().between("reached", ""),
            Some(fault) => Answer::fail(
                format!("{to} does not reach the agent of {from}: {fault}"),
                format!(
                    "name {from} in the configuration of {to} with an address that is open from there: \
                     ferry --host ssh://{to} doctor"
                ),
            )
            .between("not reached", ""),
        };
        vec![answer]
    },
};
