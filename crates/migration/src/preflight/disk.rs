//! Rule `disk-missing`: every disk and medium can be opened on the target as the guest wants it.

use super::rule::{Answer, Rule, none};

/// A disk cannot be opened on the target.
pub(super) static DISK_MISSING: Rule = Rule {
    code: "disk-missing",
    what: "every disk can be opened on the target, for writing where the guest writes",
    why: "a guest without one of its disks does not start, or stops at its next write",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        // What can be copied may be missing; whether it fits is another rule.
        let needed = target
            .host
            .disks
            .iter()
            .filter(|disk| facts.domain.live || disk.fault.is_none() || disk.free_bytes.is_none());
        let answers = needed.map(|disk| {
            let (path, to) = (&disk.path, &facts.target_name);
            let answer = match &disk.fault {
                None => Answer::pass().between(path, "opened"),
                Some(fault) => Answer::fail(
                    format!("disk {path} on {to}: {fault}"),
                    format!(
                        "make the storage of {} visible on {to} at the same path: ferry --host ssh://{to} pool start POOL, \
                         or mount it",
                        facts.source.host
                    ),
                )
                .between(path, "cannot be opened"),
            };
            answer.about(&disk.disk)
        });
        answers.collect()
    },
};
