//! Rule `disk-missing`: every disk and medium can be opened on both hosts, on the target as the guest wants it.

use api::DiskFacts;

use super::Facts;
use super::rule::{Answer, Rule, none};

/// A disk cannot be opened.
pub(super) static DISK_MISSING: Rule = Rule {
    code: "disk-missing",
    what: "every disk can be opened on both hosts, for writing where the guest writes",
    why: "a guest without one of its disks does not start, or stops at its next write",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let here = facts.source.disks.iter().filter_map(|disk| on_source(facts, disk));
        let there = target.host.disks.iter().filter(|disk| !facts.is_copied(&disk.disk));
        here.chain(there.filter_map(|disk| on_target(facts, disk))).collect()
    },
};

fn on_source(facts: &Facts, disk: &DiskFacts) -> Option<Answer> {
    let (path, from) = (&disk.path, &facts.source.host);
    let said = format!("disk {path} on {from}: {}", disk.fault.as_ref()?);
    let mend = format!("see to its storage on {from}: findmnt -T {path}; ls -l {path}");
    Some(Answer::fail(said, mend).between("cannot be opened", "").about(&disk.disk))
}

fn on_target(facts: &Facts, disk: &DiskFacts) -> Option<Answer> {
    let (path, to) = (&disk.path, &facts.target_name);
    let answer = match (&disk.fault, &disk.file) {
        (Some(fault), _) => Answer::fail(
            format!("disk {path} on {to}: {fault}"),
            format!(
                "make the storage of {} visible on {to} at the same path: ferry --host ssh://{to} pool start POOL, or \
                 mount it; or let the domain take its disks along: --copy-storage",
                facts.source.host
            ),
        )
        .between(path, "cannot be opened"),
        (None, Some(_)) => Answer::pass().between(path, "opened"),
        // It was not looked at: it lies where the target allows nothing, which is another rule.
        (None, None) => return None,
    };
    Some(answer.about(&disk.disk))
}
