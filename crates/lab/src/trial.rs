//! A guest to which something is done, and what must hold for it afterwards, whatever was done: it runs on one host and on
//! no other, it was not booted again, its memory and its records are whole, its owner record is right, and whoever gave
//! it back kept nothing of it. Main types: [`Trial`], [`play`]. This is the one part of the lab that judges.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ::migration::journal;
use ::migration::phase::Phase;
use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use crate::apart::Apart;
use crate::client::Pings;
use crate::guest::{Guest, GuestOptions, Status};
use crate::host::Host;
use crate::limits::{GIVEN_BACK, GUEST_BOOT, HAPPENS, LOOK, PING_EVERY};
use crate::network::HOST_LINKS;
use crate::{Lab, LabOptions};

/// Plays `scene` in a lab of its own with running agents. When it fails, the logs are saved; when it does not, nothing may
/// be left of the lab.
///
/// # Errors
/// The scene's own, or what is left.
pub fn play(scene: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    play_in(LabOptions::find()?, scene)
}

/// The same in a lab that is made in another way.
///
/// # Errors
/// As [`play`].
pub fn play_in(options: LabOptions, scene: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::new(options)?;
    match scene(&lab) {
        Ok(()) => {
            let left = lab.end();
            ensure!(left.is_empty(), "left of the lab:\n{}", left.join("\n"));
            Ok(())
        }
        Err(error) => {
            let logs = lab.save_logs();
            Err(anyhow!("{error:#}\nlab {}: logs are in {}", lab.id, logs.display()))
        }
    }
}

/// The owner record beside a disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Owner {
    /// The domain's UUID.
    pub domain: String,
    /// The host that may run it.
    pub host: String,
    /// Counts changes of owner.
    pub generation: u64,
    /// An open offer to another host.
    #[serde(default)]
    pub offered: Option<serde_json::Value>,
}

/// The part of a domain's description that trials look at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shown {
    /// `running`, `shut-off` …
    pub state: String,
    /// Whether the definition outlives the guest.
    pub persistent: bool,
    /// Its QEMU.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The host that has it, where this one has not.
    #[serde(default)]
    pub owner: Option<String>,
}

/// A guest that was started on `kvm1` and is watched since.
#[derive(Debug)]
pub struct Trial<'a> {
    /// Where it happens.
    pub lab: &'a Lab,
    /// The guest.
    pub guest: Guest,
    /// The storage of its hosts, where they share none.
    pub apart: Option<Apart<'a>>,
    first: Status,
    pings: Pings,
}

impl<'a> Trial<'a> {
    /// Defines a guest on `kvm1`, starts it, and waits until it works.
    ///
    /// # Errors
    /// When it does not.
    pub fn begin(lab: &'a Lab, options: GuestOptions) -> Result<Trial<'a>> {
        Trial::of(lab, lab.guest(options)?, None)
    }

    /// The same with a guest that is made, on hosts that may share no storage.
    ///
    /// # Errors
    /// When it does not work.
    pub fn of(lab: &'a Lab, guest: Guest, apart: Option<Apart<'a>>) -> Result<Trial<'a>> {
        let kvm1 = lab.kvm1();
        kvm1.ferry_output(["define".as_ref(), guest.xml.as_os_str()])?;
        kvm1.ferry_output(["start", guest.options.name.as_str()])?;
        let first = guest.wait_until_serving(GUEST_BOOT)?;
        let pings = Pings::start(&lab.client, guest.address())?;
        ensure!(pings.answered_within(HAPPENS), "the guest serves HTTP and answers no ping");
        Ok(Trial { lab, guest, apart, first, pings })
    }

    /// The domain's name.
    pub fn name(&self) -> &str {
        &self.guest.options.name
    }

    /// What `host` says of the domain.
    ///
    /// # Errors
    /// When its agent does not answer or does not know it.
    pub fn shown(&self, host: &Host) -> Result<Shown> {
        host.ferry_json(&["info", self.name()])
    }

    /// The process number of the guest's QEMU on `host`, by its pidfile.
    ///
    /// # Errors
    /// When there is none.
    pub fn qemu(&self, host: &Host) -> Result<u32> {
        let found = host.qemus()?.into_iter().find(|(uuid, _)| *uuid == self.guest.uuid);
        Ok(found.with_context(|| format!("{} has no QEMU of {}", host.name, self.name()))?.1)
    }

