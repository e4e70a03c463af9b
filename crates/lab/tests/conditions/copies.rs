//! Disks that are to go along with their domain, and cannot: their place is taken, missing or too small, their chain is
//! broken, somebody writes them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use lab::Lab;
use lab::device::{Device, said};
use lab::guest::Guest;
use lab::holder::Holder;
use lab::host::Mount;
use lab::preflight::{expect, real};

use crate::define;

/// Bytes of a device that holds no disk.
const SMALL_BYTES: u64 = 64 << 10;

/// Where a disk is to be copied to.
pub(crate) fn places(lab: &Lab, guest: &Guest) -> Result<()> {
    let condition = "both hosts see the disk, and it is to be copied";
    expect(lab, &["web1", "--copy-storage"], real("copy-shared", "warn", condition))?;
    let words = ["web1", "--offline", "--copy-storage", "--keep-source"];
    let condition = "the copy of a domain that stays is to lie where its own disk is, and both hosts see it";
    expect(lab, &words, real("copy-shared", "fail", condition))?;

    // The guest's serial file is not proven to be shared there.
    let copied_to = |path: &Path, rule: &str, condition: &str| {
        let map = format!("vda={}", path.display());
        let words = ["web1", "--copy-storage", "--map-disk", &map, "--skip", "local-character"];
        expect(lab, &words, real(rule, "fail", condition))
    };
    let nowhere = lab.shared.join("nowhere/web1.qcow2");
    copied_to(&nowhere, "copy-place-missing", "the directory of the disk's place is not on the target")?;
    let other = lab.shared.join("other.qcow2");
    fs::copy(&guest.disk, &other)?;
    copied_to(&other, "copy-exists", "another disk lies at the disk's place on the target")?;
    fs::remove_file(&other)?;
    let file = lab.directory().join("small.img");
    File::create(&file)?.set_len(SMALL_BYTES)?;
    let small = Device::begin(&file, &lab.shared.join("small"))?;
    copied_to(small.node(), "copy-too-small", "the disk's place is a device of 64 KiB")
}

/// The disks of a domain that is shut off.
pub(crate) fn images(lab: &Lab, guest: &Guest) -> Result<()> {
    let (base, top) = (lab.shared.join("base.qcow2"), lab.shared.join("top.qcow2"));
    fs::copy(&guest.disk, &base)?;
    let made = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"];
    said(Command::new("qemu-img").args(made).arg(&top))?;
    define(lab, &guest.changed(&guest.disk.display().to_string(), &top.display().to_string())?)?;
    one_image(lab, &top)?;
    fs::remove_file(&base)?;
    let condition = "the image that the disk stands on was removed";
    expect(lab, &["web1"], real("chain-broken", "fail", condition))?;
    fs::remove_file(&top)?;
    define(lab, &guest.xml)?;

    let sealed = lab.shared.join("sealed.qcow2");
    let made = ["create", "-q", "-f", "qcow2", "--object", "secret,id=it,data=secret"];
    let sealing = "encrypt.format=luks,encrypt.key-secret=it,encrypt.iter-time=10";
    said(Command::new("qemu-img").args(made).args(["-o", sealing]).arg(&sealed).arg("64M"))?;
    define(lab, &guest.changed(&guest.disk.display().to_string(), &sealed.display().to_string())?)?;
    let condition = "the disk's image is encrypted (LUKS in qcow2)";
    expect(lab, &["web1"], real("image-encrypted", "warn", condition))?;
    let flat = lab.shared.join("over.qcow2");
    let made = ["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "sealed.qcow2"];
    said(Command::new("qemu-img").args(made).arg(&flat).arg("64M"))?;
    define(lab, &guest.changed(&guest.disk.display().to_string(), &flat.display().to_string())?)?;
    let elsewhere = format!("vda={}", lab.shared.join("flat.qcow2").display());
    let words =
        ["web1", "--copy-storage", "--flatten", "--map-disk", &elsewhere, "--skip", "local-character"];
    let condition = "what the disk stands on is encrypted, and the chain is to become one image";
    expect(lab, &words, real("image-encrypted", "fail", condition))?;
    for image in [&flat, &sealed] {
        fs::remove_file(image)?;
    }
    define(lab, &guest.xml)?;

    let holder = Holder::begin(&guest.disk)?;
    let condition = "qemu-io has the disk open for writing";
    expect(lab, &["web1"], real("image-in-use", "fail", condition))?;
    holder.end()
}

/// A chain that is to become one image.
fn one_image(lab: &Lab, top: &Path) -> Result<()> {
    let map = format!("vda={}", lab.shared.join("one.qcow2").display());
    // The guest's serial file is not proven to be shared there.
    let skip = ["--skip", "local-character"];
    let words =
        [&["web1", "--offline", "--copy-storage", "--flatten", "--map-disk", &map], &skip[..]].concat();
    let snapshot =
        |verb| said(Command::new("qemu-img").args(["snapshot", verb, "before"]).arg(top)).map(drop);
    snapshot("-c")?;
    let condition = "the image holds a snapshot, and its chain is to become one image";
    expect(lab, &words, real("snapshots-lost", "fail", condition))?;
    snapshot("-d")?;
    let no_fuse = Mount::Bind { from: "/dev/null".into(), at: "/dev/fuse".into() };
    let condition = "a chain is to become one image, and the target has no /dev/fuse";
    lab.kvm2().seeing(&no_fuse, || expect(lab, &words, real("flatten-unsupported", "fail", condition)))
}
