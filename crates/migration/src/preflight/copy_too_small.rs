//! Rule `copy-too-small`: a block device that a disk is to be copied to is as large as the disk.

use super::rule::{Answer, Rule};

/// A device of the target is smaller than what is to be copied to it.
pub(super) static COPY_TOO_SMALL: Rule = Rule {
    code: "copy-too-small",
    what: "each block device that a disk is to be copied to",
    why: "the end of the disk would be missing",
    needed: true,
    judge: |facts| {
        let devices = facts.copied().filter(|(_, place)| place.block);
        let answers = devices.filter_map(|(placed, place)| {
            let (wanted, has) = (placed.file.length_bytes, place.length_bytes?);
            let (from, to, path) = (&placed.from, &facts.target_name, &place.path);
            let answer = if wanted <= has {
                Answer::pass()
            } else {
                Answer::fail(
                    format!("{from} has {wanted} bytes, and the device {path} on {to} has {has}"),
                    format!("take a larger one, --map-disk {from}=PATH, or make it larger (lvextend)"),
                )
            };
            Some(answer.between(format!("{wanted} bytes"), format!("{has} bytes")).about(from))
        });
        answers.collect()
    },
};
