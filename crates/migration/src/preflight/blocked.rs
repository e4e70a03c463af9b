//! Rule `migration-blocked`: what QEMU itself says against moving the guest.

use super::rule::{Answer, Rule, none, or_pass};

/// QEMU refuses to migrate the guest now (`blocked-reasons` of `query-migrate`).
pub(super) static MIGRATION_BLOCKED: Rule = Rule {
    code: "migration-blocked",
    what: "QEMU's own reasons against it",
    why: "QEMU refuses to send a guest with something that it cannot put into words",
    needed: true,
    judge: |facts| {
        if !facts.domain.live {
            return none();
        }
        let reasons = facts.guest.blocked_reasons.iter().map(|reason| {
            Answer::fail(
                format!("QEMU on {} cannot send the guest: {reason}", facts.source.host),
                format!("take that away from the guest, and restart it: ferry edit {}", facts.domain.name),
            )
            .between(reason, "")
        });
        or_pass(reasons.collect(), Answer::pass().between("none", ""))
    },
};
