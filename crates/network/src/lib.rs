//! Bridges and taps of this host, through rtnetlink: what a bridge is, how it takes its uplink's place, how a tap
//! joins it, when its port forwards.
//!
//! It never creates a tap (QEMU does, with `-netdev tap,ifname=…`), runs no program but those that configure a host's
//! links ([`Native`]), and decides nothing: which bridge, when to open a port and how long to wait is the caller's word. The main type
//! is [`Network`]; all that it does happens in the network namespace of the thread that called
//! [`Network::connect`].

mod address;
mod bridge;
mod change;
mod connections;
mod counters;
mod error;
mod learned;
mod limits;
mod link;
mod native;
mod port;
mod route;
mod takeover;
mod watch;
mod wire;

pub use address::Address;
pub use bridge::Bridge;
pub use connections::{Connection, connections};
pub use counters::{Counters, counters};
pub use error::NetworkError;
pub use learned::Learned;
pub use link::{Link, colons, in_named_namespace};
pub use native::{Keeper, Native, Step, Wanted};
pub use port::{Port, PortState, PortStatus};
pub use route::Route;
pub use takeover::{Carried, Change, Fact, NewVlan, Takeover};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{TryStream, TryStreamExt};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkUnspec};
use tokio::sync::Mutex;

use crate::error::{absent, failed};
use crate::watch::LinkWatch;

/// The longest name of a network interface, in bytes (`IFNAMSIZ` of linux/if.h, less its final zero).
pub const LINK_NAME_BYTES_MAX: usize = 15;

/// The first byte of every tap's MAC address. A bridge without an address of its own takes the lowest one
/// of its ports; with the highest first byte that is unicast and locally administered, a tap is never that
/// port, so the host's own address on the bridge stays as it is when guests come and go.
const TAP_MAC_FIRST_BYTE: u8 = 0xfe;

/// The links of one network namespace. A clone speaks over the same two netlink sockets.
///
/// No call but [`Network::forwarding`] has a time-out: the kernel works on a netlink request while it takes
/// it, so there is no answer to wait for that could fail to come.
#[derive(Clone, Debug)]
pub struct Network {
    handle: Handle,
    watch: LinkWatch,
    /// Held while the kernel makes a list.
    lists: Arc<Mutex<()>>,
}

impl Network {
    /// Opens the sockets, in the network namespace of the calling thread, and starts the tasks that serve
    /// them on the current tokio runtime. The tasks end when the last clone is dropped.
    ///
    /// # Errors
    /// [`NetworkError::Connect`] if the kernel gives no netlink socket.
    pub fn connect() -> Result<Network, NetworkError> {
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(|source| NetworkError::Connect { source })?;
        tokio::spawn(connection);
        Ok(Network { handle, watch: LinkWatch::start()?, lists: Arc::default() })
    }

    /// Collects what the kernel lists. On a socket it makes one list at a time, and refuses the next meanwhile (`EBUSY` of
    /// `__netlink_dump_start` in its net/netlink/af_netlink.c).
    pub(crate) async fn list<S: TryStream>(&self, ask: impl FnOnce() -> S) -> Result<Vec<S::Ok>, S::Error> {
        let _turn = self.lists.lock().await;
        ask().try_collect().await
    }

    /// The names of all links in this namespace, in the kernel's order.
    ///
    /// # Errors
    /// [`NetworkError::Netlink`].
    pub async fn links(&self) -> Result<Vec<String>, NetworkError> {
        Ok(self.dump().await?.iter().filter_map(name_of).map(str::to_owned).collect())
    }

