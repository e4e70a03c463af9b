//! One run: a guest is booted, looked at while nobody moves it, moved by a contestant, and gone again. Main type: [`Stage`].
//! It measures and judges nothing.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::beats::{Beats, Rhythm};
use lab::guest::Guest;
use lab::libvirt::Libvirt;
use lab::limits::{GUEST_BOOT, HAPPENS, QMP_LOOK};
use lab::migration::Decided;
use lab::qemu::Qemu;
use lab::trial::Shown;
use serde::Deserialize;
use serde_json::json;

use super::contestant::{Contestant, Means};
use super::figures::{End, Predicted, Sample, Undisturbed};
use crate::bench::usage::machine_s;

/// What was cancelled has ended within this time: virsh may hear nothing for half a minute.
const CANCELLED: Duration = Duration::from_secs(60);
/// Where a QEMU that is driven by hand listens.
const PORT: u16 = 7800;
/// The blackout that it is allowed, in milliseconds: what Ferry has by default.
const DOWNTIME_LIMIT_MS: u32 = 30;

/// Where guests are moved.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) lab: &'a Lab,
    /// One on each host, where virsh takes part.
    pub(crate) libvirt: Option<[Libvirt; 2]>,
    /// What takes longer is cancelled.
    pub(crate) limit: Duration,
    /// How long the guest is looked at before it is moved.
    pub(crate) undisturbed: Duration,
}

/// QEMUs that nobody manages; they end when this is dropped.
#[derive(Debug, Default)]
struct ByHand(Vec<Qemu>);

