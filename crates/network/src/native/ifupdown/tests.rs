use super::*;
use crate::NewVlan;
use crate::native::tests::{card, shown};

const FILE: &str = "\
auto lo
iface lo inet loopback

allow-hotplug eth0
iface eth0 inet static
    address 192.0.2.1/24
    gateway 192.0.2.254
    up ip route add 10.0.0.0/8 via 192.0.2.253 dev $IFACE

iface eth0 inet6 auto
iface eth0.5 inet dhcp
";

fn root(state: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for directory in ["run/network", "etc/network/interfaces.d"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    std::fs::write(root.path().join("run/network/ifstate"), state).unwrap();
    let sources = "source /etc/network/interfaces.d/*\n";
    std::fs::write(root.path().join("etc/network/interfaces"), sources).unwrap();
    std::fs::write(root.path().join("etc/network/interfaces.d/setup"), FILE).unwrap();
    root
}

fn check(vlan: Option<&NewVlan>) -> String {
    let found = find(root("lo=lo\neth0=eth0\n").path(), "eth0").unwrap().expect("ifup brought it up");
    let uplink = card();
    let wanted =
        Wanted { bridge: "br0", uplink: &uplink, mac: [2, 0, 0, 0, 0, 1], mtu: 1400, mtu_asked: true, vlan };
    shown(&plan(&wanted, &found))
}

#[test]
fn the_uplink_s_stanzas_are_the_bridge_s() {
    insta::assert_snapshot!(check(None));
}

#[test]
fn a_vlan_gets_a_stanza_more() {
    insta::assert_snapshot!(check(Some(&NewVlan { name: "eth0.7".to_owned(), id: 7 })));
}

#[test]
fn what_ifup_did_not_bring_up_is_not_its() {
    assert!(find(root("eth0.5=eth0.5\n").path(), "eth0").unwrap().is_none());
    assert!(find(root("eth1=eth1\n").path(), "eth1").unwrap().is_none());
    assert!(find(tempfile::tempdir().unwrap().path(), "eth0").unwrap().is_none());
}
