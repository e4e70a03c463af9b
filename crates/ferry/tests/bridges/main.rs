//! Bridges, by the program itself and a real agent in a network namespace of their own, whose uplink leads to another one.
//! Needs root and `ip`.

mod host;
mod undone;

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use host::{Running, Sshd, everything, ip, on_a_host};

#[test]
fn asked_over_the_uplink_it_is_confirmed_over_the_uplink() {
    on_a_host(|host| {
        let before = everything();
        let sshd = Sshd::start(&host, false);
        let output = sshd.ferry(&host, "bridge create br0 --uplink up0").wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr);
        let made: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!((output.status.code(), &made["undone_at"]), (Some(0), &Value::Null), "{made} {said}");
        assert_eq!(made["addresses"], serde_json::json!(["192.0.2.1/24"]));
        assert_eq!(made["mac"], "02:00:00:00:00:01");
        assert_eq!(host.json("bridge list"), serde_json::json!([made]));
        host.far_away("busybox ping -c 1 -W 5 192.0.2.1");
        assert!(ip("route").contains("default via 192.0.2.254 dev br0 metric 100"), "{}", ip("route"));

        // The same once more is nothing, something else is another bridge.
        assert_eq!(host.json("bridge create br0 --uplink up0"), made);
        let output = host.ferry("bridge create br0 --uplink up0 --mtu 1400");
        assert!(String::from_utf8_lossy(&output.stderr).contains("its MTU is 1500"));
        assert_eq!(output.status.code(), Some(4));
        let output = host.ferry("bridge confirm br0");
        assert_eq!(output.status.code(), Some(4));

        ip("tuntap add tap0 mode tap");
        ip("link set tap0 master br0");
        let output = host.ferry("bridge delete br0");
        assert!(String::from_utf8_lossy(&output.stderr).contains("is used by its port tap0"));
        assert_eq!(output.status.code(), Some(4));
        ip("link del tap0");
        assert_eq!(host.json("bridge delete br0"), serde_json::json!({"deleted": "br0"}));
        assert_eq!(everything(), before);
        host.far_away("busybox ping -c 1 -W 5 192.0.2.1");
        assert_eq!(host.ferry("bridge delete br0").status.code(), Some(4));
    });
}

#[test]
fn what_cannot_be_is_refused_before_anything_changes() {
    on_a_host(|host| {
        let check =
            |words: &str, code: &str, says: &str| host.refuses(&format!("bridge {words}"), code, says);
        ip("link add br9 type bridge");
        ip("link add port9 type veth peer name a-longer-name");
        ip("link set port9 master br9");
        ip("tuntap add tunnel9 mode tun");
        ip("addr add 2001:db8::1/64 dev up0");
        ip("link add up0.8 type veth peer name plain8");

        for name in ["a-name-of-16-byt", "a/b", "br%d", "br0;reboot", "*"] {
            let output = host.ferry(&format!("bridge create {name} --uplink up0"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("1 to 15 letters"), "{said}");
            assert_eq!(output.status.code(), Some(2), "{name}");
        }
        check("create port9 --uplink up0", "bridge-name-taken", "no bridge but a veth");
        check("create br9 --uplink up0", "bridge-differs", "up0 is not its port");
        check("create br0 --uplink up9", "uplink-not-found", "there are");
        check("create br0 --uplink port9", "uplink-enslaved", "a port of br9 already");
        check("create br0 --uplink br9", "uplink-not-bridgeable", "it is a bridge itself");
        check("create br0 --uplink lo", "uplink-not-bridgeable", "it is the loopback");
        check("create br0 --uplink tunnel9", "uplink-not-bridgeable", "not Ethernet's");
        check("create br0 --uplink up0 --vlan 0", "vlan-range", "1 to 4094");
        check("create br0 --uplink up0 --vlan 4095", "vlan-range", "1 to 4094");
        check("create br0 --uplink up0 --vlan 8", "vlan-name-taken", "taken by a veth");
        check("create br0 --uplink a-longer-name --vlan 4000", "vlan-name", "ip link add link");
        check("create br0 --uplink up0 --mtu 67", "mtu-impossible", "IPv4 needs at least 68");
        check("create br0 --uplink up0 --mtu 1279", "mtu-impossible", "from 1280 to 65535");
        check("create br0 --uplink up0 --mtu 65536", "mtu-impossible", "it takes at most 65535");
        check("confirm br0", "bridge-not-pending", "no change of br0");
        check("delete br0", "bridge-not-found", "no bridge br0 on host kvm1");
        check("delete br9", "bridge-not-ours", "ip link delete br9");

        ip("nexthop add id 5 via 192.0.2.253 dev up0");
        ip("route add 10.9.0.0/16 nhid 5");
        check("create br0 --uplink up0", "nexthop-object", "10.9.0.0/16");
        ip("route del 10.9.0.0/16");

        let listener = TcpListener::bind("192.0.2.1:0").expect("listens");
        let port = listener.local_addr().expect("bound").port();
        let mut far = host.inside_far("busybox");
        far.args(["nc", "192.0.2.1", &port.to_string()]).stdin(Stdio::piped());
        let _far = Running(far.spawn().expect("spawns"));
        let _connection = listener.accept().expect("accepts");
        check(
            "create br0 --uplink up0 --confirm-within 0",
            "uplink-carries-connections",
            "connections of other machines with this one (1; that from 192.0.2.7 is among them)",
        );
        check(
            "create br0 --uplink up0 --confirm-within 0",
            "uplink-carries-connections",
            "--confirm-within, as in 30s",
        );
    });
}

/// A domain that is shut off needs its bridge when it is started.
#[test]
fn a_bridge_that_a_domain_uses_is_not_removed() {
    on_a_host(|host| {
        host.json("bridge create br0 --uplink up0 --confirm-within 60s");
        host.json("bridge confirm br0");
        let file = host.directory.path().join("web1.xml");
        let xml = "<domain type='qemu'><name>web1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
                   <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
                   <interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface></devices></domain>";
        std::fs::write(&file, xml).expect("writes");
        host.json(&format!("define {}", file.display()));
        let output = host.ferry("bridge delete br0");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the bridge br0 is used by domain web1"), "{said}");
        assert_eq!(output.status.code(), Some(4));
    });
}

#[test]
fn only_one_change_waits_for_being_confirmed() {
    on_a_host(|host| {
        ip("link add other type veth peer name other9");
        host.json("bridge create br1 --uplink other --confirm-within 60s");
        let output = host.ferry("bridge create br0 --uplink up0");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the bridge br1 has not been confirmed yet"), "{said}");
        assert_eq!((output.status.code(), ip("link").contains(" br0:")), (Some(4), false));
        host.json("bridge confirm br1");
        let made = host.json("bridge create br0 --uplink up0 --mtu 1400 --confirm-within 0");
        assert_eq!((&made["mtu"], &made["undone_at"]), (&1400.into(), &Value::Null), "{made}");
        assert!(ip("link show dev up0").contains("mtu 1400 "), "{}", ip("link show dev up0"));
        host.fails("bridge create br7 --uplink up0 --vlan 7", "uplink-shared", "br0 stands on up0 already");
    });
}
