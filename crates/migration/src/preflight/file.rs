//! Rule `file-missing`: kernel, initrd, firmware and the firmware's variables are on the target.

use super::rule::{Answer, Rule, none, or_pass};

/// A file that the definition names, other than a disk, cannot be read on the target.
pub(super) static FILE_MISSING: Rule = Rule {
    code: "file-missing",
    what: "kernel, initrd, firmware and its variables are on the target",
    why: "QEMU does not start without a file that the definition names",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (from, to) = (&facts.source.host, &facts.target_name);
        let comes = |file: &&String| facts.domain.copies.iter().any(|placed| placed.file.path == **file);
        let found = target.files_missing.iter().filter(|file| !comes(file)).map(|file| {
            let said = format!("{to} cannot read {file}");
            let mend = format!("copy it from {from} to the same path: scp {from}:{file} {to}:{file}");
            Answer::fail(said, mend).between("there", "missing").about(file)
        });
        or_pass(found.collect(), Answer::pass())
    },
};
