//! Faults, as an administrator would make them, and what is done about them afterwards. Main functions: [`make`],
//! [`mend`]. Nothing here judges what comes of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::attempt::Attempt;
use super::{Fault, Moment};
use crate::host::{Host, fill, free};
use crate::limits::{FAULT_LASTS, LOOK, SETTLES};
use crate::migration::{report, wait_for_outcome};
use crate::network::Unheard;
use crate::trial::Trial;

/// A network that is slow for the words of agents too.
const SLOW_BYTES_PER_S: u64 = 20_000;
/// How far clocks jump.
const JUMP_S: i64 = 24 * 60 * 60;

/// Sees to what a fault needs before the migration begins.
///
/// # Errors
/// When it cannot be had.
pub fn prepare(trial: &Trial<'_>, fault: Fault) -> Result<()> {
    if !moves_clocks(fault) {
        return Ok(());
    }
    trial.lab.hosts().iter().try_for_each(|host| {
        host.stop_agent()?;
        host.start_agent_with_clock()
    })
}

/// Makes the fault.
///
/// # Errors
/// When it does not happen.
pub fn make(attempt: &mut Attempt<'_>, fault: Fault, moment: Option<Moment>) -> Result<()> {
    let (source, target, lab) = (attempt.source, attempt.target, attempt.trial.lab);
    let uuid = &attempt.trial.guest.uuid;
    match fault {
        Fault::SourceAgent | Fault::SourceAgentTwice => source.kill_agent(),
        Fault::TargetAgent | Fault::TargetAgentTwice => target.kill_agent(),
        Fault::BothAgents => source.kill_agent().and_then(|()| target.kill_agent()),
        Fault::SourceQemu => source.kill_qemu(uuid),
        Fault::TargetQemu => target.kill_qemu(uuid),
        Fault::BothQemus => source.kill_both_qemus(target, uuid),
        Fault::SourceHost => source.kill_agent().and_then(|()| source.kill_qemu(uuid)),
        Fault::TargetHost | Fault::WordMoved | Fault::WordKept | Fault::WordLost => {
            target.kill_agent()?;
            // While room is being made it may not have been started yet.
            if target.qemu(uuid).is_ok() { target.kill_qemu(uuid) } else { Ok(()) }
        }
        Fault::Client => attempt.kill_client(),
        Fault::Cut => lab.cut(target),
        Fault::SourceDeaf => lab.deafen(source, Unheard::Everything),
        Fault::TargetDeaf => lab.deafen(target, Unheard::Everything),
        Fault::Slow => lab.shape_both(SLOW_BYTES_PER_S),
        Fault::SourceFull => fill(&source.state()),
        Fault::TargetFull => fill(&target.state()),
        Fault::TargetStorageFull => fill(&attempt.trial.on(target, &lab.shared)?),
        Fault::SourceReadOnly => source.lock(&source.state()),
        Fault::TargetReadOnly => target.lock(&target.state()),
        Fault::TargetStorageReadOnly => target.lock(&lab.shared),
        Fault::ClockForwards => lab.hosts().iter().try_for_each(|host| host.set_clock(JUMP_S)),
        Fault::ClockBackwards => lab.hosts().iter().try_for_each(|host| host.set_clock(-JUMP_S)),
        Fault::GuestOff => attempt.trial.guest.power_off(),
        Fault::Cancel => cancel(attempt, moment),
    }
}

/// Before the pledge an operator may cancel; after it he is told why he may not.
fn cancel(attempt: &Attempt<'_>, moment: Option<Moment>) -> Result<()> {
    let words = ["migrations", "cancel", &attempt.id];
    match moment {
        Some(
            Moment::Planned
            | Moment::Reserved
            | Moment::Copying
            | Moment::Loaded
            | Moment::Streaming
            | Moment::Stopped,
        ) => attempt.source.ferry_output(words).map(drop),
        Some(Moment::Pledged | Moment::Granted | Moment::Moved) => {
            let refusal = attempt.source.ferry_refusal(&words)?;
            ensure!((refusal.code.as_str(), refusal.exit) == ("wrong-state", 4), "{refusal:?}");
            Ok(())
        }
        // At a random moment it may be either.
        None => attempt.source.ferry().args(words).output().map(drop).map_err(Into::into),
    }
}

