//! `cargo xtask demo`: the main job from nothing. Sets up the lab, moves a working guest from host to host and back,
//! measures from outside and from inside, takes everything down, and says what held and what did not.
//! Main types: [`DemoArguments`], [`Show`] while it goes on; what it ends in is [`Report`].

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lab::client::Pings;
use lab::guest::{Guest, GuestOptions, Status};
use lab::host::Host;
use lab::limits::GUEST_BOOT;
use lab::runs::{Run, runners_seen_max};
use lab::{Lab, LabOptions, teardown};
use serde::Deserialize;

use crate::report::{Move, Report};
use crate::setup::{self, Purpose};
use crate::{build_ferry, guest};

/// The guest's name, as in every example of the documentation.
const DOMAIN: &str = "web1";
/// Memory of the guest, how much of it holds the pattern, and how many pages change each second.
const MEMORY_MIB: u32 = 512;
const PATTERN_MIB: u32 = 128;
const RATE_PAGES: u32 = 1000;
/// The first answers teach bridges and caches; what is measured comes after.
const PINGS_BEGIN: Duration = Duration::from_secs(10);

/// Options of the demo.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// How often the guest goes to the other host and back
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    trips: u32,
    /// Leave hosts, agents and guest running and print commands to play with
    #[arg(long)]
    keep: bool,
    /// Print one JSON object, last; progress goes to standard error
    #[arg(long)]
    json: bool,
    /// Bridges with spanning tree, as libvirt makes them by default
    #[arg(long)]
    stp: bool,
    /// Take down what --keep left, and do nothing else
    #[arg(long, value_name = "ID")]
    teardown: Option<String>,
}

/// Runs the demo; exits with an error when anything that must hold does not.
pub(crate) fn run(root: &Path, target: &Path, arguments: &DemoArguments) -> Result<()> {
    if let Some(id) = &arguments.teardown {
        return take_down(id);
    }
    let began = Instant::now();
    setup::run(target, Purpose::Demo)?;
    ensure!(setup::is_root(), "the demo makes network namespaces and taps, and only root may do that");
    guest::run(root, target)?;
    build_ferry(root)?;
    let options = LabOptions { stp: arguments.stp, nfs: true, bare: true, ..LabOptions::find()? };
    let lab = Lab::new(options).context("the lab")?;
    let show = Show { lab: &lab, guest: make_guest(&lab)?, json: arguments.json, pings: None };
    show.say(&format!(
        "\nlab {}: hosts kvm1 and kvm2, each with its own network and its own agent{}; a host nfs that \
         has {DOMAIN}'s disk; a client that pings.",
        lab.id,
        if arguments.stp { ", bridges with spanning tree" } else { "" },
    ));
    let mut report = show.play(arguments).unwrap_or_else(|error| Report::broken_off(arguments.trips, &error));
    if arguments.keep {
        let commands = commands(&lab);
        lab.keep();
        finish(&report, arguments.json)?;
        eprintln!("{commands}");
        return report.verdict();
    }
    if !report.failures.is_empty() {
        eprintln!("demo: something does not hold; logs are in {}", lab.save_logs().display());
    }
    report.leaks.extend(lab.end());
    report.judge();
    finish(&report, arguments.json)?;
    if !arguments.json {
        println!("All of it took {:.0} s.", began.elapsed().as_secs_f64());
    }
    report.verdict()
}

fn take_down(id: &str) -> Result<()> {
    let there = teardown::labs();
    ensure!(there.contains(id), "no lab {id}; there are: {there:?}");
    teardown::teardown(id);
    let left = teardown::leaks(id);
    ensure!(left.is_empty(), "left of lab {id}:\n{}", left.join("\n"));
    eprintln!("lab {id} is gone");
    Ok(())
}

fn make_guest(lab: &Lab) -> Result<Guest> {
    let mut options = GuestOptions::small(DOMAIN);
    options.memory_mib = MEMORY_MIB;
    options.settings.memory_mib = PATTERN_MIB;
    options.settings.rate_pages = RATE_PAGES;
    options.over_nfs = true;
    lab.guest(options)
}

fn finish(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("\n{}", report.text());
    }
    Ok(())
}

fn commands(lab: &Lab) -> String {
    let mut text = String::from("\nStill running. To play with it:\n");
    for host in lab.hosts() {
        text += &format!("  {} list --all\n", host.ferry_line());
    }
    let client = lab.client.name();
    text += &format!("  {} migrate {DOMAIN} --to kvm2\n", lab.kvm1().ferry_line());
    text += &format!("  ip netns exec {client} ping {}\n", lab::network::guest(100));
    text += &format!("  ip netns exec {client} curl -s http://{}/check\n", lab::network::guest(100));
    text += &format!("To take it down:\n  cargo xtask demo --teardown {}", lab.id);
    text
}

