//! Rule `port-unreachable`: memory gets through to the target.

use super::rule::{Answer, Rule, none};

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
