//! The whole driver against the real kernel, each test in a network namespace of its own that vanishes with
//! the test's thread. Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), `ip` and bridge support; where they
//! lack, these tests fail.

mod inside;

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use inside::{in_namespace, ip};
use network::{Bridge, Learned, NetworkError, Port, PortState};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use serde_json::Value;

/// For things that happen at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What ip-link(8), not this crate, says of a link.
#[track_caller]
fn link(name: &str) -> Value {
    let all: Value = serde_json::from_str(&ip(&format!("-j -d link show dev {name}"))).unwrap();
    all[0].clone()
}

/// The four flags in ip's words: learning, unicast, multicast, broadcast.
#[track_caller]
fn flags(name: &str) -> [bool; 4] {
    let data = &link(name)["linkinfo"]["info_slave_data"];
    ["learning", "flood", "mcast_flood", "bcast_flood"].map(|flag| data[flag].as_bool().unwrap())
}

/// A port with a carrier: `name` on this end, `<name>p` up on the other.
fn veth(name: &str) {
    ip(&format!("link add {name} type veth peer name {name}p"));
    ip(&format!("link set {name}p up"));
}

#[test]
fn a_bridge_is_read() {
    in_namespace(|network| async move {
        ip("link add br0 mtu 1400 type bridge stp_state 1 forward_delay 400");
        ip("link add br1 type bridge stp_state 0 forward_delay 1500");
        ip("link set br1 up");
        let bridge = network.bridge("br0").await.unwrap();
        let expected = Bridge {
            name: "br0".to_owned(),
            index: u32::try_from(link("br0")["ifindex"].as_u64().unwrap()).unwrap(),
            up: false,
            mtu: 1400,
            stp: true,
            forward_delay: Duration::from_secs(4),
        };
        assert_eq!(bridge, expected);
        let bridge = network.bridge("br1").await.unwrap();
        assert!(!bridge.stp && bridge.up && bridge.mtu == 1500, "{bridge:?}");
        assert_eq!(bridge.forward_delay, Duration::from_secs(15));
    });
}

