//! Rule `fact-unknown`: what could not be found out is said, and never taken for well.

use super::rule::{Answer, Rule};

/// Something could not be found out on one of the hosts.
pub(super) static FACT_UNKNOWN: Rule = Rule {
    code: "fact-unknown",
    what: "everything could be found out",
    why: "a rule without its facts says nothing, and that is not the same as all being well",
    needed: false,
    judge: |facts| {
        let hosts = std::iter::once(&facts.source).chain(facts.told().map(|target| &target.host));
        let found = hosts.flat_map(|host| {
            host.unknown.iter().map(move |unknown| {
                Answer::warn(
                    format!("{} could not be found out on {}: {}", unknown.what, host.host, unknown.reason),
                    format!("look on {}: journalctl -u ferry-agent", host.host),
                )
                .about(&unknown.what)
            })
        });
        found.collect()
    },
};
