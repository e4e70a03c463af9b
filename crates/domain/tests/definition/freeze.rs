//! Freezing: what is missing is written once, in libvirt's places, and nothing else changes.

use crate::fixture::{Counting, corpus};
use domain::{Definition, DefinitionError, Freezer, MacAddress, PciAddress};
use uuid::Uuid;

fn freeze(xml: &str) -> Result<Definition, DefinitionError> {
    Definition::parse(xml).expect("the definition is good").freeze(&mut Counting::default())
}

#[test]
fn a_q35_server_guest_is_completed_as_libvirt_does_it() {
    let frozen = freeze(&corpus("web1.xml")).expect("it can be frozen");
    insta::assert_snapshot!(frozen.xml());
}

#[test]
fn an_i440fx_guest_is_completed_as_libvirt_does_it() {
    let frozen = freeze(&corpus("i440fx.xml")).expect("it can be frozen");
    insta::assert_snapshot!(frozen.xml());
}

#[test]
fn a_definition_on_one_line_stays_on_one_line() {
    let frozen = freeze(&corpus("direct-boot.xml")).expect("it can be frozen");
    insta::assert_snapshot!(frozen.xml());
}

#[test]
fn a_complete_definition_comes_back_byte_for_byte() {
    let db1 = corpus("db1.xml");
    assert_eq!(freeze(&db1).expect("it can be frozen").xml(), db1);
}

#[test]
fn freezing_twice_is_freezing_once() {
    for (name, xml) in crate::fixture::all() {
        let once = freeze(&xml).expect("it can be frozen");
        // Another freezer: nothing may be asked of it any more.
        let twice = once.freeze(&mut Counting { next: 77 }).expect("it can be frozen again");
        assert_eq!(once.xml(), twice.xml(), "{name}");
    }
}

#[test]
fn every_line_that_was_there_is_still_there_in_order() {
    for (name, xml) in crate::fixture::all() {
        let frozen = freeze(&xml).expect("it can be frozen");
        let mut rest = frozen.xml();
        for piece in xml.split(['<', '>']).filter(|piece| !piece.trim().is_empty()) {
            // The machine's alias is the one thing that changes, a closed tag may open, and attributes may be added.
            let piece = piece.split(" machine=").next().unwrap_or(piece).trim_end_matches('/');
            let at = rest.find(piece).unwrap_or_else(|| panic!("{name}: {piece} is gone"));
            rest = &rest[at + piece.len()..];
        }
    }
}

#[test]
fn after_freezing_nothing_is_open() {
    for (name, xml) in crate::fixture::all() {
        let frozen = freeze(&xml).expect("it can be frozen");
        let domain = frozen.domain();
        assert!(domain.uuid.is_some(), "{name}");
        assert!(domain.os.machine.ends_with("-10.0"), "{name}");
        assert!(domain.disks.iter().all(|it| it.address.is_some() || it.drive.is_some()), "{name}");
        assert!(domain.interfaces.iter().all(|it| it.address.is_some() && it.mac.is_some()), "{name}");
        assert!(domain.rngs.iter().all(|it| it.address.is_some()), "{name}");
        assert!(domain.channels.iter().all(|it| it.address.is_some()), "{name}");
        assert!(domain.memballoon.is_some(), "{name}");
        assert_eq!(domain.guest_abi_differences(domain), [], "{name}");
    }
}

#[test]
fn free_root_ports_are_used_before_new_ones_are_added() {
    let db1 = corpus("db1.xml");
    let address = "      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>\n";
    assert_eq!(db1.matches(address).count(), 1, "the disk is the only device there");
    let frozen = freeze(&db1.replace(address, "")).expect("it can be frozen");
    assert_eq!(frozen.domain().disks[0].address, Some(PciAddress::new(4, 0)));
    assert_eq!(frozen.xml(), db1);
}

#[test]
fn a_ninth_root_port_takes_the_next_slot() {
    let web1 = corpus("web1.xml");
    let disk = |n: usize| {
        format!(
            "<disk type='file'><source file='/srv/{n}.img'/><target dev='vd{}'/></disk>\n",
            char::from(b'b' + n as u8)
        )
    };
    let disks: String = (0..8).map(disk).collect();
    let frozen =
        freeze(&web1.replace("<interface", &format!("{disks}<interface"))).expect("it can be frozen");
    let ports: Vec<String> = frozen
        .domain()
        .controllers
        .iter()
        .filter(|it| it.model.is_pci())
        .filter_map(|it| it.address)
        .map(|it| format!("{it}{}", if it.multifunction { "+" } else { "" }))
        .collect();
    assert_eq!(
        ports[..9].join(" "),
        "00:02.0+ 00:02.1 00:02.2 00:02.3 00:02.4 00:02.5 00:02.6 00:02.7 00:03.0+"
    );
}

#[test]
fn what_a_root_port_lacks_is_added_to_it() {
    let web1 = corpus("web1.xml");
    let port = "<controller type='pci' model='pcie-root-port'/>\n    <serial";
    let frozen = freeze(&web1.replace("<serial", port)).expect("it can be frozen");
    let start = frozen.xml().find("<controller").expect("there is one");
    let end = frozen.xml().find("</controller>").expect("it has content now");
    insta::assert_snapshot!(&frozen.xml()[start..end], @r"
    <controller type='pci' model='pcie-root-port' index='1'>
          <model name='pcie-root-port'/>
          <target chassis='1' port='0x10'/>
          <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0' multifunction='on'/>
        
    ");
}

struct Refusing;

impl Freezer for Refusing {
    fn machine(&mut self, _: &str) -> Option<String> {
        None
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(1)
    }

    fn mac(&mut self) -> MacAddress {
        MacAddress([0x52, 0x54, 0, 0, 0, 1])
    }
}

#[test]
fn an_unknown_machine_and_a_repeated_mac_are_refused_together() {
    let web1 = corpus("web1.xml");
    let second =
        "<interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>\n    <serial";
    let definition = Definition::parse(&web1.replace("<serial", second)).expect("it is good");
    let error = definition.freeze(&mut Refusing).expect_err("nothing can be found");
    insta::assert_snapshot!(crate::fixture::listed(&error), @r#"
    line 7, column 25, /domain/os/type/@machine: this host's QEMU has no machine `q35`; take a machine that it has, or a host with a QEMU that has this one
    line 26, column 5, /domain/devices/interface[2]: no MAC address was found that is free in this domain; write a <mac> yourself
    "#);
}

#[test]
fn a_full_bus_gets_a_bridge() {
    let mail = corpus("i440fx.xml");
    let interface = "<interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>";
    let frozen = freeze(&mail.replace("<memballoon", &format!("{}<memballoon", interface.repeat(40))))
        .expect("it can be frozen");
    let places: Vec<String> =
        frozen.domain().interfaces.iter().filter_map(|it| it.address).map(|it| it.to_string()).collect();
    assert_eq!(places[..3].join(" "), "00:03.0 00:04.0 00:05.0");
    assert_eq!(places[28..31].join(" "), "00:1f.0 01:01.0 01:02.0");
    let bridge = frozen.domain().controllers.iter().find(|it| it.index == 1).expect("it is there");
    assert_eq!(bridge.address, Some(PciAddress::new(0, 2)));
}
