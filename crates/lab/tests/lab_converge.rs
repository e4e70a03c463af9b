//! Guests that write faster than their memory goes over: they are brought over all the same, or stay and are told why; and what
//! somebody may do about it meanwhile. How long anything takes is not judged here.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::beats::Beats;
use lab::guest::{GuestOptions, Rewrite};
use lab::limits::{HAPPENS, SILENCE};
use lab::migration::{Migration, Report};
use lab::trial::{Trial, play};

/// A gigabit per second.
const GIGABIT_BYTES_PER_S: u64 = 125_000_000;
/// Half of what a guest writes whose every page is another each time.
const SCARCE_BYTES_PER_S: u64 = 12_000_000;
/// 25 MB/s.
const RATE_PAGES: u32 = 6_000;
/// A link for a guest that writes as fast as it can.
const BUSY_BYTES_PER_S: u64 = 40_000_000;
/// More than an emulated processor does: what is taken of its time is missed.
const BUSY_RATE_PAGES: u32 = 60_000;

/// A guest that is heard, and writes so many pages to a part of its memory.
fn guest(rewrite: Rewrite, rate_pages: u32, memory_mib: u32) -> GuestOptions {
    let mut options = GuestOptions::measured("web1", rewrite, rate_pages);
    options.memory_mib = 256;
    options.settings.memory_mib = memory_mib;
    options.settings.records_rate = 20;
    options
}

/// A guest whose pages the link cannot carry begins to move.
fn scene(options: &[&str], play_on: impl FnOnce(&Lab, &Trial<'_>, Migration) -> Result<()>) -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, guest(Rewrite::Page, RATE_PAGES, 32))?;
        lab.shape_both(SCARCE_BYTES_PER_S)?;
        let migration = Migration::begin(lab.kvm1(), trial.name(), lab.kvm2(), options)?;
        play_on(lab, &trial, migration)
    })
}

fn decided(report: &Report, decision: &str) -> usize {
    report.decisions.iter().filter(|it| it.decision == decision).count()
}

#[test]
fn a_few_bytes_of_many_pages_need_no_throttle() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, guest(Rewrite::Word, 40_000, 128))?;
        lab.shape_both(GIGABIT_BYTES_PER_S)?;
        let migration = Migration::begin(lab.kvm1(), trial.name(), lab.kvm2(), &[])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        ensure!(decided(&end, "throttle") == 0, "{end:?}");
        trial.unharmed_on(lab.kvm2())
    })
}

#[test]
fn whole_pages_are_moved_with_a_throttle() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, guest(Rewrite::Page, BUSY_RATE_PAGES, 48))?;
        lab.shape_both(BUSY_BYTES_PER_S)?;
        // All but all of it, if need be: how fast the guest is without it depends on the machine.
        let most = ["--max-throttle", "99"];
        let migration = Migration::begin(lab.kvm1(), trial.name(), lab.kvm2(), &most)?;
        let end = migration.wait_for_end(2 * HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        ensure!(decided(&end, "throttle") > 0 && decided(&end, "blackout") > 0, "{end:?}");
        ensure!(migration.has_told("of its time is taken from the guest"), "nobody was told");
        trial.unharmed_on(lab.kvm2())
    })
}

#[test]
fn what_comes_to_no_end_stays_and_is_told_why() -> Result<()> {
    scene(&["--max-throttle", "0", "--on-stuck", "keep"], |lab, trial, mut migration| {
        let end = migration.wait_for_end(2 * HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("kept"), "{end:?}");
        let (reason, mend) = (end.reason.clone().unwrap_or_default(), end.mend.clone().unwrap_or_default());
        ensure!(reason.contains("it came to no end: the guest writes"), "{end:?}");
        ensure!(mend.contains("--max-throttle") && mend.contains("--on-stuck"), "{end:?}");
        ensure!(decided(&end, "keep") == 1 && decided(&end, "throttle") == 0, "{end:?}");
        ensure!(migration.exit(HAPPENS)? == 5, "the exit code tells that it stays");
        trial.unharmed_on(lab.kvm1())
    })
}

#[test]
fn what_comes_to_no_end_is_paused_where_that_is_wanted() -> Result<()> {
    scene(&["--max-throttle", "0", "--on-stuck", "suspend"], |lab, trial, migration| {
        let end = migration.wait_for_end(2 * HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved") && !end.suspended, "{end:?}");
        ensure!(decided(&end, "suspend") == 1, "{end:?}");
        trial.unharmed_on(lab.kvm2())
    })
}

#[test]
fn a_deadline_is_kept() -> Result<()> {
    scene(&["--deadline", "3s"], |lab, trial, migration| {
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("kept"), "{end:?}");
        let reason = end.reason.clone().unwrap_or_default();
        ensure!(reason.contains("its memory has gone over for 3 s"), "{end:?}");
        trial.unharmed_on(lab.kvm1())
    })
}

#[test]
fn somebody_changes_its_limits_and_brings_it_to_its_end() -> Result<()> {
    scene(&["--max-throttle", "0"], |lab, trial, migration| {
        let kvm1 = lab.kvm1();
        migration.wait_for_bytes(1 << 20, HAPPENS)?;
        kvm1.ferry_output([
            "migrations",
            "set",
            &migration.id,
            "--max-blackout",
            "40ms",
            "--bandwidth",
            "10MiB/s",
            "--max-throttle",
            "60",
        ])?;
        migration.wait_for_note("bandwidth is 10485760 bytes per second at most now", HAPPENS)?;
        migration.wait_for_note("memory may now take 40 ms of the blackout", HAPPENS)?;
        kvm1.ferry_output(["migrations", "switchover-now", &migration.id])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved"), "{end:?}");
        ensure!(decided(&end, "suspend") == 1 && decided(&end, "blackout") == 1, "{end:?}");
        let late = kvm1.ferry().args(["migrations", "switchover-now", &migration.id]).output()?;
        ensure!(late.status.code() == Some(4), "it has ended: {late:?}");
        trial.unharmed_on(lab.kvm2())
    })
}

#[test]
fn a_guest_that_was_slowed_down_works_as_before_after_a_cancel() -> Result<()> {
    scene(&["--blackout-bound", "30ms"], |lab, trial, migration| {
        let kvm1 = lab.kvm1();
        let beats = Beats::start(&lab.client, trial.guest.address())?;
        let worked = || -> Result<f64> {
            ensure!(beats.heard_within(HAPPENS), "no beat is heard");
            let from = Instant::now();
            thread::sleep(4 * SILENCE);
            let to = Instant::now();
            Ok(beats.rhythm(from, to).pages_changed as f64 / (to - from).as_secs_f64())
        };
        let before = worked().context("before")?;
        migration.wait_for_note("of its time is taken from the guest", 2 * HAPPENS)?;
        kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("kept") && decided(&end, "throttle") > 0, "{end:?}");
        let after = worked().context("after")?;
        ensure!(after > 0.6 * before, "{before:.0} pages a second before, {after:.0} after");
        trial.unharmed_on(kvm1)?;
        lab.unshape(kvm1)?;
        lab.unshape(lab.kvm2())?;
        // Nothing of the attempt is left in its QEMU.
        trial.moves(kvm1, lab.kvm2(), &[])?;
        beats.stop()
    })
}
