//! Facts of hosts as they were recorded on other hardware, and the rules that see a difference. Main items: [`HOSTS`],
//! [`PAIRS`], [`judged`].

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use api::{BridgeFacts, HostFacts, Severity};
use lab::kvm_host::Hardware;
use lab::shown::{Made, Shown};
use migration::preflight::{Selection, example, judge};
use serde::{Deserialize, Serialize};

/// Makes a bridge, and keeps it.
const BRIDGE: &str =
    "ferry --json bridge create br0 --uplink eth0 --confirm-within 10min && ferry bridge confirm br0";
/// The same on a VLAN.
const ON_VLAN: &str = "ferry --json bridge create br0 --uplink eth0 --vlan 100 --confirm-within 10min && ferry bridge confirm br0";

/// The hosts that are recorded, by name, and what is done on them first.
pub(crate) const HOSTS: [(&str, Hardware<'static>, &str); 7] = [
    ("amd", hardware("EPYC", "", &[]), BRIDGE),
    ("amd-newer", hardware("EPYC,model-id=AMD EPYC 7763 64-Core Processor", "", &[]), "true"),
    ("intel", hardware("Cascadelake-Server", "", &[]), "true"),
    ("nx-off", hardware("EPYC,nx=off", "", &[]), "true"),
    ("hpet", hardware("EPYC", "tsc=unstable clocksource=hpet", &[]), "true"),
    // With it, the time stamp counter of the emulated CPU counts nanoseconds.
    ("other-tsc", hardware("EPYC", "", &["-icount", "shift=1,sleep=off"]), "true"),
    ("vlan", hardware("EPYC", "", &[]), ON_VLAN),
];

const fn hardware(
    cpu: &'static str,
    kernel: &'static str,
    more: &'static [&'static str],
) -> Hardware<'static> {
    Hardware { cpu, kernel, more }
}

/// What of two hosts is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Architecture, vendor, model, NX.
    Processors,
    /// Processors, for a guest that sees its host's own.
    OwnProcessors,
    /// Clock source and time stamp counter.
    Time,
    /// The bridge.
    Bridge,
}

/// A rule, and how much what it found matters.
type Found = (&'static str, Severity);

/// Source and target, what of them is compared, and what must be found under KVM.
pub(crate) const PAIRS: [(&str, &str, Part, &[Found]); 9] = [
    ("amd", "amd", Part::OwnProcessors, &[]),
    ("amd", "amd", Part::Time, &[]),
    ("amd", "amd", Part::Bridge, &[]),
    ("amd", "intel", Part::Processors, &[("cpu-vendor-differs", Severity::Fail)]),
    ("amd", "nx-off", Part::Processors, &[("nx-differs", Severity::Fail)]),
    ("amd", "amd-newer", Part::OwnProcessors, &[("cpu-model-differs", Severity::Warn)]),
    ("amd", "hpet", Part::Time, &[("clock-source-differs", Severity::Warn)]),
    ("amd", "other-tsc", Part::Time, &[("tsc-differs", Severity::Warn)]),
    ("amd", "vlan", Part::Bridge, &[("vlan-differs", Severity::Warn)]),
];

/// A file of facts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// What wrote the file.
    pub(crate) recorded_by: String,
    /// QEMU's arguments, the kernel's words and the command by which the host differed.
    pub(crate) hardware: String,
    /// What `ferry doctor --facts` printed there.
    pub(crate) facts: HostFacts,
}

impl Recorded {
    pub(crate) fn path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{name}.json"))
    }

    pub(crate) fn read(name: &str) -> Result<Recorded> {
        let path = Recorded::path(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// Judges every pair on these facts: what is found must be what is expected, and is written down.
pub(crate) fn judged(facts_of: impl Fn(&str) -> Result<HostFacts>, made: Made) -> Result<()> {
    for (source, target, part, expected) in PAIRS {
        let (from, to) = (facts_of(source)?, facts_of(target)?);
        let mut facts = example::changed(example::kvm);
        facts.domain.host_cpu = part == Part::OwnProcessors;
        take(part, &mut facts.source, &from);
        take(part, &mut facts.target.as_mut().expect("the target of a pair has told its facts").host, &to);
        let checked = judge(&facts, &Selection::default());
        let wrong: Vec<_> = checked.iter().filter(|checked| checked.severity > Severity::Pass).collect();
        let found: Vec<_> = wrong.iter().map(|checked| (checked.rule.as_str(), checked.severity)).collect();
        ensure!(found == expected, "from {source} to {target}: {wrong:#?}");
        for checked in wrong {
            ensure!(checked.mend.as_ref().is_some_and(|mend| !mend.is_empty()), "no mend: {checked:#?}");
            let severity = if checked.severity == Severity::Fail { "fail" } else { "warn" };
            let shown = Shown {
                rule: checked.rule.clone(),
                made,
                condition: format!("under KVM, from a host {source} to a host {target}"),
                severity: severity.to_owned(),
                message: checked.message.clone(),
            };
            shown.write()?;
        }
    }
    Ok(())
}

/// Gives a host of a pair the part of a recorded one.
fn take(part: Part, host: &mut HostFacts, recorded: &HostFacts) {
    match part {
        Part::Processors | Part::OwnProcessors => {
            host.arch.clone_from(&recorded.arch);
            host.cpu_vendor.clone_from(&recorded.cpu_vendor);
            host.cpu_model.clone_from(&recorded.cpu_model);
            host.nx = recorded.nx;
        }
        Part::Bridge => {
            let mac = host.bridges[0].mac.clone();
            let bridges = recorded.bridges.iter().cloned();
            host.bridges = bridges.map(|bridge| BridgeFacts { mac: mac.clone(), ..bridge }).collect();
        }
        Part::Time => {
            host.clock_source.clone_from(&recorded.clock_source);
            host.tsc_khz = recorded.tsc_khz;
            host.tsc_even = recorded.tsc_even;
        }
    }
}