    /// A path of the guest's storage, where `host` has it.
    ///
    /// # Errors
    /// When it is none of that storage.
    pub fn on(&self, host: &Host, path: &Path) -> Result<PathBuf> {
        self.apart.as_ref().map_or_else(|| Ok(path.to_owned()), |apart| apart.on(host, path))
    }

    /// The owner record that `host` sees.
    ///
    /// # Errors
    /// When there is none, or it is none.
    pub fn owner(&self, host: &Host) -> Result<Owner> {
        let mut path = self.on(host, &self.guest.disk)?.into_os_string();
        path.push(".ferry");
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("owner record {text}"))
    }

    /// The guest is on `host`, runs there and nowhere else, and nothing has happened to it; the other host kept nothing.
    ///
    /// # Errors
    /// What does not hold.
    pub fn unharmed_on(&self, host: &Host) -> Result<()> {
        let state = self.shown(host)?.state;
        ensure!(state == "running", "{} says that the domain is {state}", host.name);
        ensure!(self.pings.answered_within(HAPPENS), "the guest answers no ping");
        let now = self.guest.check().context("the guest on its new host")?;
        ensure!(now.boot_id == self.first.boot_id, "the guest was booted again");
        ensure!(
            (now.memory_errors, now.records_lost) == (0, 0) && now.memory_checked > self.first.memory_checked,
            "the guest was damaged: {now:?}"
        );
        // Its own counter: a disk that takes no more records would show as one that stands still.
        ensure!(now.record_last > self.first.record_last, "the guest writes no more records: {now:?}");
        self.nobody_ran_twice()?;
        self.owned_by(host)?;
        self.gave_back(self.lab.other(host))?;
        self.qemu(host)?;
        self.journals_have_ended()
    }

    /// Nobody has the guest's memory any more; it belongs to `host` and is shut off there.
    ///
    /// # Errors
    /// What does not hold.
    pub fn lost_on(&self, host: &Host) -> Result<()> {
        let state = self.shown(host)?.state;
        ensure!(state == "shut-off", "{} says that the domain is {state}", host.name);
        self.nobody_ran_twice()?;
        self.owned_by(host)?;
        self.lab.hosts().iter().try_for_each(|host| self.gave_back(host))?;
        self.journals_have_ended()
    }

    /// The guest's own numbered pings never came twice. Meaningless once it was booted again on purpose.
    ///
    /// # Errors
    /// When they did: two QEMUs ran one guest.
    pub fn nobody_ran_twice(&self) -> Result<()> {
        let repeated = self.pings.requests_repeated();
        ensure!(repeated == 0, "{repeated} of the guest's pings came twice: two QEMUs ran it");
        Ok(())
    }

    /// A new start works, and the disk has every record that the guest ever wrote.
    ///
    /// # Errors
    /// What does not hold.
    pub fn starts_afresh_on(&self, host: &Host) -> Result<()> {
        host.ferry_output(["start", self.name()])?;
        let end = Instant::now() + GUEST_BOOT;
        loop {
            let status = self.guest.wait_until_serving(GUEST_BOOT)?;
            if status.boot_id != self.first.boot_id {
                break;
            }
            ensure!(Instant::now() < end, "the guest that was lost answers");
            thread::sleep(LOOK);
        }
        let now = self.guest.check()?;
        ensure!((now.memory_errors, now.records_lost) == (0, 0), "the guest's disk was damaged: {now:?}");
        self.owned_by(host)
    }

    /// From now on the guest as it works now is what nothing may happen to: it was booted afresh on purpose.
    ///
    /// # Errors
    /// When it does not work.
    pub fn begin_again(&mut self) -> Result<()> {
        self.first = self.guest.wait_until_serving(GUEST_BOOT)?;
        self.pings = Pings::start(&self.lab.client, self.guest.address())?;
        Ok(())
    }

    /// The guest moves from one host to the other as if nothing had ever been done to it.
    ///
    /// # Errors
    /// What does not hold.
    pub fn moves(&self, source: &Host, target: &Host, options: &[&str]) -> Result<()> {
        let mut words = vec!["migrate", self.name(), "--to", target.name];
        words.extend(options);
        source.ferry_output(&words)?;
        self.unharmed_on(target)
    }

    /// Every ping that was lost since `began` was lost in one time of silence.
    ///
    /// # Errors
    /// When one was lost besides.
    pub fn lost_pings_in_one_gap(&self, began: Instant) -> Result<()> {
        let window = self.pings.window(began, Instant::now());
        // One at either end of it, and as many more as the client itself was held up.
        let silence = window.gap + window.pause + 2 * PING_EVERY;
        let lost = PING_EVERY * u32::try_from(window.lost)?;
        ensure!(lost <= silence, "pings were lost outside of the blackout: {window:?}");
        Ok(())
    }

    /// Waits until `host` has no QEMU, tap or run directory of any domain.
    ///
    /// # Errors
    /// What it still has.
    pub fn gave_back(&self, host: &Host) -> Result<()> {
        let end = Instant::now() + GIVEN_BACK;
        loop {
            let left = left_on(host)?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{} still has {left:?}", host.name);
            thread::sleep(LOOK);
        }
    }

    /// Waits until every journal on both hosts has an end: nothing is left to be done about any migration.
    ///
    /// # Errors
    /// Those that have none.
    pub fn journals_have_ended(&self) -> Result<()> {
        let end = Instant::now() + GIVEN_BACK;
        loop {
            let mut open = Vec::new();
            for host in self.lab.hosts() {
                let journals = last_phases(host)?;
                open.extend(journals.into_iter().filter(|(_, phase)| !phase.is_some_and(Phase::is_end)));
            }
            if open.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "journals without an end: {open:?}");
            thread::sleep(LOOK);
        }
    }

    /// Waits until the owner record names `host` and no offer is open.
    ///
    /// # Errors
    /// What it says instead.
    pub fn owned_by(&self, host: &Host) -> Result<()> {
        let end = Instant::now() + HAPPENS;
        loop {
            let owner = self.owner(host)?;
            if owner.host == host.name && owner.offered.is_none() && owner.domain == self.guest.uuid {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the owner record is to name {}, and is {owner:?}", host.name);
            thread::sleep(LOOK);
        }
    }

    /// Waits until the guest answers pings again.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn answers(&self, within: Duration) -> Result<()> {
        ensure!(self.pings.answered_within(within), "the guest does not answer within {within:?}");
        Ok(())
    }
}

