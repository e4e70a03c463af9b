//! Definitions of new domains: what each kind of system gets, and that every one of them can be frozen.

use domain::{
    Bytes, Definition, DiskFormat, InterfaceSource, Kind, MachineFamily, NewDisk, NewDomain, NewInterface,
    System,
};
use insta::assert_snapshot;

use crate::fixture::Counting;

fn new(os: &str) -> NewDomain {
    let disk = NewDisk { path: "/srv/web1.qcow2".into(), format: DiskFormat::Qcow2, bus: None };
    NewDomain {
        name: "web1".to_owned(),
        kind: Kind::Kvm,
        system: System::named(os).expect("a name of the table"),
        memory: Bytes(4 << 30),
        vcpus: 2,
        machine: MachineFamily::Q35,
        uefi: false,
        disks: vec![disk],
        cdrom: Some("/srv/installer.iso".into()),
        interfaces: vec![NewInterface { source: InterfaceSource::Bridge("br0".to_owned()), model: None }],
        vnc: true,
    }
}

/// What is not one root port after the other.
fn shown(new: &NewDomain) -> String {
    let port = "    <controller type='pci' model='pcie-root-port'/>\n";
    let xml = new.xml();
    let many = if new.machine == MachineFamily::Q35 { 14 } else { 0 };
    assert_eq!(xml.matches(port).count(), many);
    xml.replacen(port, "    …\n", 1).replace(port, "")
}

fn frozen(new: &NewDomain) -> Definition {
    let definition = Definition::parse(&new.xml()).unwrap_or_else(|error| panic!("{error:?}\n{}", new.xml()));
    assert!(definition.notes().is_empty(), "{:?}", definition.notes());
    definition.freeze(&mut Counting::default()).unwrap_or_else(|error| panic!("{error:?}\n{}", new.xml()))
}

#[test]
fn a_linux_guest_has_virtio() {
    assert_snapshot!(shown(&new("debian13")));
}

#[test]
fn windows_11_has_what_its_installer_wants() {
    assert_snapshot!(shown(&new("win11")));
}

#[test]
fn windows_on_i440fx_has_what_it_has_drivers_for() {
    assert_snapshot!(shown(&NewDomain { machine: MachineFamily::I440fx, ..new("win2k19") }));
}

#[test]
fn of_a_generic_guest_nothing_is_presumed() {
    let bare =
        NewDomain { cdrom: None, interfaces: Vec::new(), vnc: false, kind: Kind::Qemu, ..new("generic") };
    assert_snapshot!(shown(&bare));
}

#[test]
fn what_is_asked_for_wins_over_what_the_system_wants() {
    let disk = |path: &str, bus: &str| NewDisk {
        path: path.into(),
        format: DiskFormat::Raw,
        bus: Some(bus.to_owned()),
    };
    let network = InterfaceSource::Network("default".to_owned());
    let asked = NewDomain {
        uefi: true,
        disks: vec![
            disk("/srv/a<b>.raw", "virtio"),
            disk("/srv/b.raw", "scsi"),
            disk("/srv/c.raw", "virtio"),
        ],
        interfaces: vec![NewInterface { source: network, model: Some("virtio".to_owned()) }],
        ..new("win10")
    };
    let xml = asked.xml();
    for written in [
        "<os firmware='efi'>",
        "<source file='/srv/a&lt;b&gt;.raw'/>",
        "<target dev='vda' bus='virtio'/>\n      <boot order='1'/>",
        "<target dev='sda' bus='scsi'/>",
        "<target dev='vdb' bus='virtio'/>",
        // The CD drive comes after the SCSI disk, whose bus has names of the same kind.
        "<target dev='sdb' bus='sata'/>\n      <readonly/>\n      <boot order='2'/>",
        "<source network='default'/>\n      <model type='virtio'/>",
    ] {
        assert!(xml.contains(written), "no {written} in\n{xml}");
    }
    frozen(&asked);
}

#[test]
fn every_system_can_be_defined_on_both_machines() {
    for os in System::names() {
        for machine in [MachineFamily::Q35, MachineFamily::I440fx] {
            if os == "win11" && machine == MachineFamily::I440fx {
                // Secure boot needs a mode of the processor that i440fx does not have.
                continue;
            }
            let new = NewDomain { machine, ..new(os) };
            let domain = frozen(&new).domain().clone();
            assert_eq!((domain.memory, domain.vcpus), (Bytes(4 << 30), 2), "{os}");
            assert_eq!((domain.disk_boot_index(0), domain.disk_boot_index(1)), (Some(1), Some(2)), "{os}");
        }
    }
    assert_eq!(System::named("amiga"), None);
}
