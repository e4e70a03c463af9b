//! Rule `user-networking`: connections through QEMU's own network stack end.

use super::rule::{Answer, Rule};

/// An interface of the guest goes through QEMU's own network stack.
pub(super) static USER_NETWORKING: Rule = Rule {
    code: "user-networking",
    what: "no interface goes through QEMU's own network stack",
    why: "that stack lives in one QEMU, and its connections end with it",
    needed: false,
    judge: |facts| {
        let answer = if facts.domain.user_networking {
            Answer::warn(
                format!(
                    "connections of the guest through user networking end when it moves to {}",
                    facts.target_name
                ),
                "give the guest an interface on a bridge if they have to last",
            )
        } else {
            Answer::pass()
        };
        vec![answer]
    },
};
