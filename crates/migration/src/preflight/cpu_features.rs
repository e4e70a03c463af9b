//! Rule `cpu-features-missing`: the target gives the guest every CPU feature that it has.

use std::collections::BTreeSet;

use super::rule::{Answer, Rule, none};
use super::{DomainFacts, Facts};

/// The guest has CPU features that the target lacks, or would get some that it did not have.
pub(super) static CPU_FEATURES_MISSING: Rule = Rule {
    code: "cpu-features-missing",
    what: "every CPU feature that the guest was given",
    why: "a guest looks at its CPU's features once, at boot, and crashes on an instruction that is gone",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        if facts.domain.kvm && facts.domain.host_cpu {
            let Some((has, gets)) = facts.source.cpu_features.as_ref().zip(target.host.cpu_features.as_ref())
            else {
                return none();
            };
            return vec![judged(facts, &has.difference(gets).collect(), &BTreeSet::new())];
        }
        let Some(lacks) = &target.host.cpu_unavailable else { return none() };
        let (lacks, lacked) = (set(lacks), set(facts.source.cpu_unavailable.as_deref().unwrap_or_default()));
        let missing = lacks.difference(&lacked).copied().collect();
        // Where the source was not asked, nothing is known to be new.
        let gained = match &facts.source.cpu_unavailable {
            Some(_) => lacked.difference(&lacks).copied().collect(),
            None => BTreeSet::new(),
        };
        vec![judged(facts, &missing, &gained)]
    },
};

fn set(names: &[String]) -> BTreeSet<&String> {
    names.iter().collect()
}

fn judged(facts: &Facts, missing: &BTreeSet<&String>, gained: &BTreeSet<&String>) -> Answer {
    let to = &facts.target_name;
    let list =
        |names: &BTreeSet<&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if !missing.is_empty() {
        let said = format!("the guest's CPU has features that {to} cannot give: {}", list(missing));
        let lacking = format!("lacks {}", list(missing));
        return Answer::fail(said, mend(&facts.domain, to)).between("has them", lacking);
    }
    if !gained.is_empty() {
        let said = format!("{to} would give the guest features that it does not have now: {}", list(gained));
        let more = format!("gives {}", list(gained));
        return Answer::warn(said, mend(&facts.domain, to)).between("lacks them", more);
    }
    Answer::pass().between("the guest's", "all there")
}

fn mend(domain: &DomainFacts, to: &str) -> String {
    format!(
        "give the domain a CPU model that both hosts have (<cpu mode='custom'>) and restart it: ferry edit {}; \
         or choose another target than {to}",
        domain.name
    )
}
