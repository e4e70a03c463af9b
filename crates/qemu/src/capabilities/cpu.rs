//! CPU models: what `host-model` means on this host, and whether a host can give what a `-cpu` asks for.
//!
//! `query-cpu-model-comparison` does not exist on x86, so the host's CPU is expanded into its features, and a probe
//! QEMU with the exact `-cpu` says what it would have to leave out. It never changes a definition. The main type is
//! [`HostModel`].

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use domain::{CpuFeature, CpuModel, FeaturePolicy};
use serde_json::Value;

use super::{Probe, ProbeError};
use crate::accelerator::Accelerator;
use crate::command::{
    self, CpuExpansion, QomGet, QueryCpuDefinitions, QueryCpuModelExpansion, QueryCpusFast,
};
use crate::command_line::{CommandLine, Properties};
use crate::qmp::Qmp;

/// What `host-model` means on a host: the named model nearest to the host's CPU, and every feature that differs.
///
/// Only what can be migrated is in it, and it stays the same wherever the domain goes. Displayed it is the value of
/// `-cpu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostModel {
    /// For the definition: [`domain::Definition`] takes it as a custom model.
    pub cpu: CpuModel,
}

impl fmt::Display for HostModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = Properties::new(&self.cpu.model);
        let value = self
            .cpu
            .features
            .iter()
            .fold(model, |value, feature| value.with_switch(&feature.name, feature.policy.enabled()));
        value.fmt(formatter)
    }
}

/// Expands `host-model` with an emulator and accelerator: from QEMU's `host` under KVM, from `max` under TCG.
pub async fn expand_host_model(emulator: &Path, accelerator: Accelerator) -> Result<HostModel, ProbeError> {
    let probe = Probe::start(emulator, &CommandLine::probe("none", accelerator, None)).await?;
    let expanded = expand(probe.qmp(), accelerator).await;
    probe.end().await;
    expanded
}

/// The features of the CPU that a guest sees with `-cpu host` on this host, by QEMU's names; under TCG of `max`.
pub async fn host_features(
    emulator: &Path,
    accelerator: Accelerator,
) -> Result<BTreeSet<String>, ProbeError> {
    let probe = Probe::start(emulator, &CommandLine::probe("none", accelerator, None)).await?;
    let expanded = Expanded::of(probe.qmp(), host_cpu(accelerator)).await;
    probe.end().await;
    Ok(expanded?.features)
}

/// What QEMU calls the host's CPU.
fn host_cpu(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    }
}

/// Which features of an exact `-cpu` value this host cannot give; empty where the guest gets what it was promised.
/// An unknown model or feature is [`ProbeError::Start`], with QEMU's words in its log tail.
pub async fn check_cpu(
    emulator: &Path,
    accelerator: Accelerator,
    machine: &str,
    cpu: &str,
) -> Result<Vec<String>, ProbeError> {
    let probe = Probe::start(emulator, &CommandLine::probe(machine, accelerator, Some(cpu))).await?;
    let missing = unavailable_features(probe.qmp()).await;
    probe.end().await;
    missing
}

/// Features that a QEMU was asked to give its vCPUs and could not (property `unavailable-features`), in order.
pub async fn unavailable_features(qmp: &Qmp) -> Result<Vec<String>, ProbeError> {
    let missing = cpu_property(qmp, "unavailable-features").await?;
    let mut names: Vec<String> = serde_json::from_value(missing).unwrap_or_default();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// A property of the first vCPU.
pub(super) async fn cpu_property(qmp: &Qmp, property: &str) -> Result<Value, ProbeError> {
    let cpus = qmp.execute(QueryCpusFast).await.map_err(ProbeError::Ask)?;
    let Some(cpu) = cpus.into_iter().next() else {
        return Ok(Value::Null);
    };
    let get = QomGet { path: cpu.qom_path, property: property.to_owned() };
    qmp.execute(get).await.map_err(ProbeError::Ask)
}

/// A CPU as its vendor and the features that are on.
struct Expanded {
    name: String,
    vendor: String,
    features: BTreeSet<String>,
}

impl Expanded {
    async fn of(qmp: &Qmp, name: &str) -> Result<Self, ProbeError> {
        // Static: one name for each feature, and only what the guest sees. Its family, model and stepping read as
        // 0 for `max`, as QEMU 10.0 fills them in later; a named model brings its own.
        let model = command::CpuModel { name: name.to_owned(), props: Default::default() };
        let ask = QueryCpuModelExpansion { kind: CpuExpansion::Static, model };
        let props = qmp.execute(ask).await.map_err(ProbeError::Ask)?.model.props;
        let vendor = props.get("vendor").and_then(Value::as_str).unwrap_or_default().to_owned();
        let on = props.into_iter().filter(|(_, value)| *value == Value::Bool(true));
        Ok(Self { name: name.to_owned(), vendor, features: on.map(|(name, _)| name).collect() })
    }

    /// How far a model is from the host: features to switch, and of those the ones to switch off.
    fn distance(&self, host: &Self) -> (usize, usize) {
        let off = self.features.difference(&host.features).count();
        let on = host.features.difference(&self.features).count();
        (on + off, off)
    }
}

async fn expand(qmp: &Qmp, accelerator: Accelerator) -> Result<HostModel, ProbeError> {
    let host = Expanded::of(qmp, host_cpu(accelerator)).await?;
    let definitions = qmp.execute(QueryCpuDefinitions).await.map_err(ProbeError::Ask)?;
    let mut nearest: Option<Expanded> = None;
    for definition in definitions {
        // `base` is empty; an alias may stand for another model in another machine type.
        let fits = definition.migration_safe == Some(true)
            && definition.alias_of.is_none()
            && !definition.deprecated
            && definition.name != "base";
        if !fits {
            continue;
        }
        let candidate = Expanded::of(qmp, &definition.name).await?;
        let nearer = |nearest: &Expanded| {
            (candidate.distance(&host), &candidate.name) < (nearest.distance(&host), &nearest.name)
        };
        if candidate.vendor == host.vendor && nearest.as_ref().is_none_or(nearer) {
            nearest = Some(candidate);
        }
    }
    let nearest = nearest.ok_or(ProbeError::NoCpuModel { vendor: host.vendor.clone() })?;
    let required = host.features.difference(&nearest.features).map(|name| (name, FeaturePolicy::Require));
    let disabled = nearest.features.difference(&host.features).map(|name| (name, FeaturePolicy::Disable));
    let features =
        required.chain(disabled).map(|(name, policy)| CpuFeature { name: name.clone(), policy }).collect();
    Ok(HostModel { cpu: CpuModel { model: nearest.name, features } })
}
