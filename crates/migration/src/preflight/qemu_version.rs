//! Rule `qemu-older`: a guest goes to a newer QEMU, or stays with its own.

use super::rule::{Answer, Rule, none};

/// The target's QEMU is older than the one that has the guest.
pub(super) static QEMU_OLDER: Rule = Rule {
    code: "qemu-older",
    what: "QEMU's versions",
    why: "QEMU's makers test that state goes from an older to a newer QEMU, not back",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (Some(from), Some(to)) = (&facts.source.qemu_version, &target.host.qemu_version) else {
            return none();
        };
        let older = facts.domain.live && series(to) < series(from);
        let answer = if older {
            Answer::warn(
                format!("QEMU {to} on {} is older than {from} on {}", facts.target_name, facts.source.host),
                format!(
                    "update QEMU on {} to {from} or newer: apt install --only-upgrade qemu-system-x86",
                    facts.target_name
                ),
            )
        } else {
            Answer::pass()
        };
        vec![answer.between(from, to)]
    },
};

/// Major and minor: within them QEMU changes no state.
pub(super) fn series(version: &str) -> Vec<u32> {
    version.split('.').take(2).map_while(|part| part.parse().ok()).collect()
}
