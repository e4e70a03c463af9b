//! Rule `image-differs`: both hosts read the same image, and the same ones below it.

use api::{DiskFacts, FileFacts, NonceSeen};

use super::Facts;
use super::rule::{Answer, Rule};

/// `f_type` of a filesystem in user space, where inode numbers are each mount's own (linux/magic.h).
const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;

/// What the hosts read of a disk differs.
pub(super) static IMAGE_DIFFERS: Rule = Rule {
    code: "image-differs",
    what: "each disk's size and file, and every image below it",
    why: "the directory may be shared and the file not, or an image below it may be another one",
    needed: true,
    judge: |facts| {
        // Where what the guest writes lies on another storage, that is said once.
        let comparable =
            facts.disk_pairs().filter(|(_, there)| is_same_place(there) || !facts.is_writable(&there.disk));
        comparable.filter_map(|(here, there)| Some(judged(facts, here, there)?.about(&here.disk))).collect()
    },
};

fn is_same_place(disk: &DiskFacts) -> bool {
    matches!(disk.nonce, None | Some(NonceSeen::Same)) && disk.owned_by_source != Some(false)
}

fn judged(facts: &Facts, here: &DiskFacts, there: &DiskFacts) -> Option<Answer> {
    let (from, to) = (here.size_bytes?, there.size_bytes?);
    let mend = format!("compare both: ls -li {0}; qemu-img info --backing-chain -U {0}", here.path);
    let (source, target) = (&facts.source.host, &facts.target_name);
    if from != to {
        let said = format!("disk {} has {from} bytes for the guest on {source}, {to} on {target}", here.path);
        return Some(Answer::fail(said, mend).between(format!("{from} bytes"), format!("{to} bytes")));
    }
    let moved: Vec<_> = here.below.iter().map(|file| facts.domain.there(&file.path)).collect();
    let found: Vec<_> = there.below.iter().map(|file| file.path.as_str()).collect();
    if moved != found {
        let said = format!("disk {} stands on other images on {target} than on {source}", here.path);
        return Some(Answer::fail(said, mend).between(moved.join(", "), found.join(", ")));
    }
    let below = here.below.iter().zip(&there.below).map(|(one, other)| (one, other, true));
    // What the guest writes is proven to be the same by `storage-not-shared`, and grows meanwhile.
    let itself =
        here.file.iter().zip(&there.file).map(|(one, other)| (one, other, !facts.is_writable(&here.disk)));
    let mut alike = None;
    for (one, other, only_read) in itself.chain(below) {
        let path = &one.path;
        match likeness(one, other, only_read) {
            Likeness::Same => {}
            Likeness::Differs(from, to) => {
                let said = format!("{path} is another file on {target} than on {source}");
                return Some(Answer::fail(said, mend).between(from, to));
            }
            Likeness::Alike => {
                let said = format!(
                    "{target} has a file {path} of its own, as large as that of {source}; whether it holds the same \
                     was not looked at"
                );
                let mend =
                    format!("compare sha256sum {path} on both hosts, or put it on storage that both have");
                alike.get_or_insert(Answer::warn(said, mend));
            }
        }
    }
    Some(alike.unwrap_or_else(Answer::pass).between(format!("{from} bytes"), format!("{to} bytes")))
}

/// What two hosts' files of one name are to each other.
enum Likeness {
    Same,
    /// As large as each other, and nothing shows more.
    Alike,
    /// Not the same, by what each has.
    Differs(String, String),
}

fn likeness(here: &FileFacts, there: &FileFacts, only_read: bool) -> Likeness {
    let inodes = here.inode.zip(there.inode).filter(|_| {
        here.filesystem == there.filesystem && here.filesystem.is_some_and(|kind| kind != FUSE_SUPER_MAGIC)
    });
    if only_read && let Some((one, other)) = here.device.as_ref().zip(there.device.as_ref()) {
        return if one == other { Likeness::Same } else { Likeness::Differs(one.clone(), other.clone()) };
    }
    // An inode number is the server's on NFS and on a filesystem of a cluster; elsewhere it means nothing. A nonce that
    // was read beside the file says that it is one filesystem.
    match inodes {
        Some((one, other)) if one == other => return Likeness::Same,
        Some((one, other)) if there.beside_nonce => {
            return Likeness::Differs(format!("inode {one}"), format!("inode {other}"));
        }
        Some(_) | None => {}
    }
    if !only_read || there.beside_nonce {
        return Likeness::Same;
    }
    match here.bytes.zip(there.bytes) {
        Some((one, other)) if one != other => {
            Likeness::Differs(format!("{one} bytes"), format!("{other} bytes"))
        }
        // A name that is no path, or one that a host may not look at: that is said of it elsewhere.
        None => Likeness::Same,
        Some(_) => Likeness::Alike,
    }
}
