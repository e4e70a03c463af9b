//! Where a domain can be looked at. Main type: [`Vnc`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A domain's VNC server: `host` and `port`, or `socket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vnc {
    /// The address that it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of its Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
}