/// What a host has of guests: QEMUs, taps, run directories.
///
/// # Errors
/// When it cannot be looked at.
pub fn left_on(host: &Host) -> Result<Vec<String>> {
    let mut left: Vec<String> =
        host.qemus()?.into_iter().map(|(uuid, pid)| format!("QEMU {pid} of {uuid}")).collect();
    let links = host.namespace.links()?.into_iter();
    left.extend(links.filter(|link| !HOST_LINKS.contains(&link.as_str())).map(|link| format!("link {link}")));
    for entry in fs::read_dir(host.run())? {
        let path = entry?.path();
        if !host.agent_files().contains(&path) {
            left.push(format!("{}", path.display()));
        }
    }
    Ok(left)
}

/// The last phase in each journal of a host, with the file's name; none where nothing is in it.
///
/// # Errors
/// When they cannot be read.
pub fn last_phases(host: &Host) -> Result<BTreeSet<(String, Option<Phase>)>> {
    let mut found = BTreeSet::new();
    let directory = host.state().join("migrations");
    for entry in fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            let decoded = journal::decode(&fs::read(&path)?);
            let name = format!("{}:{}", host.name, path.file_name().unwrap_or_default().display());
            found.insert((name, decoded.last_phase().map(|(phase, _)| phase)));
        }
    }
    Ok(found)
}

/// The last phase in the journal of one migration on a host.
///
/// # Errors
/// When there is no such journal.
pub fn last_phase(host: &Host, id: &str) -> Result<Option<Phase>> {
    let path = host.state().join("migrations").join(id).with_extension("journal");
    let journal = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(journal::decode(&journal).last_phase().map(|(phase, _)| phase))
}
