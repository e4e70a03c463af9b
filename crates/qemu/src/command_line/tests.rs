//! Command lines of whole definitions, and that the installed QEMU takes them.

use std::path::Path;
use std::sync::LazyLock;

use domain::{Definition, Freezer, MacAddress};

use super::*;
use crate::process::Process;

pub(crate) const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";

/// When every test happens.
static NOW: LazyLock<Zoned> = LazyLock::new(|| "2026-11-22T10:00:00+00:00[UTC]".parse().unwrap());

/// Gives the same answers every time.
struct Fixed {
    macs: u8,
}

impl Freezer for Fixed {
    fn machine(&mut self, name: &str) -> Option<String> {
        Some(match name {
            "q35" => "pc-q35-10.0".to_owned(),
            "pc" => "pc-i440fx-10.0".to_owned(),
            versioned => versioned.to_owned(),
        })
    }

    fn uuid(&mut self) -> ::uuid::Uuid {
        ::uuid::Uuid::from_u128(0x0b3e_5d0e_0000_4000_8000_0000_0000_0001)
    }

    fn mac(&mut self) -> MacAddress {
        self.macs += 1;
        MacAddress([0x52, 0x54, 0, 0, 0, self.macs])
    }
}

pub(crate) fn frozen(xml: &str) -> Definition {
    Definition::parse(xml).unwrap().freeze(&mut Fixed { macs: 0 }).unwrap()
}

pub(crate) fn launch<'a>(
    definition: &'a Definition,
    taps: &'a [String],
    run_directory: &'a Path,
) -> Launch<'a> {
    Launch {
        domain: definition.domain(),
        accelerator: Accelerator::Tcg,
        cpu: Some("EPYC-v4,svm=off"),
        run_directory,
        taps,
        spice_port: None,
        vhost: false,
        incoming: false,
        now: &NOW,
    }
}

fn written(xml: &str, taps: &[&str]) -> String {
    let definition = frozen(xml);
    let taps: Vec<_> = taps.iter().map(|tap| (*tap).to_owned()).collect();
    CommandLine::new(&launch(&definition, &taps, Path::new("/run/ferry/d"))).unwrap().to_string()
}

const FULL: &str = include_str!("tests/full.xml");
const DISKS: &str = include_str!("../../../domain/tests/corpus/disks.xml");
const MINIMAL: &str = include_str!("tests/minimal.xml");
const WINDOWS: &str = include_str!("tests/windows.xml");
const TUNED: &str = include_str!("tests/tuned.xml");

#[test]
fn a_q35_with_everything() {
    insta::assert_snapshot!(written(FULL, &["vnet-web1", "vnet,1"]));
}

#[test]
fn a_pc_with_next_to_nothing() {
    insta::assert_snapshot!(written(MINIMAL, &[]));
}

#[test]
fn a_windows_guest() {
    insta::assert_snapshot!(written(WINDOWS, &[]));
}

#[test]
fn a_q35_with_disks_of_every_kind() {
    insta::assert_snapshot!(written(DISKS, &[]));
}

#[test]
fn a_pc_with_ide_ahci_lsi_and_usb() {
    let disk = |target: &str, bus: &str, device: &str| {
        format!(
            "<disk type='file' device='{device}'><source file='/srv/{target}'/><target dev='{target}' bus='{bus}'/></disk>"
        )
    };
    let disks = [
        disk("hda", "ide", "disk"),
        disk("hdd", "ide", "cdrom"),
        disk("sdb", "sata", "disk"),
        disk("sdc", "scsi", "disk"),
        disk("sda", "scsi", "cdrom"),
        disk("sdd", "usb", "disk"),
        "<controller type='scsi' model='lsilogic'/>".to_owned(),
    ];
    let xml = MINIMAL.replace("<devices>", &format!("<devices>{}", disks.concat()));
    insta::assert_snapshot!(written(&xml, &[]));
}

#[test]
fn a_tuned_guest() {
    insta::assert_snapshot!(written(TUNED, &[]));
}

