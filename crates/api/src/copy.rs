//! Snapshots, clones and imports: what works on a domain's disks while it is shut off. Main types: [`Snapshot`],
//! [`CloneRequest`], [`ImportRequest`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Domain;

/// A snapshot of a domain's disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Bytes of the guest's memory that somebody saved with it; 0 where the guest was shut off.
    pub memory_bytes: u64,
    /// The disks that have it, by the guest's names, as in `vda`.
    pub disks: Vec<String>,
}

/// `POST /domains/{domain}/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotRequest {
    /// Its name: letters, digits, `.`, `_` and `-`, not digits only.
    pub name: String,
}

/// `POST /domains/{domain}/clone`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloneRequest {
    /// The new domain's name.
    pub name: String,
    /// Where copies of disks go, by the guest's names; the others lie beside what they are copies of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// `POST /imports`: take a domain over from a libvirt on the same host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImportRequest {
    /// By the name that it has there.
    Libvirt(String),
    /// By its definition, libvirt domain XML.
    Xml(String),
}

/// A domain that was taken over, and what libvirt still has of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// The domain as it is defined here now.
    pub domain: Domain,
    /// Whether libvirt still has a definition of this name.
    pub in_libvirt: bool,
    /// Whether libvirt starts it when the host boots.
    pub libvirt_autostart: bool,
    /// What the definition says and is not applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
