//! How a bridge takes the place of its uplink: which facts are made and unmade, in which order, and what undoes them. It
//! is computed from what the kernel says and asks nothing itself. Main types: [`Change`], [`Takeover`].
//!
//! ```text
//!   eth0 192.0.2.1/24             br0 192.0.2.1/24
//!   default via 192.0.2.254  ──▶  default via 192.0.2.254
//!                                  └─ eth0
//! ```

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::link::Link;
use crate::route::Route;

/// Something that holds on this host or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// There is a bridge without spanning tree, whose ports forward at once.
    Bridge {
        /// Its name.
        name: String,
        /// Its address, which does not follow its ports'.
        mac: [u8; 6],
        /// Its MTU in bytes, which does not follow its ports'.
        mtu: u32,
    },
    /// There is a link for one VLAN of another.
    Vlan {
        /// Its name.
        name: String,
        /// The link that carries the tagged frames.
        on: String,
        /// The tag (IEEE 802.1Q), 1 to 4094.
        id: u16,
    },
    /// A link has this MTU; where that does not hold, it has the one before.
    Mtu {
        /// The link.
        link: String,
        /// In bytes.
        mtu: u32,
        /// In bytes.
        before: u32,
    },
    /// A link is up.
    Up {
        /// The link.
        link: String,
    },
    /// A link is a port of a bridge.
    Port {
        /// The link.
        link: String,
        /// The bridge.
        bridge: String,
    },
    /// A link has an address.
    Address {
        /// The link.
        link: String,
        /// The address.
        address: Address,
    },
    /// A route goes over a link.
    Route {
        /// The link.
        link: String,
        /// The route.
        route: Route,
    },
}

/// A fact that is made to hold, or not to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The fact.
    pub fact: Fact,
    /// Whether it holds afterwards.
    pub holds: bool,
}

impl Change {
    fn make(fact: Fact) -> Change {
        Change { fact, holds: true }
    }

    fn unmake(fact: Fact) -> Change {
        Change { fact, holds: false }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.holds { "make" } else { "unmake" };
        match &self.fact {
            Fact::Bridge { name, .. } => write!(f, "{verb} the bridge {name}"),
            Fact::Vlan { name, on, id } => write!(f, "{verb} {name}, VLAN {id} of {on}"),
            Fact::Mtu { link, mtu, before } => {
                write!(f, "give {link} an MTU of {}", if self.holds { mtu } else { before })
            }
            Fact::Up { link } => write!(f, "set {link} {}", if self.holds { "up" } else { "down" }),
            Fact::Port { link, bridge } if self.holds => write!(f, "make {link} a port of {bridge}"),
            Fact::Port { link, bridge } => write!(f, "take {link} out of {bridge}"),
            Fact::Address { link, address } if self.holds => write!(f, "give {link} the address {address}"),
            Fact::Address { link, address } => write!(f, "take the address {address} from {link}"),
            Fact::Route { link, route } if self.holds => write!(f, "lead the route {route} over {link}"),
            Fact::Route { link, route } => write!(f, "take the route {route} from {link}"),
        }
    }
}

/// The addresses of a link, without the kernel's own link-local ones, and the routes over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// In the kernel's order: the first of a subnet is the one that it sends from.
    pub addresses: Vec<Address>,
    /// Of all tables.
    pub routes: Vec<Route>,
}

impl Carried {
    /// The addresses that a link has again whenever it is configured again: all of IPv4, and those of IPv6 that do not
    /// expire. The others come when a router says so, and some are another one each time (RFC 8981).
    #[must_use]
    pub fn lasting(&self) -> Vec<IpAddr> {
        self.addresses.iter().filter(|it| !it.expires_with_a_router()).filter_map(Address::ip).collect()
    }

    /// Whether these are among its addresses.
    #[must_use]
    pub fn has(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().all(|ip| self.addresses.iter().any(|it| it.ip() == Some(*ip)))
    }
}

