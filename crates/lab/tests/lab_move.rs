//! Live migrations in all their flavours, and what an operator can do about one: cancel it, resolve it when it is in
//! doubt.

use std::thread;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::guest::GuestOptions;
use lab::host::{Host, Refusal};
use lab::limits::{HAPPENS, SETTLES};
use lab::migration::{DiskSeen, InterfaceSeen, Migration, Report, report, wait_for_outcome};
use lab::trial::{Trial, play};

/// Slow enough to do something meanwhile.
const SLOW: &str = "5MiB/s";
/// What the source may send: it makes the blackout long enough to break something in it.
const LINK_BYTES_PER_S: u64 = 25_000_000;
const BLACKOUT: &str = "2s";

fn state_is(trial: &Trial<'_>, host: &Host, expected: &str) -> Result<()> {
    let shown = trial.shown(host)?;
    ensure!(shown.state == expected, "to be {expected} on {}: {shown:?}", host.name);
    Ok(())
}

fn refused(refusal: &Refusal, codes: &[&str]) -> Result<()> {
    ensure!(codes.contains(&refusal.code.as_str()) && refusal.exit == 4, "to be {codes:?}: {refusal:?}");
    ensure!(refusal.mend.is_some(), "nothing is said about what to do: {refusal:?}");
    Ok(())
}

/// What the target saw of a guest of one disk and one interface, which its bridge has learned, or was not asked for.
fn seen_afterwards(trial: &Trial<'_>, end: &Report, learned: Option<bool>) -> Result<()> {
    let seen = end.verified.as_ref().with_context(|| format!("nothing was seen afterwards: {end:?}"))?;
    let interface = InterfaceSeen { mac: trial.guest.mac(), learned };
    ensure!(seen.interfaces == [interface], "{seen:?}");
    ensure!(seen.disks == [DiskSeen { disk: "vda".to_owned(), open: Some(true) }], "{seen:?}");
    Ok(())
}

#[test]
fn a_guest_goes_back_and_forth_with_every_option() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let name = trial.name();
        let migration = Migration::begin(kvm1, name, kvm2, &[])?;
        let end = migration.wait_for_end(HAPPENS)?;
        seen_afterwards(&trial, &end, Some(true))?;
        ensure!(report(kvm1, &migration.id)?.verified == end.verified, "the report is another one");
        ensure!(lab.client_finds(&trial.guest, kvm2)?, "the client's packets do not go to kvm2");
        trial.moves(kvm2, kvm1, &[])?;
        ensure!(lab.client_finds(&trial.guest, kvm1)?, "the client's packets do not go to kvm1");
        // Three trips, each with other means.
        for options in [&[][..], &["--plaintext"], &["--channels", "2"]] {
            trial.moves(kvm1, kvm2, options).with_context(|| format!("to kvm2 with {options:?}"))?;
            // What is left behind does not start.
            state_is(&trial, kvm1, "moved")?;
            let shown = trial.shown(kvm1)?;
            ensure!(shown.owner.as_deref() == Some("kvm2") && shown.persistent, "{shown:?}");
            let refusal = kvm1.ferry_refusal(&["start", name])?;
            refused(&refusal, &["moved-away"])?;
            ensure!(refusal.detail.contains("kvm2"), "{refusal:?}");
            trial.moves(kvm2, kvm1, options).with_context(|| format!("back with {options:?}"))?;
            state_is(&trial, kvm2, "moved")?;
        }
        Ok(())
    })
}

#[test]
fn definitions_stay_or_go_as_the_operator_says() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let name = trial.name();
        trial.moves(kvm1, kvm2, &["--keep-definition"])?;
        state_is(&trial, kvm1, "shut-off")?;
        refused(&kvm1.ferry_refusal(&["start", name])?, &["fenced"])?;
        trial.unharmed_on(kvm2)?;
        trial.moves(kvm2, kvm1, &[])?;

        // Transient: it is gone on the target once it shuts off there.
        trial.moves(kvm1, kvm2, &["--transient"])?;
        ensure!(!trial.shown(kvm2)?.persistent, "it is to be forgotten when it ends");
        kvm2.ferry_output(["shutdown", name])?;
        refused(&kvm2.ferry_refusal(&["info", name])?, &["domain-not-found"])?;
        trial.gave_back(kvm2)?;
        let audit = trial.guest.records()?;
        ensure!(audit.lost() == 0 && audit.boots.len() == 1, "{audit:?}");
        Ok(())
    })
}

