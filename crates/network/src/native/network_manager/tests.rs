//! Profiles as nmcli tells them, and what is told to nmcli.

use super::*;
use crate::NewVlan;
use crate::native::tests::{card, shown};

const PROFILE: &str = "\
connection.type:802-3-ethernet
connection.autoconnect:yes
connection.zone:trusted
802-1x.eap:
ipv4.method:manual
ipv4.addresses:192.0.2.1/24, 192.0.2.2/24
ipv4.gateway:192.0.2.254
ipv4.dns:
ipv4.routes:10.0.0.0/8 192.0.2.253 100
ipv4.may-fail:yes
ipv6.method:auto
ipv6.addresses:
ipv6.gateway:--
";

fn check(mtu: u32, vlan: Option<&NewVlan>) -> Result<Native, NetworkError> {
    let found = read("9e3bd1a4".to_owned(), PROFILE).unwrap();
    let uplink = card();
    let wanted =
        Wanted { bridge: "br0", uplink: &uplink, mac: [2, 0, 0, 0, 0, 1], mtu, mtu_asked: true, vlan };
    plan(&wanted, &found)
}

#[track_caller]
fn refuses(error: &NetworkError, why: &str) {
    assert_eq!(error.to_string(), "cannot have NetworkManager make the bridge");
    let cause = std::error::Error::source(error).unwrap().to_string();
    assert!(cause.contains(why), "{cause}");
}

#[test]
fn the_bridge_s_profile_has_what_the_uplink_s_has() {
    insta::assert_snapshot!(shown(&check(9000, None).unwrap()));
}

#[test]
fn a_vlan_leaves_the_uplink_s_profile_alone() {
    let vlan = NewVlan { name: "eth0.7".to_owned(), id: 7 };
    insta::assert_snapshot!(shown(&check(1400, Some(&vlan)).unwrap()));
    refuses(&check(1501, Some(&vlan)).unwrap_err(), "802-3-ethernet.mtu");
}

#[test]
fn only_a_card_s_profile_is_taken_over() {
    let read = |profile: &str| read("9e3bd1a4".to_owned(), profile).err().unwrap();
    refuses(&read("connection.type:bond\n"), "of type bond");
    refuses(&read("connection.type:802-3-ethernet\n802-1x.eap:peap\n"), "802.1X");
}

#[tokio::test]
async fn without_network_manager_nothing_is_its() {
    let root = tempfile::tempdir().unwrap();
    assert!(find(root.path(), "eth0").await.unwrap().is_none());
}
