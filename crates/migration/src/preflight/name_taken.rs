//! Rule `name-taken`: the domain's name is free on the target.

use super::rule::{Answer, Rule, none};

/// The name is taken on the target.
pub(super) static NAME_TAKEN: Rule = Rule {
    code: "name-taken",
    what: "the domain's name is free on the target",
    why: "a host knows each domain by its name",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (name, to) = (&facts.domain.name, &facts.target_name);
        let answer = match target.same_name.filter(|&uuid| uuid != facts.domain.uuid) {
            None => Answer::pass().between(name, "free"),
            Some(uuid) => Answer::fail(
                format!("{to} has another domain named {name} (UUID {uuid})"),
                format!("give the other one a new name: ferry --host ssh://{to} rename {uuid} {name}-old"),
            )
            .between(name, format!("taken by {uuid}")),
        };
        vec![answer]
    },
};
