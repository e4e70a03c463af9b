//! Rules about free space: for what the agents write, and for disks that must be copied.

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

/// A disk must be copied, and the target has no room for it.
pub(super) static DISK_SPACE_SHORT: Rule = Rule {
    code: "disk-space-short",
    what: "free space for disks that must be copied",
    why: "a copy that does not fit ends half-way",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told().filter(|_| !facts.domain.live) else { return none() };
        let pairs = facts.source.disks.iter().zip(&target.host.disks);
        let answers = pairs.filter(|(_, there)| there.fault.is_some()).filter_map(|(here, there)| {
            let (taken, free) = (here.taken_bytes?, there.free_bytes?);
            let to = &facts.target_name;
            let answer = if taken <= free {
                Answer::pass()
            } else {
                Answer::fail(
                    format!(
                        "disk {} takes {}, and {to} has {} free for it",
                        here.path,
                        mib(taken),
                        mib(free)
                    ),
                    format!("make room on {to}, or mount the storage of {} there", facts.source.host),
                )
            };
            Some(answer.between(mib(taken), mib(free)).about(&here.disk))
        });
        answers.collect()
    },
};
