//! Rule `copy-exists`: a copy is written over nothing but an older copy of the same disk, which no other domain uses.

use api::{CopyRole, PlaceFacts};

use super::Facts;
use super::rule::{Answer, Rule, none};
use crate::placement::{Placed, is_kept};

/// Something else lies where a disk is to be copied to.
pub(super) static COPY_EXISTS: Rule = Rule {
    code: "copy-exists",
    what: "nothing but an older copy lies where each disk is to be copied to; an image that others stand on may, if it is equal",
    why: "what lies there is somebody's, and would be lost",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        // Of one that keeps its domain, what both hosts see is said by another rule.
        let shared = crate::placement::seen(&facts.domain.copies, &target.places);
        // Variables of the firmware are the domain's wherever no other one has them.
        let lies = facts.copied().filter(|(placed, place)| {
            (placed.file.is_image() || !place.users.is_empty()) && !shared.contains(&placed.from)
        });
        lies.map(|(placed, place)| judged(facts, placed, place).about(&placed.from)).collect()
    },
};

fn judged(facts: &Facts, placed: &Placed, place: &PlaceFacts) -> Answer {
    let (to, path) = (&facts.target_name, &place.path);
    let disk = &placed.from;
    let Some(length) = place.length_bytes else { return Answer::pass().between(disk, "nothing there") };
    if is_kept(&placed.file, place) {
        return Answer::pass().between(disk, "used as it is, where it is equal");
    }
    if !place.users.is_empty() {
        let users = place.users.join(", ");
        let said = format!("{path} is used by {users} on {to}: it is not written over");
        let flatten = match placed.file.role {
            CopyRole::Backing { .. } => ", or make one image of the chain: --flatten",
            CopyRole::Disk { .. } | CopyRole::Nvram | CopyRole::Tpm { .. } => "",
        };
        let mend = format!("name another place, --map-disk {disk}=PATH{flatten}");
        return Answer::fail(said, mend).between(disk, format!("used by {users}"));
    }
    // While its guest works, a disk's new image takes the place of an older copy, or a device.
    let flattened = placed.file.converted && !facts.domain.live;
    if place.block && flattened {
        let said = format!("{path} is a block device of {to}, and a chain becomes one image in a file alone");
        return Answer::fail(said, format!("name a file: --map-disk {disk}=PATH")).between(disk, "a device");
    }
    if place.block {
        if placed.chosen || place.older_copy {
            return Answer::pass().between(disk, "a device");
        }
        let said = format!("{path} is a block device of {to}, and nobody said that it may be written over");
        let mend = format!("say so, or name another place: --map-disk {disk}={path}");
        return Answer::fail(said, mend).between(disk, "a device");
    }
    if place.older_copy && !flattened {
        return Answer::pass().between(disk, "an older copy");
    }
    let said = match place.older_copy {
        true => {
            format!("{to} has an older copy of this disk at {path}, and a chain becomes a new image alone")
        }
        false => {
            format!("{to} has a file {path} of {length} bytes, and it is no older copy of this domain's")
        }
    };
    let mend = format!("name another place, --map-disk {disk}=PATH, or remove the file on {to}");
    Answer::fail(said, mend).between(disk, format!("{length} bytes"))
}
