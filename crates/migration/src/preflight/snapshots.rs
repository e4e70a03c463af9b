//! Rule `snapshots-inside`: snapshots that lie in an image go along with it.

use super::rule::{Answer, Rule};

/// An image holds snapshots.
pub(super) static SNAPSHOTS_INSIDE: Rule = Rule {
    code: "snapshots-inside",
    what: "snapshots inside the disks",
    why: "they go along with the image; one with memory in it can be brought back only by a like CPU and QEMU",
    needed: false,
    judge: |facts| {
        let disks = facts.source.disks.iter();
        // Of a disk that becomes a new image another rule speaks.
        let kept = disks.filter(|disk| disk.fault.is_none() && !facts.is_made_anew(&disk.disk));
        let answers = kept.map(|disk| {
            let names = disk.snapshots.join(", ");
            let answer = if disk.snapshots.is_empty() {
                Answer::pass().between("none", "")
            } else {
                Answer::warn(
                    format!("disk {} holds snapshots: {names}", disk.path),
                    format!(
                        "delete those that nobody needs: ferry snapshot delete {} NAME",
                        facts.domain.name
                    ),
                )
                .between(names, "")
            };
            answer.about(&disk.disk)
        });
        answers.collect()
    },
};
