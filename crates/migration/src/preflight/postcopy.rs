//! Rule `postcopy-missing`: a guest that may be handed over before its memory needs both QEMUs and the target's kernel.

use super::rule::{Answer, Rule, none, or_pass};

/// Post-copy is allowed, and cannot be done.
pub(super) static POSTCOPY_MISSING: Rule = Rule {
    code: "postcopy-missing",
    what: "both QEMUs and the target's kernel can do post-copy",
    why: "a guest that runs before its memory has come must be stopped where it needs what is not there, by userfaultfd",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told().filter(|_| facts.domain.live && facts.domain.postcopy) else {
            return none();
        };
        let mut found = Vec::new();
        for host in [&facts.source, &target.host] {
            let lacks = |has: &Vec<String>| !has.iter().any(|has| has == "postcopy-ram");
            if host.migrate_capabilities.as_ref().is_some_and(lacks) {
                let said = format!("QEMU on {} lacks the migration capability postcopy-ram", host.host);
                let mend =
                    format!("migrate without --allow-postcopy, or install another QEMU on {}", host.host);
                found.push(Answer::fail(said, mend).about("postcopy-ram"));
            }
        }
        if target.host.userfaultfd == Some(false) {
            let host = &target.host.host;
            let said = format!("the kernel of {host} gives QEMU there no userfaultfd");
            let mend = format!(
                "migrate without --allow-postcopy, or on {host}: sysctl -w vm.unprivileged_userfaultfd=1, with a kernel \
                 that has CONFIG_USERFAULTFD"
            );
            found.push(Answer::fail(said, mend).about("userfaultfd"));
        }
        or_pass(found, Answer::pass())
    },
};
