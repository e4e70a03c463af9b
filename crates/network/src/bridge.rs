//! What a bridge is, read from the kernel's description of a link. It changes nothing. The main type is
//! [`Bridge`].

use std::time::Duration;

use rtnetlink::packet_route::link::{BridgeStpState, InfoBridge, InfoData, InfoKind, LinkInfo, LinkMessage};

use crate::error::NetworkError;
use crate::{info_of, is_up, mtu_of, name_of};

/// A tick of the kernel's `clock_t` as netlink reports it: `USER_HZ` is 100 on every architecture we run on.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// The facts of a bridge that decide how a guest's port behaves on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// The kernel's number for it, unique in the namespace until the bridge is removed.
    pub index: u32,
    /// Whether it is administratively up; a bridge that is down forwards nothing.
    pub up: bool,
    /// The largest payload of a frame on it, in bytes (`IFLA_MTU`).
    pub mtu: u32,
    /// Whether the spanning tree protocol runs on it, in the kernel or in a daemon (`IFLA_BR_STP_STATE`).
    pub stp: bool,
    /// How long a new port listens, and then again learns, before it forwards, if `stp`
    /// (`IFLA_BR_FORWARD_DELAY`).
    pub forward_delay: Duration,
}

/// Reads the facts, or says what the link is instead of a bridge.
pub(crate) fn read(asked: &str, link: &LinkMessage) -> Result<Bridge, NetworkError> {
    let name = name_of(link).unwrap_or(asked).to_owned();
    let mut kind = None;
    let mut data: &[InfoBridge] = &[];
    for info in info_of(link) {
        match info {
            LinkInfo::Kind(k) => kind = Some(k),
            LinkInfo::Data(InfoData::Bridge(facts)) => data = facts,
            _ => {}
        }
    }
    match kind {
        Some(InfoKind::Bridge) => {}
        Some(other) => return Err(NetworkError::NotABridge { name, kind: format!("a {other}") }),
        None => {
            return Err(NetworkError::NotABridge {
                name,
                kind: "a link without a kind, such as a physical card".to_owned(),
            });
        }
    }

    let mut bridge = Bridge {
        name,
        index: link.header.index,
        up: is_up(link),
        mtu: mtu_of(link).unwrap_or_default(),
        stp: false,
        forward_delay: Duration::ZERO,
    };
    for fact in data {
        match fact {
            InfoBridge::StpState(state) => bridge.stp = *state != BridgeStpState::Disabled,
            InfoBridge::ForwardDelay(ticks) => bridge.forward_delay = CLOCK_TICK * *ticks,
            _ => {}
        }
    }
    Ok(bridge)
}
