//! Rule `emulator-not-allowed`: the target's operator allows the emulator. Nobody else may set that aside.

use super::rule::{Answer, Rule, none};

/// The target does not allow the emulator.
pub(super) static EMULATOR_NOT_ALLOWED: Rule = Rule {
    code: "emulator-not-allowed",
    what: "the target allows the emulator",
    why: "a definition names a program that runs as root; a host's operator says which may",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let to = &facts.target_name;
        let answer = match &target.emulator_forbidden {
            None => Answer::pass(),
            Some(emulator) => Answer::fail(
                format!("{to} does not allow the emulator {emulator}"),
                format!("add it to `emulators` in agent.toml on {to}, and restart the agent there"),
            )
            .between(emulator, "not allowed"),
        };
        vec![answer]
    },
};
