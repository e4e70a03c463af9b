//! Rule `host-device`: a guest's devices go with it.

use super::rule::{Answer, Rule, or_pass};

/// A device of the source host is in the guest's hands.
pub(super) static HOST_DEVICE: Rule = Rule {
    code: "host-device",
    what: "no device of the source is in the guest's hands",
    why: "a device of one host is not on the other, and its state cannot be read",
    needed: false,
    judge: |facts| {
        let found = facts.domain.host_devices.iter().map(|device| {
            let said = format!("the guest has the {device} of {}, which cannot follow it", facts.source.host);
            let mend =
                "detach the device from the guest first, or shut the domain off and define it on the target";
            Answer::fail(said, mend).between(device, "").about(device)
        });
        or_pass(found.collect(), Answer::pass().between("none", ""))
    },
};
