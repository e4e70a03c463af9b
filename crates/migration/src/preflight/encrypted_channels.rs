//! Rule `encrypted-channels`: several connections with QEMU's own TLS, which some versions of QEMU die of.

use super::rule::{Answer, Rule, none};

/// Memory goes encrypted over several connections.
pub(super) static ENCRYPTED_CHANNELS: Rule = Rule {
    code: "encrypted-channels",
    what: "memory goes encrypted over one connection, or over several in plain text",
    why: "QEMU 10.0 and 10.1 can die where several encrypted connections end early, and the guest with them",
    needed: false,
    judge: |facts| {
        if !facts.domain.live {
            return none();
        }
        let channels = facts.domain.channels;
        if channels == 1 || !facts.domain.encrypted {
            return vec![Answer::pass()];
        }
        let said = format!(
            "should memory stop going to {} half-way (cancelled, host or network down), QEMU 10.0 and 10.1 on {} can die \
             of {channels} encrypted connections, and the guest with it",
            facts.target_name, facts.source.host
        );
        vec![Answer::warn(said, "migrate with --channels 1, or use QEMU 10.2")]
    },
};
