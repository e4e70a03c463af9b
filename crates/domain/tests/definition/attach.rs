//! Devices that come and go.

use crate::fixture::{Counting, corpus, listed};
use domain::{Attached, Definition, DefinitionError, MacAddress};

const DISK: &str = "<!-- for the logs -->
<disk type='file' device='disk'>
  <driver name='qemu' type='raw'/>
  <source file='/srv/vm/logs.img'/>
  <target dev='vdx' bus='virtio'/>
</disk>";
const INTERFACE: &str = "<interface type='bridge'><source bridge='br1'/><model type='virtio'/></interface>";

fn frozen(name: &str) -> Definition {
    let definition = Definition::parse(&corpus(name)).expect("it is good");
    definition.freeze(&mut Counting::default()).expect("it freezes")
}

fn attach(to: &Definition, fragment: &str, live: bool) -> Result<(Definition, Attached), DefinitionError> {
    to.attach(fragment, &mut Counting { next: 70 }, live)
}

fn check_refused(fragment: &str, live: bool, expect: &str) {
    let error = attach(&frozen("web1.xml"), fragment, live).expect_err("it is refused");
    assert_eq!(listed(&error), format!("{expect}\n"));
}

#[test]
fn a_disk_goes_behind_the_last_one_and_nothing_else_changes() {
    let before = frozen("i440fx.xml");
    let (after, attached) = attach(&before, DISK, true).expect("there is room");
    assert_eq!(attached, Attached::Disk(1));
    let element = DISK.split_once('\n').expect("a comment and an element").1;
    let address = "  <address type='pci' domain='0x0000' bus='0x00' slot='0x06' function='0x0'/>\n</disk>";
    let element = element.replace("</disk>", address);
    assert_eq!(after.xml().replace(&format!("\n\t\t{element}"), ""), before.xml());
    assert_eq!(after.detach_disk("vdx").expect("it goes again"), before);
    assert_eq!(after.detach_disk("sda").expect("it is not there"), after);
}

#[test]
fn a_q35_that_runs_needs_a_free_root_port() {
    let (full, _) = attach(&frozen("web1.xml"), &DISK.replace("vdx", "vdy").replace("logs", "more"), true)
        .expect("freezing leaves one port free");
    let (shut_off, _) = attach(&full, DISK, false).expect("a port is added");
    assert_eq!(shut_off.domain().controllers.len(), full.domain().controllers.len() + 1);
    let error = attach(&full, INTERFACE, true).expect_err("every port is taken");
    assert_eq!(
        listed(&error),
        "line 1, column 1, /interface: the device needs a free <controller type='pci' model='pcie-root-port'/>, and \
         there is none; shut the domain off, and add such controllers or attach the device then\n",
    );
    let spare = shut_off.detach_disk("vdx").expect("it goes, its port stays");
    let (running, attached) = attach(&spare, INTERFACE, true).expect("the port is free");
    assert_eq!(attached, Attached::Interface(1));
    let bus = running.domain().interfaces[1].address.expect("it has one").bus;
    assert_eq!(Some(bus), shut_off.domain().disks[2].address.map(|it| it.bus));
}

#[test]
fn problems_stand_where_the_fragment_has_them() {
    check_refused(
        "<memballoon/>",
        true,
        "line 1, column 1, /memballoon: only a <disk> or an <interface> can be attached; give one of these",
    );
    check_refused(
        &DISK.replace("vdx", "vda"),
        false,
        "line 5, column 11, /disk/target/@dev: a second disk `vda`; give every disk its own `dev`",
    );
    check_refused(
        "  <interface type='bridge' speed='9'><source bridge='br1'/><model type='virtio'/></interface>",
        false,
        "line 1, column 28, /interface/@speed: attribute `speed` of <interface> is not supported; remove the attribute \
         if the guest can do without it",
    );
    let error = attach(&frozen("web1.xml"), "<disk>", true).expect_err("it is no XML");
    assert_eq!(error.problems[0].line, 1);
}

#[test]
fn interfaces_keep_their_ids_when_another_goes() {
    let ids = |definition: &Definition| -> Vec<String> {
        let domain = definition.domain();
        (0..domain.interfaces.len()).map(|place| domain.interface_id(place)).collect()
    };
    let mac = |definition: &Definition, place: usize| -> MacAddress {
        definition.domain().interfaces[place].mac.expect("it is frozen")
    };
    let three = corpus("i440fx.xml").replace("</interface>", &format!("</interface>{INTERFACE}{INTERFACE}"));
    let three = Definition::parse(&three).expect("it is good");
    let three = three.freeze(&mut Counting::default()).expect("it freezes");
    assert_eq!(ids(&three), ["0", "1", "2"]);
    let two = three.detach_interface(mac(&three, 0)).expect("it goes");
    assert_eq!(ids(&two), ["1", "2"]);
    assert_eq!(mac(&two, 0), mac(&three, 1));
    let (again, _) = attach(&two, INTERFACE, true).expect("there is room");
    assert_eq!(ids(&again), ["1", "2", &mac(&again, 2).to_string().replace(':', "")]);
    let last = again.detach_interface(mac(&again, 0)).expect("it goes");
    assert_eq!(ids(&last)[..], ids(&again)[1..]);
    assert_eq!(last.detach_interface(mac(&three, 0)).expect("it is not there"), last);
}
