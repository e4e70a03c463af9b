//! Rule `state-space-short`: the agents have room for what they write.

use super::rule::{Answer, Rule, mib};
use crate::limits::STATE_BYTES_MIN;

/// There is little room for the agents' own files.
pub(super) static STATE_SPACE_SHORT: Rule = Rule {
    code: "state-space-short",
    what: "free space for journals and definitions",
    why: "a migration that cannot be written down is refused",
    needed: false,
    judge: |facts| {
        let hosts = std::iter::once(&facts.source).chain(facts.told().map(|target| &target.host));
        let answers = hosts.filter_map(|host| {
            let (free, name) = (host.state_free_bytes?, &host.host);
            let answer = if free >= STATE_BYTES_MIN {
                Answer::pass()
            } else {
                let said = format!("only {} are free where {name} keeps its journals", mib(free));
                Answer::warn(said, format!("make room on {name}: du -xh /var/lib/ferry"))
            };
            Some(answer.about(name))
        });
        answers.collect()
    },
};
