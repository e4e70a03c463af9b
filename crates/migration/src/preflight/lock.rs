//! Rule `lock-unavailable`: the storage keeps locks, so that two QEMUs do not write one image.

use api::{DiskFacts, NonceSeen};

use super::rule::{Answer, Rule};

/// Files beside a disk cannot be locked on the target.
pub(super) static LOCK_UNAVAILABLE: Rule = Rule {
    code: "lock-unavailable",
    what: "a file beside each disk can be locked on the target",
    why: "QEMU's image locks are the last fence against two guests on one disk; Ferry's owner record is the first",
    needed: false,
    judge: |facts| {
        // A nonce was there to be locked. QEMU's own NFS client asks for no lock: there the owner record fences alone.
        let tried =
            |disk: &&DiskFacts| disk.nonce == Some(NonceSeen::Same) && !disk.path.starts_with("nfs://");
        let tried = facts.disks_there().filter(tried);
        let answers = tried.map(|disk| {
            let answer = match &disk.lock_fault {
                None => Answer::pass().between("", "locked"),
                Some(fault) => Answer::warn(
                    format!("no file beside {} can be locked on {}: {fault}", disk.path, facts.target_name),
                    "let the NFS server's lock service through its firewall (rpc.statd, nlockmgr), or mount with NFS 4",
                )
                .between("", "not locked"),
            };
            answer.about(&disk.disk)
        });
        answers.collect()
    },
};
