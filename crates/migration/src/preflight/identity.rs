//! Rules about what a domain is known by: its name and its UUID are free on the target.

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
