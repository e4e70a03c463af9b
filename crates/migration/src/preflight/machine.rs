//! Rule `machine-missing`: the target's QEMU has the guest's machine type.

use super::rule::{Answer, Rule, none};

/// QEMU on the target does not have the machine type.
pub(super) static MACHINE_MISSING: Rule = Rule {
    code: "machine-missing",
    what: "the machine type",
    why: "a machine type fixes every device's state; QEMU takes it in only into the same one",
    needed: false,
    judge: |facts| {
        let Some(has) = facts.told().and_then(|target| target.has_machine) else { return none() };
        let (machine, to) = (&facts.domain.machine, &facts.target_name);
        let answer = if has {
            Answer::pass().between(machine, machine)
        } else {
            Answer::fail(
                format!("QEMU on {to} does not have the machine type {machine}"),
                format!("install a QEMU on {to} that has it: qemu-system-x86_64 -machine help lists them"),
            )
            .between(machine, "missing")
        };
        vec![answer]
    },
};
