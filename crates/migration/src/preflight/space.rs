//! Rules about free space: for what the agents write, and for disks that must be copied.

use std::collections::BTreeMap;

use super::rule::{Answer, Rule, mib, none};
use crate::limits::STATE_BYTES_MIN;

/// There is little room for the agents' own files.
pub(super) static STATE_SPACE_SHORT: Rule = Rule {
    code: "state-space-short",
    what: "free space for journals and definitions",
    why: "a migration that cannot be written down is refused",
    needed: false,
    judge: |facts| {
        let hosts = std::iter::once(&facts.source).chain(facts.told().map(|target| &target.host));
        let answers = hosts.filter_map(|host| {
            let (free, name) = (host.state_free_bytes?, &host.host);
            let answer = if free >= STATE_BYTES_MIN {
                Answer::pass()
            } else {
                let said = format!("only {} are free where {name} keeps its journals", mib(free));
                Answer::warn(said, format!("make room on {name}: du -xh /var/lib/ferry"))
            };
            Some(answer.about(name))
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
