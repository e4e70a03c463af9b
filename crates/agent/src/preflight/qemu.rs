//! What QEMU on this host can give a domain: the one that has the guest, or the one that would have it. Main functions:
//! [`of_guest`], [`of_emulator`].

use std::collections::BTreeSet;
use std::path::Path;

use ::qemu::capabilities::cpu::unavailable_features;
use ::qemu::capabilities::{Capabilities, ProbeError};
use ::qemu::command::{QueryChardev, QueryMigrate, QueryVersion};
use ::qemu::command_line::{Cpu, Switch};
use ::qemu::process::Process;
use api::HostFacts;
use domain::{CpuMode, Domain, Kind};
use migration::preflight::GuestFacts;

use super::domain::{agent_channel, sees_host_cpu};
use super::{known, within};
use crate::failure::Failure;
use crate::guest::accelerator;
use crate::node::{CpuAsked, Node};

/// Asks the QEMU that has a guest.
pub(super) async fn of_guest(
    node: &Node,
    domain: &Domain,
    emulator: &Path,
    process: &Process,
) -> (HostFacts, GuestFacts) {
    let qmp = &process.qmp;
    let (version, capabilities, lacks, features, migrate, ports) = tokio::join!(
        within("QEMU's version", qmp.execute(QueryVersion)),
        within("QEMU's migration capabilities", node.capabilities(emulator)),
        within("the guest's CPU features", unavailable_features(qmp)),
        within("the host's CPU features", host_features(node, domain, emulator)),
        within("QEMU's reasons against a migration", qmp.execute(QueryMigrate)),
        within("the guest's agent", qmp.execute(QueryChardev)),
    );
    let mut unknown = Vec::new();
    let capabilities = known(capabilities, &mut unknown);
    let host = HostFacts {
        qemu_version: known(version, &mut unknown).map(|version| version.to_string()),
        migrate_capabilities: capabilities.map(|capabilities| names(&capabilities)),
        cpu_unavailable: known(lacks, &mut unknown),
        cpu_features: known(features, &mut unknown).flatten(),
        ..HostFacts::default()
    };
    let label = agent_channel(domain).map(|place| format!("channel-{place}"));
    let port = known(ports, &mut unknown)
        .and_then(|ports| ports.into_iter().find(|port| Some(&port.label) == label.as_ref()));
    let guest = GuestFacts {
        blocked_reasons: known(migrate, &mut unknown).map(|info| info.blocked_reasons).unwrap_or_default(),
        agent_open: port.map(|port| port.frontend_open),
    };
    (HostFacts { unknown, ..host }, guest)
}

/// Asks the emulator that a domain would run with.
pub(super) async fn of_emulator(node: &Node, domain: &Domain, capabilities: &Capabilities) -> HostFacts {
    let mut unknown = Vec::new();
    let emulator = node.emulator(domain).unwrap_or_else(|_forbidden| node.default_emulator());
    let (lacks, features) = tokio::join!(
        within("CPU features", features_missing(node, domain, capabilities)),
        within("the host's CPU features", host_features(node, domain, emulator)),
    );
    HostFacts {
        qemu_version: Some(capabilities.version.clone()),
        migrate_capabilities: Some(names(capabilities)),
        cpu_unavailable: known(lacks, &mut unknown).flatten(),
        cpu_features: known(features, &mut unknown).flatten(),
        unknown,
        ..HostFacts::default()
    }
}

/// What a guest that sees this host's own CPU sees, where it is one and KVM works; less what its definition takes away.
async fn host_features(
    node: &Node,
    domain: &Domain,
    emulator: &Path,
) -> Result<Option<BTreeSet<String>>, Failure> {
    if domain.kind != Kind::Kvm || !sees_host_cpu(domain) || node.kvm().await.is_err() {
        return Ok(None);
    }
    let mut features = node.host_cpu_features(emulator).await?;
    let switched = domain.cpu.iter().flat_map(|cpu| &cpu.features);
    for off in switched.filter(|feature| !feature.policy.enabled()) {
        features.remove(&off.name);
    }
    Ok(Some(features))
}

fn names(capabilities: &Capabilities) -> Vec<String> {
    capabilities.migrate_capability_names().map(str::to_owned).collect()
}

/// Features of the guest's CPU that this host cannot give it, by a probe with the very `-cpu`; none where that would be
/// this host's own CPU, or no machine to try it with.
async fn features_missing(
    node: &Node,
    domain: &Domain,
    capabilities: &Capabilities,
) -> Result<Option<Vec<String>>, Failure> {
    let machine = &domain.os.machine;
    let Ok(emulator) = node.emulator(domain) else { return Ok(None) };
    let host_model = domain.cpu.as_ref().is_some_and(|cpu| cpu.mode == CpuMode::HostModel);
    if capabilities.machine(machine).is_none() || sees_host_cpu(domain) || host_model {
        return Ok(None);
    }
    let kvm = domain.kind == Kind::Kvm;
    if kvm && node.kvm().await.is_err() {
        return Ok(None);
    }
    let value = Cpu::new(domain, accelerator(kvm), None)?.value().unwrap_or_default();
    let cpu = value.to_string_lossy().into_owned();
    let asked = CpuAsked { emulator: emulator.to_owned(), kvm, machine: machine.clone(), cpu: cpu.clone() };
    match node.cpu_features_missing(asked).await {
        // This QEMU does not even know the model or one of its features.
        Err(Failure::Probe(ProbeError::Start(_))) => Ok(Some(vec![cpu])),
        answer => answer.map(Some),
    }
}
