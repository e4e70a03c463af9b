//! Bridges of a host. Main types: [`Bridge`], [`BridgeRequest`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A bridge of the host that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// The links that are its ports: its uplink, guests' taps.
    pub ports: Vec<String>,
    /// The host's own addresses on it, with their prefixes.
    pub addresses: Vec<String>,
    /// The link by which it reaches the network, where Ferry made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// The VLAN of the uplink that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// What makes it again when the host boots, as in `systemd-networkd`, where Ferry made it and something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
    /// When it is undone by itself unless it is confirmed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_at: Option<String>,
    /// Hosts that were reached before it was made and are not since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// Addresses from a DHCP server that end with their lease, since nothing that Ferry knows renews them on the bridge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unrenewed: Vec<String>,
}

/// What a new bridge may be called, in words.
pub const BRIDGE_NAME: &str = "1 to 15 letters, digits, '.', '_' and '-', and begin with neither '.' nor '-'";

/// Whether a new bridge may be called this. The kernel takes more, and means something else by `%`; but the name goes into
/// configurations, where other characters are patterns, options or lines of a shell.
#[must_use]
pub fn is_bridge_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=15).contains(&name.len()) && name.chars().all(fits) && !name.starts_with(['.', '-'])
}

/// `POST /bridges`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BridgeRequest {
    /// The bridge's name: 1 to 15 letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`.
    pub name: String,
    /// The link by which it reaches the network, and whose place it takes.
    pub uplink: String,
    /// A VLAN of the uplink that it carries instead of the uplink's untagged frames, 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Its MTU and the uplink's in bytes; else it has the uplink's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// For how long it stays without being confirmed, in milliseconds. 0: for ever.
    #[serde(default = "confirm_within_ms")]
    pub confirm_within_ms: u64,
}

fn confirm_within_ms() -> u64 {
    30_000
}

impl BridgeRequest {
    /// A bridge on an uplink, with everything else as it is when nobody says.
    #[must_use]
    pub fn on(name: impl Into<String>, uplink: impl Into<String>) -> BridgeRequest {
        BridgeRequest {
            name: name.into(),
            uplink: uplink.into(),
            vlan: None,
            mtu: None,
            confirm_within_ms: confirm_within_ms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, sound: bool) {
        assert_eq!(is_bridge_name(name), sound, "{name:?}");
    }

    #[test]
    fn names_that_mean_nothing_else() {
        check("br0", true);
        check("_lan.7-a", true);
        check("fifteen-bytes-x", true);
        check("sixteen-bytes-xx", false);
        for name in
            ["", ".", "..", ".br0", "-br0", "--all", "br%d", "br0;reboot", "br*", "br?", "br[0]", "br0:1"]
        {
            check(name, false);
        }
        for name in
            ["br/0", "br 0", "br\n0", "br\0", "brü", "$br", "`br`", "br&", "br|", "br'", "br\"", "br\\"]
        {
            check(name, false);
        }
    }
}
