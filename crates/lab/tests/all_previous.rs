//! This release and the one before it work together: guests move between them in both directions, and an agent that is
//! replaced by the newer one, or by the older one again, goes on with the guests and the state that it finds.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::limits::HAPPENS;
use lab::migration::Migration;
use lab::previous::Previous;
use lab::trial::{Trial, play};
use serde::Deserialize;

/// What `ferry version` says of the agent.
#[derive(Debug, Deserialize)]
struct Said {
    agent: Agent,
}

#[derive(Debug, Deserialize)]
struct Agent {
    protocol: u32,
}

/// Replaces the program of a host and restarts its agent, as an upgrade of the package does.
fn replace(host: &Host, ferry: &Path) -> Result<()> {
    host.stop_agent()?;
    host.install(ferry.to_owned());
    host.start_agent()?;
    let said: Said = host.ferry_json(&["version"])?;
    ensure!(said.agent.protocol >= 1, "{said:?}");
    let running = std::fs::read_link(format!("/proc/{}/exe", host.agent_pid().context("an agent")?))?;
    ensure!(running == std::fs::canonicalize(ferry)?, "{} runs {}", host.name, running.display());
    Ok(())
}

/// Two trips each way; the second one begins with the state that the first one left.
fn there_and_back(trial: &Trial<'_>) -> Result<()> {
    let (kvm1, kvm2) = (trial.lab.kvm1(), trial.lab.kvm2());
    for options in [&[][..], &["--plaintext", "--channels", "2"]] {
        trial.moves(kvm1, kvm2, options).with_context(|| format!("to kvm2 with {options:?}"))?;
        trial.moves(kvm2, kvm1, options).with_context(|| format!("back with {options:?}"))?;
    }
    Ok(())
}

#[test]
fn a_guest_moves_both_ways_between_this_release_and_the_previous_one() -> Result<()> {
    let previous = Previous::find()?;
    play(|lab| {
        replace(lab.kvm2(), &previous)?;
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        there_and_back(&trial)
    })
}

#[test]
fn a_guest_of_the_previous_release_goes_on_when_its_agent_is_replaced() -> Result<()> {
    let previous = Previous::find()?;
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let present = kvm1.ferry_program();
        for host in lab.hosts() {
            replace(host, &previous)?;
        }
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        // State of every kind: journals, reports, a tombstone.
        trial.moves(kvm1, kvm2, &[])?;
        trial.moves(kvm2, kvm1, &[])?;
        let pid = trial.qemu(kvm1)?;
        replace(kvm1, &present)?;
        ensure!(trial.qemu(kvm1)? == pid, "another QEMU after the upgrade");
        trial.unharmed_on(kvm1)?;
        let told: Vec<serde_json::Value> = kvm1.ferry_json(&["migrations", "list"])?;
        ensure!(told.len() == 2, "the reports of the previous release: {told:?}");
        // The guest that the previous release started goes to a host that still has it, and back.
        there_and_back(&trial)?;
        replace(kvm2, &present)?;
        there_and_back(&trial)?;
        // One that this release started survives the way back, too.
        let pid = trial.qemu(kvm1)?;
        replace(kvm1, &previous)?;
        ensure!(trial.qemu(kvm1)? == pid, "another QEMU after the downgrade");
        trial.unharmed_on(kvm1)
    })
}

#[test]
fn a_migration_that_the_previous_release_began_is_ended_by_this_one() -> Result<()> {
    let previous = Previous::find()?;
    play(|lab| {
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let present = kvm1.ferry_program();
        for host in lab.hosts() {
            replace(host, &previous)?;
        }
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let pid = trial.qemu(kvm1)?;
        let migration = Migration::begin(kvm1, trial.name(), kvm2, &["--bandwidth", "5MiB/s"])?;
        migration.wait_for_bytes(1 << 20, HAPPENS)?;
        kvm1.kill_agent()?;
        kvm1.install(present);
        kvm1.start_agent()?;
        lab::migration::wait_for_outcome(kvm1, &migration.id, &["kept"], lab::limits::SETTLES)?;
        ensure!(trial.qemu(kvm1)? == pid, "another QEMU");
        trial.unharmed_on(kvm1)?;
        trial.moves(kvm1, kvm2, &[])
    })
}