#[test]
fn a_suspended_domain_moves_and_stays_suspended() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        kvm1.ferry_output(["suspend", trial.name()])?;
        let migration = Migration::begin(kvm1, trial.name(), kvm2, &[])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("moved") && end.suspended, "{end:?}");
        // It sends nothing that a bridge could learn.
        seen_afterwards(&trial, &end, None)?;
        state_is(&trial, kvm2, "suspended")?;
        state_is(&trial, kvm1, "moved")?;
        ensure!(trial.guest.status().is_err(), "a suspended guest answers");
        trial.gave_back(kvm1)?;
        trial.owned_by(kvm2)?;
        // So does a new agent find it.
        kvm2.kill_agent()?;
        kvm2.start_agent()?;
        state_is(&trial, kvm2, "suspended")?;
        kvm2.ferry_output(["resume", trial.name()])?;
        trial.unharmed_on(kvm2)?;
        trial.moves(kvm2, kvm1, &[])
    })
}

#[test]
fn a_migration_that_is_cancelled_changes_nothing() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let pid = trial.qemu(kvm1)?;
        let mut migration = Migration::begin(kvm1, trial.name(), kvm2, &["--bandwidth", SLOW])?;
        migration.wait_for_bytes(1 << 20, HAPPENS)?;
        kvm1.ferry_output(["migrations", "cancel", &migration.id])?;
        let end = migration.wait_for_end(HAPPENS)?;
        ensure!(end.outcome.as_deref() == Some("kept"), "{end:?}");
        ensure!(migration.exit(HAPPENS)? == 5, "kept is exit code 5");
        ensure!(trial.qemu(kvm1)? == pid, "another QEMU");
        trial.unharmed_on(kvm1)?;
        let late = kvm1.ferry_refusal(&["migrations", "cancel", &migration.id])?;
        ensure!((late.code.as_str(), late.exit) == ("migration-ended", 4), "{late:?}");
        trial.moves(kvm1, kvm2, &[])
    })
}

/// A migration whose target's agent died between the last memory and the pledge.
fn in_doubt(trial: &Trial<'_>) -> Result<Migration> {
    let (kvm1, kvm2) = (trial.lab.kvm1(), trial.lab.kvm2());
    trial.lab.shape(kvm1, LINK_BYTES_PER_S)?;
    let mut migration = Migration::begin(kvm1, trial.name(), kvm2, &["--max-blackout", BLACKOUT])?;
    migration.wait_for("stopped", HAPPENS)?;
    kvm2.freeze_agent()?;
    migration.wait_for("pledged", HAPPENS)?;
    kvm2.kill_agent()?;
    let end = migration.wait_for_end(HAPPENS)?;
    ensure!(end.outcome.as_deref() == Some("in-doubt"), "{end:?}");
    ensure!(migration.exit(HAPPENS)? == 6, "in doubt is exit code 6");
    state_is(trial, kvm1, "in-doubt")?;
    trial.lab.unshape(kvm1)?;
    Ok(migration)
}

fn small_and_busy() -> GuestOptions {
    let mut options = GuestOptions::small("web1");
    options.memory_mib = 192;
    options.settings.memory_mib = 16;
    options.settings.rate_pages = 4000;
    options
}

fn resolve(host: &Host, migration: &Migration, word: &str) -> Result<()> {
    host.ferry_output(["migrations", "resolve", &migration.id, "--as", word, "--yes"])?;
    let said = report(host, &migration.id)?;
    ensure!(said.outcome.as_deref() == Some(word), "{said:?}");
    Ok(())
}

fn doubt_ends(play_out: impl FnOnce(&Lab, &Trial<'_>, &Migration) -> Result<()>) -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, small_and_busy())?;
        let migration = in_doubt(&trial)?;
        play_out(lab, &trial, &migration)
    })
}

#[test]
fn doubt_ends_by_the_word_that_it_was_kept() -> Result<()> {
    doubt_ends(|lab, trial, migration| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        // A word that costs something needs a person, or --yes.
        let unsure = kvm1.ferry_refusal(&["migrations", "resolve", &migration.id, "--as", "kept"])?;
        ensure!((unsure.code.as_str(), unsure.exit) == ("wrong-usage", 2), "{unsure:?}");
        resolve(kvm1, migration, "kept")?;
        trial.answers(HAPPENS)?;
        // The target hears of it when it is back.
        kvm2.start_agent()?;
        wait_for_outcome(kvm2, &migration.id, &["kept"], SETTLES)?;
        trial.unharmed_on(kvm1)?;
        trial.moves(kvm1, kvm2, &[])
    })
}

