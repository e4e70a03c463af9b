//! Rule `flatten-unsupported`: both hosts can show a chain of images as one file.

use super::rule::{Answer, Rule, none};

/// A chain is to become one image, and a host lacks what that takes.
pub(super) static FLATTEN_UNSUPPORTED: Rule = Rule {
    code: "flatten-unsupported",
    what: "a chain that is to become one image can be shown as one file on both hosts, as is tried",
    why: "what a guest sees through a chain is read and written by QEMU's own program, qemu-storage-daemon, over FUSE",
    needed: false,
    judge: |facts| {
        if facts.domain.live || !facts.domain.copies.iter().any(|placed| placed.file.converted) {
            return none();
        }
        let source = (&facts.source.host, &facts.source.chain_unshown);
        let target = facts.told().map(|told| (&facts.target_name, &told.host.chain_unshown));
        let answers = std::iter::once(source).chain(target).map(|(host, unshown)| {
            let answer = match unshown {
                None => Answer::pass(),
                Some(reason) => Answer::fail(
                    format!("{host} cannot show a chain of images as one file: {reason}"),
                    format!("install qemu-storage-daemon on {host} and load the module fuse there, or leave out --flatten"),
                ),
            };
            answer.about(host)
        });
        answers.collect()
    },
};
