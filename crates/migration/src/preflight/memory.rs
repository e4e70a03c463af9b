//! Rule `memory-short`: the target has memory for the guest.

use super::rule::{Answer, Rule, mib, none};

/// The target has too little memory.
pub(super) static MEMORY_SHORT: Rule = Rule {
    code: "memory-short",
    what: "free memory for the guest",
    why: "a host that runs out of memory kills QEMUs, this one or another guest's",
    needed: false,
    judge: |facts| {
        let available = facts.told().and_then(|target| target.host.memory_available_bytes);
        // What lies in huge pages was taken from the rest long ago.
        let Some(available) = available.filter(|_| facts.domain.hugepage_bytes.is_none()) else {
            return none();
        };
        let (wanted, to) = (facts.domain.memory_bytes, &facts.target_name);
        let answer = if wanted <= available {
            Answer::pass()
        } else {
            Answer::fail(
                format!("the guest has {} of memory, {to} has {} available", mib(wanted), mib(available)),
                format!(
                    "free memory on {to} (ferry --host ssh://{to} list shows its guests), or choose another target"
                ),
            )
        };
        vec![answer.between(mib(wanted), mib(available))]
    },
};
