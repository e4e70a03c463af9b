//! Plays cells of the matrix, several in one lab: each brings the guest to a moment, makes its fault, mends it, and then
//! everything must hold that holds for every guest. Main type: [`Player`].

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::attempt::Attempt;
use super::disks::{self, Before};
use super::fault::{make, mend, prepare};
use super::{Cell, Kind, Outcome, Way, outcomes};
use crate::apart::Apart;
use crate::guest::GuestOptions;
use crate::host::Host;
use crate::limits::{LETS_GO, LOOK, SETTLES};
use crate::runs::runners_seen_max;
use crate::trial::{Trial, play_in};
use crate::{Lab, LabOptions};

/// So many cells are played in one lab before a new one is made, so that what is seen stays readable.
const CELLS_PER_LAB: usize = 40;

/// A cell that was played.
#[derive(Debug)]
pub struct Played {
    /// Which.
    pub cell: Cell,
    /// What became of the guest, or what did not hold.
    pub result: Result<Outcome>,
    /// How long it took.
    pub took: Duration,
}

/// Plays cells in as many labs at once as there are `jobs`, and tells of each cell when it is done. After a failure that
/// lab is given up, its logs saved, and another one takes its place.
pub fn play_all(cells: Vec<Cell>, jobs: usize, tell: impl FnMut(&Played) + Send) -> Vec<Played> {
    let left = Mutex::new(VecDeque::from(cells));
    let told = Mutex::new((tell, Vec::new()));
    let take = |one: Played| {
        let mut told = locked(&told);
        (told.0)(&one);
        told.1.push(one);
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    // A statement of its own: it is not locked while cells are played.
                    let next = locked(&left).pop_front();
                    let Some(first) = next else { break };
                    play_in_one_lab(first, &left, &take);
                }
            });
        }
    });
    told.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

/// Plays `first` and others of those that are left. A failure is told with the cell that it belongs to: a lab that could
/// not be made fails the first, and one that leaves something behind the last that was played in it.
fn play_in_one_lab(first: Cell, left: &Mutex<VecDeque<Cell>>, tell: &dyn Fn(Played)) {
    let mut at = (first, Instant::now());
    let scene = LabOptions::find().and_then(|options| {
        play_in(LabOptions { watched: true, ..options }, |lab| {
            let mut player = Player::begin(lab, first.kind)?;
            let mut next = Some(first);
            for _ in 0..CELLS_PER_LAB {
                let Some(cell) = next.take().or_else(|| player.next(&mut locked(left))) else { break };
                at = (cell, Instant::now());
                let outcome = player.play(cell)?;
                tell(Played { cell, result: Ok(outcome), took: at.1.elapsed() });
            }
            player.end()
        })
    });
    // Here the error has the place of the logs in it.
    if let Err(error) = scene {
        tell(Played { cell: at.0, result: Err(error), took: at.1.elapsed() });
    }
}

/// A player that panicked has taken its cell with it; the rest is whole.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A guest that is moved, and where it is.
#[derive(Debug)]
pub struct Player<'a> {
    trial: Trial<'a>,
    kind: Kind,
    at: Way,
    /// Counts migrations, for disks whose content is another one each time.
    number: u64,
}