impl Stage<'_> {
    /// Has a contestant move the guest from `kvm1` to `kvm2`.
    ///
    /// # Errors
    /// When the guest does not work, before or afterwards. A move that fails is none.
    pub(crate) fn run(&self, contestant: Contestant, guest: &Guest) -> Result<Sample> {
        let means = contestant.means();
        let mut by_hand = ByHand::default();
        self.start(means, guest, &mut by_hand)?;
        let sample = self.measure(means, guest, &mut by_hand);
        drop(by_hand);
        let cleared = self.clear(means, guest);
        let sample = sample?;
        cleared.context("after the move")?;
        Ok(sample)
    }

    fn start(&self, means: Means, guest: &Guest, by_hand: &mut ByHand) -> Result<()> {
        let kvm1 = self.lab.kvm1();
        match means {
            Means::Ferry(_) => kvm1.ferry_output(["start", &guest.options.name]).map(drop)?,
            Means::ByHand => by_hand.0.push(Qemu::start(self.lab, kvm1, guest, false)?),
            Means::Virsh(_) => {
                self.libvirt()?[0].output(["create".as_ref(), guest.xml.as_os_str()]).map(drop)?;
            }
        }
        guest.wait_until_serving(GUEST_BOOT).map(drop)
    }

    fn measure(&self, means: Means, guest: &Guest, by_hand: &mut ByHand) -> Result<Sample> {
        let beats = Beats::start(&self.lab.client, guest.address())?;
        ensure!(beats.heard_within(HAPPENS), "no beat of the guest is heard");
        let (from, cpu_s) = (Instant::now(), machine_s()?);
        thread::sleep(self.undisturbed);
        let before = beats.rhythm(from, Instant::now());
        let undisturbed = Undisturbed {
            work_per_s: work_per_s(guest, &before, from.elapsed()),
            gap_ms: before.gap.as_secs_f64() * 1e3,
            processors: (machine_s()? - cpu_s) / from.elapsed().as_secs_f64(),
        };
        ensure!(undisturbed.work_per_s > 0.0, "the guest does not work: {before:?}");
        let earlier = self.newest(means)?.map(|migration| migration.id);

        let [kvm1, kvm2] = self.lab.hosts();
        let sent = [kvm1.sent_bytes()?, kvm2.sent_bytes()?];
        let cpu_s = machine_s()?;
        let from = Instant::now();
        let end = match means {
            Means::Ferry(flags) => self.by_ferry(guest, flags)?,
            Means::ByHand => self.by_hand(guest, by_hand)?,
            Means::Virsh(flags) => self.by_virsh(guest, flags)?,
        };
        let to = Instant::now();
        let cpu_s = machine_s()? - cpu_s;
        let [sent_bytes, back_bytes] = [kvm1.sent_bytes()? - sent[0], kvm2.sent_bytes()? - sent[1]];

        ensure!(beats.heard_within(HAPPENS), "no beat of the guest is heard any more");
        let seen = beats.rhythm(from, Instant::now());
        // The longest silence of a guest that stays may lie after the command.
        let switched_at = seen.gap_from.clamp(from, to);
        let share = |to: Instant| {
            let work_per_s = work_per_s(guest, &beats.rhythm(from, to), to - from);
            if to > from { work_per_s / undisturbed.work_per_s } else { 1.0 }
        };
        let (work, work_before) = (share(to), share(switched_at));
        beats.stop()?;
        let status = guest.status().context("the guest afterwards")?;
        ensure!(status.memory_errors == 0, "the guest's memory is damaged: {status:?}");
        // One that was refused at once is no migration.
        let told = self.newest(means)?.filter(|migration| Some(&migration.id) != earlier.as_ref());
        Ok(Sample {
            end,
            wall_s: (to - from).as_secs_f64(),
            blackout_ms: seen.gap.as_secs_f64() * 1e3,
            sent_bytes,
            back_bytes,
            work,
            work_before,
            cpu_s,
            undisturbed,
            throttle_percent_max: told.as_ref().map_or(0, Migration::throttle_percent_max),
            predicted: told.and_then(Migration::predicted),
        })
    }

    fn by_ferry(&self, guest: &Guest, flags: &[&str]) -> Result<End> {
        #[derive(Deserialize)]
        struct Listed {
            id: String,
            #[serde(default)]
            outcome: Option<String>,
        }
        let [source, target] = self.lab.hosts();
        let mut command = source.ferry();
        command.args(["migrate", &guest.options.name, "--to", target.name]).args(flags);
        bounded(command, self.limit, || {
            let open = source.ferry_json::<Vec<Listed>>(&["migrations", "list"])?;
            let mut open = open.into_iter().filter(|listed| listed.outcome.is_none());
            open.try_for_each(|listed| source.ferry_output(["migrations", "cancel", &listed.id]).map(drop))
        })
    }

    fn by_virsh(&self, guest: &Guest, flags: &[&str]) -> Result<End> {
        let [source, target] = self.libvirt()?;
        let [connection, memory] = target.from_elsewhere();
        let mut command = source.virsh();
        command.args(["migrate", "--live", &guest.options.name, &connection, &memory]).args(flags);
        bounded(command, self.limit, || source.output(["domjobabort", &guest.options.name]).map(drop))
    }

    /// The start of the target's QEMU counts, as with everyone else. It goes on by itself when it has everything.
    fn by_hand(&self, guest: &Guest, by_hand: &mut ByHand) -> Result<End> {
        let host = self.lab.kvm2();
        let mut target = Qemu::start(self.lab, host, guest, true)?;
        let uri = json!({ "uri": format!("tcp:{}:{PORT}", host.address) });
        target.execute("migrate-incoming", uri.clone())?;
        let source = by_hand.0.first_mut().context("no QEMU on the source")?;
        // A bandwidth of 0 is no limit.
        let parameters = json!({ "downtime-limit": DOWNTIME_LIMIT_MS, "max-bandwidth": 0 });
        source.execute("migrate-set-parameters", parameters)?;
        source.execute("migrate", uri)?;
        let moved = target.heard_within("RESUME", self.limit)?;
        if moved {
            by_hand.0.push(target);
            return Ok(End::Moved);
        }
        source.execute("migrate_cancel", json!({}))?;
        Ok(End::Cancelled)
    }

    /// The guest is gone, and where its next start is, it may start.
    fn clear(&self, means: Means, guest: &Guest) -> Result<()> {
        let name = guest.options.name.as_str();
        let [kvm1, kvm2] = self.lab.hosts();
        match means {
            Means::Ferry(_) => {
                let runs = |host: &lab::host::Host| {
                    host.ferry_json::<Shown>(&["info", name]).is_ok_and(|shown| shown.state == "running")
                };
                if runs(kvm2) {
                    kvm2.ferry_output(["destroy", name])?;
                    kvm2.ferry_output(["migrate", name, "--to", kvm1.name, "--offline"]).map(drop)
                } else if runs(kvm1) {
                    kvm1.ferry_output(["destroy", name]).map(drop)
                } else {
                    Ok(())
                }
            }
            Means::ByHand => Ok(()),
            Means::Virsh(_) => self.libvirt()?.iter().try_for_each(|libvirt| {
                let there = libvirt.output(["list", "--name"])?;
                match there.lines().any(|line| line == name) {
                    true => libvirt.output(["destroy", name]).map(drop),
                    false => Ok(()),
                }
            }),
        }
    }

    fn libvirt(&self) -> Result<&[Libvirt; 2]> {
        self.libvirt.as_ref().context("no libvirtd runs")
    }

    /// The last migration that Ferry began on `kvm1`; `None` where Ferry does not take part.
    fn newest(&self, means: Means) -> Result<Option<Migration>> {
        match means {
            Means::Ferry(_) => {
                let all: Vec<Migration> = self.lab.kvm1().ferry_json(&["migrations", "list"])?;
                let begun_here = all.into_iter().filter(|migration| migration.role == "source");
                Ok(begun_here.max_by(|one, other| one.started_at.cmp(&other.started_at)))
            }
            Means::ByHand | Means::Virsh(_) => Ok(None),
        }
    }
}

