//! A migration that is brought to a moment and held there, so that a fault meets it there and nowhere else. Only means
//! from outside are used: frozen processes, a bounded link, messages that are dropped where they arrive.
//! Main type: [`Attempt`].
//!
//! ```text
//! planned    the target's agent is frozen as soon as its journal is there
//! reserved   the source's QEMU is frozen before the target answers the offer; where there is none, the source hears nothing of
//!            the target's agent from then on
//! copying    the link takes long for the files
//! loaded     the source's agent is frozen until it hears nothing of the target's any more
//! streaming  the link takes long for the first round; with disks, from when all of them are equal
//! stopped    the target's QEMU is frozen while the last memory goes over
//! pledged    the target hears nothing of the source's agent
//! granted    the source hears nothing of the target's agent
//! moved      the source's QEMU is frozen before the verdict is heard
//! ```
//!
//! Where files or disks go over, *pledged* and *granted* begin with messages that are dropped on one connection: the one that
//! the offer went over, and the pledge will. Of a domain that is shut off, the source's agent is frozen right after the verdict
//! at *moved*.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ::migration::phase::Phase;
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rustix::process::{getpriority_process, setpriority_process};

use super::{Cell, Kind, Moment};
use crate::Lab;
use crate::host::Host;
use crate::limits::{HAPPENS, LOOK};
use crate::migration::{Migration, report};
use crate::network::Unheard;
use crate::trial::{Trial, last_phase};

/// What the source may send while a moment in the first round is wanted: the round takes several seconds.
const SLOW_ROUND_BYTES_PER_S: u64 = 6_000_000;
/// What it may send where the blackout is wanted: it lasts most of a second, and the rounds before it are not in the way.
const SLOW_BLACKOUT_BYTES_PER_S: u64 = 25_000_000;
/// What it may send while a moment in the copying of files is wanted, and where one after it is: a part of a second.
const SLOW_COPY_BYTES_PER_S: u64 = 1_000_000;
/// See [`SLOW_COPY_BYTES_PER_S`].
const SHORT_COPY_BYTES_PER_S: u64 = 10_000_000;
/// So much is under way when memory or files go over for certain.
const UNDER_WAY_BYTES: u64 = 1 << 20;
/// Between two looks at a journal whose next record must not be missed.
const LOOK_CLOSELY: Duration = Duration::from_micros(200);

/// A migration under way.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The guest, and where it lives.
    pub trial: &'a Trial<'a>,
    /// Where it is.
    pub source: &'a Host,
    /// Where it is to go.
    pub target: &'a Host,
    /// The migration's id.
    pub id: String,
    /// What holds it.
    held_at: Option<(Kind, Moment)>,
    was_held: bool,
    /// The ports of the connections that the source had open when it made its offer.
    offered_over: Vec<u16>,
    client: Child,
    watched: Migration,
}

impl<'a> Attempt<'a> {
    /// Begins a migration with `ferry migrate`, as a person would; nothing holds it.
    ///
    /// # Errors
    /// When the target has no journal of it in time.
    pub fn begin(trial: &'a Trial<'a>, source: &'a Host, words: &[&str]) -> Result<Attempt<'a>> {
        Attempt::begin_with(trial, source, words, || Ok(()))
    }

    /// `at_once` is done as soon as the target has a journal.
    fn begin_with(
        trial: &'a Trial<'a>,
        source: &'a Host,
        words: &[&str],
        at_once: impl FnOnce() -> Result<()>,
    ) -> Result<Attempt<'a>> {
        let target = trial.lab.other(source);
        let before = journals(target)?;
        let client = source
            .ferry()
            .args(["migrate", trial.name(), "--to", target.name])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("ip netns exec")?;
        let end = Instant::now() + HAPPENS;
        let first = First::of_all()?;
        // Connections that were open before the target had a journal: later ones are not the offer's.
        let mut offered_over = Vec::new();
        let name = loop {
            let open = source.ports_to_agents()?;
            if let Some(new) = journals(target)?.difference(&before).next() {
                break new.clone();
            }
            offered_over = open;
            ensure!(Instant::now() < end, "{} has no journal of a migration", target.name);
            thread::sleep(Duration::from_millis(1));
        };
        drop(first);
        at_once()?;
        let id = name.to_string_lossy().into_owned();
        let watched = Migration::watch(source, id.clone())?;
        Ok(Attempt {
            trial,
            source,
            target,
            id,
            held_at: None,
            was_held: false,
            offered_over,
            client,
            watched,
        })
    }

