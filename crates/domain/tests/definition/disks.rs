//! Disks of every kind, their places and their media.

use crate::fixture::{Counting, corpus, listed};
use domain::{Definition, DiskSource, DriveAddress};

fn frozen(xml: &str) -> Definition {
    let definition = Definition::parse(xml).expect("it is good");
    definition.freeze(&mut Counting::default()).expect("it freezes")
}

/// `web1.xml`, which is a q35, or the same as an i440fx, with `disks` in place of its own.
fn with(machine: &str, disks: &str) -> String {
    let xml = corpus("web1.xml").replace("'q35'", &format!("'{machine}'"));
    let begin = xml.find("<disk").expect("it has a disk");
    let end = xml.find("</disk>").expect("it ends") + "</disk>".len();
    format!("{}{disks}{}", &xml[..begin], &xml[end..])
}

fn disk(number: usize, target: &str, bus: &str) -> String {
    format!("<disk type='file'><source file='/{number}'/><target dev='{target}' bus='{bus}'/></disk>")
}

#[test]
fn a_definition_with_disks_of_every_kind_is_completed() {
    let definition = Definition::parse(&corpus("disks.xml")).expect("it is good");
    let frozen = definition.freeze(&mut Counting::default()).expect("it freezes");
    insta::assert_snapshot!(frozen.xml());
    insta::assert_debug_snapshot!((&frozen.domain().disks[..3], &frozen.domain().iothreads));
    assert_eq!(frozen.domain().guest_abi_differences(frozen.domain()), []);
}

#[test]
fn places_follow_from_names_as_in_libvirt() {
    let check = |machine: &str, bus: &str, targets: &[&str], expect: &[(u32, u32, u32)]| {
        let disks: String = targets.iter().enumerate().map(|(n, target)| disk(n, target, bus)).collect();
        let frozen = frozen(&with(machine, &disks));
        let place = |it: DriveAddress| (it.controller, it.bus, it.unit);
        let places: Vec<_> = frozen.domain().disks.iter().filter_map(|it| it.drive.map(place)).collect();
        assert_eq!(places, expect, "{machine} {bus} {targets:?}");
    };
    check("q35", "sata", &["sda", "sdf", "sdg"], &[(0, 0, 0), (0, 0, 5), (1, 0, 0)]);
    check("pc", "ide", &["hda", "hdd", "hdb"], &[(0, 0, 0), (0, 1, 1), (0, 0, 1)]);
    check("q35", "scsi", &["sda", "sdg", "sdh"], &[(0, 0, 0), (0, 0, 6), (1, 0, 0)]);
    // What has no such name takes the first place that is free.
    check("pc", "scsi", &["sdb", "root", "boot"], &[(0, 0, 1), (0, 0, 0), (0, 0, 2)]);
}

#[test]
fn controllers_that_disks_need_are_added() {
    let kinds = |machine: &str, disks: &str| -> Vec<String> {
        let frozen = frozen(&with(machine, disks));
        let controllers = frozen.domain().controllers.iter();
        let all = controllers.map(|it| format!("{:?} {}", it.model, it.index));
        all.filter(|it| it.starts_with("Ahci") || it.starts_with("Scsi")).collect()
    };
    assert_eq!(kinds("q35", &disk(0, "sda", "sata")), Vec::<String>::new());
    assert_eq!(kinds("pc", &disk(0, "sda", "sata")), ["Ahci 0"]);
    assert_eq!(kinds("q35", &disk(0, "sdg", "sata")), ["Ahci 1"]);
    assert_eq!(kinds("q35", &disk(0, "sdh", "scsi")).len(), 2);
}

#[test]
fn usb_disks_have_the_ports_before_other_devices() {
    let both = frozen(&with("q35", &disk(0, "sda", "usb")));
    let port = |address: Option<domain::UsbAddress>| address.map(|it| it.port.to_string());
    assert_eq!(port(both.domain().disks[0].usb_address).as_deref(), Some("1"));
    assert_eq!(port(both.domain().inputs[0].usb_address).as_deref(), Some("2"));
    let other = frozen(&with("q35", &disk(0, "sda", "usb").replace("'usb'", "'usb' removable='on'")));
    assert_eq!(both.domain().guest_abi_differences(other.domain()).len(), 1);
}

#[test]
fn the_first_of_a_kind_is_booted() {
    let disks = frozen(&corpus("disks.xml"));
    let indexes: Vec<_> = (0..7).map(|place| disks.domain().disk_boot_index(place)).collect();
    assert_eq!(indexes, [Some(2), None, None, None, Some(1), None, None]);
}

#[test]
fn a_medium_is_changed() {
    let before = frozen(&corpus("disks.xml"));
    let iso = DiskSource::File("/srv/iso/other.iso".into());
    let after = before.change_media("sdc", Some(&iso)).expect("it is a drive");
    let line = "\n      <source file='/srv/iso/other.iso'/>";
    assert_eq!(after.xml().replacen(line, "", 1), before.xml());
    assert_eq!(after.domain().disks[4].source.as_ref(), Some(&iso));
    assert_eq!(after.change_media("sdc", None).expect("it is ejected"), before);

    let block = DiskSource::Block("/dev/sr0".into());
    let after = before.change_media("sdg", Some(&block)).expect("it is a drive");
    assert_eq!(after.domain().disks[5].source, Some(block));
    let nfs = DiskSource::Nfs { host: "10.0.0.1".into(), path: "/iso/a.iso".into() };
    let after = after.change_media("sdg", Some(&nfs)).expect("it is a drive");
    assert_eq!(after.domain().disks[5].source, Some(nfs));
    let ejected = after.change_media("sdg", None).expect("it is ejected");
    assert_eq!(ejected.domain().disks[5].source, None);

    let wrong = before.change_media("vda", Some(&iso)).expect_err("it is no drive");
    insta::assert_snapshot!(listed(&wrong), @"line 18, column 5, /domain/devices/disk[1]: there is no CD drive `vda`; name one that is there: only its medium can be changed");
    let missing = before.change_media("sdz", None).expect_err("it is not there");
    insta::assert_snapshot!(listed(&missing), @"line 17, column 3, /domain/devices: there is no CD drive `sdz`; name one that is there: only its medium can be changed");
}

#[test]
fn what_a_disk_cannot_be_is_refused_with_a_mend() {
    let error = Definition::parse(include_str!("refused/disks.xml")).expect_err("it is refused");
    insta::assert_snapshot!(listed(&error));
}
