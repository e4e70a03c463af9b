//! Tests of the lab itself, with QEMUs that no agent drives: the guest boots, works, is moved by bare QMP and shuts
//! down; what breaks is noticed; nothing is left.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::client::Pings;
use lab::guest::{GuestOptions, Images};
use lab::host::Host;
use lab::limits::{GUEST_BOOT, KILLED, LOOK, QMP_ANSWER};
use lab::qemu::Qemu;
use lab::{Lab, LabOptions, teardown};
use serde_json::json;

fn lab(stp: bool) -> Result<Lab> {
    let ferry = PathBuf::from("no-agents-here");
    let images = Images::find()?;
    Lab::without_agents(LabOptions { stp, ferry, images, watched: false, nfs: false, bare: false })
}

fn migrate(source: &mut Qemu, target: &mut Qemu, to: &Host) -> Result<f64> {
    target.execute("migrate-incoming", json!({ "uri": format!("tcp:{}:7800", to.address) }))?;
    source.execute("migrate", json!({ "uri": format!("tcp:{}:7800", to.address) }))?;
    let end = Instant::now() + QMP_ANSWER;
    loop {
        let answer = source.execute("query-migrate", json!({}))?;
        match answer["status"].as_str() {
            Some("completed") => return answer["downtime"].as_f64().context("no downtime"),
            Some("failed") => anyhow::bail!("migration failed: {answer}"),
            _ => ensure!(Instant::now() < end, "migration does not end: {answer}"),
        }
        thread::sleep(LOOK);
    }
}

#[test]
fn a_guest_boots_works_is_moved_and_shuts_down() -> Result<()> {
    let lab = lab(false)?;
    let guest = lab.guest(GuestOptions::small("web1"))?;
    let start = Instant::now();
    let mut first = Qemu::start(&lab, lab.kvm1(), &guest, false)?;
    let before = guest.wait_until_serving(GUEST_BOOT)?;
    let boot = start.elapsed();

    let pings = Pings::start(&lab.client, guest.address())?;
    assert!(pings.answered_within(Duration::from_secs(5)), "no ping answered");
    let quiet_from = Instant::now();
    thread::sleep(Duration::from_secs(1));
    let quiet = pings.window(quiet_from, Instant::now());
    assert_eq!(quiet.lost, 0, "{quiet:?}");

    let from = Instant::now();
    let mut second = Qemu::start(&lab, lab.kvm2(), &guest, true)?;
    let downtime = migrate(&mut first, &mut second, lab.kvm2())?;
    first.execute("quit", json!({}))?;
    first.end()?;
    let moved = pings.window(from, Instant::now());
    let after = guest.check()?;
    assert_eq!(after.boot_id, before.boot_id);
    assert_eq!((after.memory_errors, after.records_lost), (0, 0), "{after:?}");
    assert!(
        after.record_last > before.record_last && after.memory_checked > before.memory_checked,
        "{after:?}"
    );
    assert_eq!(pings.requests_repeated(), 0);
    assert!(pings.request_last() > Some(10));
    assert!(
        moved.lost < moved.sent && downtime > 0.0,
        "boot {boot:?}, downtime {downtime} ms, {quiet:?}, {moved:?}"
    );

    second.execute("system_powerdown", json!({}))?;
    second.end()?;
    pings.stop()?;
    let audit = guest.records()?;
    assert_eq!(audit.lost(), 0, "{audit:?}");
    assert!(audit.last >= after.record_last, "{audit:?} {after:?}");
    assert_eq!(audit.boots, [before.boot_id]);
    assert_eq!(lab.end(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_cut_network_is_silent_until_it_is_healed() -> Result<()> {
    let lab = lab(false)?;
    lab.heal(lab.kvm2())?;
    lab.cut(lab.kvm2())?;
    assert!(lab.heal(lab.kvm1()).is_err(), "kvm1 reaches a host that is cut off");
    lab.heal(lab.kvm2())?;
    lab.heal(lab.kvm1())
}

#[test]
fn a_shaped_network_is_as_slow_as_it_was_told() -> Result<()> {
    const BYTES_PER_S: u64 = 4_000_000;
    const BYTES: usize = 4_000_000;
    let lab = lab(false)?;
    lab.shape(lab.kvm1(), BYTES_PER_S)?;
    let listener = lab.kvm2().namespace.enter(|| TcpListener::bind((lab.kvm2().address, 0)))??;
    let address = listener.local_addr()?;
    let start = Instant::now();
    let sender =
        lab.kvm1().namespace.spawn(move || Ok(TcpStream::connect(address)?.write_all(&[1; BYTES])?))?;
    let received = std::io::copy(&mut listener.accept()?.0, &mut std::io::sink())?;
    let took = start.elapsed();
    sender.join().expect("the sender does not panic")?;
    assert_eq!(received, BYTES as u64);
    assert!((Duration::from_millis(800)..Duration::from_secs(3)).contains(&took), "{took:?}");
    Ok(())
}

#[test]
fn bridges_with_spanning_tree_forward_before_anything_else_happens() -> Result<()> {
    let lab = lab(true)?;
    let pings = Pings::start(&lab.client, lab::network::guest(1))?;
    let start = Instant::now();
    thread::sleep(Duration::from_millis(200));
    let window = pings.window(start, start + Duration::from_millis(200));
    assert!(window.sent > 0 && window.lost == 0, "{window:?}");
    Ok(())
}

#[test]
fn what_is_left_of_a_lab_is_seen_and_then_taken_down() -> Result<()> {
    let lab = lab(false)?;
    let id = lab.id.clone();
    let mut forgotten = lab.client.command("sleep").arg("1000").spawn()?;
    std::fs::write(lab.shared.join("forgotten"), "")?;
    lab.keep();
    let end = Instant::now() + KILLED;
    let mut left = teardown::leaks(&id);
    // For a moment after its start a process shows no command line.
    while !left.iter().any(|line| line.contains("process")) && Instant::now() < end {
        left = teardown::leaks(&id);
    }
    for what in ["namespace", "process", "shared/forgotten"] {
        assert!(left.iter().any(|line| line.contains(what)), "{what} is missing in {left:#?}");
    }
    assert!(teardown::labs().contains(&id));
    teardown::teardown(&id);
    assert!(!forgotten.wait()?.success(), "the process was not killed");
    assert_eq!(teardown::leaks(&id), Vec::<String>::new());
    Ok(())
}
