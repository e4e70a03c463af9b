//! What changes a domain's definition. Main types: [`DefineRequest`], [`EditRequest`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /domains`: define a domain, or define it anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefineRequest {
    /// The definition, libvirt domain XML.
    pub xml: String,
    /// Do not keep the definition: start the domain now, and forget it when it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transient: bool,
}

/// `PUT /domains/{domain}/xml`: another definition for the next start, under the same name and UUID.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EditRequest {
    /// The definition, libvirt domain XML.
    pub xml: String,
    /// The definition that was edited; refused where it is not the one that is kept any more.
    pub replaces: String,
}

/// `DELETE /domains/{domain}`: what becomes of the file with its UEFI variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Nvram {
    /// It is removed.
    Remove,
    /// It stays.
    Keep,
}

/// `POST /domains/{domain}/size`: what the guest gets at its next start. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SizeRequest {
    /// Number of vCPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory in bytes, rounded up to whole MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// `POST /domains/{domain}/autostart`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AutostartRequest {
    /// Whether the domain starts when its host boots.
    pub enabled: bool,
}

/// `POST /domains/{domain}/rename`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RenameRequest {
    /// The new name.
    pub name: String,
}
