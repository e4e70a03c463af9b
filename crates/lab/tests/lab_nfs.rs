//! A guest whose disk is reached by QEMU's own NFS client: no lock keeps two QEMUs from it, so the right to run and the owner
//! record on the server must. The server is the lab's own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use lab::guest::GuestOptions;
use lab::host::Refusal;
use lab::nfs::Export;
use lab::trial::{Shown, Trial, play_in};
use lab::{Lab, LabOptions};
use serde::Deserialize;
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
        ensure!(trial.owner(kvm1)?.host == "kvm1", "{:?}", trial.owner(kvm1)?);
        // As a version would have left it that kept no records on such servers: it gets one before it moves.
        fs::remove_file(lab.shared.join("web1.qcow2.ferry"))?;
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
        ensure!(trial.owner(kvm1).is_err(), "the record goes with the definition");
        trial.starts_afresh_on(kvm1)
    })
}

#[derive(Debug, Deserialize)]
struct Report {
    checked: Vec<Checked>,
}

#[derive(Debug, Deserialize)]
struct Checked {
    rule: String,
    severity: String,
    subject: Option<String>,
    message: String,
}

/// What `ferry check` finds before a move to `kvm2`.
fn check(lab: &Lab) -> Result<Vec<Checked>> {
    let output = lab.kvm1().ferry().args(["--json", "check", "web1", "--to", "kvm2"]).output()?;
    let report: Report = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok(report.checked)
}

/// Runs `ip` on the target.
fn ip(lab: &Lab, words: &[&str]) -> Result<()> {
    let output = lab.kvm2().namespace.command("ip").args(words).output()?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(())
}

#[test]
fn a_check_looks_at_the_disk_on_its_server() -> Result<()> {
    play(|lab| {
        let (kvm1, guest) = (lab.kvm1(), lab.guest(options())?);
        kvm1.ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        kvm1.ferry_output(["start", "web1"])?;
        let names = || -> Result<BTreeSet<OsString>> {
            fs::read_dir(&lab.shared)?.map(|entry| Ok(entry?.file_name())).collect()
        };
        let before = names()?;
        let checked = check(lab)?;
        let wrong: Vec<_> = checked.iter().filter(|checked| checked.severity != "pass").collect();
        ensure!(wrong.is_empty(), "{wrong:#?}");
        for rule in ["disk-missing", "storage-not-shared", "image-differs", "cache-unsafe"] {
            let about_vda = |it: &Checked| it.rule == rule && it.subject.as_deref() == Some("vda");
            ensure!(checked.iter().any(about_vda), "{rule} says nothing: {checked:#?}");
        }
        ensure!(names()? == before, "it left something: {:?}", names()?);

        let server = lab.nfs()?.address.to_string();
        ip(lab, &["route", "add", "unreachable", &server])?;
        let checked = check(lab)?;
        let missing = |it: &Checked| {
            it.rule == "disk-missing" && it.severity == "fail" && it.message.contains("nfs://")
        };
        ensure!(checked.iter().any(missing), "{checked:#?}");
        ip(lab, &["route", "delete", "unreachable", &server])?;

        // The target reads the record itself, and takes nobody's word.
        let record = json!({ "domain": guest.uuid, "host": "kvm9", "generation": 7 });
        fs::write(lab.shared.join("web1.qcow2.ferry"), record.to_string())?;
        let refusal = kvm1.ferry_refusal(&["migrate", "web1", "--to", "kvm2"])?;
        let codes: Vec<&str> = refusal.details.iter().map(|detail| detail.code.as_str()).collect();
        ensure!(codes.contains(&"storage-not-shared"), "{refusal:?}");
        kvm1.ferry_output(["destroy", "web1"]).map(drop)
    })
}

#[test]
fn of_two_hosts_that_start_it_at_once_one_does() -> Result<()> {
    play(|lab| {
        let (guest, record) = (lab.guest(options())?, lab.shared.join("web1.qcow2.ferry"));
        for host in lab.hosts() {
            host.ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        }
        for round in 1..=5 {
            let refused: Vec<(&str, Refusal)> = thread::scope(|scope| {
                let starting = lab
                    .hosts()
                    .each_ref()
                    .map(|host| scope.spawn(|| (host.name, host.ferry_refusal(&["start", "web1"]))));
                let ended = starting.map(|start| start.join().expect("it does not panic"));
                ended.into_iter().filter_map(|(host, refused)| Some((host, refused.ok()?))).collect()
            });
            let [(loser, refusal)] = &refused[..] else { bail!("round {round}: {refused:?}") };
            ensure!(refusal.code == "fenced", "round {round}: {refusal:?}");
            for host in lab.hosts() {
                let runs = host.ferry_json::<Shown>(&["info", "web1"])?.pid.is_some();
                ensure!(runs == (host.name != *loser), "round {round}: {} runs it: {runs}", host.name);
                if runs {
                    host.ferry_output(["destroy", "web1"])?;
                }
            }
            fs::remove_file(&record).context("its record")?;
        }
        Ok(())
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
        // Nor is a server that is gone a permission, or one that takes root for nobody.
        let nfs = lab.nfs()?;
        nfs.kill()?;
        let gone = kvm1.ferry_refusal(&["start", "web1"]).context("a start without its server")?;
        ensure!(gone.code == "image-failed", "{gone:?}");
        nfs.start(&[Export { no_root_squash: false, ..Export::share(&lab.shared) }])?;
        let squashed = kvm1.ferry_refusal(&["start", "web1"]).context("a start as nobody")?;
        ensure!(squashed.code == "owner-record-failed", "{squashed:?}");
        ensure!(squashed.detail.contains("no_root_squash"), "{squashed:?}");
        ensure!(kvm1.qemus()?.is_empty(), "a QEMU was started");
        Ok(())
    })
}
