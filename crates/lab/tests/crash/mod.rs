//! One case of who dies, and when. It makes its fault in a migration that has really come to the phase that is meant, and
//! holds the outcome against what the design says of it (`docs/handover.md`). Which cases are played is the matter of
//! `lab_crash` and `all_crash`. Main function: [`case`].
//!
//! ```text
//!                 Streaming           Stopped                 right after the pledge
//! source agent    kept                kept or moved [1]       moved
//! target agent    kept                moved or kept [2]       moved
//! source QEMU     lost                lost                    moved
//! target QEMU     kept                kept                    kept: refused with a proof
//! network cut     kept                kept                    moved, in doubt until it is healed
//! ```
//!
//! [1] By what QEMU, which knows nothing of it, has come to when the new agent asks it. [2] Moved, in doubt until the new
//! agent hears the pledge; kept where the source noticed before the last memory had gone over.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::LabOptions;
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::limits::{HAPPENS, SETTLES};
use lab::migration::{Migration, report, wait_for_outcome};
use lab::trial::{Trial, last_phase, play_in};
use migration::phase::Phase;

/// Slow enough that memory is still on its way when the source gives a silent target up.
const STREAM: &str = "3MiB/s";
/// A fault at Streaming comes when so much is on its way.
const UNDER_WAY_BYTES: u64 = 1 << 20;
/// What the source may send while its guest stands still: it makes the blackout longer than a second.
const LINK_BYTES_PER_S: u64 = 25_000_000;
const BLACKOUT: &str = "2s";
/// The source gives up a target that it cannot hear, or is in doubt: three signs of life, or one verdict, that do not come,
/// and the time to take QEMU's stream back from a dead link. Not the time in which QEMU or TCP would notice by themselves.
const NOTICED: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Streaming,
    Stopped,
    Pledged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    SourceAgent,
    TargetAgent,
    SourceQemu,
    TargetQemu,
    Cut,
}

/// How the guest's disk is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// As a file; QEMU locks it.
    File,
    /// By QEMU's own NFS client, which takes no locks: only the right to run stands between two runners.
    Nfs,
}

/// One test a case, so that each has a name, a time and a result of its own.
macro_rules! cases {
    ($disk:ident: $($name:ident: $fault:ident at $moment:ident => $outcomes:expr;)*) => {
        $(#[test]
        fn $name() -> anyhow::Result<()> {
            use crate::crash::{Disk, Fault, Moment, case};
            case(Disk::$disk, Moment::$moment, Fault::$fault, &$outcomes)
        })*
    };
}
pub(crate) use cases;

/// Plays one case; one of `outcomes` must be what comes of it.
pub(crate) fn case(disk: Disk, moment: Moment, fault: Fault, outcomes: &[&str]) -> Result<()> {
    play_in(LabOptions { nfs: disk == Disk::Nfs, ..LabOptions::find()? }, |lab| {
        let mut options = GuestOptions::small("web1");
        options.over_nfs = disk == Disk::Nfs;
        options.memory_mib = 192;
        // Written over and over: the last round has all of it.
        options.settings.memory_mib = 16;
        options.settings.rate_pages = 4000;
        let trial = Trial::begin(lab, options)?;
        let migration = come_to(&trial, moment)?;
        make(&trial, &migration, moment, fault)?;
        recover(&trial, &migration, moment, fault)?;
        let end = wait_for_outcome(lab.kvm1(), &migration.id, &["moved", "kept", "lost"], SETTLES)?;
        let outcome = end.outcome.clone().unwrap_or_default();
        ensure!(outcomes.contains(&outcome.as_str()), "to be {outcomes:?}, and is {end:?}");
        look_back(&trial, &migration, &outcome)?;
        go_on(&trial, moment, &outcome)
    })
}

