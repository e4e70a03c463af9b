//! A case for every way in which a rule can be broken. Main function: [`cases`].

mod storage;

use api::{
    BridgeFacts, BridgeFault, CertificateFacts, DeviceLack, MacUse, Severity, TargetFacts, UnknownFact,
};
use uuid::Uuid;

use super::pair;
use crate::preflight::{Facts, LocalCharacter, Unasked};

/// One way to break one rule.
#[derive(Debug)]
pub struct Case {
    /// The rule's code.
    pub rule: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What is so, in words.
    pub condition: &'static str,
    /// Makes it so.
    pub change: fn(&mut Facts),
}

fn told(facts: &mut Facts) -> &mut TargetFacts {
    facts.target.as_mut().expect("the target of a pair has told its facts")
}

fn bridge(facts: &mut Facts) -> &mut BridgeFacts {
    &mut told(facts).host.bridges[0]
}

/// Has the target's certificate end in so many days.
fn until(facts: &mut Facts, days: i64) {
    let now_s = i64::try_from(facts.source.now_ms.expect("known") / 1000).expect("small");
    told(facts).host.certificate = Some(CertificateFacts { from_s: 0, until_s: now_s + days * 86_400 });
}

fn lacks(facts: &mut Facts, capability: &str) {
    let has = told(facts).host.migrate_capabilities.as_mut().expect("known");
    has.retain(|has| has != capability);
}

fn character(facts: &mut Facts, path: &str, device: bool) {
    facts.domain.local_characters = vec![LocalCharacter { path: path.into(), device, append: true }];
}

/// All of them, by rule.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(storage::CASES)
}