    /// Whether a link of this name exists, up or down.
    ///
    /// # Errors
    /// [`NetworkError::BadName`], [`NetworkError::Netlink`].
    pub async fn link_exists(&self, name: &str) -> Result<bool, NetworkError> {
        match self.link(name).await {
            Ok(_) => Ok(true),
            Err(NetworkError::NoSuchLink { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the bridge `name` is now.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchLink`], [`NetworkError::NotABridge`], [`NetworkError::BadName`],
    /// [`NetworkError::Netlink`].
    pub async fn bridge(&self, name: &str) -> Result<Bridge, NetworkError> {
        let link = self.link(name).await?;
        bridge::read(name, &link)
    }

    /// Makes `tap` a port of `bridge`, muted or open, and sets it up.
    ///
    /// `tap` exists already and belongs to no bridge. It gets `mtu` (bytes; the bridge's own when `None`)
    /// before it joins, since a bridge without a fixed MTU follows its smallest port, and a MAC address that
    /// leaves the bridge's alone. While it is outside the bridge or down it carries nothing; its flags are
    /// set in that time, so a muted port is never seen unmuted. If a step fails, the tap is left down and
    /// outside the bridge.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchLink`] for either, [`NetworkError::NotABridge`],
    /// [`NetworkError::AlreadyEnslaved`], [`NetworkError::BadName`], [`NetworkError::Netlink`].
    pub async fn join(
        &self,
        tap: &str,
        bridge: &str,
        mtu: Option<u32>,
        port: Port,
    ) -> Result<(), NetworkError> {
        let bridge = self.bridge(bridge).await?;
        let link = self.link(tap).await?;
        if let Some(controller) = controller_of(&link) {
            let bridge = self.name_of_index(controller).await?;
            return Err(NetworkError::AlreadyEnslaved { tap: tap.to_owned(), bridge });
        }
        let index = link.header.index;

        let mut outside = LinkUnspec::new_with_index(index).down().mtu(mtu.unwrap_or(bridge.mtu));
        if let Some(address) = tap_address(&link) {
            outside = outside.address(address);
        }
        self.change("set the MTU and the MAC address of", tap, outside.build()).await?;

        let joined = self.join_down(tap, index, &bridge, port).await;
        if joined.is_err() {
            let outside = LinkUnspec::new_with_index(index).down().nocontroller().build();
            if let Err(error) = self.change("take back", tap, outside).await {
                tracing::warn!(tap, bridge = bridge.name, %error, "the tap did not join and stays a port");
            }
        }
        joined
    }

    /// The steps of [`Network::join`] that leave the tap in the bridge if one after them fails.
    async fn join_down(
        &self,
        tap: &str,
        index: u32,
        bridge: &Bridge,
        port: Port,
    ) -> Result<(), NetworkError> {
        let inside = LinkUnspec::new_with_index(index).controller(bridge.index).build();
        self.change("add to its bridge the tap", tap, inside).await?;
        self.set_port(tap, index, port).await?;
        self.change("set up", tap, LinkUnspec::new_with_index(index).up().build()).await
    }

    /// Opens the port of `tap`: the bridge learns addresses from it and floods to it, as to any other port.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchLink`], [`NetworkError::NotAPort`], [`NetworkError::BadName`],
    /// [`NetworkError::Netlink`].
    pub async fn open(&self, tap: &str) -> Result<(), NetworkError> {
        self.switch(tap, Port::Open).await
    }

    /// Mutes the port of `tap`: see [`Port::Muted`]. What the bridge had learned from it, it forgets.
    ///
    /// # Errors
    /// As [`Network::open`].
    pub async fn mute(&self, tap: &str) -> Result<(), NetworkError> {
        self.switch(tap, Port::Muted).await
    }

    async fn switch(&self, tap: &str, port: Port) -> Result<(), NetworkError> {
        let link = self.link(tap).await?;
        port::status(tap, &link)?;
        self.set_port(tap, link.header.index, port).await
    }

    async fn set_port(&self, tap: &str, index: u32, port: Port) -> Result<(), NetworkError> {
        self.handle
            .link()
            .set_port(port::flags(index, port))
            .execute()
            .await
            .map_err(|error| failed("set the bridge port flags of", tap, error))
    }

    /// The bridge port that `tap` is: its bridge, whether it is muted, its spanning tree state.
    ///
    /// # Errors
    /// As [`Network::open`].
    pub async fn port(&self, tap: &str) -> Result<PortStatus, NetworkError> {
        let link = self.link(tap).await?;
        let (bridge_index, port, state) = port::status(tap, &link)?;
        Ok(PortStatus { bridge: self.name_of_index(bridge_index).await?, port, state })
    }

    /// Waits until the port of `tap` forwards. Without STP that is at once; with it, the kernel listens and
    /// learns for one forward delay each, so `within` should exceed twice [`Bridge::forward_delay`].
    /// The kernel's link notifications (`RTNLGRP_LINK`, rtnetlink(7)) drive it; nothing is polled.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`NetworkError::NotForwarding`] when `within` has passed, with the state that the port was in;
    /// [`NetworkError::WatchEnded`]; and as [`Network::open`].
    pub async fn forwarding(&self, tap: &str, within: Duration) -> Result<(), NetworkError> {
        let mut changes = self.watch.changes();
        let mut last = PortState::Disabled;
        let waited = tokio::time::timeout(within, async {
            loop {
                let link = self.link(tap).await?;
                let (_, _, state) = port::status(tap, &link)?;
                if state == PortState::Forwarding {
                    return Ok(());
                }
                last = state;
                changes.next().await?;
            }
        });
        match waited.await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(NetworkError::NotForwarding { tap: tap.to_owned(), state: last, within }),
        }
    }

    /// Waits until `link` has these addresses and, where a port is named, that link is its port. The kernel's
    /// notifications drive it. Cancel safe.
    ///
    /// # Errors
    /// [`NetworkError::NotCarried`] when `within` has passed; [`NetworkError::WatchEnded`]; [`NetworkError::Netlink`].
    pub async fn carries(
        &self,
        link: &str,
        port: Option<&str>,
        addresses: &[IpAddr],
        within: Duration,
    ) -> Result<(), NetworkError> {
        let mut changes = self.watch.changes();
        let waited = tokio::time::timeout(within, async {
            loop {
                let links = self.inventory().await?;
                let is_port = |name: &str| {
                    links.iter().any(|it| it.name == name && it.controller.as_deref() == Some(link))
                };
                if port.is_none_or(is_port) {
                    match self.carried(link).await {
                        Ok(carried) if carried.has(addresses) => return Ok(()),
                        Ok(_) | Err(NetworkError::NoSuchLink { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                changes.next().await?;
            }
        });
        waited.await.unwrap_or_else(|_elapsed| {
            Err(NetworkError::NotCarried { link: link.to_owned(), addresses: addresses.to_vec(), within })
        })
    }

    /// Removes a link of a virtual kind (tap, bridge, veth, dummy …). One that does not exist is removed.
    ///
    /// # Errors
    /// [`NetworkError::BadName`]; [`NetworkError::Netlink`], also for a physical card.
    pub async fn remove(&self, link: &str) -> Result<(), NetworkError> {
        check_name(link)?;
        let by_name = LinkUnspec::new_with_name(link).build();
        match self.handle.link().del_with_message(by_name).execute().await {
            Ok(()) => Ok(()),
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(failed("remove", link, error)),
        }
    }

    async fn link(&self, name: &str) -> Result<LinkMessage, NetworkError> {
        check_name(name)?;
        let mut answer = self.handle.link().get().match_name(name).execute();
        match answer.try_next().await {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(NetworkError::NoSuchLink { name: name.to_owned() }),
            Err(error) if absent(&error) => Err(NetworkError::NoSuchLink { name: name.to_owned() }),
            Err(error) => Err(failed("look up", name, error)),
        }
    }

    async fn name_of_index(&self, index: u32) -> Result<String, NetworkError> {
        let nameless = || format!("link number {index}");
        let mut answer = self.handle.link().get().match_index(index).execute();
        match answer.try_next().await {
            Ok(link) => Ok(link.as_ref().and_then(name_of).map_or_else(nameless, str::to_owned)),
            Err(error) if absent(&error) => Ok(nameless()),
            Err(error) => Err(failed("look up", &nameless(), error)),
        }
    }

    async fn change(&self, what: &'static str, link: &str, message: LinkMessage) -> Result<(), NetworkError> {
        self.handle.link().change(message).execute().await.map_err(|error| failed(what, link, error))
    }
}

/// Whether the kernel lets a link have this name (`dev_valid_name` of its net/core/dev.c).
#[must_use]
pub fn is_link_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LINK_NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    if is_link_name(name) { Ok(()) } else { Err(NetworkError::BadName { name: name.to_owned() }) }
}

fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mtu_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

fn controller_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) if *index != 0 => Some(*index),
        _ => None,
    })
}

/// The link's own kind attributes (`IFLA_LINKINFO`): empty for a physical card.
fn info_of(link: &LinkMessage) -> &[LinkInfo] {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(info) => Some(info.as_slice()),
            _ => None,
        })
        .unwrap_or_default()
}

