//! Firmware, TPM, SMBIOS: read, chosen when a definition is frozen, refused.

use std::path::Path;

use crate::fixture::{Counting, corpus, listed};
use domain::{
    Definition, DefinitionError, FileRole, FirmwareChoice, FirmwareRequest, FlashFormat, Freezer, FwCfgValue,
    LoaderKind, MacAddress, SmbiosKind, TpmModel, TpmVersion,
};
use uuid::Uuid;

const OS: &str = "<os>\n    <type arch='x86_64' machine='q35'>hvm</type>\n    <boot dev='hd'/>\n  </os>";
const SERIAL: &str = "<serial";

/// `web1.xml` with another `<os>`.
fn with_os(os: &str) -> Result<Definition, DefinitionError> {
    let web1 = corpus("web1.xml");
    assert_eq!(web1.matches(OS).count(), 1, "<os> is there once");
    Definition::parse(&web1.replace(OS, os))
}

fn refused(os: &str) -> String {
    listed(&with_os(os).expect_err("it is refused"))
}

/// A host with one kind of firmware, which remembers nothing.
struct Host {
    counting: Counting,
    secure: bool,
}

impl Freezer for Host {
    fn machine(&mut self, name: &str) -> Option<String> {
        self.counting.machine(name)
    }

    fn firmware(&mut self, wanted: &FirmwareRequest<'_>) -> Option<FirmwareChoice> {
        let choice = FirmwareChoice {
            loader: "/fw/CODE.fd".into(),
            template: "/fw/VARS.fd".into(),
            format: FlashFormat::Raw,
            secure_boot: self.secure,
            enrolled_keys: false,
            requires_smm: self.secure,
        };
        let fits = wanted.machine == "pc-q35-10.0"
            && wanted.loader.is_none_or(|loader| loader.path == choice.loader)
            && wanted.secure_boot.is_none_or(|wanted| wanted == choice.secure_boot);
        fits.then_some(choice)
    }

    fn uuid(&mut self) -> Uuid {
        self.counting.uuid()
    }

    fn mac(&mut self) -> MacAddress {
        self.counting.mac()
    }
}

/// `<features>` and `<os>` after freezing, and that freezing again changes nothing.
fn frozen(os: &str, secure: bool) -> String {
    let mut host = Host { counting: Counting::default(), secure };
    let once = with_os(os).expect("it is good").freeze(&mut host).expect("it can be frozen");
    assert!(!once.domain().os.firmware.is_open());
    assert_eq!(once.freeze(&mut host).expect("it can be frozen again"), once);
    let from = once.xml().find("<os").expect("there is one");
    let to = once.xml().find("<cpu").expect("there is one");
    once.xml()[from..to].trim_end().to_owned()
}