/// Begins a migration, and returns when it has come to the moment.
fn come_to(trial: &Trial<'_>, moment: Moment) -> Result<Migration> {
    let (kvm1, kvm2) = (trial.lab.kvm1(), trial.lab.kvm2());
    if moment == Moment::Streaming {
        let migration = Migration::begin(kvm1, trial.name(), kvm2, &["--bandwidth", STREAM])?;
        migration.wait_for_bytes(UNDER_WAY_BYTES, HAPPENS)?;
        ensure!(migration.phases().last().is_some_and(|phase| phase == "streaming"), "not streaming");
        return Ok(migration);
    }
    trial.lab.shape(kvm1, LINK_BYTES_PER_S)?;
    let migration = Migration::begin(kvm1, trial.name(), kvm2, &["--max-blackout", BLACKOUT])?;
    migration.wait_for("stopped", HAPPENS)?;
    if moment == Moment::Pledged {
        // A target that hears nothing cannot answer: the source stays right behind its pledge.
        kvm2.freeze_agent()?;
        migration.wait_for("pledged", HAPPENS)?;
    }
    Ok(migration)
}

/// Makes the fault, and proves that it fell into the phase that was meant.
fn make(trial: &Trial<'_>, migration: &Migration, moment: Moment, fault: Fault) -> Result<()> {
    let (kvm1, kvm2) = (trial.lab.kvm1(), trial.lab.kvm2());
    let uuid = &trial.guest.uuid;
    match fault {
        Fault::SourceAgent => kvm1.kill_agent()?,
        Fault::TargetAgent => kvm2.kill_agent()?,
        Fault::SourceQemu => kvm1.kill_qemu(uuid)?,
        Fault::TargetQemu => kvm2.kill_qemu(uuid)?,
        Fault::Cut => trial.lab.cut(kvm2)?,
    }
    let told = migration.phases();
    let expected = match moment {
        Moment::Streaming => "streaming",
        Moment::Stopped => "stopped",
        Moment::Pledged => "pledged",
    };
    let reached = told.iter().position(|phase| phase == expected);
    ensure!(reached.is_some(), "the fault came before {expected}: {told:?}");
    // Whatever has been told behind it by now must be what comes of the fault, not of the migration going on.
    let beyond = &told[reached.unwrap_or_default() + 1..];
    let went_on = ["stopped", "pledged", "moved"];
    ensure!(!beyond.iter().any(|phase| went_on.contains(&phase.as_str())), "the fault came late: {told:?}");
    if fault == Fault::SourceAgent {
        let written = last_phase(kvm1, &migration.id)?;
        // `Pledging` is written ahead, beside a late round.
        let expected: &[Phase] = match moment {
            Moment::Streaming => &[Phase::Streaming, Phase::Pledging],
            Moment::Stopped | Moment::Pledged => &[Phase::Pledging],
        };
        ensure!(written.is_some_and(|phase| expected.contains(&phase)), "its journal was at {written:?}");
    }
    if moment == Moment::Stopped && kvm2.agent_runs() && fault != Fault::Cut {
        let target = report(kvm2, &migration.id)?.phase;
        ensure!(!["granted", "running"].contains(&target.as_str()), "the target was {target} already");
    }
    Ok(())
}