/// Of hosts, guests and networks.
static CASES: &[Case] = &[
    Case {
        rule: "same-host",
        severity: Severity::Fail,
        condition: "source and target have one name",
        change: |facts| {
            facts.target_name = "kvm1".into();
        },
    },
    Case {
        rule: "target-unreachable",
        severity: Severity::Fail,
        condition: "the target's agent is ended",
        change: |facts| {
            facts.target =
                Err(Unasked::Silent { reason: "connection refused".into(), mend: "start the agent".into() });
        },
    },
    Case {
        rule: "target-unreachable",
        severity: Severity::Fail,
        condition: "the target's agent goes in the middle of the check",
        change: |facts| {
            let (reason, mend) = ("connection closed".into(), "start the agent".into());
            facts.target = Err(Unasked::Untold { reason, mend });
        },
    },
    Case {
        rule: "target-older",
        severity: Severity::Warn,
        condition: "the target answers as the version before did",
        change: |facts| {
            facts.target = Err(Unasked::Older);
        },
    },
    Case {
        rule: "source-unreachable",
        severity: Severity::Fail,
        condition: "the source is not in the target's configuration",
        change: |facts| {
            told(facts).source_fault = Some("connection refused".into());
        },
    },
    Case {
        rule: "port-unreachable",
        severity: Severity::Fail,
        condition: "a packet filter drops what comes to QEMU's ports",
        change: |facts| {
            facts.between.door_fault = Some("no answer within 3 s".into());
        },
    },
    Case {
        rule: "certificate-expires",
        severity: Severity::Warn,
        condition: "a certificate has 9 days left",
        change: |facts| {
            until(facts, 9);
        },
    },
    Case {
        rule: "certificate-expires",
        severity: Severity::Fail,
        condition: "a certificate has expired",
        change: |facts| {
            until(facts, -1);
        },
    },
    Case {
        rule: "clock-skew",
        severity: Severity::Warn,
        condition: "the target's clock is 1.5 s ahead",
        change: |facts| {
            facts.between.ahead_ms = Some(1500);
        },
    },
    Case {
        rule: "clock-source-differs",
        severity: Severity::Warn,
        condition: "the target's kernel does not trust its TSC",
        change: |facts| {
            pair::kvm(facts);
            told(facts).host.clock_source = Some("hpet".into());
        },
    },
    Case {
        rule: "tsc-differs",
        severity: Severity::Warn,
        condition: "the target's time stamp counter runs at another rate",
        change: |facts| {
            pair::kvm(facts);
            told(facts).host.tsc_khz = Some(2_445_406);
        },
    },
    Case {
        rule: "tsc-differs",
        severity: Severity::Warn,
        condition: "the target's time stamp counter does not count evenly",
        change: |facts| {
            pair::kvm(facts);
            told(facts).host.tsc_even = Some(false);
        },
    },
    Case {
        rule: "arch-differs",
        severity: Severity::Fail,
        condition: "the target's kernel has 32 bits",
        change: |facts| {
            told(facts).host.arch = Some("i686".into());
        },
    },
    Case {
        rule: "cpu-vendor-differs",
        severity: Severity::Fail,
        condition: "the target's CPU is another vendor's, under KVM",
        change: |facts| {
            facts.domain.kvm = true;
            told(facts).host.cpu_vendor = Some("GenuineIntel".into());
        },
    },
    Case {
        rule: "cpu-model-differs",
        severity: Severity::Warn,
        condition: "the target's CPU is another model, and the guest sees it",
        change: |facts| {
            pair::kvm(facts);
            told(facts).host.cpu_model = Some("AMD EPYC 7763".into());
        },
    },
    Case {
        rule: "cpu-features-missing",
        severity: Severity::Fail,
        condition: "the target cannot give a feature that the guest has",
        change: |facts| {
            told(facts).host.cpu_unavailable = Some(vec!["avx2".into(), "pcid".into()]);
        },
    },
    Case {
        rule: "cpu-features-missing",
        severity: Severity::Warn,
        condition: "the target would give a feature that the guest does not have",
        change: |facts| {
            told(facts).host.cpu_unavailable = Some(vec![]);
        },
    },
    Case {
        rule: "cpu-features-missing",
        severity: Severity::Fail,
        condition: "the target's own CPU lacks a feature, and the guest sees it",
        change: |facts| {
            pair::kvm(facts);
            told(facts).host.cpu_features.as_mut().expect("known").remove("avx2");
        },
    },
    Case {
        rule: "nx-differs",
        severity: Severity::Warn,
        condition: "NX is off on the target",
        change: |facts| {
            told(facts).host.nx = Some(false);
        },
    },
    Case {
        rule: "nx-differs",
        severity: Severity::Fail,
        condition: "NX is off on the target, under KVM",
        change: |facts| {
            facts.domain.kvm = true;
            told(facts).host.nx = Some(false);
        },
    },
    Case {
        rule: "kvm-unusable",
        severity: Severity::Fail,
        condition: "the target has no /dev/kvm, and the domain wants KVM",
        change: |facts| {
            facts.domain.kvm = true;
            told(facts).kvm_unusable = Some("there is no /dev/kvm".into());
        },
    },
    Case {
        rule: "machine-missing",
        severity: Severity::Fail,
        condition: "the target's QEMU lacks the machine type",
        change: |facts| {
            told(facts).has_machine = Some(false);
        },
    },
    Case {
        rule: "device-missing",
        severity: Severity::Fail,
        condition: "the target's QEMU lacks a device",
        change: |facts| {
            let mend = "apt install qemu-system-modules-spice, or use another <video>".into();
            told(facts).devices_missing = vec![DeviceLack { device: "qxl-vga".into(), mend }];
        },
    },
    Case {
        rule: "qemu-older",
        severity: Severity::Warn,
        condition: "the target's QEMU is older",
        change: |facts| {
            told(facts).host.qemu_version = Some("8.2.2".into());
        },
    },
    Case {
        rule: "qemu-newer",
        severity: Severity::Warn,
        condition: "the target's QEMU is newer",
        change: |facts| {
            told(facts).host.qemu_version = Some("10.1.0".into());
        },
    },
    Case {
        rule: "migrate-capability-missing",
        severity: Severity::Fail,
        condition: "a QEMU lacks what the handover rests on",
        change: |facts| {
            lacks(facts, "return-path");
        },
    },
    Case {
        rule: "encrypted-channels",
        severity: Severity::Warn,
        condition: "memory is to go encrypted over two connections",
        change: |facts| {
            facts.domain.encrypted = true;
        },
    },
    Case {
        rule: "postcopy-missing",
        severity: Severity::Fail,
        condition: "the target's kernel has no userfaultfd, and post-copy is allowed",
        change: |facts| {
            facts.domain.postcopy = true;
            told(facts).host.userfaultfd = Some(false);
        },
    },
    Case {
        rule: "postcopy-missing",
        severity: Severity::Fail,
        condition: "the target's QEMU cannot do post-copy, which is allowed",
        change: |facts| {
            facts.domain.postcopy = true;
            lacks(facts, "postcopy-ram");
        },
    },
    Case {
        rule: "migration-blocked",
        severity: Severity::Fail,
        condition: "QEMU says that it cannot send a device",
        change: |facts| {
            facts.guest.blocked_reasons = vec!["The vhost-user-fs device does not support migration".into()];
        },
    },
    Case {
        rule: "host-device",
        severity: Severity::Fail,
        condition: "the guest has a PCI device of the source",
        change: |facts| {
            facts.domain.host_devices = vec!["PCI device 0000:06:02.0".into()];
        },
    },
    Case {
        rule: "local-character",
        severity: Severity::Warn,
        condition: "a serial line leads into a file",
        change: |facts| {
            character(facts, "/var/log/web1.log", false);
        },
    },
    Case {
        rule: "local-character",
        severity: Severity::Fail,
        condition: "a serial line is a device of the source",
        change: |facts| {
            character(facts, "/dev/ttyS0", true);
        },
    },
    Case {
        rule: "memory-short",
        severity: Severity::Fail,
        condition: "the guest has 4 TiB of memory, the target less",
        change: |facts| {
            told(facts).host.memory_available_bytes = Some(1 << 20);
        },
    },
    Case {
        rule: "hugepages-short",
        severity: Severity::Fail,
        condition: "the guest wants huge pages, and the target has none free",
        change: |facts| {
            facts.domain.hugepage_bytes = Some(2 << 20);
            told(facts).host.hugepages[0].free = 100;
        },
    },
    Case {
        rule: "cpus-short",
        severity: Severity::Warn,
        condition: "the target has fewer processors than the guest",
        change: |facts| {
            told(facts).host.cpus = Some(1);
        },
    },
    Case {
        rule: "descriptors-short",
        severity: Severity::Warn,
        condition: "a QEMU on the target may open few files",
        change: |facts| {
            told(facts).host.descriptors_max = Some(64);
        },
    },
    Case {
        rule: "state-space-short",
        severity: Severity::Warn,
        condition: "the target's disk is all but full",
        change: |facts| {
            told(facts).host.state_free_bytes = Some(1 << 20);
        },
    },
    Case {
        rule: "name-taken",
        severity: Severity::Fail,
        condition: "another domain of that name is defined on the target",
        change: |facts| {
            told(facts).same_name = Some(Uuid::from_u128(2));
        },
    },
    Case {
        rule: "uuid-taken",
        severity: Severity::Fail,
        condition: "another domain of that UUID is defined on the target",
        change: |facts| {
            told(facts).same_uuid = Some("old".into());
        },
    },
    Case {
        rule: "path-not-allowed",
        severity: Severity::Fail,
        condition: "the disk lies outside `allowed_paths` of the target",
        change: |facts| {
            told(facts).files_forbidden = vec!["/data/web1.qcow2".into()];
        },
    },
    Case {
        rule: "emulator-not-allowed",
        severity: Severity::Fail,
        condition: "the emulator is not in `emulators` of the target",
        change: |facts| {
            told(facts).emulator_forbidden = Some("/opt/qemu/bin/qemu-system-x86_64".into());
        },
    },
    Case {
        rule: "file-missing",
        severity: Severity::Fail,
        condition: "the guest's kernel is not on the target",
        change: |facts| {
            told(facts).files_missing = vec!["/srv/boot/vmlinuz".into()];
        },
    },
    Case {
        rule: "network-unknown",
        severity: Severity::Fail,
        condition: "the target does not know the bridge of a network",
        change: |facts| {
            let bridge = bridge(facts);
            (bridge.name, bridge.fault) = ("lan".into(), Some(BridgeFault::NetworkUnknown));
        },
    },
    Case {
        rule: "bridge-missing",
        severity: Severity::Fail,
        condition: "the bridge is removed on the target",
        change: |facts| {
            bridge(facts).fault = Some(BridgeFault::Missing);
        },
    },
    Case {
        rule: "not-a-bridge",
        severity: Severity::Fail,
        condition: "a veth has the bridge's name on the target",
        change: |facts| {
            bridge(facts).fault = Some(BridgeFault::NotABridge);
        },
    },
    Case {
        rule: "bridge-down",
        severity: Severity::Fail,
        condition: "the bridge is set down on the target",
        change: |facts| {
            bridge(facts).up = Some(false);
        },
    },
    Case {
        rule: "mtu-differs",
        severity: Severity::Fail,
        condition: "the bridge on the target has an MTU of 1400",
        change: |facts| {
            bridge(facts).mtu = Some(1400);
        },
    },
    Case {
        rule: "mtu-differs",
        severity: Severity::Warn,
        condition: "the bridge on the target has an MTU of 9000",
        change: |facts| {
            bridge(facts).mtu = Some(9000);
        },
    },
    Case {
        rule: "vlan-differs",
        severity: Severity::Warn,
        condition: "the bridge on the target stands on a VLAN",
        change: |facts| {
            bridge(facts).vlans = vec![100];
        },
    },
    Case {
        rule: "mac-in-use",
        severity: Severity::Fail,
        condition: "a tap on the target has the guest's MAC address",
        change: |facts| {
            let (mac, by) = ("52:54:00:00:00:01".into(), "domain db1".into());
            told(facts).macs_taken = vec![MacUse { mac, by }];
        },
    },
    Case {
        rule: "mac-heard",
        severity: Severity::Warn,
        condition: "the guest's MAC address is heard on the source's network",
        change: |facts| {
            let (mac, by) = ("52:54:00:00:00:01".into(), "port uplink of bridge br0".into());
            facts.source.macs_heard = vec![MacUse { mac, by }];
        },
    },
    Case {
        rule: "user-networking",
        severity: Severity::Warn,
        condition: "an interface goes through QEMU's own network stack",
        change: |facts| {
            facts.domain.user_networking = true;
        },
    },
    Case {
        rule: "guest-agent-silent",
        severity: Severity::Warn,
        condition: "nothing in the guest listens to its agent's channel",
        change: |facts| {
            facts.guest.agent_open = Some(false);
        },
    },
    Case {
        rule: "fact-unknown",
        severity: Severity::Warn,
        condition: "the target could not ask its QEMU",
        change: |facts| {
            let unknown = UnknownFact { what: "CPU features".into(), reason: "no answer within 10 s".into() };
            told(facts).host.unknown = vec![unknown];
        },
    },
];
