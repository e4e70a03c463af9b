//! Rule `storage-not-shared`: a disk's path leads to the same file on both hosts. Never concluded from a filesystem's
//! type: the source writes a nonce beside the disk, and the target reads it.

use api::{DiskFacts, NonceSeen};

use super::Facts;
use super::rule::{Answer, Rule, none};

/// The disk's path holds another file on the target.
pub(super) static STORAGE_NOT_SHARED: Rule = Rule {
    code: "storage-not-shared",
    what: "the target reads beside each disk what the source has just written there",
    why: "a guest that goes on with another file of the same name damages both",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let reachable = target.host.disks.iter().filter(|disk| disk.fault.is_none());
        reachable.filter_map(|disk| Some(judged(facts, disk)?.about(&disk.disk))).collect()
    },
};

fn judged(facts: &Facts, disk: &DiskFacts) -> Option<Answer> {
    let (from, to, path) = (&facts.source.host, &facts.target_name, &disk.path);
    let mount = format!(
        "mount the same storage at the same path on both hosts: findmnt -T {path} shows what is there"
    );
    let elsewhere = || {
        Answer::fail(format!("{to} has a file {path}, but it is not the one that {from} uses"), &mount)
            .between("written", "not there")
    };
    let answer = match (&disk.nonce, disk.owned_by_source) {
        (Some(NonceSeen::Missing | NonceSeen::Other), _) => elsewhere(),
        (Some(NonceSeen::Zeros), _) => Answer::fail(
            format!(
                "what {from} writes beside {path} reads as zeros on {to}: the server answers NFS 4.2 wrongly"
            ),
            format!(
                "mount it with NFS 4.1 on {to}: mount -o remount,vers=4.1, or update the server (nfs-ganesha)"
            ),
        )
        .between("written", "zeros"),
        (Some(NonceSeen::Unreadable { reason }), _) => Answer::fail(
            format!("{to} cannot read what {from} wrote beside {path}: {reason}"),
            "let root read and write there; on NFS export it with no_root_squash",
        )
        .between("written", "not readable"),
        (_, Some(false)) => elsewhere(),
        (Some(NonceSeen::Same), _) => Answer::pass().between("written", "read"),
        (None, Some(true)) => Answer::pass().between("owner", "reads its record"),
        (None, None) => return None,
    };
    Some(answer)
}
