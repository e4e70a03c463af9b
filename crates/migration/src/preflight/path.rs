//! Rule `path-not-allowed`: files lie where the target's operator allows them. Nobody else may set that aside.

use super::rule::{Answer, Rule, none, or_pass};

/// A file lies outside the directories that the target allows.
pub(super) static PATH_NOT_ALLOWED: Rule = Rule {
    code: "path-not-allowed",
    what: "files lie where the target allows them",
    why: "a definition names files that QEMU opens as root; a host's operator says where they may lie",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let to = &facts.target_name;
        let found = target.files_forbidden.iter().map(|file| {
            Answer::fail(
                format!("{file} lies outside the directories that {to} allows"),
                format!(
                    "add its directory to `allowed_paths` in agent.toml on {to}, and restart the agent there"
                ),
            )
            .between(file, "not allowed")
            .about(file)
        });
        or_pass(found.collect(), Answer::pass())
    },
};
