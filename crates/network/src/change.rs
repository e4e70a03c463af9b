//! Facts are made and unmade through rtnetlink. It decides nothing: which and in which order is
//! [`crate::takeover`]'s. It adds functions to [`Network`].

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{BridgeStpState, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{LinkBridge, LinkUnspec, LinkVlan};

use crate::address::Address;
use crate::error::{ABSENT_ADDRESS, ABSENT_ROUTE, EXISTS, errno, failed};
use crate::link::{self, Link};
use crate::route::Route;
use crate::takeover::{Carried, Change, Fact};
use crate::{Network, NetworkError};

impl Network {
    /// All links in this namespace, in the kernel's order.
    ///
    /// # Errors
    /// [`NetworkError::Netlink`].
    pub async fn inventory(&self) -> Result<Vec<Link>, NetworkError> {
        Ok(link::read(&self.dump().await?))
    }

    pub(crate) async fn dump(&self) -> Result<Vec<LinkMessage>, NetworkError> {
        let all = self.handle.link().get();
        let all = all.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]);
        let links = self.list(|| all.execute()).await;
        links.map_err(|error| failed("list the links of", "this host", error))
    }

    /// What a link carries: its addresses, and the routes over it.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchLink`], [`NetworkError::BadName`], [`NetworkError::Netlink`].
    pub async fn carried(&self, link: &str) -> Result<Carried, NetworkError> {
        let index = self.link(link).await?.header.index;
        let all = self.handle.address().get().set_link_index_filter(index);
        let addresses = self.list(|| all.execute()).await;
        let addresses: Vec<AddressMessage> =
            addresses.map_err(|error| failed("list the addresses of", link, error))?;
        let mut carried = Carried::default();
        let read = addresses.into_iter().map(|message| Address::read(message, link));
        carried.addresses.extend(read.filter(|address| !address.is_link_local()));
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut of_family = RouteMessage::default();
            of_family.header.address_family = family;
            let all = self.handle.route().get(of_family);
            let routes = self.list(|| all.execute()).await;
            let routes: Vec<RouteMessage> =
                routes.map_err(|error| failed("list the routes over", link, error))?;
            carried.routes.extend(routes.into_iter().filter_map(|message| Route::read(message, index)));
        }
        Ok(carried)
    }

    /// Makes or unmakes a fact. One that is so already stays so; a link that is gone has nothing to be unmade.
    ///
    /// # Errors
    /// [`NetworkError::Change`] says which change the kernel refused.
    pub async fn change_fact(&self, change: &Change) -> Result<(), NetworkError> {
        let done = if change.holds { self.make(&change.fact).await } else { self.unmake(&change.fact).await };
        match done {
            Err(NetworkError::NoSuchLink { .. }) if !change.holds => Ok(()),
            Err(NetworkError::Netlink { source, .. }) => {
                Err(NetworkError::Change { change: change.to_string(), source })
            }
            done => done,
        }
    }

    /// Makes the changes one after the other, up to the first that fails.
    ///
    /// # Errors
    /// As [`Network::change_fact`].
    pub async fn change_all(&self, changes: &[Change]) -> Result<(), NetworkError> {
        for change in changes {
            self.change_fact(change).await?;
        }
        Ok(())
    }

    async fn make(&self, fact: &Fact) -> Result<(), NetworkError> {
        match fact {
            Fact::Bridge { name, mac, mtu } => {
                let bridge = LinkBridge::new(name)
                    .stp_state(BridgeStpState::Disabled)
                    .forward_delay(0)
                    .address(mac.to_vec())
                    .mtu(*mtu);
                self.add(name, bridge.build()).await
            }
            Fact::Vlan { name, on, id } => {
                let on = self.link(on).await?.header.index;
                self.add(name, LinkVlan::new(name, on, *id).build()).await
            }
            Fact::Mtu { link, mtu, .. } => self.set_mtu(link, *mtu).await,
            Fact::Up { link } => {
                let index = self.link(link).await?.header.index;
                self.change("set up", link, LinkUnspec::new_with_index(index).up().build()).await
            }
            Fact::Port { link, bridge } => {
                let index = self.link(link).await?.header.index;
                let bridge = self.link(bridge).await?.header.index;
                let inside = LinkUnspec::new_with_index(index).controller(bridge).build();
                self.change("add to its bridge", link, inside).await
            }
            Fact::Address { link, address } => self.add_address(link, address).await,
            Fact::Route { link, route } => {
                let index = self.link(link).await?.header.index;
                match self.handle.route().add(route.over(index)).execute().await {
                    Err(error) if errno(&error) == Some(EXISTS) && self.has_route(link, route).await? => {
                        Ok(())
                    }
                    done => done.map_err(|error| failed("lead a route over", link, error)),
                }
            }
        }
    }

    async fn unmake(&self, fact: &Fact) -> Result<(), NetworkError> {
        match fact {
            Fact::Bridge { name, .. } | Fact::Vlan { name, .. } => self.remove(name).await,
            Fact::Mtu { link, before, .. } => self.set_mtu(link, *before).await,
            Fact::Up { link } => {
                let index = self.link(link).await?.header.index;
                self.change("set down", link, LinkUnspec::new_with_index(index).down().build()).await
            }
            Fact::Port { link, bridge } => {
                let links = self.inventory().await?;
                match links.iter().find(|it| it.name == *link && it.controller.as_ref() == Some(bridge)) {
                    Some(port) => {
                        let outside = LinkUnspec::new_with_index(port.index).nocontroller().build();
                        self.change("take out of its bridge", link, outside).await
                    }
                    None => Ok(()),
                }
            }
            Fact::Address { link, address } => {
                let index = self.link(link).await?.header.index;
                match self.handle.address().del(address.off(index)).execute().await {
                    Err(error) if errno(&error) == Some(ABSENT_ADDRESS) => Ok(()),
                    done => done.map_err(|error| failed("take an address from", link, error)),
                }
            }
            Fact::Route { link, route } => {
                let index = self.link(link).await?.header.index;
                match self.handle.route().del(route.over(index)).execute().await {
                    Err(error) if errno(&error) == Some(ABSENT_ROUTE) => Ok(()),
                    done => done.map_err(|error| failed("take a route from", link, error)),
                }
            }
        }
    }

    async fn add(&self, name: &str, link: LinkMessage) -> Result<(), NetworkError> {
        let added = self.handle.link().add(link).execute().await;
        added.map_err(|error| failed("create", name, error))
    }

    async fn set_mtu(&self, link: &str, mtu: u32) -> Result<(), NetworkError> {
        let index = self.link(link).await?.header.index;
        self.change("set the MTU of", link, LinkUnspec::new_with_index(index).mtu(mtu).build()).await
    }

    /// An IPv6 address works at once: it is added as one that needs no detection, and is then given its own flags, which
    /// starts none.
    async fn add_address(&self, link: &str, address: &Address) -> Result<(), NetworkError> {
        let index = self.link(link).await?.header.index;
        let said = |error| failed("give an address to", link, error);
        let Some(ip) = address.ip() else { return Ok(()) };
        let request = |message: AddressMessage| {
            let mut request = self.handle.address().add(index, ip, message.header.prefix_len);
            *request.message_mut() = message;
            request
        };
        match request(address.without_detection(index, link)).execute().await {
            Err(error) if errno(&error) == Some(EXISTS) => {}
            done => done.map_err(said)?,
        }
        if address.is_detected() {
            request(address.on(index, link)).replace().execute().await.map_err(said)?;
        }
        Ok(())
    }

    async fn has_route(&self, link: &str, route: &Route) -> Result<bool, NetworkError> {
        Ok(self.carried(link).await?.routes.iter().any(|it| it.same_as(route)))
    }
}
