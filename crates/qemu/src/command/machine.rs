//! Commands that ask what a QEMU can do: version, machines, CPUs, device types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command;

/// QAPI `query-version`. Shown to people only; what QEMU can do is asked from its schema.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryVersion;
command!(QueryVersion, "query-version", Version);

/// QAPI `VersionInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// QAPI `VersionTriple`.
    pub qemu: VersionTriple,
    /// The distribution's package version; may be empty.
    #[serde(default)]
    pub package: String,
}

/// QAPI `VersionTriple`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct VersionTriple {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Micro.
    pub micro: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let VersionTriple { major, minor, micro } = self.qemu;
        write!(formatter, "{major}.{minor}.{micro}")
    }
}

/// QAPI `query-machines`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryMachines;
command!(QueryMachines, "query-machines", Vec<Machine>);

/// QAPI `MachineInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// Versioned name, such as `pc-q35-10.0`.
    pub name: String,
    /// Unversioned name, such as `q35`.
    pub alias: Option<String>,
    /// Whether QEMU means to drop it.
    #[serde(default)]
    pub deprecated: bool,
    /// Most vCPUs.
    pub cpu_max: Option<u32>,
    /// CPU type without `-cpu`.
    pub default_cpu_type: Option<String>,
}

/// QAPI `query-cpu-definitions`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryCpuDefinitions;
command!(QueryCpuDefinitions, "query-cpu-definitions", Vec<CpuDefinition>);

/// QAPI `CpuDefinitionInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CpuDefinition {
    /// Model name.
    pub name: String,
    /// Whether a guest with it can be migrated.
    pub migration_safe: Option<bool>,
    /// What this host lacks for the model; `None` where QEMU does not say.
    pub unavailable_features: Option<Vec<String>>,
    /// The versioned model that an alias stands for.
    pub alias_of: Option<String>,
    /// Whether QEMU means to drop it.
    #[serde(default)]
    pub deprecated: bool,
}

/// QAPI `query-cpu-model-expansion`.
#[derive(Clone, Debug, Serialize)]
pub struct QueryCpuModelExpansion {
    /// `static` or `full`.
    #[serde(rename = "type")]
    pub kind: CpuExpansion,
    /// What to expand.
    pub model: CpuModel,
}
command!(QueryCpuModelExpansion, "query-cpu-model-expansion", CpuModelExpansion);

/// QAPI `CpuModelExpansionType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuExpansion {
    /// Onto a model that never changes.
    Static,
    /// Every property, those that cannot be set included.
    Full,
}

/// QAPI `CpuModelInfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuModel {
    /// Model name.
    pub name: String,
    /// Properties: booleans, numbers and strings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub props: BTreeMap<String, Value>,
}

/// QAPI `CpuModelExpansionInfo`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CpuModelExpansion {
    /// The expansion.
    pub model: CpuModel,
}

/// QAPI `query-cpus-fast`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryCpusFast;
command!(QueryCpusFast, "query-cpus-fast", Vec<Cpu>);

/// QAPI `CpuInfoFast`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cpu {
    /// Number of the vCPU.
    pub cpu_index: u32,
    /// Object path, for `qom-get`.
    pub qom_path: String,
    /// Linux thread.
    pub thread_id: Option<u32>,
}

/// QAPI `qom-list-types`: device types among others.
#[derive(Clone, Debug, Serialize)]
pub struct QomListTypes {
    /// Only types that implement this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implements: Option<String>,
}
command!(QomListTypes, "qom-list-types", Vec<ObjectType>);

/// QAPI `ObjectTypeInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ObjectType {
    /// Type name.
    pub name: String,
}
