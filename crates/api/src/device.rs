//! Devices that come and go, and media that change. Main types: [`AttachRequest`], [`DetachRequest`],
//! [`MediaRequest`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a change is made to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The guest where it runs, else the definition.
    #[default]
    Current,
    /// The guest that runs; it is as before when it is started the next time.
    Live,
    /// The definition; it shows when the domain is started the next time.
    Config,
    /// The guest that runs and the definition.
    Both,
    /// The definition, and the guest where it runs.
    Persistent,
}

/// `POST /domains/{domain}/devices`: attach a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttachRequest {
    /// One `<disk>` or `<interface>` of libvirt domain XML.
    pub xml: String,
    /// What it is attached to.
    #[serde(default)]
    pub scope: Scope,
}

/// `POST /domains/{domain}/devices/detach`: detach a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DetachRequest {
    /// Which.
    pub device: Device,
    /// What it is detached from.
    #[serde(default)]
    pub scope: Scope,
}

/// A device of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// A disk or drive, by the guest's name for it, as in `vdb`.
    Disk(String),
    /// A network interface, by its MAC address.
    Interface(String),
    /// What a `<disk>` or `<interface>` of libvirt domain XML names: its target, or its MAC address.
    Xml(String),
}

/// `POST /domains/{domain}/media`: give a drive another medium.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MediaRequest {
    /// The guest's name for the drive, as in `sda`.
    pub target: String,
    /// The image; none leaves the drive empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Open a tray that the guest has locked.
    #[serde(default)]
    pub force: bool,
    /// What it is given to.
    #[serde(default)]
    pub scope: Scope,
}
