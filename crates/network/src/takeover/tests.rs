//! The plan against a small model of the kernel: whatever an uplink carries, the bridge carries afterwards, and whatever
//! part of a plan was carried out, undoing it gives what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn address(last: u8) -> Address {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 24;
    message.attributes.push(AddressAttribute::Local(Ipv4Addr::new(192, 0, 2, last).into()));
    Address::read(message, "eth0")
}

fn route(third: u8, gateway: bool) -> Route {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::new(10, 1, third, 0), 24)
        .output_interface(7);
    if gateway {
        builder = builder.gateway(Ipv4Addr::new(192, 0, 2, 254));
    }
    Route::read(builder.build(), 7).expect("it goes over link number 7")
}

fn link(mtu: u32, up: bool) -> Link {
    Link {
        name: "eth0".to_owned(),
        index: 7,
        kind: None,
        mac: Some(MAC),
        mtu,
        mtu_max: None,
        up,
        loopback: false,
        ethernet: true,
        wireless: false,
        controller: None,
        vlan: None,
    }
}

/// As much of a kernel as tells a good order from a bad one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kernel {
    /// Name to MTU, whether it is up, what it is a port of.
    links: BTreeMap<String, (u32, bool, Option<String>)>,
    addresses: BTreeSet<(String, String)>,
    /// Link, route, whether it has a gateway.
    routes: BTreeSet<(String, String, bool)>,
}

impl Kernel {
    fn carrying(uplink: &Link, carried: &Carried) -> Kernel {
        let mut kernel = Kernel::default();
        kernel.links.insert(uplink.name.clone(), (uplink.mtu, uplink.up, None));
        let on = |text: String| (uplink.name.clone(), text);
        kernel.addresses.extend(carried.addresses.iter().map(|it| on(it.to_string())));
        kernel
            .routes
            .extend(carried.routes.iter().map(|it| (uplink.name.clone(), it.to_string(), it.has_gateway())));
        kernel
    }

    fn change(&mut self, change: &Change) {
        match (&change.fact, change.holds) {
            (Fact::Bridge { name, mtu, .. }, true) => {
                assert!(self.links.insert(name.clone(), (*mtu, false, None)).is_none(), "{name} is there");
            }
            (Fact::Vlan { name, on, .. }, true) => {
                let lower = self.links[on].0;
                assert!(self.links.insert(name.clone(), (lower, false, None)).is_none(), "{name} is there");
            }
            (Fact::Bridge { name, .. } | Fact::Vlan { name, .. }, false) => {
                self.links.remove(name);
                self.addresses.retain(|(link, _)| link != name);
                self.routes.retain(|(link, ..)| link != name);
                for (_, _, controller) in self.links.values_mut() {
                    controller.take_if(|it| it == name);
                }
            }
            (Fact::Mtu { link, mtu, before }, holds) => {
                if let Some(it) = self.links.get_mut(link) {
                    it.0 = if holds { *mtu } else { *before };
                }
            }
            (Fact::Up { link }, holds) => {
                if let Some(it) = self.links.get_mut(link) {
                    it.1 = holds;
                    if !holds {
                        self.routes.retain(|(of, ..)| of != link);
                    }
                }
            }
            (Fact::Port { link, bridge }, holds) => {
                if let Some(it) = self.links.get_mut(link) {
                    it.2 = holds.then(|| bridge.clone());
                }
            }
            (Fact::Address { link, address }, true) => {
                assert!(self.links.contains_key(link), "{link} gets an address and is not there");
                self.addresses.insert((link.clone(), address.to_string()));
            }
            (Fact::Address { link, address }, false) => {
                let had = self.addresses.remove(&(link.clone(), address.to_string()));
                if had && !self.addresses.iter().any(|(of, _)| of == link) {
                    self.routes.retain(|(of, ..)| of != link);
                }
            }
            (Fact::Route { link, route }, holds) => self.route(link, route, holds),
        }
    }

    fn route(&mut self, link: &str, route: &Route, holds: bool) {
        let entry = (link.to_owned(), route.to_string(), route.has_gateway());
        if !holds {
            self.routes.remove(&entry);
            return;
        }
        assert!(self.links[link].1, "{route} over {link}, which is down");
        let elsewhere = self.routes.iter().any(|(of, text, _)| of != link && *text == entry.1);
        assert!(!elsewhere, "{route} goes over two links");
        self.routes.insert(entry);
    }

    fn change_all(&mut self, changes: &[Change]) -> &mut Kernel {
        changes.iter().for_each(|change| self.change(change));
        self
    }
}

fn carried() -> impl Strategy<Value = Carried> {
    let addresses = prop::collection::btree_set(1_u8.., 0..5);
    let routes = prop::collection::btree_map(0_u8.., any::<bool>(), 0..6);
    (addresses, routes).prop_map(|(addresses, routes)| Carried {
        addresses: addresses.into_iter().map(address).collect(),
        routes: routes.into_iter().map(|(third, gateway)| route(third, gateway)).collect(),
    })
}