#[test]
fn what_is_no_bridge_says_what_it_is() {
    in_namespace(|network| async move {
        ip("link add d0 type veth peer name d1");
        for (name, message) in [
            ("d0", r#"network interface "d0" is not a bridge but a veth: name a bridge, or create one"#),
            (
                "lo",
                r#"network interface "lo" is not a bridge but a link without a kind, such as a physical card: name a bridge, or create one"#,
            ),
            ("br9", r#"there is no network interface "br9" on this host: `ip link` lists those that exist"#),
            (
                "br0/../x",
                r#""br0/../x" cannot name a network interface: use 1 to 15 bytes without '/', ':' and white space"#,
            ),
        ] {
            assert_eq!(network.bridge(name).await.unwrap_err().to_string(), message);
        }
    });
}

#[test]
fn links_come_and_go() {
    in_namespace(|network| async move {
        assert_eq!(network.links().await.unwrap(), ["lo"]);
        ip("tuntap add tap0 mode tap");
        assert_eq!(network.links().await.unwrap(), ["lo", "tap0"]);
        assert!(network.link_exists("tap0").await.unwrap());
        network.remove("tap0").await.unwrap();
        assert!(!network.link_exists("tap0").await.unwrap());
        assert_eq!(network.links().await.unwrap(), ["lo"]);
        network.remove("tap0").await.expect("a link that is absent is removed");
        let error = network.remove("lo").await.unwrap_err();
        assert!(matches!(&error, NetworkError::Netlink { link, .. } if link == "lo"), "{error:?}");
        assert_eq!(error.to_string(), "cannot remove lo");
        assert!(network.link_exists("a name that is too long").await.is_err());
    });
}

#[test]
fn a_tap_joins_muted_or_open() {
    in_namespace(|network| async move {
        ip("link add br0 type bridge");
        for (tap, port, on) in [("tap0", Port::Muted, false), ("tap1", Port::Open, true)] {
            ip(&format!("tuntap add {tap} mode tap"));
            network.join(tap, "br0", None, port).await.unwrap();
            assert_eq!(flags(tap), [on; 4]);
            assert_eq!(link(tap)["master"], "br0");
            assert!(link(tap)["flags"].as_array().unwrap().contains(&"UP".into()), "{}", link(tap));
            let status = network.port(tap).await.unwrap();
            assert_eq!((status.bridge.as_str(), status.port), ("br0", port));
        }
    });
}

#[test]
fn a_port_is_opened_and_muted() {
    in_namespace(|network| async move {
        ip("link add br0 type bridge");
        ip("tuntap add tap0 mode tap");
        network.join("tap0", "br0", None, Port::Muted).await.unwrap();
        network.open("tap0").await.unwrap();
        assert_eq!(flags("tap0"), [true; 4]);
        assert_eq!(network.port("tap0").await.unwrap().port, Port::Open);
        network.mute("tap0").await.unwrap();
        assert_eq!(flags("tap0"), [false; 4]);
        assert_eq!(network.port("tap0").await.unwrap().port, Port::Muted);
        ip("link set tap0 type bridge_slave bcast_flood on");
        assert_eq!(network.port("tap0").await.unwrap().port, Port::Open, "half open is not muted");
    });
}

#[test]
fn only_a_port_is_opened() {
    in_namespace(|network| async move {
        ip("tuntap add tap0 mode tap");
        for error in [
            network.open("tap0").await.unwrap_err(),
            network.mute("tap0").await.unwrap_err(),
            network.port("tap0").await.unwrap_err(),
            network.forwarding("tap0", PATIENCE).await.unwrap_err(),
        ] {
            assert!(matches!(&error, NetworkError::NotAPort { tap } if tap == "tap0"), "{error:?}");
        }
        for error in
            [network.open("tap9").await.unwrap_err(), network.forwarding("tap9", PATIENCE).await.unwrap_err()]
        {
            assert!(matches!(&error, NetworkError::NoSuchLink { name } if name == "tap9"), "{error:?}");
        }
    });
}

#[test]
fn a_tap_of_another_bridge_is_not_taken() {
    in_namespace(|network| async move {
        ip("link add br0 type bridge");
        ip("link add br1 type bridge");
        ip("tuntap add tap0 mode tap");
        ip("link set tap0 master br1");
        let error = network.join("tap0", "br0", None, Port::Open).await.unwrap_err();
        assert!(
            matches!(&error, NetworkError::AlreadyEnslaved { tap, bridge } if tap == "tap0" && bridge == "br1"),
            "{error:?}"
        );
        assert_eq!(link("tap0")["master"], "br1");
    });
}

#[test]
fn the_bridge_keeps_its_address_and_its_mtu() {
    in_namespace(|network| async move {
        ip("link add br0 type bridge");
        ip("link add up0 address 02:00:00:00:00:01 mtu 9000 type veth peer name up1");
        ip("link set up0 master br0");
        let before = link("br0");
        assert_eq!((&before["mtu"], &before["address"]), (&9000.into(), &"02:00:00:00:00:01".into()));

        ip("tuntap add tap0 mode tap");
        ip("link set tap0 address 02:00:00:00:00:00");
        network.join("tap0", "br0", None, Port::Open).await.unwrap();
        assert_eq!(link("tap0")["mtu"], 9000);
        assert_eq!(link("tap0")["address"], "fe:00:00:00:00:00");
        let after = link("br0");
        assert_eq!((&after["mtu"], &after["address"]), (&before["mtu"], &before["address"]));

        ip("tuntap add tap1 mode tap");
        network.join("tap1", "br0", Some(9100), Port::Open).await.unwrap();
        assert_eq!(link("tap1")["mtu"], 9100);
    });
}

#[test]
fn a_join_that_fails_leaves_the_tap_outside_and_down() {
    in_namespace(|network| async move {
        ip("link add br0 type bridge");
        ip("tuntap add tap0 mode tap");
        ip("link set tap0 up");
        let error = network.join("tap0", "br0", Some(1 << 20), Port::Open).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot set the MTU and the MAC address of tap0");
        assert_eq!(link("tap0")["master"], Value::Null);

        // A bridge cannot be a port of a bridge: this one fails later.
        ip("link add br1 type bridge");
        let error = network.join("br1", "br0", None, Port::Open).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot add to its bridge the tap br1");
        assert_eq!(link("br1")["master"], Value::Null);
        assert!(!link("br1")["flags"].as_array().unwrap().contains(&"UP".into()));
    });
}

/// In the kernel's own account of a join, no state of the port in which it could carry a frame is unmuted.
#[test]
fn a_muted_port_is_never_up_unmuted() {
    in_namespace(|network| async move {
        let (connection, _handle, mut notifications) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).unwrap();
        tokio::spawn(connection);
        ip("link add br0 up type bridge");
        veth("tap0");
        ip("link set tap0 up");
        network.join("tap0", "br0", None, Port::Muted).await.unwrap();
        ip("link add sentinel type bridge");

        let mut seen_up = 0;
        loop {
            let next = tokio::time::timeout(PATIENCE, notifications.next()).await;
            let (message, _) = next.expect("the sentinel's notification comes").unwrap();
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload else {
                continue;
            };
            let named = |name: &str| link.attributes.contains(&LinkAttribute::IfName(name.to_owned()));
            if named("sentinel") {
                break;
            }
            let is_port = link.attributes.iter().any(|a| matches!(a, LinkAttribute::Controller(_)));
            let up = link.header.flags.contains(LinkFlags::Up);
            if named("tap0")
                && is_port
                && up
                && let Some(on) = port_flags(&link)
            {
                seen_up += 1;
                assert_eq!(on, [false; 4], "{link:?}");
            }
        }
        assert!(seen_up > 0, "the port was never seen up");
    });
}

/// As [`flags`], out of a notification; `None` in those that do not carry the flags.
fn port_flags(link: &LinkMessage) -> Option<[bool; 4]> {
    let data = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::PortData(InfoPortData::BridgePort(data)) => Some(data),
            _ => None,
        }),
        _ => None,
    })?;
    let mut on = [true; 4];
    for fact in data {
        match fact {
            InfoBridgePort::Learning(value) => on[0] = *value,
            InfoBridgePort::UnicastFlood(value) => on[1] = *value,
            InfoBridgePort::MulticastFlood(value) => on[2] = *value,
            InfoBridgePort::BroadcastFlood(value) => on[3] = *value,
            _ => {}
        }
    }
    Some(on)
}