/// Lets the migration go on, and does what an administrator does about the fault: who died is started again, what is
/// broken is mended once it has shown.
///
/// # Errors
/// When something cannot be mended.
pub fn mend(attempt: &mut Attempt<'_>, fault: Fault) -> Result<()> {
    let (source, target, lab) = (attempt.source, attempt.target, attempt.trial.lab);
    match fault {
        Fault::WordMoved => return mend_by_word(attempt, "moved"),
        Fault::WordKept => return mend_by_word(attempt, "kept"),
        Fault::WordLost => return mend_by_word(attempt, "lost"),
        // It takes its time to shut down, and must not have moved by then.
        Fault::GuestOff => {
            shows(attempt, SETTLES)?;
            attempt.release()?;
        }
        _ => attempt.release()?,
    }
    match fault {
        Fault::SourceAgent | Fault::SourceHost => source.start_agent(),
        Fault::TargetAgent | Fault::TargetHost => target.start_agent(),
        Fault::BothAgents => source.start_agent().and_then(|()| target.start_agent()),
        Fault::SourceAgentTwice => start_twice(source),
        Fault::TargetAgentTwice => start_twice(target),
        Fault::SourceQemu | Fault::TargetQemu | Fault::BothQemus => Ok(()),
        Fault::Client | Fault::GuestOff | Fault::Cancel => Ok(()),
        Fault::Cut => shows(attempt, FAULT_LASTS).and_then(|()| lab.heal(target)),
        // Letting go has it hear again, where that held the moment.
        Fault::SourceDeaf => {
            lab.deafen(source, Unheard::Everything)?;
            shows(attempt, FAULT_LASTS).and_then(|()| lab.hear(source))
        }
        Fault::TargetDeaf => {
            lab.deafen(target, Unheard::Everything)?;
            shows(attempt, FAULT_LASTS).and_then(|()| lab.hear(target))
        }
        Fault::Slow => {
            // Letting go took the bound of the moment away, and this one with it.
            lab.shape_both(SLOW_BYTES_PER_S)?;
            shows(attempt, FAULT_LASTS)?;
            lab.hosts().iter().try_for_each(|host| lab.unshape(host))
        }
        Fault::SourceFull
        | Fault::TargetFull
        | Fault::TargetStorageFull
        | Fault::SourceReadOnly
        | Fault::TargetReadOnly
        | Fault::TargetStorageReadOnly => {
            shows(attempt, SETTLES)?;
            mend_disk(attempt, fault)
        }
        Fault::ClockForwards | Fault::ClockBackwards => {
            shows(attempt, SETTLES)?;
            if attempt.was_held() {
                attempt.ensure_clock_is_off(if fault == Fault::ClockForwards { JUMP_S } else { -JUMP_S })?;
            }
            lab.hosts().iter().try_for_each(|host| host.stop_agent().and_then(|()| host.start_agent()))
        }
        Fault::WordMoved | Fault::WordKept | Fault::WordLost => bail!("words are said above"),
    }
}

/// A host whose disk works again; its agent is started again too, and must find what it could not write down.
fn mend_disk(attempt: &Attempt<'_>, fault: Fault) -> Result<()> {
    let (source, target, shared) = (attempt.source, attempt.target, &attempt.trial.lab.shared);
    let host = match fault {
        Fault::SourceFull | Fault::SourceReadOnly => source,
        _on_the_target => target,
    };
    match fault {
        Fault::SourceFull | Fault::TargetFull => free(&host.state())?,
        Fault::TargetStorageFull => free(&attempt.trial.on(target, shared)?)?,
        Fault::TargetStorageReadOnly => target.unlock(shared)?,
        _read_only => host.unlock(&host.state())?,
    }
    host.kill_agent()?;
    host.start_agent()
}

fn start_twice(host: &Host) -> Result<()> {
    // It listens as soon as it begins to take up what it finds.
    host.start_agent()?;
    host.kill_agent()?;
    host.start_agent()
}

fn mend_by_word(attempt: &mut Attempt<'_>, word: &str) -> Result<()> {
    let doubt = wait_for_outcome(attempt.source, &attempt.id, &["in-doubt"], SETTLES)?;
    ensure!(doubt.mend.is_some_and(|mend| mend.contains("migrations resolve")), "no word is asked for");
    attempt.source.ferry_output(["migrations", "resolve", &attempt.id, "--as", word, "--yes"])?;
    attempt.release()?;
    attempt.target.start_agent()
}

/// Waits until the source says what came of it, doubt included, but not longer than the fault is to last.
fn shows(attempt: &Attempt<'_>, within: Duration) -> Result<()> {
    let end = Instant::now() + within;
    // A copy that is cut goes on when it can, and has no end before.
    while Instant::now() < end && !attempt.was_cut() {
        match report(attempt.source, &attempt.id) {
            Ok(report) if report.outcome.is_none() => thread::sleep(LOOK),
            // One that the source does not know was refused before it began.
            Ok(_) | Err(_) => break,
        }
    }
    Ok(())
}

fn moves_clocks(fault: Fault) -> bool {
    matches!(fault, Fault::ClockForwards | Fault::ClockBackwards)
}