/// The address that a tap has in a bridge: its own, with the first byte that keeps it from becoming the
/// bridge's. `None` for a link without an Ethernet address.
fn tap_address(link: &LinkMessage) -> Option<Vec<u8>> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) if address.len() == 6 => {
            let mut address = address.clone();
            address[0] = TAP_MAC_FIRST_BYTE;
            Some(address)
        }
        _ => None,
    })
}

/// Whether the link is administratively up (`IFF_UP`).
fn is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, sound: bool) {
        assert_eq!(is_link_name(name), sound, "{name:?}");
    }

    #[test]
    fn names() {
        check("br0", true);
        check("vnet-0.12_3@x", true);
        check("fifteen-bytes-x", true);
        check("sixteen-bytes-xx", false);
        check("ééééééé1", true);
        check("éééééééé", false);
        check("", false);
        check(".", false);
        check("..", false);
        check("a/b", false);
        check("a b", false);
        check("eth0:1", false);
        check("nul\0", false);
    }

    #[test]
    fn a_tap_keeps_all_but_the_first_byte_of_its_address() {
        let mut link = LinkMessage::default();
        assert_eq!(tap_address(&link), None);
        link.attributes.push(LinkAttribute::Address(vec![2, 1, 2, 3, 4, 5]));
        assert_eq!(tap_address(&link), Some(vec![0xfe, 1, 2, 3, 4, 5]));
    }
}