    /// Begins a migration, and returns when it has come to the moment of the cell and is held there.
    ///
    /// # Errors
    /// When it does not come there.
    pub fn held(trial: &'a Trial<'a>, source: &'a Host, cell: Cell) -> Result<Attempt<'a>> {
        let (lab, target, uuid) = (trial.lab, trial.lab.other(source), &trial.guest.uuid);
        let Cell { kind, moment, way, .. } = cell;
        match (kind, moment) {
            (_, Moment::Planned) | (Kind::Live, Moment::Reserved) => {}
            (_, Moment::Copying) => lab.shape(source, SLOW_COPY_BYTES_PER_S)?,
            (_, Moment::Streaming) => lab.shape(source, SLOW_ROUND_BYTES_PER_S)?,
            (Kind::ShutOff, _) => lab.shape(source, SHORT_COPY_BYTES_PER_S)?,
            (Kind::Live | Kind::WithDisks, _) => lab.shape(source, SLOW_BLACKOUT_BYTES_PER_S)?,
        }
        let at_once = || match moment {
            Moment::Planned => target.freeze_agent(),
            Moment::Reserved if kind == Kind::Live => source.freeze_qemu(uuid),
            Moment::Reserved => deafen_now(lab, source),
            Moment::Copying
            | Moment::Loaded
            | Moment::Streaming
            | Moment::Stopped
            | Moment::Pledged
            | Moment::Granted
            | Moment::Moved => Ok(()),
        };
        let mut attempt = Attempt::begin_with(trial, source, kind.words(way), at_once)?;
        (attempt.held_at, attempt.was_held) = (Some((kind, moment)), true);
        match moment {
            Moment::Reserved if kind == Kind::ShutOff => {}
            Moment::Planned | Moment::Reserved => attempt.watched.wait_for(moment.told(), HAPPENS)?,
            Moment::Streaming if kind == Kind::WithDisks => {
                attempt.watched.wait_for_note("all disks are equal", HAPPENS)?;
            }
            Moment::Copying | Moment::Streaming => {
                attempt.watched.wait_for_bytes(UNDER_WAY_BYTES, HAPPENS)?;
            }
            Moment::Loaded => attempt.hold_loaded()?,
            Moment::Stopped | Moment::Pledged | Moment::Granted | Moment::Moved => {
                let first = if kind == Kind::ShutOff { "reserved" } else { "stopped" };
                attempt.watched.wait_for(first, HAPPENS)?;
                attempt.hold_the_handover(lab, kind, moment)?;
            }
        }
        attempt.ensure_is_there()?;
        Ok(attempt)
    }

    /// The source asks once more for each file when the last one is whole: then it hears no answer any more.
    fn hold_loaded(&self) -> Result<()> {
        self.closely("all files are on the target", self.target, Phase::Loaded)?;
        deafen_now(self.trial.lab, self.source)?;
        let reached = last_phase(self.source, &self.id)?;
        ensure!(reached == Some(Phase::Streaming), "the source is at {reached:?} by its journal");
        Ok(())
    }

    /// The last part of the way.
    fn hold_the_handover(&self, lab: &Lab, kind: Kind, moment: Moment) -> Result<()> {
        let (source, target, uuid) = (self.source, self.target, &self.trial.guest.uuid);
        // Files and disks go over by the agents, too: only the pledge, or its answer, is not to be heard.
        let pledge = match kind {
            Kind::Live => Unheard::Words,
            Kind::ShutOff | Kind::WithDisks => Unheard::Over(self.offered_over.clone()),
        };
        match moment {
            Moment::Planned | Moment::Reserved | Moment::Copying | Moment::Loaded | Moment::Streaming => {
                Ok(())
            }
            Moment::Stopped => target.freeze_qemu(uuid),
            Moment::Pledged => {
                lab.deafen(target, pledge)?;
                self.watched.wait_for("pledged", HAPPENS)?;
                lab.deafen(target, Unheard::Words)
            }
            Moment::Granted | Moment::Moved => {
                lab.deafen(source, pledge)?;
                self.watched.wait_for("pledged", HAPPENS)?;
                lab.deafen(source, Unheard::Words)?;
                until("the domain is the target's", || {
                    Ok(["granted", "running"].contains(&report(target, &self.id)?.phase.as_str()))
                })?;
                if moment == Moment::Granted {
                    return Ok(());
                }
                if kind == Kind::ShutOff {
                    lab.hear(source)?;
                    self.closely("the verdict is in the journal", source, Phase::Moved)?;
                    return source.freeze_agent();
                }
                source.freeze_qemu(uuid)?;
                lab.hear(source)?;
                self.closely("the verdict is in the journal", source, Phase::Moved)
            }
        }
    }

    /// Waits for a phase in a host's journal, and misses nothing of what follows.
    fn closely(&self, what: &str, host: &Host, phase: Phase) -> Result<()> {
        let end = Instant::now() + HAPPENS;
        while last_phase(host, &self.id)? != Some(phase) {
            ensure!(Instant::now() < end, "it is not so in time that {what}");
            thread::sleep(LOOK_CLOSELY);
        }
        Ok(())
    }

    /// Whether the source has told nothing that lies beyond the moment, and the target has not gone further.
    ///
    /// # Errors
    /// When the migration has gone on: a fault that comes now comes late.
    pub fn ensure_is_there(&self) -> Result<()> {
        let Some((kind, moment)) = self.held_at else { return Ok(()) };
        if !is_told(kind, moment) {
            return Ok(());
        }
        let told = self.watched.phases();
        ensure!(
            told.last().is_some_and(|last| last == moment.told()),
            "to be at {moment}, and told {told:?}"
        );
        if moment == Moment::Pledged {
            let phase = report(self.target, &self.id)?.phase;
            ensure!(["receiving", "loaded"].contains(&phase.as_str()), "the pledge arrived: it is {phase}");
        }
        Ok(())
    }

    /// After a fault: whatever the source has told since the moment must be what came of the fault.
    ///
    /// # Errors
    /// When the migration went on by itself: the fault came late.
    pub fn ensure_was_there(&self) -> Result<()> {
        let Some((_, moment)) = self.held_at.filter(|(kind, moment)| is_told(*kind, *moment)) else {
            return Ok(());
        };
        let told = self.watched.phases();
        let reached = told.iter().position(|phase| phase == moment.told());
        let beyond =
            &told[reached.with_context(|| format!("the fault came before {moment}: {told:?}"))? + 1..];
        let went_on = ["streaming", "stopped", "pledged", "moved"];
        ensure!(
            !beyond.iter().any(|phase| went_on.contains(&phase.as_str())),
            "the fault came late: {told:?}"
        );
        Ok(())
    }

    /// Whether the migration was brought to a moment.
    pub fn was_held(&self) -> bool {
        self.was_held
    }

    /// Waits until the source has told a phase, or has nothing more to tell.
    pub fn wait_for(&self, phase: &str) {
        // Without that phase there is an end, and the caller meets that.
        let _ = self.watched.wait_for(phase, HAPPENS);
    }

    /// Whether the source has told that the copying of files was cut.
    pub fn was_cut(&self) -> bool {
        self.watched.has_told("the copy was cut")
    }

    /// The phases that the source has told so far.
    pub fn phases(&self) -> Vec<String> {
        self.watched.phases()
    }

    /// After the migration has moved the guest: whether the source told so by a clock that is that far from the true one.
    ///
    /// # Errors
    /// When it is not: the clock did not jump.
    pub fn ensure_clock_is_off(&self, seconds: i64) -> Result<()> {
        self.watched.wait_for("moved", HAPPENS)?;
        let told = self.watched.entered_at().context("no time was told")?;
        let off_s = (told - Timestamp::now()).get_seconds();
        ensure!((off_s - seconds).abs() < 3600, "the source's clock is off by {off_s} s, not {seconds} s");
        Ok(())
    }

    /// Lets go of what holds the migration. What was killed meanwhile needs no letting go.
    ///
    /// # Errors
    /// When it cannot be let go.
    pub fn release(&mut self) -> Result<()> {
        let (lab, uuid) = (self.trial.lab, &self.trial.guest.uuid);
        let thaw = |host: &Host| if host.qemu(uuid).is_ok() { host.thaw_qemu(uuid) } else { Ok(()) };
        let Some((kind, moment)) = self.held_at.take() else { return Ok(()) };
        let (source, target) = (self.source, self.target);
        match moment {
            Moment::Planned if target.agent_runs() => target.thaw_agent(),
            Moment::Planned => Ok(()),
            Moment::Reserved if kind == Kind::Live => thaw(source),
            Moment::Reserved => lab.hear(source).and_then(|()| lab.unshape(source)),
            Moment::Copying | Moment::Streaming => lab.unshape(source),
            Moment::Stopped => thaw(target).and_then(|()| lab.unshape(source)),
            Moment::Pledged => lab.hear(target).and_then(|()| lab.unshape(source)),
            Moment::Loaded | Moment::Granted => lab.hear(source).and_then(|()| lab.unshape(source)),
            Moment::Moved => {
                match kind {
                    Kind::Live | Kind::WithDisks => thaw(source)?,
                    Kind::ShutOff if source.agent_runs() => source.thaw_agent()?,
                    Kind::ShutOff => {}
                }
                lab.unshape(source)
            }
        }
    }

    /// Kills `ferry migrate`.
    ///
    /// # Errors
    /// When it has ended by itself: a fault that did not happen proves nothing.
    pub fn kill_client(&mut self) -> Result<()> {
        ensure!(self.client.try_wait()?.is_none(), "ferry migrate has ended");
        self.client.kill()?;
        self.client.wait()?;
        Ok(())
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // It ends with the migration; a fault may have left it waiting.
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// While it lives, this thread runs before all that do not have its priority: what is looked for every millisecond is then not
/// missed on a machine that has more to do than it can.
struct First(i32);

impl First {
    const NICE: i32 = -20;

    fn of_all() -> Result<First> {
        // In Linux it is the thread's own (setpriority(2)).
        let before = getpriority_process(None)?;
        setpriority_process(None, First::NICE)?;
        Ok(First(before))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // To lower a priority is always allowed.
        let _ = setpriority_process(None, self.0);
    }
}

/// Whether the source tells that it is at a moment. Of a domain that is shut off, nobody can say how much of the answer to the
/// offer it has heard, or how much of its end it told, before it was held.
fn is_told(kind: Kind, moment: Moment) -> bool {
    kind != Kind::ShutOff || !matches!(moment, Moment::Reserved | Moment::Moved)
}

/// Has a host not hear the other one's agent any more, before it says another word.
fn deafen_now(lab: &Lab, host: &Host) -> Result<()> {
    host.freeze_agent()?;
    lab.deafen(host, Unheard::Words)?;
    host.thaw_agent()
}

/// Asks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + HAPPENS;
    while !is_so()? {
        ensure!(Instant::now() < end, "it is not so in time that {what}");
        thread::sleep(LOOK);
    }
    Ok(())
}

/// The ids of the migrations of which a host has a journal.
fn journals(host: &Host) -> Result<BTreeSet<OsString>> {
    let paths = fs::read_dir(host.state().join("migrations"))?.map(|entry| Ok(entry?.path()));
    let paths: Vec<_> = paths.collect::<Result<_>>()?;
    let journals = paths.iter().filter(|path| path.extension().is_some_and(|found| found == "journal"));
    Ok(journals.filter_map(|path| path.file_stem()).map(OsString::from).collect())
}
