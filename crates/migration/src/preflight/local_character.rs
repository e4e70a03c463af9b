//! Rule `local-character`: what a guest's serial lines lead to.

use api::{DiskFacts, NonceSeen};

use super::rule::{Answer, Rule, or_pass};
use super::{Facts, LocalCharacter};

/// A serial line or channel leads into a file or a device of the source.
pub(super) static LOCAL_CHARACTER: Rule = Rule {
    code: "local-character",
    what: "no serial line leads into a file or device of the source",
    why: "what was written stays behind in the source's file, and a device of the source is not on the target",
    needed: false,
    judge: |facts| {
        let from = &facts.source.host;
        let local = facts.domain.local_characters.iter().filter(|local| !goes_along(facts, local));
        let found = local.map(|local| {
            let path = &local.path;
            let mend = format!(
                "let it lead into a pty or a socket, and restart the domain: ferry edit {}",
                facts.domain.name
            );
            let answer = if local.device {
                Answer::fail(format!("a serial line of the guest is the device {path} of {from}"), mend)
            } else {
                let to = &facts.target_name;
                let said =
                    format!("a serial line of the guest fills the file {path}, which begins anew on {to}");
                Answer::warn(said, mend)
            };
            answer.between(path, "").about(path)
        });
        or_pass(found.collect(), Answer::pass().between("none", ""))
    },
};

/// Whether a file that is only added to lies beside a disk on storage that is proven to be shared.
fn goes_along(facts: &Facts, local: &LocalCharacter) -> bool {
    // Of a host that tells nothing, nothing is said.
    let Some(target) = facts.told() else { return !local.device };
    let directory = |path: &str| path.rsplit_once('/').map(|(directory, _)| directory.to_owned());
    let shared = |disk: &DiskFacts| {
        (disk.nonce == Some(NonceSeen::Same) || disk.owned_by_source == Some(true))
            && directory(&disk.path) == directory(&local.path)
    };
    !local.device && local.append && target.host.disks.iter().any(shared)
}
