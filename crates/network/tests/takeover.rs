//! A bridge takes its uplink's place in the real kernel: what `ip` says of the one before, it says of the other
//! afterwards, and undoing it gives exactly what was there. Each test is in a network namespace of its own; needs root.

mod inside;

use inside::{in_namespace, ip};
use network::{Carried, Link, Network, Takeover};
use serde_json::Value;

/// What `ip` says of the addresses of a link and of the routes over it, without what a link has of its own: its name,
/// link-local addresses, and the routes that the kernel keeps for them. Lifetimes are told to a hundred seconds, rounded up.
#[track_caller]
fn said(link: &str) -> Vec<String> {
    let all: Value = serde_json::from_str(&ip(&format!("-j addr show dev {link}"))).unwrap();
    let mut said: Vec<String> =
        all[0]["addr_info"].as_array().unwrap().iter().filter_map(|it| address(it, link)).collect();
    for family in ["-4", "-6"] {
        let routes = ip(&format!("{family} -d route show table all"));
        let over = format!("dev {link} ");
        for route in routes.lines().filter(|line| line.contains(&over)) {
            let local = ["fe80::", "ff00::", "table local", "multicast"]
                .iter()
                .any(|it| route.contains(it) && !route.contains("via fe80"));
            // Whether a gateway answers is not the route's.
            let route = route.replace(&over, "dev LINK ").replace(" linkdown", "").replace(" dead", "");
            if !local {
                said.push(match route.split_once("expires ") {
                    Some((rest, seconds)) => {
                        let seconds: u32 = seconds.split("sec").next().unwrap().parse().unwrap();
                        format!("{rest}expires {}00 s", seconds.div_ceil(100))
                    }
                    None => route.trim_end().to_owned(),
                });
            }
        }
    }
    said.sort();
    said
}

fn address(it: &Value, link: &str) -> Option<String> {
    let mut it = it.clone();
    if it["local"].as_str().unwrap().starts_with("fe80") {
        return None;
    }
    for lifetime in ["valid_life_time", "preferred_life_time"] {
        let seconds = it[lifetime].as_u64().unwrap();
        it[lifetime] = if seconds < 1 << 31 { seconds.div_ceil(100).into() } else { "for ever".into() };
    }
    if let Some(label) = it["label"].as_str().and_then(|label| label.strip_prefix(link)) {
        it["label"] = format!("LINK{label}").into();
    }
    Some(it.to_string())
}

/// An uplink with everything that an uplink may carry.
fn uplink() {
    ip("link add up0 address 02:00:00:00:00:01 mtu 1400 type veth peer name far0");
    ip("link add other type veth peer name other9");
    for link in ["lo", "up0", "far0", "other", "other9"] {
        ip(&format!("link set {link} up"));
    }
    ip("addr add 2001:db8::1/64 dev up0 nodad");
    ip("addr add 2001:db8:0:1::2/64 dev up0 valid_lft 1000 preferred_lft 500 nodad");
    ip("addr add 192.0.2.1/24 broadcast + dev up0 metric 50");
    ip("addr add 192.0.2.2/24 broadcast + dev up0 label up0:web");
    ip("addr add 198.51.100.1/24 dev up0 noprefixroute valid_lft 2000 preferred_lft 1000");
    ip("addr add 203.0.113.1 peer 203.0.113.2/32 dev up0 scope link label spare");
    ip("route add default via 192.0.2.254 dev up0 metric 100 proto dhcp src 192.0.2.2");
    ip("route add default via 192.0.2.253 dev up0 table 100 mtu 1300");
    ip("route add 198.18.0.0/15 via 10.9.9.9 dev up0 onlink");
    ip("route add 10.3.0.0/16 dev up0 scope link");
    ip("route add 10.2.0.0/16 via 10.3.0.1 dev up0");
    ip("route add 10.4.0.0/16 nexthop via 192.0.2.253 dev up0 weight 3 nexthop dev other weight 5");
    ip("route add default via fe80::99 dev up0 metric 1024 expires 600");
    ip("route add 2001:db8:1::/48 via 2001:db8::fe dev up0 src 2001:db8::1");
    ip("route add 2001:db8:2::/48 dev up0 table 1000");
}

async fn look(network: &Network, link: &str) -> (Link, Carried) {
    let links = network.inventory().await.unwrap();
    let found = links.into_iter().find(|it| it.name == link).unwrap();
    (found, network.carried(link).await.unwrap())
}

