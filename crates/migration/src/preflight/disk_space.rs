//! Rule `disk-space-short`: there is room for disks that must be copied.

use std::collections::BTreeMap;

use super::rule::{Answer, Rule, mib, none};

/// A disk must be copied, and the target has no room for it.
pub(super) static DISK_SPACE_SHORT: Rule = Rule {
    code: "disk-space-short",
    what: "free space for disks that must be copied",
    why: "a copy that does not fit ends half-way",
    needed: false,
    judge: |facts| {
        if facts.domain.live {
            return none();
        }
        let mut filesystems: BTreeMap<_, Copied> = BTreeMap::new();
        for (here, there) in facts.disk_pairs().filter(|(_, there)| there.missing) {
            let (Some(taken), Some(free)) = (here.taken_bytes, there.free_bytes) else { continue };
            let copied = filesystems.entry((there.filesystem, free)).or_default();
            copied.bytes += taken;
            copied.disks.push(&here.disk);
            copied.paths.push(&here.path);
        }
        let answers = filesystems.into_iter().map(|((_, free), Copied { bytes: taken, disks, paths })| {
            let to = &facts.target_name;
            let answer = if taken <= free {
                Answer::pass()
            } else {
                let (paths, verb) = (paths.join(", "), if paths.len() == 1 { "takes" } else { "take" });
                Answer::fail(
                    format!("{paths} {verb} {}, and {to} has {} free for it", mib(taken), mib(free)),
                    format!("make room on {to}, or mount the storage of {} there", facts.source.host),
                )
            };
            answer.between(mib(taken), mib(free)).about(disks.join(", "))
        });
        answers.collect()
    },
};

/// Disks that would be copied into one filesystem.
#[derive(Default)]
struct Copied<'a> {
    bytes: u64,
    disks: Vec<&'a str>,
    paths: Vec<&'a str>,
}
