//! Disks that are to go along with their domain, and cannot: their place is taken, missing or too small, their chain is
//! broken, somebody writes them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::Guest;
use lab::holder::Holder;
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
    let small = Device::small(lab)?;
    copied_to(&small.node, "copy-too-small", "the disk's place is a device of 64 KiB")
}

/// A block device beside the disks.
struct Device {
    looped: String,
    node: PathBuf,
}

impl Device {
    fn small(lab: &Lab) -> Result<Device> {
        let file = lab.directory().join("small.img");
        File::create(&file)?.set_len(SMALL_BYTES)?;
        let looped = said(Command::new("losetup").args(["--find", "--show"]).arg(&file))?;
        let device = Device { node: lab.shared.join("small"), looped };
        said(Command::new("cp").args(["-a", &device.looped]).arg(&device.node))?;
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.node);
        _ = Command::new("losetup").args(["-d", &self.looped]).status();
    }
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The disks of a domain that is shut off.
pub(crate) fn images(lab: &Lab, guest: &Guest) -> Result<()> {
    let (base, top) = (lab.shared.join("base.qcow2"), lab.shared.join("top.qcow2"));
    fs::copy(&guest.disk, &base)?;
    let made = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2"];
    said(Command::new("qemu-img").args(made).arg(&top))?;
    define(lab, &guest.changed(&guest.disk.display().to_string(), &top.display().to_string())?)?;
    fs::remove_file(&base)?;
    let condition = "the image that the disk stands on was removed";
    expect(lab, &["web1"], real("chain-broken", "fail", condition))?;
    fs::remove_file(&top)?;
    define(lab, &guest.xml)?;

    let holder = Holder::begin(&guest.disk)?;
    let condition = "qemu-io has the disk open for writing";
    expect(lab, &["web1"], real("image-in-use", "fail", condition))?;
    holder.end()
}
