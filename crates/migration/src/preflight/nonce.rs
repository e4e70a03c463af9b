//! Rule `storage-not-shared`: a disk's path leads to the same file on both hosts. Never concluded from a filesystem's
//! type: the source writes a nonce beside the disk, and the target reads it. What the guest writes and nothing proves to
//! be the same is taken for another file.

use api::{DiskFacts, NonceSeen};

use super::Facts;
use super::rule::{Answer, Rule};

/// The disk's path holds another file on the target.
pub(super) static STORAGE_NOT_SHARED: Rule = Rule {
    code: "storage-not-shared",
    what: "the target reads beside each disk what the source has just written there",
    why: "a guest that goes on with another file of the same name damages both",
    needed: true,
    judge: |facts| {
        let reachable = facts.disks_there().filter(|disk| disk.file.is_some());
        reachable.filter_map(|disk| Some(judged(facts, disk)?.about(&disk.disk))).collect()
    },
};

fn judged(facts: &Facts, disk: &DiskFacts) -> Option<Answer> {
    let (from, to, path) = (&facts.source.host, &facts.target_name, &disk.path);
    let mend = format!(
        "mount the same storage at the same path on both hosts (findmnt -T {path} shows what is there), or let the domain \
         take its disks along: --copy-storage"
    );
    let elsewhere = || {
        Answer::fail(format!("{to} has a file {path}, but it is not the one that {from} uses"), &mend)
            .between("written", "not there")
    };
    let wrong_server = |answer: String, word: &str| {
        let said =
            format!("what {from} writes beside {path} {answer} on {to}: the server answers NFS 4.2 wrongly");
        let mend = format!(
            "mount it with NFS 4.1 on {to}: mount -o remount,vers=4.1, or update the server (nfs-ganesha)"
        );
        Some(Answer::fail(said, mend).between("written", word))
    };
    let writable = facts.is_writable(&disk.disk);
    match (&disk.nonce, disk.owned_by_source) {
        (Some(NonceSeen::Zeros), _) => wrong_server("reads as zeros".to_owned(), "zeros"),
        (Some(NonceSeen::Failing), _) => wrong_server("gives an input/output error".to_owned(), "error"),
        (Some(NonceSeen::Same), Some(true) | None) => Some(Answer::pass().between("written", "read")),
        (None, Some(true)) => Some(Answer::pass().between("owner", "reads its record")),
        // What the guest only reads may be another file; `image-differs` compares it.
        _ if !writable => None,
        (Some(NonceSeen::Missing | NonceSeen::Other), _) | (_, Some(false)) => Some(elsewhere()),
        (Some(NonceSeen::Unreadable { reason }), _) => Some(
            Answer::fail(
                format!("{to} cannot read what {from} wrote beside {path}: {reason}"),
                "see that the server of the mount answers, and let root read and write there: export it with \
                 no_root_squash",
            )
            .between("written", "not readable"),
        ),
        (None, None) => unproven(facts, disk, &mend),
    }
}

/// A disk that the guest writes, without a nonce and without an owner record.
fn unproven(facts: &Facts, disk: &DiskFacts, mend: &str) -> Option<Answer> {
    // In an offer the source tells nothing of its disks: it has judged them.
    let here = facts.source_disk(&disk.disk)?;
    let (from, to, path) = (&facts.source.host, &facts.target_name, &disk.path);
    let (here_file, there_file) = (here.file.as_ref(), disk.file.as_ref());
    if here_file.into_iter().chain(there_file).any(|file| file.block) {
        let name = |file: Option<&api::FileFacts>| file.and_then(|file| file.device.clone());
        return Some(match (name(here_file), name(there_file)) {
            (Some(one), Some(other)) if one == other => Answer::pass().between(one, other),
            (Some(one), Some(other)) => {
                let said = format!("{path} is another device on {to} than on {from}");
                Answer::fail(
                    said,
                    format!("connect the same storage to both hosts: lsblk -o +WWN,SERIAL {path}"),
                )
                .between(one, other)
            }
            (one, other) => {
                let said = format!("nothing shows that {path} is the same device on {from} and on {to}");
                let mend = format!("compare both: blkid {path}; lsblk -o +SIZE,WWN,SERIAL {path}");
                let or_none = |name: Option<String>| name.unwrap_or_else(|| "no name".to_owned());
                Answer::warn(said, mend).between(or_none(one), or_none(other))
            }
        });
    }
    let why = match &here.nonce {
        Some(NonceSeen::Unreadable { reason }) => reason.clone(),
        _ => here.fault.clone().unwrap_or_else(|| format!("{from} may not write there")),
    };
    let said = format!("nothing shows that {path} on {to} is the file that {from} uses: {why}");
    Some(Answer::fail(said, mend).between("not written", ""))
}
