//! QEMUs that lack something on the target.

use anyhow::Result;
use lab::Lab;
use lab::preflight::{expect, real};

use super::lies::lying;

/// What the target's QEMU says no more, what that breaks, and what it is.
const LACKS: [(&str, &str, &str, &str); 3] = [
    (
        r#"s/"pc-q35-10\.0"/"pc-q35-0.0"/g"#,
        "machine-missing",
        "fail",
        "the target's QEMU lacks the machine type",
    ),
    (
        r#"s/"virtio-rng-pci"/"virtio-dice-pci"/g"#,
        "device-missing",
        "fail",
        "the target's QEMU lacks a device of the guest",
    ),
    (
        r#"s/"qom-path": "[^"]*"/"qom-path": "nowhere"/g"#,
        "fact-unknown",
        "warn",
        "the target's QEMU does not tell its CPU's features",
    ),
];

pub(crate) fn differ(lab: &Lab) -> Result<()> {
    for (lie, rule, severity, condition) in LACKS {
        lying(lab, lab.kvm2(), lie, || expect(lab, &["web1"], real(rule, severity, condition)))?;
    }
    let other = |before: &str| format!("emulators = [\"/usr/bin/qemu-system-i386\"]\n{before}");
    let condition = "the target's QEMU is the one for 32 bits, and knows no CPU of 64";
    lab.kvm2().configured(other, || expect(lab, &["web1"], real("cpu-features-missing", "warn", condition)))
}
