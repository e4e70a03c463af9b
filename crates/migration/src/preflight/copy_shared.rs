//! Rule `copy-shared`: what is to be copied is not what the target sees already.

use super::rule::{Answer, Rule, none, or_pass};
use crate::placement::seen;

/// A file would be copied over itself.
pub(super) static COPY_SHARED: Rule = Rule {
    code: "copy-shared",
    what: "no file that is to be copied lies where both hosts see it",
    why: "a file that is copied over itself is damaged, and two domains on one disk damage it, too",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told().filter(|_| facts.domain.copies_storage()) else { return none() };
        let to = &facts.target_name;
        if facts.domain.keeps_source {
            let files = seen(&facts.domain.copies, &target.places);
            let found = files.iter().map(|file| {
                let said = format!("{to} sees {file} itself: the copy needs a place of its own");
                Answer::fail(said, "name another place: --map-disk DISK=PATH")
                    .between(file, "the same")
                    .about(file)
            });
            return or_pass(found.collect(), Answer::pass());
        }
        let found = facts.domain.shared.iter().map(|file| {
            let said = format!("{to} sees {file} itself: it is not copied");
            Answer::warn(said, "leave out --copy-storage where both hosts see all disks")
                .between(file, "the same")
                .about(file)
        });
        or_pass(found.collect(), Answer::pass())
    },
};
