//! Stanzas of a file as an administrator writes it, with a bridge and without it again.

use super::*;
use crate::NewVlan;
use crate::native::tests::{card, shown};

const FILE: &str = "\
auto lo
iface lo inet loopback

allow-hotplug eth1 eth0
iface eth0 inet static \\
    metric 5
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

/// The text as it was, with a bridge, and without it again.
#[track_caller]
fn check_released(bridges: &[(&str, &str)], first_out: usize) {
    let file = FILE.to_owned() + "iface eth1 inet dhcp\n";
    let mut text = file.clone();
    for (bridge, link) in bridges {
        let uplink = crate::Link { name: (*link).to_owned(), ..card() };
        let wanted = Wanted { bridge, uplink: &uplink, mac: [2; 6], mtu: 1500, mtu_asked: false, vlan: None };
        text = taken_over(&wanted, &text);
        assert!(text.contains(&format!("iface {bridge} inet")), "{text}");
        assert!(
            !text.lines().any(|line| is_stanza_of(line, link) && !line.ends_with("inet manual")),
            "{text}"
        );
    }
    text += "iface later inet manual\n";
    let (first, others) = (bridges[first_out].0, bridges.iter().map(|(bridge, _)| *bridge));
    for bridge in [first].into_iter().chain(others) {
        text = released(&text, bridge);
        assert!(!text.contains(&format!("iface {bridge} ")), "{text}");
    }
    assert_eq!(text, file + "iface later inet manual\n");
}

#[test]
fn what_a_bridge_took_over_comes_back_and_what_was_written_since_stays() {
    check_released(&[("br0", "eth0")], 0);
    check_released(&[("br0", "eth0"), ("br1", "eth1")], 0);
    check_released(&[("br0", "eth0"), ("br1", "eth1")], 1);
    check_released(&[("br1", "eth1"), ("br0", "eth0")], 0);
}

#[test]
fn a_file_is_released_where_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("interfaces");
    release(&path, "br0").unwrap();
    std::fs::write(&path, with_block("auto lo", "br0", "iface br0 inet manual\n")).unwrap();
    release(&path, "br0").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "auto lo\n");
}

#[test]
fn stanzas_in_several_files_are_refused() {
    let root = root("eth0=eth0\n");
    std::fs::create_dir(root.path().join("etc/network/interfaces.d/old")).unwrap();
    std::fs::write(root.path().join("etc/network/interfaces.d/notes"), b"\xff").unwrap();
    assert!(find(root.path(), "eth0").unwrap().is_some());
    std::fs::write(root.path().join("etc/network/interfaces.d/more"), "iface eth0 inet6 auto\n").unwrap();
    let error = find(root.path(), "eth0").err().unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("put them into one file"), "{cause}");
}

#[test]
fn what_ifup_did_not_bring_up_is_not_its() {
    assert!(find(root("eth0.5=eth0.5\n").path(), "eth0").unwrap().is_none());
    assert!(find(root("eth1=eth1\n").path(), "eth1").unwrap().is_none());
    assert!(find(tempfile::tempdir().unwrap().path(), "eth0").unwrap().is_none());
}
