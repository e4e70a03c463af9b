//! Rule `copy-place-missing`: the directories and devices that disks are to be copied into are there.

use super::rule::{Answer, Rule};

/// The place of a copy cannot be used.
pub(super) static COPY_PLACE_MISSING: Rule = Rule {
    code: "copy-place-missing",
    what: "the directory, or the block device, that each file is to be copied into",
    why: "Ferry makes files on another host, and no directories or devices",
    needed: false,
    judge: |facts| {
        let to = &facts.target_name;
        let answers = facts.copied().map(|(placed, place)| {
            let (from, path) = (&placed.from, &place.path);
            let answer = match &place.fault {
                None => Answer::pass().between(from, path),
                Some(fault) => Answer::fail(
                    format!("{from} cannot be copied to {path} on {to}: {fault}"),
                    format!(
                        "make the directory or the device on {to}, or name another place: --map-pool POOL=POOL, --map-disk {from}=PATH"
                    ),
                )
                .between(from, "not usable"),
            };
            answer.about(from)
        });
        answers.collect()
    },
};
