//! Rule `uuid-taken`: the domain's UUID is free on the target.

use super::rule::{Answer, Rule, none};

/// The UUID is taken on the target.
pub(super) static UUID_TAKEN: Rule = Rule {
    code: "uuid-taken",
    what: "the domain's UUID is free on the target",
    why: "by its UUID a domain is one and the same on every host",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (uuid, to) = (facts.domain.uuid, &facts.target_name);
        let answer = match &target.same_uuid {
            None => Answer::pass().between(uuid, "free"),
            Some(name) => Answer::fail(
                format!("{to} has a domain {name} with the same UUID {uuid}"),
                format!("ferry --host ssh://{to} undefine {name}, if it is an old copy"),
            )
            .between(uuid, format!("taken by {name}")),
        };
        vec![answer]
    },
};