#[test]
fn memory_keeps_its_name_whatever_it_comes_from() {
    let check = |backing: &str, expect: &[&str]| {
        let xml = MINIMAL.replace("<os>", &format!("<memoryBacking>{backing}</memoryBacking><os>"));
        let text = written(&xml, &[]);
        let about_memory = |line: &&str| ["pc.ram", "-m ", "-overcommit"].iter().any(|it| line.contains(it));
        assert_eq!(text.lines().filter(about_memory).collect::<Vec<_>>(), expect, "{backing}");
    };
    check("<locked/>", &["-m size=64M", "-overcommit mem-lock=on"]);
    check("<source type='anonymous'/>", &["-m size=64M"]);
    let machine =
        "-machine pc-i440fx-10.0,accel=tcg,usb=off,dump-guest-core=off,acpi=off,memory-backend=pc.ram";
    let object = |kind: &str, more: &str| {
        format!(
            "-object {{\"qom-type\":\"memory-backend-{kind}\",\"id\":\"pc.ram\",\"size\":67108864,\
             \"x-use-canonical-path-for-ramblock-id\":false,{more}}}"
        )
    };
    let huge = object("memfd", "\"hugetlb\":true,\"hugetlbsize\":2097152,\"share\":false,\"prealloc\":true");
    check("<hugepages><page size='2' unit='MiB'/></hugepages>", &[machine, "-m size=64M", &huge]);
    let file = object("file", "\"mem-path\":\"/dev/shm\",\"discard-data\":true,\"share\":true");
    check("<source type='file'/><access mode='shared'/><discard/>", &[machine, "-m size=64M", &file]);
}

#[test]
fn an_incoming_guest_differs_in_that_alone() {
    let definition = frozen(MINIMAL);
    let here = launch(&definition, &[], Path::new("/run/a"));
    let there = Launch { incoming: true, run_directory: Path::new("/run/b"), ..here };
    let (here, there) = (CommandLine::new(&here).unwrap(), CommandLine::new(&there).unwrap());
    let mut expect = here.arguments();
    expect.extend(["-incoming".into(), "defer".into()]);
    assert_eq!(there.arguments(), expect);
}

#[test]
fn every_guest_starts_stopped() {
    let definition = frozen(MINIMAL);
    for incoming in [false, true] {
        let launch = Launch { incoming, ..launch(&definition, &[], Path::new("/run/a")) };
        assert!(CommandLine::new(&launch).unwrap().arguments().contains(&"-S".into()));
    }
}

#[test]
fn kvm_changes_what_is_kvms() {
    let definition = frozen(FULL);
    let taps = ["a".to_owned(), "b".to_owned()];
    let tcg = launch(&definition, &taps, Path::new("/run/ferry/d"));
    let kvm = Launch { accelerator: Accelerator::Kvm, vhost: true, ..tcg };
    let lines = |launch: &Launch<'_>| -> Vec<String> {
        CommandLine::new(launch).unwrap().to_string().lines().map(str::to_owned).collect()
    };
    let tcg = lines(&tcg);
    let only_kvm: Vec<_> = lines(&kvm).into_iter().filter(|line| !tcg.contains(line)).collect();
    insta::assert_snapshot!(only_kvm.join("\n"), @r"
    -machine pc-q35-10.0,accel=kvm,usb=off,dump-guest-core=off,acpi=on,vmport=off,hpet=off
    -global kvm-pit.lost_tick_policy=delay
    -netdev tap,id=netdev-0,ifname=a,script=no,downscript=no,vhost=on
    -netdev tap,id=netdev-1,ifname=b,script=no,downscript=no,vhost=on
    ");
}

