//! An IP address as it stands on a link, in a form that can be put on another one. It asks the kernel nothing.
//! Main type: [`Address`].

use std::fmt;
use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use serde::{Deserialize, Serialize};

use crate::LINK_NAME_BYTES_MAX;

/// Flags that a person or a DHCP client has set; the others are the kernel's own account of an address.
const FLAGS_SET: AddressFlags = AddressFlags::Nodad
    .union(AddressFlags::Homeaddress)
    .union(AddressFlags::Managetempaddr)
    .union(AddressFlags::Noprefixroute)
    .union(AddressFlags::Mcautojoin);

/// An address with its prefix, scope, broadcast address, label, lifetimes, flags and metric, and without its link.
///
/// A label that begins with its link's name, as in `eth0:1`, is kept as what follows the name, so that it is `br0:1`
/// on a bridge. Lifetimes are those at the time of reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address(#[serde(with = "crate::wire")] AddressMessage);

impl Address {
    /// What the kernel says of an address on `link`.
    pub(crate) fn read(mut message: AddressMessage, link: &str) -> Address {
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        message.attributes = message
            .attributes
            .into_iter()
            .filter_map(|attribute| match attribute {
                AddressAttribute::Flags(all) => {
                    flags = all;
                    None
                }
                AddressAttribute::CacheInfo(all) => {
                    let mut lifetimes = CacheInfo::default();
                    (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (all.ifa_preferred, all.ifa_valid);
                    Some(AddressAttribute::CacheInfo(lifetimes))
                }
                AddressAttribute::Label(label) => match label.strip_prefix(link) {
                    Some("") => None,
                    Some(alias) if alias.starts_with(':') => Some(AddressAttribute::Label(alias.to_owned())),
                    Some(_) | None => Some(AddressAttribute::Label(label)),
                },
                other => Some(other),
            })
            .collect();
        message.attributes.push(AddressAttribute::Flags(flags & FLAGS_SET));
        message.header.flags = AddressHeaderFlags::empty();
        message.header.index = 0;
        Address(message)
    }

    /// The request that puts it on a link.
    pub(crate) fn on(&self, index: u32, link: &str) -> AddressMessage {
        let mut message = self.0.clone();
        message.header.index = index;
        message.attributes = message
            .attributes
            .into_iter()
            .filter_map(|attribute| match attribute {
                AddressAttribute::Label(label) if label.starts_with(':') => {
                    let label = format!("{link}{label}");
                    (label.len() <= LINK_NAME_BYTES_MAX).then_some(AddressAttribute::Label(label))
                }
                other => Some(other),
            })
            .collect();
        message
    }

    /// As [`Address::on`], without duplicate address detection: this host has had the address all along.
    pub(crate) fn without_detection(&self, index: u32, link: &str) -> AddressMessage {
        let mut message = self.on(index, link);
        for attribute in &mut message.attributes {
            if let AddressAttribute::Flags(flags) = attribute {
                *flags |= AddressFlags::Nodad;
            }
        }
        message
    }

    /// The request that takes it from a link: only what tells it from others.
    pub(crate) fn off(&self, index: u32) -> AddressMessage {
        let mut message = self.0.clone();
        message.header.index = index;
        message.attributes.retain(|attribute| {
            matches!(attribute, AddressAttribute::Local(_) | AddressAttribute::Address(_))
        });
        message
    }

    /// Whether the kernel would have to make sure that nobody else has it (RFC 4862, section 5.4).
    pub(crate) fn is_detected(&self) -> bool {
        let nodad = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Nodad));
        self.0.header.family == AddressFamily::Inet6 && !self.0.attributes.iter().any(nodad)
    }

    /// The address itself.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let local = self.0.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) => Some(*ip),
            _ => None,
        });
        local.or_else(|| {
            self.0.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            })
        })
    }

    /// Whether every link has one of its own (fe80::/10), made by the kernel.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        self.0.header.family == AddressFamily::Inet6 && self.0.header.scope == AddressScope::Link
    }

    /// Whether it is one of IPv6 that goes when no router repeats its prefix.
    pub(crate) fn expires_with_a_router(&self) -> bool {
        self.0.header.family == AddressFamily::Inet6 && self.expires()
    }

    /// Whether it is one of IPv4 that goes unless somebody renews it, as a DHCP client does.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.0.header.family == AddressFamily::Inet && self.expires()
    }

    fn expires(&self) -> bool {
        let expires = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::CacheInfo(lifetimes) if lifetimes.ifa_valid < u32::MAX);
        self.0.attributes.iter().any(expires)
    }

    /// Whether two differ in nothing but their lifetimes.
    #[must_use]
    pub fn same_as(&self, other: &Address) -> bool {
        let timeless = |address: &Address| {
            let mut message = address.0.clone();
            message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::CacheInfo(_)));
            message
        };
        timeless(self) == timeless(other)
    }
}

impl fmt::Display for Address {
    /// As ip-address(8) has it: `192.0.2.1/24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(ip) => write!(f, "{ip}/{}", self.0.header.prefix_len),
            None => f.write_str("an address without a value"),
        }
    }
}