#[test]
fn doubt_ends_by_the_word_that_it_moved() -> Result<()> {
    doubt_ends(|lab, trial, migration| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        resolve(kvm1, migration, "moved")?;
        state_is(trial, kvm1, "moved")?;
        trial.gave_back(kvm1)?;
        // The word is a pledge: the target's next agent takes the guest up.
        kvm2.start_agent()?;
        wait_for_outcome(kvm2, &migration.id, &["moved"], SETTLES)?;
        trial.unharmed_on(kvm2)?;
        trial.moves(kvm2, kvm1, &[])
    })
}

#[test]
fn doubt_ends_by_the_word_that_it_is_lost() -> Result<()> {
    doubt_ends(|lab, trial, migration| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        resolve(kvm1, migration, "lost")?;
        state_is(trial, kvm1, "shut-off")?;
        kvm2.start_agent()?;
        wait_for_outcome(kvm2, &migration.id, &["lost", "kept"], SETTLES)?;
        trial.lost_on(kvm1)?;
        trial.starts_afresh_on(kvm1)
    })
}

#[test]
fn a_word_against_what_the_target_says_is_refused() -> Result<()> {
    doubt_ends(|lab, trial, migration| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        // The target's next agent finds no QEMU and has no proof of anything: nobody has the memory.
        kvm2.kill_qemu(&trial.guest.uuid)?;
        kvm2.start_agent()?;
        let refusal =
            kvm1.ferry_refusal(&["migrations", "resolve", &migration.id, "--as", "moved", "--yes"])?;
        // The source may have asked by itself first; then there is nothing left to resolve.
        ensure!(["word-refused", "migration-ended"].contains(&refusal.code.as_str()), "{refusal:?}");
        ensure!(refusal.exit == 4, "{refusal:?}");
        wait_for_outcome(kvm1, &migration.id, &["lost"], SETTLES)?;
        trial.lost_on(kvm1)?;
        trial.starts_afresh_on(kvm1)
    })
}

#[test]
fn memory_that_is_gone_cannot_be_kept() -> Result<()> {
    doubt_ends(|lab, trial, migration| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        kvm1.kill_qemu(&trial.guest.uuid)?;
        let refusal =
            kvm1.ferry_refusal(&["migrations", "resolve", &migration.id, "--as", "kept", "--yes"])?;
        refused(&refusal, &["word-refused"])?;
        kvm2.start_agent()?;
        wait_for_outcome(kvm1, &migration.id, &["moved"], SETTLES)?;
        trial.unharmed_on(kvm2)
    })
}

#[test]
fn of_two_hosts_that_start_a_shared_domain_at_once_one_may() -> Result<()> {
    const ROUNDS: usize = 5;
    play(|lab| {
        let guest = lab.guest(GuestOptions::small("web1"))?;
        for host in lab.hosts() {
            host.ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        }
        let mut record = guest.disk.clone().into_os_string();
        record.push(".ferry");
        for round in 0..ROUNDS {
            let started = thread::scope(|scope| {
                let starts = lab
                    .hosts()
                    .each_ref()
                    .map(|host| scope.spawn(|| host.ferry().args(["--json", "start", "web1"]).output()));
                starts.map(|start| start.join().expect("starting does not panic"))
            });
            let mut winners = 0;
            for (host, output) in lab.hosts().iter().zip(started) {
                let output = output?;
                if output.status.success() {
                    winners += 1;
                    host.ferry_output(["destroy", "web1"])?;
                } else {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    ensure!(
                        output.status.code() == Some(4) && said.contains("\"fenced\""),
                        "{round}: {said}"
                    );
                }
            }
            ensure!(winners == 1, "round {round}: {winners} hosts started it");
            for host in lab.hosts() {
                ensure!(host.qemus()?.is_empty(), "{} still has a QEMU", host.name);
            }
            // As new: nobody has ever started it.
            std::fs::remove_file(&record)?;
        }
        Ok(())
    })
}