fn check_error(definition: &Definition, change: impl FnOnce(&mut Launch<'_>), expect: &str) {
    let mut launch = launch(definition, &[], Path::new("/run/ferry/d"));
    change(&mut launch);
    assert_eq!(CommandLine::new(&launch).unwrap_err().to_string(), expect);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let full = frozen(FULL);
    check_error(&full, |_| {}, "2 interfaces and 0 tap names do not match");
    let open = Definition::parse(MINIMAL).unwrap();
    check_error(&open, |_| {}, "the definition leaves open the UUID of domain small; freeze it first");
    let host_model = frozen(&MINIMAL.replace("<os>", "<cpu mode='host-model'/><os>"));
    check_error(
        &host_model,
        |launch| launch.cpu = None,
        "the CPU is host-model, and no expansion of it was given",
    );
    let channel = "<devices><channel type='unix'><target type='virtio' name='a.0'/></channel>";
    let channel = frozen(&MINIMAL.replace("<devices>", channel));
    let long = "/run".repeat(30);
    let expect = format!("the socket path {long}/channel-0.sock is longer than 107 bytes");
    let launch = launch(&channel, &[], Path::new(&long));
    assert_eq!(CommandLine::new(&launch).unwrap_err().to_string(), expect);
}

/// An image of a format, empty.
pub(super) fn image(path: &Path, format: &str) {
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", format, path.to_str().unwrap(), "8M"])
        .status();
    assert!(made.unwrap().success());
}

/// The disks' definition with images below a directory in place of what only a real host has.
pub(super) fn disks_in(directory: &Path) -> String {
    for (name, format) in [
        ("vda.img", "raw"),
        ("data.qcow2", "qcow2"),
        ("disks-top.qcow2", "qcow2"),
        ("disks.img", "raw"),
        ("install.iso", "raw"),
    ] {
        image(&directory.join(name), format);
    }
    let directory = directory.to_str().unwrap();
    DISKS
        .replace("type='kvm'", "type='qemu'")
        .replace("type='block'", "type='file'")
        .replace("dev='/dev/vg0/disks'", &format!("file='{directory}/vda.img'"))
        .replace("type='network'", "type='file'")
        .replace("protocol='nfs' name='/share/data.qcow2'", &format!("file='{directory}/data.qcow2'"))
        .replace("<host name='nfs.example.org'/>", "")
        .replace("/srv/vm", directory)
        .replace("/srv/iso", directory)
}

/// The full definition with files that exist, and without what needs a network namespace.
#[tokio::test]
async fn the_installed_qemu_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for name in ["root.img", "data,1.img"] {
        std::fs::File::create(path(name)).unwrap().set_len(1 << 20).unwrap();
    }
    std::fs::write(path("vmlinuz"), "").unwrap();
    let mut xml =
        FULL.replace("/srv/web1", directory.path().to_str().unwrap()).replace("type='qcow2'", "type='raw'");
    for (name, bytes) in [("CODE.fd", 3 << 20), ("VARS.fd", 512 << 10)] {
        std::fs::File::create(path(name)).unwrap().set_len(bytes).unwrap();
    }
    let windows = WINDOWS.replace("/srv/firmware/CODE.fd", &path("CODE.fd"));
    let mut windows = windows.replace("/srv/desk,1_VARS.fd", &path("VARS.fd"));
    let cut = |xml: &mut String, from: &str, to: &str| {
        while let Some(begin) = xml.find(from) {
            let end = begin + xml[begin..].find(to).unwrap() + to.len();
            xml.replace_range(begin..end, "");
        }
    };
    cut(&mut xml, "<interface", "</interface>");
    cut(&mut xml, "<kernel>", "</cmdline>");
    cut(&mut windows, "<tpm", "</tpm>");
    cut(&mut windows, "<vsock", "</vsock>");
    for xml in [xml.as_str(), MINIMAL, &windows, TUNED] {
        let definition = frozen(xml);
        let run = directory.path().join("run");
        let launch = Launch { cpu: Some("max"), ..launch(&definition, &[], &run) };
        let line = CommandLine::new(&launch).unwrap();
        let process =
            Process::spawn(Path::new(EMULATOR), &line, &run, &directory.path().join("log")).await.unwrap();
        process.kill();
        process.exited().await;
    }
}
