//! `ferry check` on real hosts, around a domain that is shut off or whose guest has only just been started: each condition
//! is made in turn, and its rule and no other finds it. No guest is waited for.

mod conditions;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use lab::Lab;
use lab::LabOptions;
use lab::guest::{Guest, GuestOptions};
use lab::preflight::{expect, in_order, real};
use lab::trial::{play, play_in};

use conditions::{copies, hosts, network, qemus, running, storage};

/// A domain that is defined on `kvm1`, where nothing is wrong.
fn defined(lab: &Lab) -> Result<Guest> {
    let guest = lab.guest(GuestOptions::small("web1"))?;
    define(lab, &guest.xml)?;
    in_order(lab, "web1").context("two hosts in order")?;
    Ok(guest)
}

fn define(lab: &Lab, xml: &Path) -> Result<()> {
    lab.kvm1().ferry_output(["define".as_ref(), xml.as_os_str()]).map(drop)
}

/// Defines the domain with another definition, and what that breaks is found; then it is as it was.
fn breaks(
    lab: &Lab,
    guest: &Guest,
    change: (&str, &str),
    found: (&str, &str),
    condition: &str,
) -> Result<()> {
    let (rule, severity) = found;
    define(lab, &guest.changed(change.0, change.1)?)?;
    expect(lab, &["web1"], real(rule, severity, condition))?;
    define(lab, &guest.xml)
}

/// What is left of a domain besides the lab's own files.
fn undefine(lab: &Lab) -> Result<()> {
    lab.kvm1().ferry_output(["undefine", "web1"]).map(drop)
}

#[test]
fn hosts_that_differ() -> Result<()> {
    play(|lab| {
        let guest = defined(lab)?;
        hosts::processors(lab, &guest)?;
        hosts::room(lab, &guest)?;
        hosts::certificate(lab)?;
        hosts::emulator(lab, &guest)?;
        network::heard(lab)?;
        network::mended(lab)?;
        in_order(lab, "web1").context("everything is as it was")?;
        undefine(lab)
    })
}

#[test]
fn qemus_that_differ() -> Result<()> {
    play(|lab| {
        let guest = defined(lab)?;
        qemus::differ(lab)?;
        // A device that is there under this name, and stays behind.
        let device = lab.shared.join("serial");
        let null = ["c", "1", "3"];
        let made = std::process::Command::new("mknod").arg(&device).args(null).status().context("mknod")?;
        anyhow::ensure!(made.success(), "mknod: {made}");
        let file =
            format!("<serial type='file'>\n      <source path='{}' append='on'/>", guest.console.display());
        let to = format!("<serial type='dev'>\n      <source path='{}'/>", device.display());
        let condition = "a serial line is a device of the source";
        breaks(lab, &guest, (&file, &to), ("local-character", "fail"), condition)?;
        fs::remove_file(device)?;
        undefine(lab)
    })
}

#[test]
fn storage_that_differs() -> Result<()> {
    play_in(LabOptions { nfs: true, ..LabOptions::find()? }, |lab| {
        let guest = defined(lab)?;
        let raw = ("type='qcow2'", "type='raw'");
        let condition = "the definition says raw, and the disk is a qcow2 image";
        breaks(lab, &guest, raw, ("format-differs", "warn"), condition)?;
        storage::mounts(lab, &guest)?;
        storage::locks(lab)?;
        storage::pools(lab)?;
        storage::nfs(lab)?;
        in_order(lab, "web1").context("everything is as it was")?;
        undefine(lab)
    })
}

#[test]
fn disks_that_cannot_go_along() -> Result<()> {
    play(|lab| {
        let guest = defined(lab)?;
        copies::places(lab, &guest)?;
        copies::images(lab, &guest)?;
        in_order(lab, "web1").context("everything is as it was")?;
        undefine(lab)
    })
}

#[test]
fn guests_that_run() -> Result<()> {
    play(|lab| {
        let guest = lab.guest(GuestOptions::small("web1"))?;
        running::ways(lab, &guest)?;
        running::definitions(lab, &guest)?;
        undefine(lab)
    })
}
