//! What no network namespace can be given: cards of every kind. The rest is tried on a real kernel by ferry's tests.

use network::Link;

use super::*;

fn card(name: &str) -> Link {
    Link {
        name: name.to_owned(),
        index: 2,
        kind: None,
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        mtu_max: Some(9000),
        up: true,
        loopback: false,
        ethernet: true,
        wireless: false,
        controller: None,
        vlan: None,
    }
}

/// A host with a card, a wireless card, and a VLAN of the card that is a port of br7.
fn links() -> Vec<Link> {
    vec![
        card("eth0"),
        Link { wireless: true, ..card("wlan0") },
        card("eth*"),
        Link { vlan: Some((7, "eth0".to_owned())), controller: Some("br7".to_owned()), ..card("storage") },
        Link { kind: Some("bridge".to_owned()), mtu: 9000, ..card("br7") },
    ]
}

#[track_caller]
fn check(request: &BridgeRequest, expect: Result<&str, &str>) {
    let facts = Facts { host: "kvm1", links: &links() };
    let said = link_of(request, &facts).and_then(|(uplink, vlan)| {
        Ok(match admit(request, &facts, &uplink, vlan.as_ref(), &Carried::default())? {
            Admitted::Exists => "it is there".to_owned(),
            Admitted::Make { mtu, .. } => {
                let vlan = vlan.map_or(String::new(), |vlan| format!(" {} {}", vlan.name, vlan.id));
                format!("{} {mtu}{vlan}", uplink.name)
            }
        })
    });
    let said = said.map_err(|failure| failure.to_string());
    assert_eq!(said.as_deref().map_err(String::as_str), expect);
}

#[test]
fn what_can_be_made_is_admitted() {
    let request = BridgeRequest::on("br0", "eth0");
    check(&request, Ok("eth0 1500"));
    check(&BridgeRequest { mtu: Some(9000), ..request.clone() }, Ok("eth0 9000"));
    check(&BridgeRequest { vlan: Some(9), ..request.clone() }, Ok("eth0 1500 eth0.9 9"));
    check(
        &BridgeRequest { mtu: Some(9001), ..request },
        Err("eth0 cannot have an MTU of 9001 bytes: it takes at most 9000"),
    );
}

#[test]
fn a_vlan_that_has_a_link_is_that_link() {
    let request = BridgeRequest { vlan: Some(7), ..BridgeRequest::on("br7", "eth0") };
    check(&request, Ok("it is there"));
    check(&BridgeRequest { mtu: Some(9000), ..request.clone() }, Ok("it is there"));
    check(
        &BridgeRequest { mtu: Some(1500), ..request.clone() },
        Err("the bridge br7 is there already, and it is another one: its MTU is 9000"),
    );
    check(
        &BridgeRequest { name: "br0".to_owned(), ..request },
        Err("storage is a port of br7 already, and a link can be a port of one only"),
    );
}

/// An agent may be asked by something else than the command.
#[test]
fn names_that_mean_something_else_are_refused() {
    for name in ["a-name-of-16-byt", "br0;reboot", "br%d", "*", "--all"] {
        check(
            &BridgeRequest::on(name, "eth0"),
            Err(&format!("{name:?} cannot name a bridge: a name must have {}", api::BRIDGE_NAME)),
        );
    }
    check(
        &BridgeRequest::on("br0", "eth*"),
        Err(
            "eth* cannot be a bridge's port: its name has characters that mean something else in configurations",
        ),
    );
}

#[test]
fn a_wireless_card_is_refused() {
    check(
        &BridgeRequest::on("br0", "wlan0"),
        Err(
            "wlan0 cannot be a bridge's port: it is a wireless card, and an access point takes no frames with a guest's address from it",
        ),
    );
}
