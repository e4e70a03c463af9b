//! Rule `copy-too-small`: a block device that a disk is to be copied to is as large as the disk.

use api::CopyRole;

use super::Facts;
use super::rule::{Answer, Rule};
use crate::placement::Placed;

/// One in so many bytes of a qcow2 image that is full is QEMU's own tables, at most (docs/interop/qcow2.txt of QEMU: with
/// clusters of 64 KiB ten bytes for each, and a little for what stands above them).
const TABLES: u64 = 1024;

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
            let mend = format!("take a larger one, --map-disk {from}=PATH, or make it larger (lvextend)");
            let (answer, needed) = match grown_bytes(facts, placed) {
                _ if wanted > has => {
                    let said = format!("{from} has {wanted} bytes, and the device {path} on {to} has {has}");
                    (Answer::fail(said, mend), wanted)
                }
                Some(grown) if grown > has => {
                    let said =
                        format!("the image {from} can grow to {grown} bytes, and {path} on {to} has {has}");
                    (Answer::warn(said, mend), grown)
                }
                Some(_) | None => (Answer::pass(), wanted),
            };
            Some(answer.between(format!("{needed} bytes"), format!("{has} bytes")).about(from))
        });
        answers.collect()
    },
};

/// How long an image can become that a guest writes; none for one whose length stays, and for one that is made anew.
fn grown_bytes(facts: &Facts, placed: &Placed) -> Option<u64> {
    let CopyRole::Disk { disk, format } = &placed.file.role else { return None };
    let grows = format == "qcow2" && !placed.file.converted && facts.is_writable(disk);
    let size_bytes = facts.source_disk(disk).filter(|_| grows)?.size_bytes?;
    Some(size_bytes + size_bytes / TABLES)
}