/// Frames that `name` has received, as the namespace of this thread counts them.
fn received(name: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Broadcasts from `sender` go to an open port and not to a muted one; opened, they go there too.
#[test]
fn a_muted_port_gets_no_broadcast() {
    const FRAMES: u64 = 50;
    in_namespace(|network| async move {
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").ok();
        ip("link add br0 type bridge mcast_snooping 0");
        ip("link set br0 up");
        for name in ["sender", "muted", "open"] {
            veth(name);
        }
        network.join("sender", "br0", None, Port::Open).await.unwrap();
        network.join("muted", "br0", None, Port::Muted).await.unwrap();
        network.join("open", "br0", None, Port::Open).await.unwrap();
        for name in ["sender", "muted", "open"] {
            network.forwarding(name, PATIENCE).await.unwrap();
        }
        ip("addr add 192.0.2.1/24 broadcast 192.0.2.255 dev senderp");
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.set_broadcast(true).unwrap();

        let before = [received("mutedp"), received("openp")];
        broadcast(&socket, FRAMES);
        wait_until(|| received("openp") >= before[1] + FRAMES);
        let quiet = received("mutedp");

        network.open("muted").await.unwrap();
        broadcast(&socket, FRAMES);
        wait_until(|| received("mutedp") >= quiet + FRAMES);
        // A multicast report of the namespace itself may have passed; fifty broadcasts have not.
        assert!(quiet - before[0] < FRAMES / 2, "{} frames came to the muted port", quiet - before[0]);
    });
}

/// What comes out of a muted tap, such as an announcement that QEMU makes before its guest runs, goes nowhere; opened, it
/// passes.
#[test]
fn a_muted_port_sends_nothing() {
    const FRAMES: u64 = 50;
    in_namespace(|network| async move {
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").ok();
        ip("link add br0 type bridge mcast_snooping 0");
        ip("link set br0 up");
        for name in ["muted", "open"] {
            veth(name);
        }
        network.join("muted", "br0", None, Port::Muted).await.unwrap();
        network.join("open", "br0", None, Port::Open).await.unwrap();
        for name in ["muted", "open"] {
            network.forwarding(name, PATIENCE).await.unwrap();
        }
        ip("addr add 192.0.2.1/24 broadcast 192.0.2.255 dev mutedp");
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.set_broadcast(true).unwrap();

        let before = received("openp");
        broadcast(&socket, FRAMES);
        // The bridge takes a frame in while it is sent, so what was to pass has passed.
        let passed = received("openp") - before;
        assert!(passed < FRAMES / 2, "{passed} frames came out of the muted port");

        network.open("muted").await.unwrap();
        broadcast(&socket, FRAMES);
        wait_until(|| received("openp") >= before + passed + FRAMES);
    });
}

fn broadcast(socket: &UdpSocket, frames: u64) {
    for _ in 0..frames {
        socket.send_to(b"hello", "192.0.2.255:9").unwrap();
    }
}

#[track_caller]
fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn without_stp_a_port_forwards_at_once() {
    in_namespace(|network| async move {
        ip("link add br0 up type bridge stp_state 0");
        veth("tap0");
        network.join("tap0", "br0", None, Port::Muted).await.unwrap();
        network.forwarding("tap0", PATIENCE).await.unwrap();
        assert_eq!(link("tap0")["linkinfo"]["info_slave_data"]["state"], "forwarding");
        assert_eq!(network.port("tap0").await.unwrap().state, PortState::Forwarding);
    });
}

#[test]
fn with_stp_a_port_forwards_after_twice_the_delay() {
    in_namespace(|network| async move {
        ip("link add br0 up type bridge stp_state 1 forward_delay 200");
        let bridge = network.bridge("br0").await.unwrap();
        assert_eq!(bridge.forward_delay, Duration::from_secs(2));
        veth("tap0");
        let start = Instant::now();
        network.join("tap0", "br0", None, Port::Muted).await.unwrap();

        let error = network.forwarding("tap0", Duration::from_millis(50)).await.unwrap_err();
        assert!(
            matches!(&error, NetworkError::NotForwarding { state: PortState::Listening, .. }),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            "the bridge port of tap \"tap0\" is still listening after 0.05 s: it needs a carrier (a running \
             QEMU) and, on a bridge with STP, twice the bridge's forward delay"
        );

        network.forwarding("tap0", PATIENCE).await.unwrap();
        let took = start.elapsed();
        assert!(took >= bridge.forward_delay * 2 - Duration::from_millis(100), "{took:?}");
        assert_eq!(link("tap0")["linkinfo"]["info_slave_data"]["state"], "forwarding");
    });
}

#[test]
fn a_wait_ends_when_the_carrier_comes_or_the_link_goes() {
    in_namespace(|network| async move {
        ip("link add br0 up type bridge stp_state 0");
        ip("link add tap0 type veth peer name tap0p");
        network.join("tap0", "br0", None, Port::Muted).await.unwrap();
        let error = network.forwarding("tap0", Duration::from_millis(20)).await.unwrap_err();
        assert!(
            matches!(&error, NetworkError::NotForwarding { state: PortState::Disabled, .. }),
            "{error:?}"
        );

        let (waited, ()) = tokio::join!(network.forwarding("tap0", PATIENCE), async {
            ip("link set tap0p up");
        });
        waited.unwrap();

        ip("link set tap0p down");
        let (waited, ()) = tokio::join!(network.forwarding("tap0", PATIENCE), async {
            ip("link del tap0");
        });
        assert!(matches!(waited.unwrap_err(), NetworkError::NoSuchLink { .. }));
    });
}

/// A process that ends with the test, however that ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The tap is QEMU's: QEMU makes it, down and outside any bridge, is its carrier, and takes it along.
#[test]
fn a_tap_that_qemu_made_joins_and_goes_with_it() {
    in_namespace(|network| async move {
        ip("link add br0 mtu 9000 up type bridge");
        let qemu = Command::new("qemu-system-x86_64")
            .args("-machine none -S -nodefaults -display none -netdev".split(' '))
            .arg("tap,id=net0,ifname=tap0,script=no,downscript=no")
            .spawn()
            .expect("QEMU is installed");
        let qemu = Running(qemu);
        wait_until(|| Command::new("ip").args(["link", "show", "tap0"]).output().unwrap().status.success());
        assert_eq!(link("tap0")["master"], Value::Null);
        assert!(!link("tap0")["flags"].as_array().unwrap().contains(&"UP".into()), "{}", link("tap0"));

        network.join("tap0", "br0", None, Port::Muted).await.unwrap();
        network.forwarding("tap0", PATIENCE).await.unwrap();
        assert_eq!(flags("tap0"), [false; 4]);
        assert_eq!(link("tap0")["mtu"], 9000);

        drop(qemu);
        let gone = network.forwarding("tap0", PATIENCE).await;
        assert!(matches!(gone, Err(NetworkError::NoSuchLink { .. })), "{gone:?}");
    });
}

#[test]
fn what_bridges_have_learned() {
    in_namespace(|network| async move {
        ip("link add br0 type bridge");
        ip("tuntap add dev tap0 mode tap");
        ip("link set tap0 master br0");
        veth("port0");
        ip("link set port0 master br0");
        assert!(network.vlans("br0").await.unwrap().is_empty());
        assert!(matches!(network.vlans("br1").await, Err(NetworkError::NoSuchLink { .. })));

        let mac = |last| [0x52, 0x54, 0, 0, 0, last];
        for (last, port) in [(1, "tap0"), (2, "port0")] {
            let words = format!("fdb add 52:54:00:00:00:0{last} dev {port} master static");
            let status =
                Command::new("bridge").args(words.split(' ')).status().expect("iproute2 is installed");
            assert!(status.success(), "bridge {words}");
        }
        let all = network.learned().await.unwrap();
        let check = |last, expect: Option<(&str, bool)>| {
            let found: Vec<&Learned> = all.iter().filter(|learned| learned.mac == mac(last)).collect();
            let expect = expect.map(|(port, tap)| Learned {
                mac: mac(last),
                bridge: "br0".to_owned(),
                port: port.to_owned(),
                tap,
            });
            assert_eq!(found, expect.iter().collect::<Vec<_>>());
        };
        check(1, Some(("tap0", true)));
        check(2, Some(("port0", false)));
        check(3, None);
    });
}
