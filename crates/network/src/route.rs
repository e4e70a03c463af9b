//! A route that goes over a link, in a form that can be made to go over another one. It asks the kernel nothing. Main
//! type: [`Route`].

use std::fmt;
use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteProtocol, RouteType,
};
use serde::{Deserialize, Serialize};

/// The table that the kernel fills by itself with addresses of this host (`RT_TABLE_LOCAL`).
const TABLE_LOCAL: u32 = 255;
/// The table of routes that name none (`RT_TABLE_MAIN`).
const TABLE_MAIN: u32 = 254;
/// Ticks of the kernel's `clock_t` in a second: `USER_HZ` is 100 on every architecture we run on.
const TICKS_PER_S: u32 = 100;

/// A route with its table, metric, source, gateways and their weights. Where it names the link that it was read from, it
/// names none; other links of a route over several are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route(#[serde(with = "crate::wire")] RouteMessage);

impl Route {
    /// The route, if it goes over link number `index` and is not one that the kernel makes and removes together with an
    /// address.
    pub(crate) fn read(mut message: RouteMessage, index: u32) -> Option<Route> {
        let outlives_its_address = outlives_its_address(&message);
        let header = &mut message.header;
        if header.kind != RouteType::Unicast
            || header.protocol == RouteProtocol::Kernel && !outlives_its_address
            || header.flags.contains(RouteFlags::Cloned)
        {
            return None;
        }
        header.flags &= RouteFlags::Onlink | RouteFlags::Pervasive;
        let mut over = false;
        message.attributes = message
            .attributes
            .into_iter()
            .filter_map(|attribute| match attribute {
                RouteAttribute::Oif(oif) if oif == index => {
                    over = true;
                    Some(RouteAttribute::Oif(0))
                }
                RouteAttribute::MultiPath(mut hops) => {
                    for hop in &mut hops {
                        hop.flags &= RouteNextHopFlags::Onlink | RouteNextHopFlags::Pervasive;
                        if hop.interface_index == index {
                            over = true;
                            hop.interface_index = 0;
                        }
                    }
                    Some(RouteAttribute::MultiPath(hops))
                }
                // What is left of its lifetime, as it is asked for: in seconds.
                RouteAttribute::CacheInfo(info) => {
                    let left = u32::try_from(info.expires.cast_signed()).ok().filter(|ticks| *ticks > 0);
                    left.map(|ticks| RouteAttribute::Expires(ticks / TICKS_PER_S + 1))
                }
                other => Some(other),
            })
            .collect();
        let route = Route(message);
        (over && route.table() != TABLE_LOCAL).then_some(route)
    }

    /// The message that asks for it, or for its end, over a link.
    pub(crate) fn over(&self, index: u32) -> RouteMessage {
        let mut message = self.0.clone();
        for attribute in &mut message.attributes {
            match attribute {
                RouteAttribute::Oif(oif) if *oif == 0 => *oif = index,
                RouteAttribute::MultiPath(hops) => {
                    for hop in hops.iter_mut().filter(|hop| hop.interface_index == 0) {
                        hop.interface_index = index;
                    }
                }
                _ => {}
            }
        }
        message
    }

    fn table(&self) -> u32 {
        let wide = self.0.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
        wide.unwrap_or(u32::from(self.0.header.table))
    }

    /// Whether it leads to a gateway, so that the kernel wants to know first how the gateway is reached.
    pub(crate) fn has_gateway(&self) -> bool {
        self.0.attributes.iter().any(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
            )
        })
    }

    /// The number of the nexthop object (ip-nexthop(8)) that it goes by, where it does.
    #[must_use]
    pub fn nexthop_object(&self) -> Option<u32> {
        self.0.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::NhId(id) => Some(*id),
            _ => None,
        })
    }

    /// Whether two differ in nothing but what is left of their lifetimes.
    #[must_use]
    pub fn same_as(&self, other: &Route) -> bool {
        let timeless = |route: &Route| {
            let mut message = route.0.clone();
            message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Expires(_)));
            message
        };
        timeless(self) == timeless(other)
    }
}

/// Whether it is the route of an IPv6 prefix that came with an address and has a lifetime: the kernel makes it together
/// with the address, and leaves it behind (`ipv6_del_addr` of its net/ipv6/addrconf.c).
fn outlives_its_address(message: &RouteMessage) -> bool {
    let expires = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::CacheInfo(info) if info.expires.cast_signed() > 0);
    message.header.address_family == AddressFamily::Inet6 && message.attributes.iter().any(expires)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

impl fmt::Display for Route {
    /// As ip-route(8) has it: `default via 192.0.2.254 metric 100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.0.header;
        let to = self.0.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(to) => ip(to),
            _ => None,
        });
        match to {
            Some(to) => write!(f, "{to}/{}", header.destination_prefix_length)?,
            None if header.address_family == AddressFamily::Inet6 => f.write_str("default (IPv6)")?,
            None => f.write_str("default")?,
        }
        for attribute in &self.0.attributes {
            match attribute {
                RouteAttribute::Gateway(gateway) => {
                    if let Some(gateway) = ip(gateway) {
                        write!(f, " via {gateway}")?;
                    }
                }
                RouteAttribute::MultiPath(hops) => write!(f, " by {} gateways", hops.len())?,
                RouteAttribute::Priority(metric) => write!(f, " metric {metric}")?,
                _ => {}
            }
        }
        match self.table() {
            TABLE_MAIN => Ok(()),
            table => write!(f, " table {table}"),
        }
    }
}
