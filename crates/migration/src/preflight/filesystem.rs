//! Rule `filesystem-differs`: each disk lies on the same filesystem on both hosts.

use api::DiskFacts;

use super::Facts;
use super::rule::{Answer, Rule};

/// A disk lies on another filesystem on the target.
pub(super) static FILESYSTEM_DIFFERS: Rule = Rule {
    code: "filesystem-differs",
    what: "each disk's filesystem, by kind and id",
    why: "a file can be read through a filesystem that lays writes elsewhere, as an overlay does, and both hosts diverge",
    needed: false,
    judge: |facts| {
        // Where it is another storage altogether, that is said once.
        let shared = |disk: &DiskFacts| disk.nonce == Some(api::NonceSeen::Same);
        let pairs = facts.disk_pairs().filter(|(_, there)| shared(there));
        pairs.filter_map(|(here, there)| Some(judged(facts, here, there)?.about(&here.disk))).collect()
    },
};

fn judged(facts: &Facts, here: &DiskFacts, there: &DiskFacts) -> Option<Answer> {
    let (from, to) = (&facts.source.host, &facts.target_name);
    let kind = |disk: &DiskFacts| disk.file.as_ref()?.filesystem;
    let (one, other) = (kind(here)?, kind(there)?);
    // Some kinds have no id, as NFS.
    let ids = here.filesystem.zip(there.filesystem).filter(|ids| one == other && ids.0 != 0 && ids.1 != 0);
    let shown = |kind: u64, id: Option<u64>| match id {
        Some(id) => format!("kind {kind:#x}, id {id:016x}"),
        None => format!("kind {kind:#x}"),
    };
    let answer = if one == other && ids.is_none_or(|(one, other)| one == other) {
        Answer::pass()
    } else {
        Answer::warn(
            format!("disk {} lies on another filesystem on {to} than on {from}", here.path),
            format!("compare both: findmnt -T {}; and mount the same in the same way", here.path),
        )
    };
    Some(answer.between(shown(one, ids.map(|ids| ids.0)), shown(other, ids.map(|ids| ids.1))))
}