async fn plan(network: &Network, mtu: u32) -> Takeover {
    let (uplink, carried) = look(network, "up0").await;
    Takeover::plan("br0", &uplink, uplink.mac.unwrap(), mtu, None, &carried)
}

#[test]
fn addresses_and_routes_move_and_come_back() {
    in_namespace(|network| async move {
        uplink();
        let before = said("up0");
        assert!(before.len() >= 17, "{before:#?}");
        let plan = plan(&network, 1300).await;
        network.change_all(&plan.changes()).await.unwrap();

        assert_eq!(said("br0"), before);
        assert_eq!(said("up0"), [""; 0]);
        let (bridge, _) = look(&network, "br0").await;
        assert_eq!((bridge.mac, bridge.mtu, bridge.up), (Some([2, 0, 0, 0, 0, 1]), 1300, true));
        let facts = network.bridge("br0").await.unwrap();
        assert!(!facts.stp && facts.forward_delay.is_zero(), "{facts:?}");
        let (port, _) = look(&network, "up0").await;
        assert_eq!((port.controller.as_deref(), port.mtu), (Some("br0"), 1300));

        network.change_all(&plan.undo()).await.unwrap();
        assert_eq!(said("up0"), before);
        assert!(!network.link_exists("br0").await.unwrap());
        let (port, _) = look(&network, "up0").await;
        assert_eq!((port.controller, port.mtu, port.up), (None, 1400, true));
    });
}

/// Whoever dies in between, and wherever: another one undoes it from what was written down.
#[test]
fn any_part_of_it_can_be_undone_more_than_once() {
    in_namespace(|network| async move {
        uplink();
        let before = said("up0");
        let plan = plan(&network, 1300).await;
        let written = serde_json::to_string(&plan).unwrap();
        let changes = plan.changes();
        for part in 0..=changes.len() {
            network.change_all(&changes[..part]).await.unwrap();
            let read: Takeover = serde_json::from_str(&written).unwrap();
            for _ in 0..2 {
                network.change_all(&read.undo()).await.unwrap();
            }
            assert_eq!(said("up0"), before, "after {part} changes");
            assert!(!network.link_exists("br0").await.unwrap());
        }
    });
}

#[test]
fn what_the_bridge_got_later_goes_to_the_uplink() {
    in_namespace(|network| async move {
        uplink();
        let plan = plan(&network, 1400).await;
        network.change_all(&plan.changes()).await.unwrap();
        ip("addr add 192.0.2.77/24 dev br0 label br0:late");
        ip("addr del 198.51.100.1/24 dev br0");
        ip("route add 10.5.0.0/16 via 192.0.2.252 dev br0");
        let by_then = said("br0");
        assert!(by_then.iter().any(|line| line.contains("LINK:late")), "{by_then:#?}");

        let (_, carried) = look(&network, "br0").await;
        network.change_all(&plan.carrying("up0", "br0", &carried).undo()).await.unwrap();
        assert_eq!(said("up0"), by_then);
        assert!(!network.link_exists("br0").await.unwrap());
    });
}

/// An address is never nowhere, so nothing that depends on it goes.
#[test]
fn a_route_of_another_link_that_sends_from_a_moved_address_stays() {
    in_namespace(|network| async move {
        uplink();
        ip("route add 10.6.0.0/16 dev other src 192.0.2.1");
        let of_other = ip("route show dev other");
        assert!(of_other.contains("10.6.0.0/16 scope link src 192.0.2.1"), "{of_other}");
        let plan = plan(&network, 1400).await;
        network.change_all(&plan.changes()).await.unwrap();
        assert_eq!(ip("route show dev other"), of_other);
        network.change_all(&plan.undo()).await.unwrap();
        assert_eq!(ip("route show dev other"), of_other);
    });
}

#[test]
fn a_change_that_the_kernel_refuses_says_which() {
    in_namespace(|network| async move {
        ip("link add up0 type veth peer name far0");
        let (uplink, carried) = look(&network, "up0").await;
        let plan = Takeover::plan("br0", &uplink, [1, 0, 0, 0, 0, 0], 1500, None, &carried);
        let error = network.change_all(&plan.changes()).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot make the bridge br0");
        network.change_all(&plan.undo()).await.unwrap();
        let (after, _) = look(&network, "up0").await;
        assert_eq!(after, uplink);
    });
}
