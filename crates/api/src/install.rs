//! New domains that an operating system is to be installed in. Main type: [`InstallRequest`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /installs`: define a domain by a few words, make its disks and start it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstallRequest {
    /// Its name.
    pub name: String,
    /// What is going to run in it, as libosinfo calls it: `debian13`, `win11`, `generic`, …
    pub os: String,
    /// Memory in bytes, rounded up to whole MiB.
    pub memory_bytes: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// The chipset.
    #[serde(default)]
    pub machine: Chipset,
    /// UEFI in the place of a BIOS. A system that wants it gets it anyway.
    #[serde(default)]
    pub uefi: bool,
    /// Its disks in order; the first is booted, and where nothing is on it, the CD.
    #[serde(default)]
    pub disks: Vec<InstallDisk>,
    /// The installer's image on the agent's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdrom: Option<String>,
    /// Its network cards in order.
    #[serde(default)]
    pub interfaces: Vec<InstallInterface>,
    /// Whether it has a screen, with a VNC server that the agent's host alone reaches.
    pub vnc: bool,
}

/// The chipset of a new domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Chipset {
    /// PCI Express.
    #[default]
    Q35,
    /// i440fx: conventional PCI.
    Pc,
}

/// A disk of a new domain: an image that is there, or with `size_bytes` one that is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallDisk {
    /// The image; without it one is made where the agent's configuration says (`images`), named after the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The size of an image that is made, in bytes. Nothing is ever written over a file that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// `qcow2` or `raw`; without it raw where the image's name does not end in `.qcow2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// How it is attached, in libvirt's word; without it as the system wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
}

/// A network card of a new domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallInterface {
    /// What it is on.
    pub on: InstallNetwork,
    /// What the guest sees, in libvirt's word; without it as the system wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What a network card is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstallNetwork {
    /// A bridge of the host.
    Bridge(String),
    /// A network, which each host resolves to a bridge of its own.
    Network(String),
}
