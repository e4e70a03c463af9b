//! Rule `format-differs`: each disk's image is of the format that the definition says.

use super::rule::{Answer, Rule};

/// A disk looks like an image of another format.
pub(super) static FORMAT_DIFFERS: Rule = Rule {
    code: "format-differs",
    what: "each disk's format, in the definition and by its content",
    why: "a guest that is given an image's own tables as its disk overwrites them",
    needed: false,
    judge: |facts| {
        let answers = facts.disk_pairs().filter_map(|(here, there)| {
            let disk = facts.domain.disks.iter().find(|disk| disk.name == here.disk)?;
            let (here, there, format) = (here.looks.as_ref()?, there.looks.as_ref()?, &disk.format);
            let answer = if here == format && there == format {
                Answer::pass()
            } else {
                let (from, to) = (&facts.source.host, &facts.target_name);
                let mend = format!(
                    "look at it with qemu-img info -U, and write its format into <driver type='…'/>: ferry edit {}",
                    facts.domain.name
                );
                let name = &disk.name;
                if here == there {
                    let said = format!("disk {name} looks like {here}, and the definition says {format}");
                    Answer::warn(said, mend)
                } else {
                    let said = format!("disk {name} looks like {here} on {from} and like {there} on {to}");
                    Answer::fail(said, mend)
                }
            };
            Some(answer.between(here, there).about(&disk.name))
        });
        answers.collect()
    },
};
