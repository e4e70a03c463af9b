//! Rule `arch-differs`: architecture, and with it 64 or 32 bits.

use super::rule::{Answer, Rule, none};

/// The architectures differ.
pub(super) static ARCH_DIFFERS: Rule = Rule {
    code: "arch-differs",
    what: "the hosts' architecture, 64 or 32 bits",
    why: "a guest's registers and memory mean nothing to a CPU of another architecture",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (Some(from), Some(to)) = (&facts.source.arch, &target.host.arch) else { return none() };
        let answer = if from == to {
            Answer::pass()
        } else {
            Answer::fail(
                format!(
                    "{} is {from} ({} bits), {} is {to} ({} bits)",
                    facts.source.host,
                    bits(from),
                    facts.target_name,
                    bits(to)
                ),
                format!("choose a target of architecture {from}, with a kernel of {} bits", bits(from)),
            )
        };
        vec![answer.between(from, to)]
    },
};

/// By the kernel's name of an architecture (`machine` of uname(2)).
fn bits(arch: &str) -> u8 {
    if arch.ends_with("64") || arch.starts_with("aarch64") || arch == "s390x" || arch == "ppc64le" {
        64
    } else {
        32
    }
}
