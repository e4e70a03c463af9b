//! What a definition says, typed.

use crate::fixture::corpus;
use domain::{
    Bytes, CharacterBackend, ConsoleTarget, ControllerModel, CpuMode, Definition, DiskFormat, Domain,
    Endpoint, MacAddress, MachineFamily, SocketMode, UsbModel,
};

fn domain(name: &str) -> Domain {
    Definition::parse(&corpus(name)).expect("it is good").domain().clone()
}

#[test]
fn a_whole_definition_is_read() {
    insta::assert_debug_snapshot!(domain("db1.xml"));
}

#[test]
fn memory_has_all_units_of_libvirt() {
    let check = |text: &str, unit: &str, mib: u64| {
        let unit = if unit.is_empty() { String::new() } else { format!(" unit='{unit}'") };
        let xml = corpus("web1.xml").replace("<memory unit='GiB'>2<", &format!("<memory{unit}>{text}<"));
        let read = Definition::parse(&xml).expect("it is good").domain().memory;
        assert_eq!(read, Bytes(mib << 20), "{text}{unit}");
    };
    check("1024", "", 1);
    check("1048576", "b", 1);
    check("1048576", "bytes", 1);
    check("1049", "KB", 2);
    check("1024", "k", 1);
    check("1024", "KiB", 1);
    check("3", "MB", 3);
    check("1000", "MB", 954);
    check("3", "M", 3);
    check("3", "MiB", 3);
    check("2", "GB", 1908);
    check("2", "G", 2048);
    check("2", "GiB", 2048);
    check("1", "TB", 953_675);
    check("1", "T", 1 << 20);
    check(" 1 ", "TiB", 1 << 20);
}

#[test]
fn a_console_without_a_serial_port_stands_for_one() {
    let mail = domain("i440fx.xml");
    let file = CharacterBackend::File { path: "/var/log/mail-console.log".into(), append: true };
    assert_eq!(mail.serials.len(), 1);
    assert_eq!(mail.serials[0].backend, file);
    assert_eq!(mail.consoles[0].target, ConsoleTarget::Serial);
    let socket =
        CharacterBackend::Unix { path: Some("/run/mail/console.sock".into()), mode: SocketMode::Bind };
    assert_eq!(mail.consoles[1].backend, socket);
    assert_eq!(mail.os.machine, "pc");
    assert_eq!(mail.os.family, MachineFamily::I440fx);
    assert_eq!(mail.disks[0].format, DiskFormat::Raw);
}

#[test]
fn direct_boot_and_udp_are_read() {
    let probe = domain("direct-boot.xml");
    assert_eq!(probe.os.cmdline.as_deref(), Some("console=ttyS0 panic=-1 init=\"/bin/sh & x\""));
    let connect = Endpoint { host: Some("127.0.0.1".to_owned()), service: 9999 };
    let bind = Some(Endpoint { host: None, service: 9998 });
    assert_eq!(probe.serials[0].backend, CharacterBackend::Udp { connect, bind });
    assert_eq!((probe.vcpus, probe.vcpus_current), (2, 1));
    assert_eq!(probe.cpu, None);
}

#[test]
fn what_only_a_running_domain_has_is_passed_over() {
    let db1 = domain("db1.xml");
    assert_eq!(db1.channels[0].backend, CharacterBackend::Unix { path: None, mode: SocketMode::Bind });
    let running = corpus("db1.xml")
        .replace("<domain type='kvm'>", "<domain type='kvm' id='3'>")
        .replace("tap-db1", "vnet12")
        .replace(
            "<source file='/srv/vm/db1.qcow2'/>",
            "<source file='/srv/vm/db1.qcow2' index='1'/><alias name='x'/>",
        );
    let running = Definition::parse(&running).expect("it is good");
    assert_eq!(running.domain().interfaces[0].target, None);
    assert_eq!(running.domain().disks, db1.disks);
}