impl<'a> Player<'a> {
    /// Starts a guest on `kvm1`: one that writes 16 MB of its memory over and over, so that its last round has all of it.
    /// Where it is to move shut off, it is shut down when it has written some records.
    ///
    /// # Errors
    /// When it does not work.
    pub fn begin(lab: &'a Lab, kind: Kind) -> Result<Player<'a>> {
        let mut options = GuestOptions::small("web1");
        options.memory_mib = 192;
        options.settings.memory_mib = 16;
        options.settings.rate_pages = 4000;
        let trial = match kind {
            Kind::Live => Trial::begin(lab, options)?,
            Kind::ShutOff | Kind::WithDisks => {
                Apart::bound(lab)?;
                let mut guest = lab.guest(options)?;
                disks::add(&mut guest)?;
                Trial::of(lab, guest, Some(Apart::begin(lab)?))?
            }
        };
        if kind == Kind::ShutOff {
            lab.kvm1().ferry_output(["shutdown", trial.name()])?;
        }
        Ok(Player { trial, kind, at: Way::There, number: 0 })
    }

    /// Takes the next cell out of those of its kind that are left, if there is one that begins where the guest is.
    fn next(&self, left: &mut VecDeque<Cell>) -> Option<Cell> {
        let own = |cell: &&Cell| cell.kind == self.kind;
        let here = left.iter().position(|cell| own(&cell) && cell.way == self.at);
        left.remove(here.or_else(|| left.iter().position(|cell| own(&cell)))?)
    }

    /// Where the guest is.
    pub fn source(&self) -> &'a Host {
        self.host(self.at)
    }

    fn host(&self, way: Way) -> &'a Host {
        match way {
            Way::There => self.trial.lab.kvm1(),
            Way::Back => self.trial.lab.kvm2(),
        }
    }

    /// The guest.
    pub fn trial(&self) -> &Trial<'a> {
        &self.trial
    }

    /// What `ferry migrate` is told besides where to.
    pub fn words(&self) -> &'static [&'static str] {
        self.kind.words(self.at)
    }

    /// Plays one cell, and returns what became of the guest; afterwards it works, wherever it is, or is shut off as it was.
    ///
    /// # Errors
    /// What does not hold.
    pub fn play(&mut self, cell: Cell) -> Result<Outcome> {
        if self.at != cell.way {
            self.move_on()?;
        }
        let source = self.source();
        let before = self.before()?;
        prepare(&self.trial, cell.fault)?;
        let mut attempt = Attempt::held(&self.trial, source, cell).context("on the way there")?;
        make(&mut attempt, cell.fault, Some(cell.moment)).context("the fault")?;
        attempt.ensure_was_there()?;
        mend(&mut attempt, cell.fault).context("what is done about the fault")?;
        let outcome = settled(&attempt, self.kind)?;
        drop(attempt);
        let allowed = outcomes(cell.kind, cell.fault, cell.moment);
        ensure!(allowed.contains(&outcome), "to be {allowed:?}, and is {outcome:?}");
        self.look_back_at_all(outcome, &before)?;
        Ok(outcome)
    }

    /// Moves without a fault: also the proof that the cell before left a guest that can be moved.
    fn move_on(&mut self) -> Result<()> {
        let (source, before) = (self.source(), self.before()?);
        let words = ["migrate", self.trial.name(), "--to", self.trial.lab.other(source).name];
        source.ferry_output(words.iter().chain(self.words()))?;
        self.look_back_at_all(Outcome::Moved, &before)
    }

    /// What there is before a migration, with new content in what nobody has open.
    fn before(&mut self) -> Result<Before> {
        self.number += 1;
        Before::of(&self.trial, self.source(), self.kind, self.number)
    }

    /// What must hold of the domain and of the files of both hosts.
    fn look_back_at_all(&mut self, outcome: Outcome, before: &Before) -> Result<()> {
        let deletes = self.words().contains(&"delete");
        match self.kind {
            Kind::Live => self.look_back(outcome),
            Kind::WithDisks => {
                self.look_back(outcome)?;
                before.holds(&self.trial, self.source(), deletes)
            }
            Kind::ShutOff => {
                if outcome == Outcome::Moved {
                    self.at = self.at.turned();
                }
                self.trial.lost_on(self.source())?;
                before.holds(&self.trial, self.source(), deletes)?;
                self.starts_here_alone()
            }
        }
    }

    /// The host that has the domain starts it, and the other one refuses to.
    fn starts_here_alone(&self) -> Result<()> {
        let (host, name) = (self.source(), self.trial.name());
        let refused = self.trial.lab.other(host).ferry_refusal(&["start", name])?;
        ensure!(["moved-away", "domain-not-found"].contains(&refused.code.as_str()), "{refused:?}");
        host.ferry_output(["start", name])?;
        host.ferry_output(["destroy", name]).map(drop)
    }

    /// What must hold in the end: a guest that was shut off all the time boots, and has all of its records.
    fn end(&mut self) -> Result<()> {
        match self.kind {
            Kind::Live | Kind::WithDisks => Ok(()),
            Kind::ShutOff => {
                let host = self.source();
                self.trial.starts_afresh_on(host)?;
                host.ferry_output(["destroy", self.trial.name()]).map(drop)
            }
        }
    }

    /// What must hold after everything, by what has become of the guest; one that is gone is booted afresh.
    ///
    /// # Errors
    /// What does not hold.
    pub fn look_back(&mut self, outcome: Outcome) -> Result<()> {
        let (source, target) = (self.source(), self.trial.lab.other(self.source()));
        if matches!(outcome, Outcome::Moved | Outcome::MovedAndDied) {
            self.at = self.at.turned();
        }
        match outcome {
            Outcome::Kept => {
                self.trial.unharmed_on(source)?;
                source.wait_until_connected(LETS_GO)?;
            }
            Outcome::Moved => self.trial.unharmed_on(target)?,
            Outcome::Lost | Outcome::MovedAndDied | Outcome::ShutOff => {
                let host = self.source();
                self.trial.lost_on(host)?;
                self.trial.starts_afresh_on(host)?;
                self.trial.begin_again()?;
            }
        }
        ensure!(self.trial.shown(self.source())?.persistent, "the domain's definition is gone");
        let runs = self.trial.lab.runs()?;
        ensure!(runners_seen_max(&runs) <= 1, "two QEMUs ran the guest at once: {runs:?}");
        Ok(())
    }
}

