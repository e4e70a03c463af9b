//! Rules about the way between the hosts: both agents reach each other, and memory gets through.

use super::Unasked;
use super::rule::{Answer, Rule, none};

/// The target's agent does not answer.
pub(super) static TARGET_UNREACHABLE: Rule = Rule {
    code: "target-unreachable",
    what: "the target's agent answers",
    why: "what the target does not tell cannot be judged, and a domain cannot go there",
    needed: true,
    judge: |facts| match &facts.target {
        Ok(_) | Err(Unasked::Older) => vec![Answer::pass().between("", "answers")],
        Err(Unasked::Silent { reason, mend }) => {
            let said = format!("{} cannot be asked: {reason}", facts.target_name);
            vec![Answer::fail(said, mend).between("", "no answer")]
        }
        Err(Unasked::Untold { reason, mend }) => {
            let said = format!(
                "{} answers, and does not tell what the domain would find there: {reason}",
                facts.target_name
            );
            vec![Answer::fail(said, mend).between("", "no facts")]
        }
        Err(Unasked::Same) => none(),
    },
};

/// The target's agent is of a version that knows no checks.
pub(super) static TARGET_OLDER: Rule = Rule {
    code: "target-older",
    what: "the target's agent can be asked for its facts",
    why: "an older agent looks at less, and only when the domain is about to come",
    needed: false,
    judge: |facts| match &facts.target {
        Ok(_) => vec![Answer::pass()],
        Err(Unasked::Older) => vec![Answer::warn(
            format!("the agent of {} is older and tells no facts", facts.target_name),
            format!("update Ferry on {}", facts.target_name),
        )],
        Err(Unasked::Silent { .. } | Unasked::Untold { .. } | Unasked::Same) => none(),
    },
};

/// The source's agent cannot be asked from the target.
pub(super) static SOURCE_UNREACHABLE: Rule = Rule {
    code: "source-unreachable",
    what: "the target reaches the source's agent",
    why: "a target that lost its connection must ask the source what became of the domain",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let (from, to) = (&facts.source.host, &target.host.host);
        let answer = match &target.source_fault {
            None => Answer::pass().between("reached", ""),
            Some(fault) => Answer::fail(
                format!("{to} does not reach the agent of {from}: {fault}"),
                format!(
                    "name {from} in the configuration of {to} with an address that is open from there: \
                     ferry --host ssh://{to} doctor"
                ),
            )
            .between("not reached", ""),
        };
        vec![answer]
    },
};

/// Memory does not get through to the target.
pub(super) static PORT_UNREACHABLE: Rule = Rule {
    code: "port-unreachable",
    what: "a connection as that of memory gets through",
    why: "QEMU sends memory to a port of its own, which a firewall may close though the agent's is open",
    needed: false,
    judge: |facts| {
        let Some(door) = &facts.between.door else { return none() };
        let to = &facts.target_name;
        let answer = match &facts.between.door_fault {
            None => Answer::pass().between("", door),
            Some(fault) => Answer::fail(
                format!("no connection from {} to {door} on {to}: {fault}", facts.source.host),
                format!(
                    "open the ports that the kernel of {to} hands out (sysctl net.ipv4.ip_local_port_range) to {}: \
                     firewall-cmd --permanent --add-port=32768-60999/tcp",
                    facts.source.host
                ),
            )
            .between("", door),
        };
        vec![answer]
    },
};
