//! Rule `image-differs`: both hosts read the same image, and the same ones below it.

use api::{DiskFacts, NonceSeen};

use super::Facts;
use super::rule::{Answer, Rule, none};

/// What the hosts read of a disk differs.
pub(super) static IMAGE_DIFFERS: Rule = Rule {
    code: "image-differs",
    what: "each disk's size, file and backing chain",
    why: "the directory may be shared and the file not, or an image below it may be another one",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let pairs = facts.source.disks.iter().zip(&target.host.disks);
        // Where the storage is another one, that is said once.
        let comparable = pairs
            .filter(|(here, there)| here.fault.is_none() && there.fault.is_none() && is_same_place(there));
        comparable.filter_map(|(here, there)| Some(judged(facts, here, there)?.about(&here.disk))).collect()
    },
};

fn is_same_place(disk: &DiskFacts) -> bool {
    matches!(disk.nonce, None | Some(NonceSeen::Same)) && disk.owned_by_source != Some(false)
}

fn judged(facts: &Facts, here: &DiskFacts, there: &DiskFacts) -> Option<Answer> {
    let (from, to) = (here.size_bytes?, there.size_bytes?);
    let mend = format!("compare both: ls -li {0}; qemu-img info --backing-chain -U {0}", here.path);
    let host = &facts.target_name;
    if from != to {
        let said = format!(
            "disk {} has {from} bytes for the guest on {}, {to} on {host}",
            here.path, facts.source.host
        );
        return Some(Answer::fail(said, mend).between(format!("{from} bytes"), format!("{to} bytes")));
    }
    if here.backing != there.backing {
        let said =
            format!("disk {} stands on other images on {host} than on {}", here.path, facts.source.host);
        return Some(Answer::fail(said, mend).between(here.backing.join(", "), there.backing.join(", ")));
    }
    // An inode number is the server's on NFS and on a filesystem of a cluster; elsewhere it means nothing.
    if let (Some(one), Some(other)) = (here.inode, there.inode)
        && here.filesystem == there.filesystem
        && one != other
    {
        let said = format!(
            "{} is another file on {host} than on {}, beside the same nonce",
            here.path, facts.source.host
        );
        return Some(Answer::fail(said, mend).between(format!("inode {one}"), format!("inode {other}")));
    }
    Some(Answer::pass().between(format!("{from} bytes"), format!("{to} bytes")))
}
