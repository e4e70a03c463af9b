//! Domains as an agent shows them. Main type: [`Domain`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What a domain is doing on the host that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DomainState {
    /// Its vCPUs run.
    Running,
    /// It has a QEMU process whose vCPUs are stopped by an operator.
    Suspended,
    /// It has a QEMU process that stopped by itself: an I/O error, a guest panic, an internal error.
    Stopped,
    /// It is defined and has no QEMU process.
    ShutOff,
    /// It is leaving this host; its guest still works here.
    Leaving,
    /// It is arriving on this host; its guest does not run here yet.
    Arriving,
    /// It has been pledged to another host whose verdict is not known.
    InDoubt,
    /// It has moved to another host; this definition does not start.
    Moved,
}

/// One domain on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// Its name, unique on the host.
    pub name: String,
    /// Its UUID, the same on every host.
    pub uuid: Uuid,
    /// What it is doing here.
    pub state: DomainState,
    /// Why it is in this state, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether its definition is kept on this host across a shutdown.
    pub persistent: bool,
    /// Whether it starts when this host boots.
    #[serde(default)]
    pub autostart: bool,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// The versioned machine type, as in `pc-q35-10.0`.
    pub machine: String,
    /// Process id of its QEMU on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since when this QEMU process has been serving it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// The migration that it takes part in now, or the one that took it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Uuid>,
    /// The host that has it, where this one has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Its network interfaces.
    pub interfaces: Vec<Interface>,
    /// Where its first serial console is, if there is one: a pty or socket path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
    /// QEMU's log on this host.
    pub log: String,
}

/// A disk of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    /// The guest's name for it, as in `vda`.
    pub target: String,
    /// Its image file, its block device, or `nfs://HOST/PATH`; empty where a CD drive is.
    pub source: String,
    /// Image format: `qcow2` or `raw`.
    pub format: String,
    /// Whether the guest may only read it.
    pub readonly: bool,
}

/// A network interface of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// MAC address.
    pub mac: String,
    /// The bridge that it is on.
    pub bridge: String,
    /// Its tap on this host, while it has a QEMU process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
}

/// `POST /domains/{domain}/shutdown`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShutdownRequest {
    /// How long to wait for the guest to power itself off, in seconds. 0 asks and does not wait.
    pub timeout_s: u64,
}

/// `POST /domains/{domain}/reboot`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RebootRequest {
    /// How long to wait for the guest to shut itself down and be booted again, in seconds. 0 asks and does not wait.
    pub timeout_s: u64,
}
