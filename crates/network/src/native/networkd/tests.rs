//! Files as networkd reads and tells them, and those that a bridge adds.

use super::*;
use crate::NewVlan;
use crate::native::tests::{card, shown};

const FILE: &str = "\
# the administrator's
[Match]
Name=eth0

[Link]
MTUBytes=1400
RequiredForOnline=routable

[Network]
Address=192.0.2.1/24
VLAN=eth0.5 \\
     eth0.6
Gateway=192.0.2.254
DHCP=ipv6

[Route]
Destination=10.0.0.0/8
Gateway=192.0.2.253
Table=100

[CAKE]
Bandwidth=1G
";

/// A root directory in which networkd manages link number 2 by `FILE` and a drop-in.
fn root(state: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("run/systemd/netif/links/2", state);
    write("run/systemd/netif/leases/2", "ADDRESS=192.0.2.1\nCLIENTID=ff5d2f13a90002000 0ab11\n");
    write("run/systemd/network/10-netplan-eth0.network", FILE);
    for (directory, server) in [("usr/lib", 51), ("run", 52), ("etc", 53)] {
        let path = format!("{directory}/systemd/network/10-netplan-eth0.network.d/dns.conf");
        write(&path, &format!("[Network]\nDNS=192.0.2.{server}\n"));
    }
    write("run/systemd/network/10-netplan-eth0.network.d/a.conf", "[Network]\nNTP=192.0.2.123\n");
    write("run/systemd/network/10-netplan-eth0.network.d/a.txt", "[Network]\nNTP=192.0.2.124\n");
    root
}

const MANAGED: &str = "\
# This is private data. Do not parse.
ADMIN_STATE=configured
NETWORK_FILE=/run/systemd/network/10-netplan-eth0.network
";

fn found() -> Found {
    find(root(MANAGED).path(), &card()).unwrap().expect("networkd manages it")
}

fn wanted<'a>(uplink: &'a crate::Link, mtu_asked: bool, vlan: Option<&'a NewVlan>) -> Wanted<'a> {
    Wanted { bridge: "br0", uplink, mac: [2, 0, 0, 0, 0, 1], mtu: 1400, mtu_asked, vlan }
}

#[test]
fn the_bridge_gets_what_the_uplink_had() {
    insta::assert_snapshot!(shown(&plan(&wanted(&card(), true, None), &found())));
}

#[test]
fn a_vlan_is_put_on_top_of_the_uplink() {
    let vlan = NewVlan { name: "eth0.7".to_owned(), id: 7 };
    let uplink = card();
    let wanted = Wanted { mtu: 9000, ..wanted(&uplink, true, Some(&vlan)) };
    insta::assert_snapshot!(shown(&plan(&wanted, &found())));
}

#[test]
fn what_networkd_leaves_alone_is_not_its() {
    for state in ["ADMIN_STATE=unmanaged\n", "ADMIN_STATE=configured\n", ""] {
        assert!(find(root(state).path(), &card()).unwrap().is_none(), "{state}");
    }
    let other = crate::Link { index: 3, ..card() };
    assert!(find(root(MANAGED).path(), &other).unwrap().is_none());
}

#[test]
fn a_file_that_is_gone_is_named() {
    let root = root("ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/gone.network\n");
    let error = find(root.path(), &card()).err().unwrap();
    assert_eq!(error.to_string(), "cannot read /etc/systemd/network/gone.network");
}

/// A bridge's name is none that a lease was given for: the server is to know it by the same identifier.
#[test]
fn the_identifier_of_a_lease_is_its_second_to_fifth_byte() {
    assert_eq!(iaid("ff5d2f13a90002000000ab11"), Some(0x5d2f_13a9));
    assert_eq!(iaid("01020000000001"), None);
    assert_eq!(iaid("ff5d2f"), None);
}
