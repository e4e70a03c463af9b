//! Rule `guest-agent-silent`: whether the guest can be asked what it sees after the move.

use super::rule::{Answer, Rule, none};

/// The guest has a channel for an agent, and nothing in it listens.
pub(super) static GUEST_AGENT_SILENT: Rule = Rule {
    code: "guest-agent-silent",
    what: "the guest's agent",
    why: "after the move the agent tells whether the guest's clock is right; without it nobody asks",
    needed: false,
    judge: |facts| {
        if !facts.domain.live {
            return none();
        }
        if !facts.domain.agent_channel {
            return vec![Answer::pass().between("no channel for one", "")];
        }
        let answer = match facts.guest.agent_open {
            Some(false) => Answer::warn(
                "the guest has a channel for its agent, and nothing in it listens",
                "in the guest: systemctl enable --now qemu-guest-agent",
            )
            .between("silent", ""),
            Some(true) => Answer::pass().between("listens", ""),
            None => return none(),
        };
        vec![answer]
    },
};
