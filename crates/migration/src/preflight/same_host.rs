//! Rule `same-host`: a domain moves from one host to another.

use super::rule::{Answer, Rule};

/// Source and target are one host.
pub(super) static SAME_HOST: Rule = Rule {
    code: "same-host",
    what: "source and target",
    why: "there is nothing to move",
    needed: true,
    judge: |facts| {
        let (from, to) = (&facts.source.host, &facts.target_name);
        let answer = if facts.is_one_host() {
            Answer::fail(format!("source and target are both host {to}"), "name another host with --to")
        } else {
            Answer::pass()
        };
        vec![answer.between(from, to)]
    },
};