#[test]
fn boot_indexes_follow_the_devices_or_the_os() {
    let db1 = domain("db1.xml");
    assert_eq!((db1.disk_boot_index(0), db1.disk_boot_index(1)), (Some(1), None));
    assert_eq!(db1.interface_boot_index(0), Some(2));
    let web1 = corpus("web1.xml");
    let both = web1.replace("<boot dev='hd'/>", "<boot dev='network'/><boot dev='hd'/>");
    let both = Definition::parse(&both).expect("it is good");
    assert_eq!(both.domain().disk_boot_index(0), Some(2));
    assert_eq!(both.domain().interface_boot_index(0), Some(1));
    let neither = Definition::parse(&web1.replace("<boot dev='hd'/>", "")).expect("it is good");
    assert_eq!(neither.domain().disk_boot_index(0), Some(1));
    assert_eq!(neither.domain().interface_boot_index(0), None);
}

#[test]
fn what_is_kept_and_not_applied_is_noted() {
    let definition = Definition::parse(&corpus("db1.xml")).expect("it is good");
    let notes: Vec<String> = definition.notes().iter().map(|note| note.element.clone()).collect();
    assert_eq!(notes, ["/domain/cputune"]);
}

#[test]
fn files_on_the_host_are_listed() {
    let probe = domain("direct-boot.xml");
    let paths: Vec<String> = probe.files().iter().map(|file| file.path.display().to_string()).collect();
    assert_eq!(paths, ["/srv/boot/vmlinuz", "/srv/boot/initrd.gz"]);
    assert_eq!(domain("db1.xml").files().len(), 4);
}

#[test]
fn differences_that_the_guest_sees_are_found_and_no_others() {
    let db1 = corpus("db1.xml");
    let host_only = db1.replace("tap-db1", "tap7").replace("/srv/vm/db1.qcow2", "/elsewhere/db1.qcow2");
    let host_only = Definition::parse(&host_only).expect("it is good");
    assert_eq!(domain("db1.xml").guest_abi_differences(host_only.domain()), []);
    let seen =
        db1.replace("8a:1b:2c", "8a:1b:2d").replace("DATA-0001", "DATA-0002").replace("'hle'", "'rtm'");
    let seen = Definition::parse(&seen).expect("it is good");
    let differences = domain("db1.xml").guest_abi_differences(seen.domain());
    let elements: Vec<&str> = differences.iter().map(|it| it.element.as_str()).collect();
    assert_eq!(elements, ["/domain/cpu", "/domain/devices/disk[2]", "/domain/devices/interface[1]"]);
}

#[test]
fn mac_addresses_are_read_and_written() {
    let mac: MacAddress = "52:54:0:AA:bb:01".parse().expect("it is one");
    assert_eq!(mac.to_string(), "52:54:00:aa:bb:01");
    for wrong in
        ["", "52:54:00:aa:bb", "52:54:00:aa:bb:cc:dd", "52:54:00:aa:bb:+1", "52-54-00-aa-bb-cc", "::::::"]
    {
        assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
    }
}

#[test]
fn cpu_modes_are_told_apart() {
    let check = |cpu: &str, mode: CpuMode| {
        let xml = corpus("web1.xml").replace("<cpu mode='host-model'/>", cpu);
        let definition = Definition::parse(&xml).expect("it is good");
        assert_eq!(definition.domain().cpu.as_ref().expect("there is one").mode, mode, "{cpu}");
    };
    check("<cpu><topology sockets='1' cores='2' threads='1'/></cpu>", CpuMode::Default);
    check("<cpu><model>EPYC</model></cpu>", CpuMode::Custom { model: "EPYC".to_owned() });
    check("<cpu mode='host-model'><model fallback='allow'/></cpu>", CpuMode::HostModel);
    let on = CpuMode::HostPassthrough { migratable: Some(true) };
    check("<cpu mode='host-passthrough' check='none' migratable='on'/>", on);
}

#[test]
fn a_missing_index_is_the_lowest_free_one() {
    let ports = "<controller type='pci' model='pcie-root-port'/><controller type='pci' index='1' model='pcie-root-port'/>\
                 <controller type='usb' model='none'/>";
    let xml = corpus("web1.xml").replace("<input type='tablet' bus='usb'/>", ports);
    let definition = Definition::parse(&xml).expect("it is good");
    let controllers = &definition.domain().controllers;
    assert_eq!((controllers[0].index, controllers[1].index, controllers[2].index), (2, 1, 0));
    assert_eq!(controllers[2].model, ControllerModel::Usb(UsbModel::None));
}
