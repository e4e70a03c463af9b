//! A tap as a port of a bridge: the flags that mute or open it, and what the kernel says of it. It sends
//! nothing itself. The main types are [`Port`] and [`PortStatus`].

use std::fmt;

use rtnetlink::LinkBridgePort;
use rtnetlink::packet_route::link::{BridgePortState, InfoBridgePort, InfoPortData, LinkInfo, LinkMessage};

use crate::error::NetworkError;
use crate::{controller_of, info_of};

/// How a bridge treats a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The bridge learns no address from it, takes no frame of an address that it has not learned there, and floods
    /// nothing to it: neither unicast for an address it does not know, nor multicast, nor broadcast. A guest that does
    /// not run yet thus takes no frame away from the host where it still runs, and an announcement that its QEMU makes
    /// at load goes nowhere. What the host itself, not another port, broadcasts on the bridge still reaches it.
    /// (`IFLA_BRPORT_LEARNING`, `UNICAST_FLOOD`, `MCAST_FLOOD`, `BCAST_FLOOD` are 0, `LOCKED` is 1, which kernels
    /// before 5.18 pass over; ip-link(8), bridge_slave.)
    Muted,
    /// As any port: the kernel's defaults.
    Open,
}

/// The spanning tree state of a port (IEEE 802.1D; `BR_STATE_…` of linux/if_bridge.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// The link is down or has no carrier.
    Disabled,
    /// Takes part in the spanning tree; carries nothing.
    Listening,
    /// Learns addresses; carries nothing.
    Learning,
    /// Carries frames.
    Forwarding,
    /// Kept closed by the spanning tree, because it would close a loop.
    Blocking,
    /// A state this program does not know, as the kernel numbers it.
    Other(u8),
}

impl fmt::Display for PortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortState::Disabled => f.write_str("disabled"),
            PortState::Listening => f.write_str("listening"),
            PortState::Learning => f.write_str("learning"),
            PortState::Forwarding => f.write_str("forwarding"),
            PortState::Blocking => f.write_str("blocking"),
            PortState::Other(number) => write!(f, "in state {number}"),
        }
    }
}

/// A bridge port as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// The name of the bridge.
    pub bridge: String,
    /// Muted only if learning and all flooding are off; anything in between counts as open.
    pub port: Port,
    /// Its spanning tree state.
    pub state: PortState,
}

/// The message that sets all flags of a port at once, so no half of it can be seen.
pub(crate) fn flags(index: u32, port: Port) -> LinkMessage {
    let on = match port {
        Port::Muted => false,
        Port::Open => true,
    };
    let message =
        LinkBridgePort::new(index).learning(on).flood(on).mcast_flood(on).bcast_flood(on).locked(!on);
    match port {
        // A bridge that had learned an address here would go on sending to it.
        Port::Muted => message.fdb_flush().build(),
        Port::Open => message.build(),
    }
}

/// The index of the bridge that `link` is a port of, whether the port is muted, and its state.
pub(crate) fn status(tap: &str, link: &LinkMessage) -> Result<(u32, Port, PortState), NetworkError> {
    let not_a_port = || NetworkError::NotAPort { tap: tap.to_owned() };
    let bridge_index = controller_of(link).ok_or_else(not_a_port)?;
    let facts = info_of(link)
        .iter()
        .find_map(|info| match info {
            LinkInfo::PortData(InfoPortData::BridgePort(facts)) => Some(facts),
            _ => None,
        })
        .ok_or_else(not_a_port)?;

    let mut flags_on = 0;
    let mut state = PortState::Disabled;
    for fact in facts {
        match fact {
            InfoBridgePort::Learning(on)
            | InfoBridgePort::UnicastFlood(on)
            | InfoBridgePort::MulticastFlood(on)
            | InfoBridgePort::BroadcastFlood(on) => flags_on += u32::from(*on),
            InfoBridgePort::State(kernel) => state = from_kernel(*kernel),
            _ => {}
        }
    }
    let port = if flags_on == 0 { Port::Muted } else { Port::Open };
    Ok((bridge_index, port, state))
}

fn from_kernel(state: BridgePortState) -> PortState {
    match state {
        BridgePortState::Disabled => PortState::Disabled,
        BridgePortState::Listening => PortState::Listening,
        BridgePortState::Learning => PortState::Learning,
        BridgePortState::Forwarding => PortState::Forwarding,
        BridgePortState::Blocking => PortState::Blocking,
        other => PortState::Other(other.into()),
    }
}
