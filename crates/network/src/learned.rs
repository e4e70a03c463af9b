//! What bridges have learned: on which port a MAC address was last seen, and on which VLANs a bridge stands. It changes
//! nothing. The main type is [`Learned`].

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVlan, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourAttribute;

use crate::error::failed;
use crate::{Network, NetworkError, controller_of, info_of, name_of};

/// Where a bridge sends the packets for a MAC address (an entry of its forwarding database, bridge(8)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The address.
    pub mac: [u8; 6],
    /// The bridge.
    pub bridge: String,
    /// The port.
    pub port: String,
    /// Whether the port is a tap, so that a guest of this host has the address.
    pub tap: bool,
}

impl Network {
    /// Everything that bridges of this host have learned.
    ///
    /// # Errors
    /// [`NetworkError::Netlink`].
    pub async fn learned(&self) -> Result<Vec<Learned>, NetworkError> {
        let all = self.handle.neighbours().get().set_address_family(AddressFamily::Bridge);
        let entries: Vec<_> = self
            .list(|| all.execute())
            .await
            .map_err(|error| failed("read the forwarding database of", "this host", error))?;
        let links = self.dump().await?;
        let link = |index: u32| links.iter().find(|link| link.header.index == index);
        let learned = entries.iter().filter_map(|entry| {
            let address = entry.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(address) => Some(address.as_slice()),
                _ => None,
            });
            let controller = entry.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::Controller(index) => Some(*index),
                _ => None,
            });
            let (port, bridge) = (link(entry.header.ifindex)?, link(controller?)?);
            let mac = address?.try_into().ok()?;
            let tap = matches!(kind_of(port), Some(InfoKind::Tun));
            Some(Learned { mac, bridge: name_of(bridge)?.to_owned(), port: name_of(port)?.to_owned(), tap })
        });
        Ok(learned.collect())
    }

    /// The VLANs (IEEE 802.1Q) of the links that are ports of `bridge`, lowest first.
    ///
    /// # Errors
    /// As [`Network::bridge`].
    pub async fn vlans(&self, bridge: &str) -> Result<Vec<u16>, NetworkError> {
        let index = self.bridge(bridge).await?.index;
        let links = self.dump().await?;
        let ports = links.iter().filter(|link| controller_of(link) == Some(index));
        let mut vlans: Vec<u16> = ports.filter_map(vlan_of).collect();
        vlans.sort_unstable();
        vlans.dedup();
        Ok(vlans)
    }
}

fn kind_of(link: &LinkMessage) -> Option<&InfoKind> {
    info_of(link).iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

fn vlan_of(link: &LinkMessage) -> Option<u16> {
    let data = info_of(link).iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    data.iter().find_map(|info| match info {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::{InfoKind, LinkAttribute};

    use super::*;

    #[test]
    fn a_vlan_has_a_number() {
        let mut link = LinkMessage::default();
        assert_eq!(vlan_of(&link), None);
        let info =
            vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100)]))];
        link.attributes.push(LinkAttribute::LinkInfo(info));
        assert_eq!(vlan_of(&link), Some(100));
    }
}