/// The part of Ferry's report that counts here.
#[derive(Debug, Deserialize)]
struct Migration {
    id: String,
    role: String,
    started_at: String,
    wall_ms: u64,
    #[serde(default)]
    prediction: Option<Prediction>,
    #[serde(default)]
    decisions: Vec<Decided>,
}

#[derive(Debug, Deserialize)]
struct Prediction {
    #[serde(default)]
    expected: Option<Expected>,
}

#[derive(Debug, Deserialize)]
struct Expected {
    time_ms: Interval,
}

#[derive(Debug, Deserialize)]
struct Interval {
    low: u64,
    likely: u64,
    high: u64,
}

impl Migration {
    /// `None` where no end was expected.
    fn predicted(self) -> Option<Predicted> {
        let Interval { low, likely, high } = self.prediction?.expected?.time_ms;
        Some(Predicted { low_ms: low, likely_ms: likely, high_ms: high, came_ms: self.wall_ms })
    }

    /// How much of its time was taken from the guest at most.
    fn throttle_percent_max(&self) -> u8 {
        let throttled = self.decisions.iter().filter(|decided| decided.decision == "throttle");
        throttled.filter_map(|decided| decided.percent).max().unwrap_or_default()
    }
}

/// Pages that the guest changed in a second; its beats, where it changes none.
fn work_per_s(guest: &Guest, seen: &Rhythm, time: Duration) -> f64 {
    let work = if guest.options.settings.rate_pages > 0 { seen.pages_changed } else { seen.heard };
    work as f64 / time.as_secs_f64()
}

/// Runs a command to its end, or has it cancelled when it takes longer than the limit.
fn bounded(mut command: Command, limit: Duration, cancel: impl FnOnce() -> Result<()>) -> Result<End> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let mut stderr = child.stderr.take().context("no standard error")?;
    // It may say more than a pipe holds.
    let said = thread::spawn(move || {
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).map(|_| said)
    });
    let mut cancel = Some(cancel);
    loop {
        if let Some(status) = child.try_wait()? {
            let said = said.join().expect("reading does not panic")?;
            return Ok(match (cancel.is_none(), status.success()) {
                (true, _) => End::Cancelled,
                (false, true) => End::Moved,
                (false, false) => End::Failed { said: String::from_utf8_lossy(&said).trim().to_owned() },
            });
        }
        if began.elapsed() > limit
            && let Some(cancel) = cancel.take()
        {
            cancel().with_context(|| format!("cancelling {command:?}"))?;
        }
        if began.elapsed() > limit + CANCELLED {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("{command:?} does not end {CANCELLED:?} after it was cancelled");
        }
        // What is measured must not wait for who measures.
        thread::sleep(QMP_LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }

    #[test]
    fn a_report_tells_what_was_expected_and_what_was_taken_from_the_guest() -> Result<()> {
        let mut report = json!({
            "id": "m1", "role": "source", "started_at": "2026-01-01T00:00:00Z", "wall_ms": 1200,
            "prediction": { "expected": { "time_ms": { "low": 800, "likely": 1000, "high": 1500, "reckoned": 900 } } },
            "decisions": [
                { "round": 3, "decision": "blackout", "ms": 60 },
                { "round": 5, "decision": "throttle", "percent": 40 },
                { "round": 9, "decision": "throttle", "percent": 20 },
            ],
        });
        let told: Migration = serde_json::from_value(report.clone())?;
        assert_eq!(told.throttle_percent_max(), 40);
        let expect = Predicted { low_ms: 800, likely_ms: 1000, high_ms: 1500, came_ms: 1200 };
        assert_eq!(told.predicted(), Some(expect));

        let fields = report.as_object_mut().context("an object")?;
        for name in ["prediction", "decisions"] {
            fields.remove(name);
        }
        let told: Migration = serde_json::from_value(report)?;
        assert_eq!((told.throttle_percent_max(), told.predicted()), (0, None));
        Ok(())
    }

    #[test]
    fn a_command_ends_fails_or_is_cancelled() -> Result<()> {
        let long = Duration::from_secs(60);
        let never = || anyhow::bail!("nobody cancels");
        assert_eq!(bounded(shell("exit 0"), long, never)?, End::Moved);
        let failed = End::Failed { said: "no".to_owned() };
        assert_eq!(bounded(shell("echo no >&2; exit 3"), long, never)?, failed);

        let directory = tempfile::tempdir()?;
        let told = directory.path().join("told");
        let line = format!("while [ ! -e '{}' ]; do sleep 0.01; done", told.display());
        let cancel = || Ok(std::fs::write(&told, "")?);
        assert_eq!(bounded(shell(&line), Duration::from_millis(50), cancel)?, End::Cancelled);
        assert!(told.exists());
        Ok(())
    }
}
