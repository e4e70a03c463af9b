//! Rule `cpu-model-differs`: a guest that sees its host's own CPU finds another one.

use super::rule::{Answer, Rule, none};

/// The CPUs are of different models, and the guest sees it.
pub(super) static CPU_MODEL_DIFFERS: Rule = Rule {
    code: "cpu-model-differs",
    what: "the CPUs' model",
    why: "a guest with host-passthrough was told its host's model at boot, and is not told of another one",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (Some(from), Some(to)) = (&facts.source.cpu_model, &target.host.cpu_model) else { return none() };
        let answer = if from == to || !facts.domain.kvm || !facts.domain.host_cpu {
            Answer::pass()
        } else {
            Answer::warn(
                format!(
                    "the guest sees the CPU of {} itself, and {} has another model",
                    facts.source.host, facts.target_name
                ),
                format!(
                    "give the domain a model that both have, <cpu mode='host-model'/>, and restart it: ferry edit {}",
                    facts.domain.name
                ),
            )
        };
        vec![answer.between(from, to)]
    },
};
