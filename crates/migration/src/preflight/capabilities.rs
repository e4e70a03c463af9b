//! Rule `migrate-capability-missing`: both QEMUs can do what the handover rests on.

use super::rule::{Answer, Rule, none, or_pass};

/// Capabilities (qapi `MigrationCapability`) without which the handover cannot be done.
pub const CAPABILITIES_NEEDED: [&str; 3] = ["events", "return-path", "pause-before-switchover"];

/// A QEMU lacks a migration capability that cannot be done without.
pub(super) static MIGRATE_CAPABILITY_MISSING: Rule = Rule {
    code: "migrate-capability-missing",
    what: "migration capabilities of both QEMUs",
    why: "without them nobody can say on which host the guest runs, or the wanted connections cannot be made",
    needed: true,
    judge: |facts| {
        let Some(target) = facts.told().filter(|_| facts.domain.live) else { return none() };
        let mut needed = CAPABILITIES_NEEDED.to_vec();
        if facts.domain.channels > 1 {
            needed.push("multifd");
        }
        let mut found = Vec::new();
        for host in [&facts.source, &target.host] {
            let (Some(has), host) = (&host.migrate_capabilities, &host.host) else { continue };
            for capability in needed.iter().filter(|needed| !has.iter().any(|has| has == *needed)) {
                let mend = if *capability == "multifd" {
                    "migrate with one connection: ferry migrate … --channels 1".into()
                } else {
                    format!("install a newer QEMU on {host} and restart the domain")
                };
                let said = format!("QEMU on {host} lacks the migration capability {capability}");
                found.push(Answer::fail(said, mend).about(*capability));
            }
        }
        or_pass(found, Answer::pass().between(needed.join(", "), needed.join(", ")))
    },
};
