//! A guest whose disk is reached by QEMU's own NFS client: no lock keeps two QEMUs from it, so the right to run and the owner
//! record on the server must. The server is the lab's own.

use std::fs;

use anyhow::{Context, Result, ensure};
use lab::guest::GuestOptions;
use lab::trial::{Trial, play_in};
use lab::{Lab, LabOptions};
use serde_json::json;

/// Plays in a lab with an NFS server.
fn play(scene: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    play_in(LabOptions { nfs: true, ..LabOptions::find()? }, scene)
}

fn options() -> GuestOptions {
    GuestOptions { over_nfs: true, ..GuestOptions::small("web1") }
}

#[test]
fn a_guest_moves_and_starts_nowhere_else() -> Result<()> {
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let trial = Trial::begin(lab, options())?;
        ensure!(trial.owner()?.host == "kvm1", "{:?}", trial.owner()?);
        trial.moves(kvm1, kvm2, &["--keep-definition"])?;
        // The definition is still there, and the guest runs elsewhere: the record is all that stands against a start.
        let refusal = kvm1.ferry_refusal(&["start", "web1"])?;
        ensure!((refusal.code.as_str(), refusal.exit) == ("fenced", 4), "{refusal:?}");
        ensure!(refusal.detail.contains("belongs to host kvm2"), "{refusal:?}");
        trial.unharmed_on(kvm2)?;
        // Nor is it QEMU that refuses: it opens such a disk twice.
        let disk = format!("nfs://{}{}/web1.qcow2", lab.nfs()?.address, lab::nfs::SHARE);
        let opened =
            kvm1.namespace.command("qemu-io").args(["-f", "qcow2", "-c", "read 0 4k", &disk]).output()?;
        ensure!(opened.status.success(), "a lock was taken after all: {opened:?}");

        kvm2.ferry_output(["destroy", "web1"])?;
        let owned = kvm1.ferry_refusal(&["start", "web1"])?;
        ensure!(owned.code == "fenced", "{owned:?}");
        kvm2.ferry_output(["undefine", "web1"])?;
        ensure!(trial.owner().is_err(), "the record goes with the definition");
        trial.starts_afresh_on(kvm1)
    })
}

#[test]
fn a_record_of_somebody_else_is_honoured() -> Result<()> {
    play(|lab| {
        let (kvm1, guest) = (lab.kvm1(), lab.guest(options())?);
        kvm1.ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        let path = lab.shared.join("web1.qcow2.ferry");
        for (record, code) in [
            (json!({ "domain": guest.uuid, "host": "kvm9", "generation": 7 }).to_string(), "fenced"),
            ("junk".to_owned(), "owner-record-unreadable"),
            ("x".repeat(100_000), "owner-record-failed"),
        ] {
            fs::write(&path, &record)?;
            let refusal = kvm1.ferry_refusal(&["start", "web1"])?;
            ensure!(refusal.code == code, "to be {code}: {refusal:?}");
            ensure!(fs::read_to_string(&path)? == record, "it was written over");
        }
        fs::remove_file(&path)?;
        // A server that is gone is no permission.
        lab.nfs()?.kill()?;
        let refusal = kvm1.ferry_refusal(&["start", "web1"]).context("a start without its server")?;
        ensure!(refusal.code == "owner-record-failed", "{refusal:?}");
        ensure!(kvm1.qemus()?.is_empty(), "a QEMU was started");
        Ok(())
    })
}