/// A bridge in the place of an uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// Links are made, joined and set up.
    pub links: Vec<Change>,
    /// What the uplink carries is carried by the bridge.
    pub moves: Vec<Change>,
}

/// A VLAN of a link that gets a link of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVlan {
    /// The new link's name.
    pub name: String,
    /// The tag.
    pub id: u16,
}

impl Takeover {
    /// Of `uplink` by a new bridge with `mtu` bytes. With `vlan` the bridge gets a VLAN of the uplink and takes nothing
    /// over: what the uplink carries untagged it goes on carrying itself.
    #[must_use]
    pub fn plan(
        bridge: &str,
        uplink: &Link,
        mac: [u8; 6],
        mtu: u32,
        vlan: Option<&NewVlan>,
        carried: &Carried,
    ) -> Takeover {
        let mut links = Vec::new();
        if uplink.mtu != mtu && (vlan.is_none() || uplink.mtu < mtu) {
            links.push(Change::make(Fact::Mtu { link: uplink.name.clone(), mtu, before: uplink.mtu }));
        }
        if !uplink.up {
            links.push(Change::make(Fact::Up { link: uplink.name.clone() }));
        }
        let port = match vlan {
            None => uplink.name.clone(),
            Some(NewVlan { name, id }) => {
                let made = Fact::Vlan { name: name.clone(), on: uplink.name.clone(), id: *id };
                links.push(Change::make(made));
                let before = uplink.mtu.max(mtu);
                links.push(Change::make(Fact::Mtu { link: name.clone(), mtu, before }));
                links.push(Change::make(Fact::Up { link: name.clone() }));
                name.clone()
            }
        };
        links.push(Change::make(Fact::Bridge { name: bridge.to_owned(), mac, mtu }));
        links.push(Change::make(Fact::Up { link: bridge.to_owned() }));
        links.push(Change::make(Fact::Port { link: port.clone(), bridge: bridge.to_owned() }));
        let moves = if vlan.is_some() { Vec::new() } else { moves(&port, bridge, carried) };
        Takeover { links, moves }
    }

    /// Everything, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.links.iter().chain(&self.moves).cloned().collect()
    }

    /// What makes everything as it was, also where not all of it was done.
    #[must_use]
    pub fn undo(&self) -> Vec<Change> {
        self.changes().into_iter().rev().map(|it| Change { holds: !it.holds, ..it }).collect()
    }

    /// The same with what the bridge carries by now: undone, the uplink has that.
    #[must_use]
    pub fn carrying(self, uplink: &str, bridge: &str, carried: &Carried) -> Takeover {
        Takeover { moves: moves(uplink, bridge, carried), ..self }
    }
}

/// What `from` carries is carried by `to`.
///
/// An address is on both for a moment, so that it is never on neither: a route of another link that sends from it, and
/// whoever listens on it, go on. No route is on both: the kernel knows routes by what they lead to. A route with a gateway
/// is made when its gateway can be reached, and unmade before that ends.
fn moves(from: &str, to: &str, carried: &Carried) -> Vec<Change> {
    let address =
        |link: &str, address: &Address| Fact::Address { link: link.to_owned(), address: address.clone() };
    let route = |link: &str, route: &Route| Fact::Route { link: link.to_owned(), route: route.clone() };
    let mut routes: Vec<&Route> = carried.routes.iter().collect();
    routes.sort_by_key(|route| route.has_gateway());

    let mut changes = Vec::new();
    changes.extend(carried.addresses.iter().map(|it| Change::make(address(to, it))));
    changes.extend(routes.iter().rev().map(|it| Change::unmake(route(from, it))));
    changes.extend(routes.iter().map(|it| Change::make(route(to, it))));
    // The last first: with the first address of a subnet the kernel removes the others.
    changes.extend(carried.addresses.iter().rev().map(|it| Change::unmake(address(from, it))));
    changes
}

#[cfg(test)]
mod tests;
