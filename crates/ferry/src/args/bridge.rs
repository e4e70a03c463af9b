//! What is typed after `bridge`.

use std::time::Duration;

use clap::{Args as Arguments, Subcommand};

use crate::measure;

#[derive(Debug, Subcommand)]
pub(crate) enum Bridge {
    /// Make a bridge that takes the place of a network card
    ///
    /// The card becomes the bridge's port; its addresses, routes and MTU move to the bridge, which has the card's MAC
    /// address. Spanning tree is off.
    ///
    /// The host undoes this by itself unless it is confirmed in time. Asked through ssh (--host), the command confirms it
    /// over the same connection, provided that the host still reaches the hosts it knows. On a terminal it asks. Else
    /// `ferry bridge confirm` does it.
    Create(BridgeCreate),
    /// List the host's bridges
    List,
    /// Keep a new bridge
    Confirm(OneBridge),
    /// Remove a bridge that Ferry made; its uplink takes back what moved
    ///
    /// Refused while a domain or a tap uses it.
    Delete(OneBridge),
}

#[derive(Debug, Arguments)]
pub(crate) struct OneBridge {
    /// The bridge's name
    pub(crate) name: String,
}

#[derive(Debug, Arguments)]
pub(crate) struct BridgeCreate {
    /// The bridge's name
    #[arg(value_parser = bridge_name)]
    pub(crate) name: String,
    /// The network card, bond or VLAN that leads to the network
    #[arg(long, value_name = "LINK")]
    pub(crate) uplink: String,
    /// Carry this VLAN of the uplink; the uplink keeps its own addresses
    #[arg(long, value_name = "ID")]
    pub(crate) vlan: Option<u16>,
    /// Bytes, for bridge and uplink; without it the bridge has the uplink's
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,
    /// Undo it unless it is confirmed in this time, as in 30s or 2min; 0 keeps it at once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = measure::confirm_within)]
    pub(crate) confirm_within: Duration,
}

/// Why a bridge cannot be called this.
#[derive(Debug, thiserror::Error)]
#[error("it must have {}", api::BRIDGE_NAME)]
struct BadName;

fn bridge_name(text: &str) -> Result<String, BadName> {
    if api::is_bridge_name(text) { Ok(text.to_owned()) } else { Err(BadName) }
}
