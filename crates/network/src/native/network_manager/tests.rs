use super::*;
use crate::NewVlan;
use crate::native::tests::{card, shown};

const PROFILE: &str = "\
connection.type:802-3-ethernet
connection.autoconnect:yes
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

fn check(vlan: Option<&NewVlan>) -> String {
    let found = read("9e3bd1a4".to_owned(), PROFILE).unwrap();
    let uplink = card();
    let wanted =
        Wanted { bridge: "br0", uplink: &uplink, mac: [2, 0, 0, 0, 0, 1], mtu: 9000, mtu_asked: true, vlan };
    shown(&plan(&wanted, &found))
}

#[test]
fn the_bridge_s_profile_has_what_the_uplink_s_has() {
    insta::assert_snapshot!(check(None));
}

#[test]
fn a_vlan_leaves_the_uplink_s_profile_alone() {
    insta::assert_snapshot!(check(Some(&NewVlan { name: "eth0.7".to_owned(), id: 7 })));
}

#[test]
fn only_a_card_s_profile_is_taken_over() {
    let error = read("9e3bd1a4".to_owned(), "connection.type:bond\n").err().unwrap();
    assert_eq!(error.to_string(), "cannot let NetworkManager make the uplink a port");
}

#[tokio::test]
async fn without_network_manager_nothing_is_its() {
    let root = tempfile::tempdir().unwrap();
    assert!(find(root.path(), "eth0").await.unwrap().is_none());
}
