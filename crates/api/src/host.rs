//! Hosts as an agent shows itself. Main type: [`Host`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Protocols;

/// `GET /version`: what answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Ferry's version.
    pub ferry: String,
    /// The newest version of the conversation between agents that it speaks.
    pub protocol: u32,
    /// The oldest; absent where it is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_oldest: Option<u32>,
    /// The host that answers.
    pub host: String,
    /// What its clock says, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<u64>,
}

impl Version {
    /// The versions of the conversation between agents that it speaks.
    #[must_use]
    pub fn protocols(&self) -> Protocols {
        Protocols { oldest: self.protocol_oldest.unwrap_or(self.protocol), newest: self.protocol }
    }
}

/// `GET /host`: facts about the host that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its name, as other hosts know it.
    pub name: String,
    /// The kernel's release.
    pub kernel: String,
    /// Its processors.
    pub cpu: Cpu,
    /// Memory in bytes.
    pub memory_total_bytes: u64,
    /// Memory that could be given to a guest now, in bytes (`MemAvailable`).
    pub memory_available_bytes: u64,
    /// QEMU's version, for people; nothing is decided by it.
    pub qemu_version: String,
    /// The emulator that domains run with.
    pub emulator: String,
    /// What runs guests here, best first.
    pub accelerators: Vec<Accelerator>,
    /// Hosts that this one knows.
    pub neighbours: Vec<Neighbour>,
    /// Number of domains with a QEMU process.
    pub domains_active: u32,
}

/// Processors of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cpu {
    /// Architecture, as in `x86_64`.
    pub arch: String,
    /// `vendor_id` of `/proc/cpuinfo`.
    pub vendor: String,
    /// `model name` of `/proc/cpuinfo`.
    pub model: String,
    /// Logical processors online.
    pub count: u32,
    /// Whether no-execute pages are on (`nx`).
    pub nx: bool,
}

/// An accelerator and whether it works here, found out by using it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Accelerator {
    /// `kvm` or `tcg`.
    pub name: String,
    /// Whether a guest really ran with it.
    pub usable: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Another host in this one's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// Its agent's address.
    pub address: String,
}
