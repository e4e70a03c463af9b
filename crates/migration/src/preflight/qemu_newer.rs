//! Rule `qemu-newer`: the way back leads to a QEMU that is not older.

use super::qemu_version::series;
use super::rule::{Answer, Rule, none};

/// The target's QEMU is newer than the one that has the guest.
pub(super) static QEMU_NEWER: Rule = Rule {
    code: "qemu-newer",
    what: "QEMU's versions, for the way back",
    why: "QEMU's makers test that state goes from an older to a newer QEMU, not back",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told().filter(|_| facts.domain.live) else { return none() };
        let (Some(from), Some(to)) = (&facts.source.qemu_version, &target.host.qemu_version) else {
            return none();
        };
        let (source, name) = (&facts.source.host, &facts.target_name);
        let answer = if series(to) > series(from) {
            Answer::warn(
                format!("QEMU {to} on {name} is newer than {from} on {source}: the guest may not come back"),
                format!(
                    "update QEMU on {source} before the way back: apt install --only-upgrade qemu-system-x86"
                ),
            )
        } else {
            Answer::pass()
        };
        vec![answer.between(from, to)]
    },
};