/// Waits until it is known what has become of the guest.
///
/// # Errors
/// When it is not known in time.
pub fn settled(attempt: &Attempt<'_>, kind: Kind) -> Result<Outcome> {
    let Attempt { trial, source, target, id, .. } = attempt;
    let end = Instant::now() + SETTLES;
    let mut seen = String::new();
    while Instant::now() < end {
        let said = outcome_told(source, id)?;
        let there = trial.shown(target).map(|shown| shown.state).unwrap_or_default();
        let here = trial.shown(source).map(|shown| shown.state).unwrap_or_default();
        match (said.as_deref(), here.as_str(), there.as_str()) {
            (Some("moved"), _, "shut-off") if kind == Kind::ShutOff => return Ok(Outcome::Moved),
            (Some("kept") | None, "shut-off", _) if kind == Kind::ShutOff => return Ok(Outcome::Kept),
            (Some("moved"), _, "running") => return Ok(Outcome::Moved),
            (Some("moved"), _, "shut-off") => return Ok(Outcome::MovedAndDied),
            (Some("kept") | None, "running", _) => return Ok(Outcome::Kept),
            (Some("kept"), "shut-off", _) => return Ok(Outcome::ShutOff),
            (Some("lost") | None, "shut-off", _) => return Ok(Outcome::Lost),
            _ => {}
        }
        seen = format!("the source says {said:?} and shows {here:?}, the target shows {there:?}");
        thread::sleep(LOOK);
    }
    Err(anyhow::anyhow!("nobody knows what became of migration {id}: {seen}"))
}

/// What the source says of the migration; nothing where it does not know it, because it never began.
fn outcome_told(source: &Host, id: &str) -> Result<Option<String>> {
    let asked = source.ferry().args(["--json", "migrations", "show", id]).output()?;
    if asked.status.success() {
        let report: crate::migration::Report = serde_json::from_slice(&asked.stdout)?;
        return Ok(Some(report.outcome.unwrap_or_default()));
    }
    let refusal = source.ferry_refusal(&["migrations", "show", id])?;
    ensure!(refusal.code == "migration-not-found", "{refusal:?}");
    Ok(None)
}
