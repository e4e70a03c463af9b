//! What was seen of a domain on its target after it had moved. Main type: [`Verified`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /agent/migrations/{id}/verified`: what the target saw once the guest ran there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// The guest's interfaces that are on a bridge.
    pub interfaces: Vec<InterfaceSeen>,
    /// The guest's disks and media.
    pub disks: Vec<DiskSeen>,
    /// How far the guest's clock is ahead of the target's, in milliseconds, as the guest's agent tells; absent where
    /// none answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
}

/// Whether the network has found an interface again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceSeen {
    /// Its MAC address.
    pub mac: String,
    /// Its bridge on the target.
    pub bridge: String,
    /// Whether the bridge has learned the address on the guest's port; absent where that cannot be: the guest is
    /// suspended, its link is down, or the bridge was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<bool>,
}

/// Whether QEMU has a disk open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskSeen {
    /// The guest's name for it, as in `vda`.
    pub disk: String,
    /// Whether it is open and no request to it has failed; absent where QEMU did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}
