//! Rule `local-character`: what a guest's serial lines lead to.

use super::rule::{Answer, Rule, or_pass};

/// A serial line or channel leads into a file or a device of the source.
pub(super) static LOCAL_CHARACTER: Rule = Rule {
    code: "local-character",
    what: "no serial line leads into a file or device of the source",
    why: "what was written stays behind in the source's file, and a device of the source is not on the target",
    needed: false,
    judge: |facts| {
        let from = &facts.source.host;
        let found = facts.domain.local_characters.iter().map(|local| {
            let path = &local.path;
            let mend = format!(
                "let it lead into a pty or a socket, and restart the domain: ferry edit {}",
                facts.domain.name
            );
            let answer = if local.device {
                Answer::fail(format!("a serial line of the guest is the device {path} of {from}"), mend)
            } else {
                Answer::warn(
                    format!(
                        "a serial line of the guest fills the file {path}, which begins anew on {}",
                        facts.target_name
                    ),
                    mend,
                )
            };
            answer.between(path, "").about(path)
        });
        or_pass(found.collect(), Answer::pass().between("none", ""))
    },
};
