//! Rule `disk-space-short`: there is room for what is copied.

use std::collections::BTreeMap;

use api::PlaceFacts;

use super::rule::{Answer, Rule, mib};
use crate::placement::{Placed, is_kept};

/// Files are to be copied, and the target has no room for them.
pub(super) static DISK_SPACE_SHORT: Rule = Rule {
    code: "disk-space-short",
    what: "free space for what is copied",
    why: "a copy that does not fit ends half-way",
    needed: false,
    judge: |facts| {
        let mut filesystems: BTreeMap<_, Copied> = BTreeMap::new();
        let takes_room =
            |(placed, place): &(&Placed, &PlaceFacts)| !place.block && !is_kept(&placed.file, place);
        for (placed, place) in facts.copied().filter(takes_room) {
            let Some(free) = place.free_bytes else { continue };
            // An older copy is written in place.
            let there = place.taken_bytes.filter(|_| place.older_copy).unwrap_or(0);
            let copied = filesystems.entry((place.filesystem, free)).or_default();
            copied.bytes += placed.file.allocated_bytes.saturating_sub(there);
            copied.paths.push(&placed.from);
        }
        let answers = filesystems.into_iter().map(|((_, free), Copied { bytes: taken, paths })| {
            let (to, verb) = (&facts.target_name, if paths.len() == 1 { "takes" } else { "take" });
            let paths = paths.join(", ");
            let answer = if taken <= free {
                Answer::pass()
            } else {
                Answer::fail(
                    format!("{paths} {verb} {}, and {to} has {} free for it", mib(taken), mib(free)),
                    format!(
                        "make room on {to}, or name another place: --map-pool POOL=POOL, --map-disk DISK=PATH"
                    ),
                )
            };
            answer.between(mib(taken), mib(free)).about(paths)
        });
        answers.collect()
    },
};

/// Files that are copied into one filesystem.
#[derive(Default)]
struct Copied<'a> {
    bytes: u64,
    paths: Vec<&'a str>,
}
