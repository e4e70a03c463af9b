//! Rule `image-in-use`: nobody has a disk of a domain that is shut off open for writing, and nobody an older copy.

use super::rule::{Answer, Rule};

/// Somebody writes an image.
pub(super) static IMAGE_IN_USE: Rule = Rule {
    code: "image-in-use",
    what: "nobody writes the disks of a domain that is shut off, nor an older copy of them",
    why: "a copy of what somebody writes is torn, and a domain whose disk is in use may be running elsewhere",
    needed: true,
    judge: |facts| {
        let here = facts.source.disks.iter().filter(|disk| !facts.domain.live && disk.file.is_some());
        let here = here.map(|disk| (&facts.source.host, &disk.path, &disk.in_use, &disk.disk));
        let older = facts.copied().filter(|(_, place)| place.length_bytes.is_some() && place.older_copy);
        let older =
            older.map(|(placed, place)| (&facts.target_name, &place.path, &place.in_use, &placed.from));
        let answers = here.chain(older).map(|(host, path, in_use, subject)| {
            let (answer, found) = match in_use {
                None => (Answer::pass(), "free"),
                Some(words) => (
                    Answer::fail(
                        format!("somebody has {path} open on {host}: {words}"),
                        format!(
                            "find out who it is, and end it: fuser -v {path}; or another host that sees it"
                        ),
                    ),
                    "in use",
                ),
            };
            let answer = if *host == facts.source.host {
                answer.between(found, "")
            } else {
                answer.between("", found)
            };
            answer.about(subject)
        });
        answers.collect()
    },
};