/// What comes after the fault: the target hears again, who died comes back, the network is healed.
fn recover(trial: &Trial<'_>, migration: &Migration, moment: Moment, fault: Fault) -> Result<()> {
    let (kvm1, kvm2) = (trial.lab.kvm1(), trial.lab.kvm2());
    let id = &migration.id;
    if moment == Moment::Pledged && fault != Fault::TargetAgent {
        kvm2.thaw_agent()?;
    }
    match (fault, moment) {
        (Fault::SourceAgent, _) => kvm1.start_agent(),
        (Fault::TargetAgent, Moment::Streaming) => {
            // The source does not wait for it to come back.
            wait_for_outcome(kvm1, id, &["kept"], NOTICED)?;
            trial.answers(HAPPENS)?;
            kvm2.start_agent()
        }
        (Fault::TargetAgent, Moment::Stopped | Moment::Pledged) => {
            let end = wait_for_outcome(kvm1, id, &["in-doubt", "kept"], NOTICED)?;
            if end.outcome.as_deref() == Some("in-doubt") {
                shown_as_in_doubt(trial, migration)?;
            }
            kvm2.start_agent()
        }
        (Fault::SourceQemu | Fault::TargetQemu, _) => Ok(()),
        (Fault::Cut, Moment::Streaming | Moment::Stopped) => {
            wait_for_outcome(kvm1, id, &["kept"], NOTICED)?;
            trial.answers(HAPPENS)?;
            trial.lab.heal(kvm2)
        }
        (Fault::Cut, Moment::Pledged) => {
            let doubt = wait_for_outcome(kvm1, id, &["in-doubt"], NOTICED)?;
            shown_as_in_doubt(trial, migration)?;
            // Whether the pledge came through before the cut is the network's matter. If it did, the guest works on the
            // target though nobody at the source can know; if not, nobody runs it.
            let target = report(kvm2, id)?.phase;
            match target.as_str() {
                "granted" | "running" => trial.answers(HAPPENS).with_context(|| format!("{doubt:?}"))?,
                "receiving" | "loaded" => ensure!(trial.guest.status().is_err(), "it runs without a pledge"),
                other => bail!("the target is {other}; the source says {doubt:?}"),
            }
            trial.lab.heal(kvm2)
        }
    }
}

/// A person at the source sees the doubt and what to do, and cannot start or cancel anything meanwhile.
fn shown_as_in_doubt(trial: &Trial<'_>, migration: &Migration) -> Result<()> {
    let kvm1 = trial.lab.kvm1();
    let state = trial.shown(kvm1)?.state;
    ensure!(state == "in-doubt", "the domain is shown as {state}");
    let doubt = report(kvm1, &migration.id)?;
    let mend = doubt.mend.context("nothing is said about what to do")?;
    ensure!(mend.contains("ferry migrations resolve"), "{mend}");
    for (refused, code) in [
        (["start", trial.name()].as_slice(), "migrating"),
        (&["migrations", "cancel", &migration.id], "wrong-state"),
    ] {
        let refusal = kvm1.ferry_refusal(refused)?;
        ensure!((refusal.code.as_str(), refusal.exit) == (code, 4), "{refused:?}: {refusal:?}");
    }
    Ok(())
}

/// What must hold when it has ended.
fn look_back(trial: &Trial<'_>, migration: &Migration, outcome: &str) -> Result<()> {
    let (kvm1, kvm2) = (trial.lab.kvm1(), trial.lab.kvm2());
    for host in trial.lab.hosts() {
        host.ferry_output(["version"]).with_context(|| format!("the agent of {}", host.name))?;
    }
    match outcome {
        "moved" => trial.unharmed_on(kvm2)?,
        "kept" => trial.unharmed_on(kvm1)?,
        "lost" => trial.lost_on(kvm1)?,
        other => bail!("no such outcome: {other}"),
    }
    // Both sides tell the same story.
    let target = wait_for_outcome(kvm2, &migration.id, &["moved", "kept", "lost"], SETTLES)?;
    let (word, phases): (_, &[&str]) = match outcome {
        "moved" => ("moved", &["running"]),
        "kept" => ("kept", &["refused"]),
        _ => ("kept or lost", &["refused", "lost"]),
    };
    ensure!(phases.contains(&target.phase.as_str()), "{word} on the source, and on the target {target:?}");
    Ok(())
}

/// Nothing is stuck: the guest moves once more, or starts afresh.
fn go_on(trial: &Trial<'_>, moment: Moment, outcome: &str) -> Result<()> {
    let (kvm1, kvm2) = (trial.lab.kvm1(), trial.lab.kvm2());
    if moment != Moment::Streaming {
        trial.lab.unshape(kvm1)?;
    }
    let moves = |source: &Host, target: &Host| trial.moves(source, target, &["--max-blackout", BLACKOUT]);
    match outcome {
        "moved" => moves(kvm2, kvm1),
        "kept" => moves(kvm1, kvm2),
        _ => trial.starts_afresh_on(kvm1),
    }
}
