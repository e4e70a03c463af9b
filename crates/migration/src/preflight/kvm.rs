//! Rule `kvm-unusable`: the accelerator that the domain wants works on the target.

use super::rule::{Answer, Rule, none};

/// KVM does not work on the target.
pub(super) static KVM_UNUSABLE: Rule = Rule {
    code: "kvm-unusable",
    what: "the accelerator works on the target",
    why: "a guest that ran under KVM cannot go on under another accelerator",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        if !facts.domain.kvm {
            return vec![Answer::pass().between("tcg", "tcg")];
        }
        let answer = match &target.kvm_unusable {
            None => Answer::pass().between("kvm", "kvm works"),
            Some(reason) => Answer::fail(
                format!("the domain is of type kvm and KVM does not work on {}: {reason}", facts.target_name),
                "turn virtualization on in its firmware and load the module: modprobe kvm_intel || modprobe kvm_amd; \
                 or choose another target",
            )
            .between("kvm", "kvm does not work"),
        };
        vec![answer]
    },
};