/// An uplink that is down has no routes.
fn host() -> impl Strategy<Value = (Link, Carried)> {
    (carried(), any::<bool>(), 1280_u32..9000).prop_map(|(mut carried, up, mtu)| {
        if !up {
            carried.routes.clear();
        }
        (link(mtu, up), carried)
    })
}

fn vlan() -> impl Strategy<Value = Option<NewVlan>> {
    prop::option::of((1_u16..=4094).prop_map(|id| NewVlan { name: format!("eth0.{id}"), id }))
}

proptest! {
    #[test]
    fn whatever_part_was_done_undoing_it_gives_what_was_there(
        (uplink, carried) in host(), vlan in vlan(), mtu in 1280_u32..9000, done in any::<prop::sample::Index>(),
    ) {
        let plan = Takeover::plan("br0", &uplink, MAC, mtu, vlan.as_ref(), &carried);
        let before = Kernel::carrying(&uplink, &carried);
        let changes = plan.changes();
        let mut kernel = before.clone();
        kernel.change_all(&changes[..=done.index(changes.len())]).change_all(&plan.undo());
        prop_assert_eq!(kernel, before);
    }

    #[test]
    fn the_bridge_carries_what_the_uplink_carried((uplink, carried) in host(), mtu in 1280_u32..9000) {
        let plan = Takeover::plan("br0", &uplink, MAC, mtu, None, &carried);
        let mut kernel = Kernel::carrying(&uplink, &carried);
        let before = kernel.clone();
        kernel.change_all(&plan.changes());
        prop_assert_eq!(&kernel.links["eth0"], &(mtu, true, Some("br0".to_owned())));
        prop_assert_eq!(&kernel.links["br0"], &(mtu, true, None));
        let moved = |link: &String| if link == "eth0" { "br0".to_owned() } else { link.clone() };
        let addresses: BTreeSet<_> = before.addresses.iter().map(|(link, it)| (moved(link), it.clone())).collect();
        let routes: BTreeSet<_> = before.routes.iter().map(|(link, it, via)| (moved(link), it.clone(), *via)).collect();
        prop_assert_eq!(kernel.addresses, addresses);
        prop_assert_eq!(kernel.routes, routes);
    }

    #[test]
    fn the_end_of_a_bridge_gives_the_uplink_what_the_bridge_has_by_then(
        (uplink, carried) in host(), later in carried(),
    ) {
        let plan = Takeover::plan("br0", &uplink, MAC, uplink.mtu, None, &carried);
        let mut kernel = Kernel::carrying(&uplink, &carried);
        kernel.change_all(&plan.changes());
        // Meanwhile the host has got other addresses.
        kernel.change_all(&moves("br0", "nowhere", &carried).into_iter().filter(|it| !it.holds).collect::<Vec<_>>());
        let got = moves("nowhere", "br0", &later);
        kernel.change_all(&got.into_iter().filter(|it| it.holds).collect::<Vec<_>>());
        kernel.change_all(&plan.carrying("eth0", "br0", &later).undo());
        let later = if uplink.up { later } else { Carried { routes: Vec::new(), ..later } };
        prop_assert_eq!(kernel, Kernel::carrying(&uplink, &later));
    }

    #[test]
    fn a_plan_reads_back_as_it_was_written((uplink, carried) in host(), mtu in 1280_u32..9000) {
        let plan = Takeover::plan("br0", &uplink, MAC, mtu, None, &carried);
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Takeover>(&text).unwrap(), plan);
    }
}

/// The kernel wants to reach a gateway before it takes a route by it.
#[test]
fn routes_by_gateways_come_after_the_others_and_go_before_them() {
    let carried = Carried { addresses: vec![address(1)], routes: vec![route(1, true), route(2, false)] };
    let plan = Takeover::plan("br0", &link(1500, true), MAC, 1400, None, &carried);
    let said = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        said(&plan.changes()),
        [
            "give eth0 an MTU of 1400",
            "make the bridge br0",
            "set br0 up",
            "make eth0 a port of br0",
            "give br0 the address 192.0.2.1/24",
            "take the route 10.1.1.0/24 via 192.0.2.254 from eth0",
            "take the route 10.1.2.0/24 from eth0",
            "lead the route 10.1.2.0/24 over br0",
            "lead the route 10.1.1.0/24 via 192.0.2.254 over br0",
            "take the address 192.0.2.1/24 from eth0",
        ]
    );
    assert_eq!(
        said(&plan.undo()),
        [
            "give eth0 the address 192.0.2.1/24",
            "take the route 10.1.1.0/24 via 192.0.2.254 from br0",
            "take the route 10.1.2.0/24 from br0",
            "lead the route 10.1.2.0/24 over eth0",
            "lead the route 10.1.1.0/24 via 192.0.2.254 over eth0",
            "take the address 192.0.2.1/24 from br0",
            "take eth0 out of br0",
            "set br0 down",
            "unmake the bridge br0",
            "give eth0 an MTU of 1500",
        ]
    );
}

#[test]
fn a_record_that_is_no_message_is_refused() {
    for text in [r#""zz""#, r#""abc""#, r#""00""#] {
        assert!(serde_json::from_str::<Address>(text).is_err(), "{text}");
        assert!(serde_json::from_str::<Route>(text).is_err(), "{text}");
    }
}