#[test]
fn uefi_is_chosen_and_written_down_as_libvirt_does_it() {
    insta::assert_snapshot!(frozen("<os firmware='efi'>\n    <type machine='q35'>hvm</type>\n  </os>", false), @r"
    <os firmware='efi'>
        <type machine='pc-q35-10.0' arch='x86_64'>hvm</type>
        <firmware>
          <feature enabled='no' name='enrolled-keys'/>
          <feature enabled='no' name='secure-boot'/>
        </firmware>
        <loader readonly='yes' type='pflash'>/fw/CODE.fd</loader>
        <nvram template='/fw/VARS.fd'>/srv/vm/web1_VARS.fd</nvram>
      </os>
      <features>
        <acpi/>
        <apic/>
      </features>
    ");
}

#[test]
fn secure_boot_brings_what_it_needs() {
    let os = "<os firmware='efi'>
    <type machine='q35'>hvm</type>
    <firmware><feature name='secure-boot' enabled='yes'/></firmware>
    <boot dev='hd'/>
  </os>";
    insta::assert_snapshot!(frozen(os, true), @r"
    <os firmware='efi'>
        <type machine='pc-q35-10.0' arch='x86_64'>hvm</type>
        <firmware><feature name='secure-boot' enabled='yes'/></firmware>
        <loader readonly='yes' secure='yes' type='pflash'>/fw/CODE.fd</loader>
        <nvram template='/fw/VARS.fd'>/srv/vm/web1_VARS.fd</nvram>
        <boot dev='hd'/>
      </os>
      <features>
        <acpi/>
        <apic/>
        <smm state='on'/>
      </features>
    ");
}

#[test]
fn a_loader_with_its_own_file_gets_its_variables() {
    let os = "<os>
    <type machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>/fw/CODE.fd</loader>
  </os>";
    insta::assert_snapshot!(frozen(os, false), @r"
    <os>
        <type machine='pc-q35-10.0' arch='x86_64'>hvm</type>
        <loader readonly='yes' type='pflash'>/fw/CODE.fd</loader>
        <nvram template='/fw/VARS.fd'>/srv/vm/web1_VARS.fd</nvram>
      </os>
      <features>
        <acpi/>
        <apic/>
      </features>
    ");
    let os = "<os>
    <type machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>/own/CODE.fd</loader>
    <nvram template='/own/VARS.fd'/>
  </os>";
    insta::assert_snapshot!(frozen(os, false), @r"
    <os>
        <type machine='pc-q35-10.0' arch='x86_64'>hvm</type>
        <loader readonly='yes' type='pflash'>/own/CODE.fd</loader>
        <nvram template='/own/VARS.fd'>/srv/vm/web1_VARS.fd</nvram>
      </os>
      <features>
        <acpi/>
        <apic/>
      </features>
    ");
}

#[test]
fn a_complete_firmware_stays_as_it_is() {
    let os = "<os>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
    <loader readonly='yes' secure='no' type='pflash' format='qcow2'>/fw/CODE.qcow2</loader>
    <nvram template='/fw/VARS.qcow2' templateFormat='qcow2' format='qcow2' type='file'>
      <source file='/srv/web1.vars'/>
    </nvram>
  </os>";
    let definition = with_os(os).expect("it is good");
    let domain = definition.domain();
    let files: Vec<_> = domain.files().into_iter().map(|file| (file.role, file.path.to_owned())).collect();
    let expect = |role, path: &str| assert!(files.contains(&(role, path.into())), "{path} in {files:?}");
    expect(FileRole::Firmware, "/fw/CODE.qcow2");
    expect(FileRole::Firmware, "/fw/VARS.qcow2");
    expect(FileRole::Nvram, "/srv/web1.vars");
    let loader = domain.os.firmware.loader.as_ref().expect("there is one");
    assert_eq!((loader.kind, loader.format), (LoaderKind::Pflash, FlashFormat::Qcow2));
    assert!(!domain.os.firmware.is_open());
    let moved = definition.with_nvram(Path::new("/other.vars")).expect("it is a path");
    assert_eq!(moved.xml(), definition.xml().replace("/srv/web1.vars", "/other.vars"));
    assert_eq!(domain.guest_abi_differences(moved.domain()), []);
}

#[test]
fn firmware_that_the_host_does_not_have_is_refused() {
    let os = "<os firmware='efi'><type machine='q35'>hvm</type>
<firmware><feature name='secure-boot' enabled='yes'/></firmware></os>";
    let mut host = Host { counting: Counting::default(), secure: false };
    let error = with_os(os).expect("it is good").freeze(&mut host).expect_err("there is none");
    insta::assert_snapshot!(listed(&error), @"line 6, column 3, /domain/os: this host knows no firmware that is what the definition asks for; install the host's UEFI firmware (package `ovmf`), or ask for less in <firmware>");
}

#[test]
fn firmware_that_makes_no_sense_is_refused() {
    insta::assert_snapshot!(refused("<os firmware='bios'><type machine='q35'>hvm</type>
<firmware><feature name='magic' enabled='maybe'/></firmware>
<loader readonly='no' type='pflash'>CODE.fd</loader><nvram type='network'>/x</nvram></os>"), @r"
    line 7, column 1, /domain/os/firmware: <firmware> does not belong to this firmware; write firmware='efi' into <os>
    line 7, column 20, /domain/os/firmware/feature/@name: `magic` is not supported as `name` of <feature>; write `secure-boot` or `enrolled-keys`
    line 7, column 33, /domain/os/firmware/feature/@enabled: `maybe` is not a value of `enabled` of <feature>; write `yes` or `no`
    line 8, column 1, /domain/os/loader: `CODE.fd` is not an absolute path; write the whole path, beginning with /
    line 8, column 1, /domain/os/loader: <loader> does not belong to this firmware; remove it: with firmware='bios' QEMU takes its own SeaBIOS
    line 8, column 9, /domain/os/loader/@readonly: `no` is not supported as `readonly` of <loader>; write readonly='yes': variables go into an <nvram>
    line 8, column 53, /domain/os/nvram: <nvram> does not belong to this firmware; remove it, or write firmware='efi' into <os>
    line 8, column 60, /domain/os/nvram/@type: `network` is not supported as `type` of <nvram>; put the variables into a file and write type='file'
    ");
    insta::assert_snapshot!(refused("<os><type machine='pc'>hvm</type>
<loader readonly='yes' secure='yes' type='pflash' stateless='yes'>/fw/CODE.fd</loader>
<nvram template='/fw/V' templateFormat='qcow2'>/x</nvram></os>"), @r"
    line 7, column 1, /domain/os/loader: secure boot needs system management mode, which only q35 has; take a q35 machine, or do without secure boot
    line 8, column 1, /domain/os/nvram: <nvram> of a firmware without variables; remove it, or `stateless`
    line 8, column 25, /domain/os/nvram/@templateFormat: a template is copied as it is; write the same `format` and `templateFormat`, or convert the template with qemu-img
    ");
    insta::assert_snapshot!(refused("<os><type machine='q35'>hvm</type><nvram>/x</nvram><smbios mode='host'/></os>"), @r"
    line 6, column 37, /domain/os/nvram: <nvram> does not belong to this firmware; remove it, or write firmware='efi' into <os>
    line 6, column 62, /domain/os/smbios/@mode: `host` is not supported as `mode` of <smbios>; write mode='sysinfo' and the values into <sysinfo>: the tables of a host do not follow a guest
    ");
}

#[test]
fn a_tpm_is_read_and_its_defaults_are_written() {
    let web1 = corpus("web1.xml");
    let with = |tpm: &str| Definition::parse(&web1.replace(SERIAL, &format!("{tpm}{SERIAL}")));
    let check = |tpm: &str, model, version| {
        let frozen = with(tpm).expect("it is good").freeze(&mut Counting::default()).expect("it freezes");
        assert_eq!(
            (frozen.domain().tpms[0].model, frozen.domain().tpms[0].version),
            (model, version),
            "{tpm}"
        );
        assert!(
            frozen
                .xml()
                .contains(&format!("<tpm model='{model}'><backend type='emulator' version='{version}'/>"))
        );
    };
    check("<tpm><backend type='emulator'/></tpm>", TpmModel::Tis, TpmVersion::V1);
    check("<tpm model='tpm-crb'><backend type='emulator'/></tpm>", TpmModel::Crb, TpmVersion::V2);
    check(
        "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>",
        TpmModel::Tis,
        TpmVersion::V2,
    );
    let error = with(
        "<tpm model='tpm-crb'><backend type='emulator' version='1.2'><encryption secret='x'/></backend></tpm>",
    );
    insta::assert_snapshot!(listed(&error.expect_err("it is refused")), @r"
    line 26, column 51, /domain/devices/tpm/backend/@version: tpm-crb speaks version 2.0 only; write version='2.0'
    line 26, column 65, /domain/devices/tpm/backend/encryption: <encryption> in <backend> is not supported; remove it: keep the hosts' own disks encrypted instead
    ");
    let error =
        with("<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>");
    insta::assert_snapshot!(listed(&error.expect_err("it is refused")), @"line 26, column 35, /domain/devices/tpm/backend/@type: only an emulated TPM can follow its guest; write <backend type='emulator' version='2.0'/>");
}

#[test]
fn system_information_is_read_where_the_guest_is_shown_it() {
    let sysinfo = "<sysinfo type='smbios'><system><entry name='serial'> 7 </entry></system>
        <bios><entry name='vendor'>V</entry></bios><oemStrings><entry>a</entry><entry>b</entry></oemStrings></sysinfo>
        <sysinfo type='fwcfg'><entry name='opt/a'>text</entry><entry name='opt/b' file='/srv/b'/></sysinfo>";
    let shown = format!("<os><type machine='q35'>hvm</type><smbios mode='sysinfo'/></os>{sysinfo}");
    let information = with_os(&shown).expect("it is good").domain().system_information.clone();
    let kinds: Vec<SmbiosKind> = information.smbios.iter().map(|table| table.kind).collect();
    assert_eq!(kinds, [SmbiosKind::Bios, SmbiosKind::System, SmbiosKind::OemStrings]);
    assert_eq!(information.smbios[1].fields, [("serial".to_owned(), "7".to_owned())]);
    assert_eq!(information.fw_cfg[1].value, FwCfgValue::File("/srv/b".into()));
    let hidden = format!("<os><type machine='q35'>hvm</type></os>{sysinfo}");
    assert_eq!(with_os(&hidden).expect("it is good").domain().system_information.smbios, []);
    let wrong = "<os><type machine='q35'>hvm</type></os><sysinfo><system><entry name='shoe'>7</entry></system><cpu/></sysinfo>
<sysinfo type='fwcfg'><entry name='etc/x'/></sysinfo>";
    insta::assert_snapshot!(refused(wrong), @r"
    line 6, column 66, /domain/sysinfo[1]/system/entry/@name: `shoe` is not supported as `name` of <entry>; take one of the fields that QEMU knows, or remove the <entry>
    line 6, column 96, /domain/sysinfo[1]/cpu: <cpu> in <sysinfo> is not supported; remove it if the guest can do without it
    line 7, column 30, /domain/sysinfo[2]/entry/@name: `etc/x` is not a name that an entry can have, or it is taken; write a name of its own that begins with opt/
    ");
}
