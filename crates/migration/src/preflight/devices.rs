//! Rule `device-missing`: the target's QEMU knows every device of the guest.

use super::rule::{Answer, Rule, none, or_pass};

/// QEMU on the target lacks a device.
pub(super) static DEVICE_MISSING: Rule = Rule {
    code: "device-missing",
    what: "every device is known to the target's QEMU",
    why: "a QEMU without a device of the guest does not start with the guest's machine",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let lacks = target.devices_missing.iter().map(|lack| {
            let said = format!("QEMU on {} has no {}", facts.target_name, lack.device);
            Answer::fail(said, &lack.mend).between("has it", "missing").about(&lack.device)
        });
        or_pass(lacks.collect(), Answer::pass())
    },
};
