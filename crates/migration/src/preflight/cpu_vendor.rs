//! Rule `cpu-vendor-differs`: the CPU's vendor shows through under KVM.

use super::rule::{Answer, Rule, none};

/// The CPU vendors differ.
pub(super) static CPU_VENDOR_DIFFERS: Rule = Rule {
    code: "cpu-vendor-differs",
    what: "the CPUs' vendor",
    why: "under KVM a guest uses its host's own instructions, and vendors differ in system calls and errata",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (Some(from), Some(to)) = (&facts.source.cpu_vendor, &target.host.cpu_vendor) else {
            return none();
        };
        let answer = if from == to || !facts.domain.kvm {
            Answer::pass()
        } else {
            Answer::fail(
                format!("the guest runs under KVM on a {from} CPU, {} has {to}", facts.target_name),
                "choose a target with a CPU of the same vendor, or shut the domain off and define it there",
            )
        };
        vec![answer.between(from, to)]
    },
};