/// The demo while it goes on.
struct Show<'a> {
    lab: &'a Lab,
    guest: Guest,
    json: bool,
    pings: Option<Pings>,
}

/// The part of a migration's report that the demo shows; the rest is the product's own matter.
#[derive(Debug, Deserialize)]
struct MigrationReport {
    domain: String,
    role: String,
    started_at: String,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    memory: Memory,
    downtime: Downtime,
}

#[derive(Debug, Deserialize)]
struct Memory {
    sent_bytes: u64,
    rounds: u64,
}

#[derive(Debug, Deserialize)]
struct Downtime {
    #[serde(default)]
    qemu_ms: Option<u64>,
    #[serde(default)]
    source_stopped_at: Option<String>,
    #[serde(default)]
    target_resumed_at: Option<String>,
}

/// What the agent says of a QEMU that ended in order when the guest shut itself down.
const CLEAN_EXIT: &str = "the guest powered itself off";

#[derive(Debug, Deserialize)]
struct Ended {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
}

impl Show<'_> {
    /// One line for whoever watches; standard output is the JSON object's alone.
    fn say(&self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    fn play(mut self, arguments: &DemoArguments) -> Result<Report> {
        let (kvm1, kvm2) = (self.lab.kvm1(), self.lab.kvm2());
        self.join()?;
        self.ferry(kvm1, &["define", &self.guest.xml.to_string_lossy()])?;
        let started = SystemTime::now();
        self.ferry(kvm1, &["start", DOMAIN])?;
        let first = self.guest.wait_until_serving(GUEST_BOOT)?;
        self.say(&format!(
            "{DOMAIN} works on kvm1: it changes {} MB of its memory each second, writes and syncs {} records each \
             second, pings the client, and answers pings and HTTP.",
            RATE_PAGES * 4 / 1000,
            self.guest.options.settings.records_rate
        ));
        let pings = Pings::start(&self.lab.client, self.guest.address())?;
        ensure!(pings.answered_within(PINGS_BEGIN), "{DOMAIN} serves HTTP and answers no ping");
        self.say("");
        self.ferry(kvm1, &["check", DOMAIN, "--to", kvm2.name, "--all"])?;
        let measured_from = Instant::now();
        self.pings = Some(pings);

        let mut report = Report::new(arguments.trips);
        let mut runs = vec![Run { host: "kvm1".to_owned(), from_us: micros(started)?, to_us: None }];
        let legs = [(kvm1, kvm2), (kvm2, kvm1)];
        let mut at = kvm1;
        for (source, target) in legs.iter().cycle().take(2 * arguments.trips as usize) {
            let moved = self.go(source, target, &mut runs)?;
            let goes_on = moved.outcome == "moved";
            report.moves.push(moved);
            if !goes_on {
                break;
            }
            at = target;
        }
        self.look_back(&mut report, &first, measured_from, &runs)?;
        if !arguments.keep {
            self.close(at, &mut report)?;
        }
        report.judge();
        Ok(report)
    }

    /// Two hosts that know nothing of each other do then.
    fn join(&self) -> Result<()> {
        let (kvm1, kvm2) = (self.lab.kvm1(), self.lab.kvm2());
        self.say(&format!("{} $ ferry host token --listen {}", kvm1.name, kvm1.listen()));
        let token = self.lab.token()?;
        // So much of it as a line has room for.
        self.say(&format!("{} $ ferry host join --token {:.32}…", kvm2.name, token));
        let joined = self.shown(kvm2.ferry().args(["host", "join", "--token", &token]))?.status()?;
        ensure!(joined.success(), "ferry host join: {joined}");
        self.ferry(kvm1, &["host", "list"])?;
        self.say("");
        Ok(())
    }

    /// One move, as a user would see it, and what it did to the guest.
    fn go(&self, source: &Host, target: &Host, runs: &mut Vec<Run>) -> Result<Move> {
        let before = self.guest.status()?;
        self.say(&format!("\n{} $ ferry migrate {DOMAIN} --to {}", source.name, target.name));
        let from = Instant::now();
        let status = self.shown(source.ferry().args(["migrate", DOMAIN, "--to", target.name]))?.status()?;
        let wall = from.elapsed();
        let window = self.pings().window(from, Instant::now());
        let after = self.guest.status().ok();
        let story = self.story(source)?;
        let mut outcome = story.outcome.unwrap_or_else(|| "unknown".to_owned());
        if outcome == "moved" && !status.success() {
            outcome = format!("moved, and yet ferry says {status}");
        }
        if let (Some(stopped), Some(last)) = (story.downtime.source_stopped_at.as_deref(), runs.last_mut()) {
            last.to_us = Some(moment(stopped)?);
        }
        if let Some(resumed) = &story.downtime.target_resumed_at {
            runs.push(Run { host: target.name.to_owned(), from_us: moment(resumed)?, to_us: None });
        }
        Ok(Move {
            source: source.name.to_owned(),
            target: target.name.to_owned(),
            outcome,
            reason: story.reason,
            wall_s: wall.as_secs_f64(),
            rounds: story.memory.rounds,
            bytes: story.memory.sent_bytes,
            downtime_ms: story.downtime.qemu_ms,
            gap_ms: window.gap.as_secs_f64() * 1e3,
            client_pause_ms: window.pause.as_secs_f64() * 1e3,
            ping_sent: window.sent,
            ping_lost: window.lost,
            guest_ping_lost: after
                .as_ref()
                .map_or(0, |after| after.ping_lost.saturating_sub(before.ping_lost)),
            records: after.as_ref().map_or(0, |after| after.record_last.saturating_sub(before.record_last)),
            both_times: story.downtime.source_stopped_at.is_some()
                && story.downtime.target_resumed_at.is_some(),
        })
    }

    /// What the whole time shows, while the guest still runs.
    fn look_back(&self, report: &mut Report, first: &Status, from: Instant, runs: &[Run]) -> Result<()> {
        let whole = self.pings().window(from, Instant::now());
        let last = self.guest.check().context("the last look at the guest")?;
        report.ping_sent = whole.sent;
        report.ping_lost = whole.lost;
        report.guest_ping_lost = last.ping_lost;
        report.records_lost = last.records_lost;
        report.record_last = last.record_last;
        report.memory_errors = last.memory_errors;
        report.memory_checked = last.memory_checked;
        report.boot_id_changed = last.boot_id != first.boot_id;
        report.runners_seen_max = runners_seen_max(runs);
        report.guest_requests_repeated = self.pings().requests_repeated();
        Ok(())
    }

    /// Shuts the guest down, reads its records from outside, and sees what the product leaves behind.
    fn close(mut self, at: &Host, report: &mut Report) -> Result<()> {
        self.ferry(at, &["shutdown", DOMAIN])?;
        let Ended { reason } = at.ferry_json(&["info", DOMAIN])?;
        if reason.as_deref() != Some(CLEAN_EXIT) {
            report.qemu_died = Some(reason.unwrap_or_else(|| "nobody knows how".to_owned()));
        }
        if let Some(pings) = self.pings.take() {
            pings.stop()?;
        }
        let audit = self.guest.records()?;
        report.records_lost =
            report.records_lost.max(audit.lost() + report.record_last.saturating_sub(audit.last));
        for host in self.lab.hosts() {
            for Listed { name } in host.ferry_json::<Vec<Listed>>(&["list", "--all"])? {
                host.ferry_output(["undefine", &name])?;
            }
            host.stop_agent()?;
        }
        let Guest { disk, xml, console, .. } = &self.guest;
        report.leaks = self.lab.residue(&[disk, xml, console])?;
        Ok(())
    }

    /// The newest migration that left this host.
    fn story(&self, source: &Host) -> Result<MigrationReport> {
        source
            .ferry_json::<Vec<MigrationReport>>(&["migrations", "list"])?
            .into_iter()
            .filter(|story| story.domain == DOMAIN && story.role == "source")
            .max_by(|one, other| one.started_at.cmp(&other.started_at))
            .context("the source's agent knows of no migration")
    }

    /// A short command, shown with what it says.
    fn ferry(&self, host: &Host, arguments: &[&str]) -> Result<()> {
        let shown: Vec<&str> = arguments.iter().map(|word| word.rsplit('/').next().unwrap_or(word)).collect();
        self.say(&format!("{} $ ferry {}", host.name, shown.join(" ")));
        let status = self.shown(host.ferry().args(arguments))?.status()?;
        if !status.success() {
            bail!("ferry {}: {status}", arguments.join(" "));
        }
        Ok(())
    }

    fn shown<'c>(&self, command: &'c mut Command) -> Result<&'c mut Command> {
        if self.json {
            command.stdout(Stdio::from(io::stderr()));
        }
        Ok(command.stdin(Stdio::null()))
    }

    fn pings(&self) -> &Pings {
        self.pings.as_ref().expect("they start before the first move")
    }
}

fn micros(time: SystemTime) -> Result<i64> {
    Ok(jiff::Timestamp::try_from(time)?.as_microsecond())
}

fn moment(text: &str) -> Result<i64> {
    Ok(text.parse::<jiff::Timestamp>().with_context(|| format!("time {text:?}"))?.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_events_are_read_to_the_microsecond() {
        assert_eq!(moment("1970-01-01T00:00:01.000002Z").ok(), Some(1_000_002));
        assert!(moment("yesterday").is_err());
    }
}
