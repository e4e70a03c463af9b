//! Rule `descriptors-short`: QEMU may open as many files as it needs.

use super::rule::{Answer, Rule, none};

/// What QEMU opens whatever the guest has: libraries, sockets, event and timer descriptors.
const EACH: u64 = 64;
/// For a disk: images of its chain, and an event descriptor for each queue.
const PER_DISK: u64 = 16;
/// For a vCPU: its own, its queues' in cards and disks.
const PER_VCPU: u64 = 8;

/// A QEMU on the target may not open as many files as the guest needs.
pub(super) static DESCRIPTORS_SHORT: Rule = Rule {
    code: "descriptors-short",
    what: "file descriptors for QEMU",
    why: "a QEMU that may open no more files loses disks and connections",
    needed: false,
    judge: |facts| {
        let Some(max) = facts.told().and_then(|target| target.host.descriptors_max) else { return none() };
        // What is enough where the guest is now is enough.
        let as_many = facts.source.descriptors_max.is_some_and(|here| here <= max);
        let domain = &facts.domain;
        let disks = u64::try_from(domain.disks.len()).unwrap_or(u64::MAX);
        let wanted =
            EACH + PER_DISK * disks + PER_VCPU * u64::from(domain.vcpus) + u64::from(domain.channels);
        let to = &facts.target_name;
        let answer = if wanted <= max || as_many {
            Answer::pass()
        } else {
            Answer::warn(
                format!(
                    "QEMU needs about {wanted} file descriptors for the guest and may have {max} on {to}"
                ),
                format!(
                    "on {to}: systemctl edit ferry-agent, LimitNOFILE=65536; systemctl restart ferry-agent"
                ),
            )
        };
        vec![answer.between(format!("about {wanted}"), max)]
    },
};
