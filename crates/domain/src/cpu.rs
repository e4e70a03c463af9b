//! `<cpu>`: the processor the guest sees. It never knows what a model holds; QEMU does.

use crate::word::words;

/// `<cpu>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Which model.
    pub mode: CpuMode,
    /// `check`: how libvirt compares with what QEMU really gives the guest; none where not written.
    pub check: Option<CpuCheck>,
    /// `<vendor>`: the host's processor must be of this vendor (`Intel`, `AMD`). The guest does not see it.
    pub vendor: Option<String>,
    /// `<feature>` elements in order, at most one of a name: additions to and exceptions from the model.
    pub features: Vec<CpuFeature>,
    /// `<topology>`; the product equals the domain's `vcpus`.
    pub topology: Option<Topology>,
}

/// Where the processor's model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuMode {
    /// No model given: QEMU's `qemu64`.
    Default,
    /// `mode='custom'` with `<model>`: a model by name, the same on every host.
    Custom {
        /// QEMU's name, as `query-cpu-definitions` has it.
        model: String,
    },
    /// `mode='host-model'`: the nearest model to the host's processor; becomes `Custom` when the domain starts,
    /// with [`with_cpu_model`](crate::Definition::with_cpu_model).
    HostModel,
    /// `mode='host-passthrough'`: the host's own processor (`-cpu host`).
    HostPassthrough {
        /// `migratable`: whether features that cannot be migrated are left out; none leaves QEMU's default (`on`).
        migratable: Option<bool>,
    },
}

words! {
    /// How carefully libvirt checks that the guest gets what the definition says.
    pub enum CpuCheck {
        /// Not at all.
        None = "none",
        /// Before the start, against the host.
        Partial = "partial",
        /// After the start, against QEMU.
        Full = "full",
    }
}

/// One `<feature>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuFeature {
    /// QEMU's or libvirt's name.
    pub name: String,
    /// What the guest gets.
    pub policy: FeaturePolicy,
}

words! {
    /// What becomes of a CPU feature.
    pub enum FeaturePolicy {
        /// On, whether the host has it or not.
        Force = "force",
        /// On; a host without it cannot run the domain. The default.
        Require = "require",
        /// Off.
        Disable = "disable",
        /// Off; libvirt also refuses a host that has it.
        Forbid = "forbid",
    }
}

impl FeaturePolicy {
    /// Whether the guest sees the feature.
    pub fn enabled(self) -> bool {
        match self {
            FeaturePolicy::Force | FeaturePolicy::Require => true,
            FeaturePolicy::Disable | FeaturePolicy::Forbid => false,
        }
    }
}

/// `<topology>`: QEMU's `-smp sockets=,dies=,clusters=,cores=,threads=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Sockets in the machine.
    pub sockets: u32,
    /// Dies in a socket.
    pub dies: u32,
    /// Clusters in a die; always 1, x86 machines have no clusters.
    pub clusters: u32,
    /// Cores in a cluster.
    pub cores: u32,
    /// Threads in a core.
    pub threads: u32,
}

/// A host-model spelled out: what [`with_cpu_model`](crate::Definition::with_cpu_model) writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// QEMU's name of the model.
    pub model: String,
    /// Every feature that differs from the model.
    pub features: Vec<CpuFeature>,
}
