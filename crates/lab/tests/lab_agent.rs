//! Agents come and go, guests stay: after `kill -9` and after SIGTERM the same QEMU processes run on, and the next agent
//! manages them as if nothing had been.

use std::process::Stdio;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::guest::GuestOptions;
use lab::host::Host;
use lab::limits::{HAPPENS, LOOK};
use lab::trial::{Trial, left_on, play};

/// How an agent ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    Asked,
}

fn restart(host: &Host, end: End) -> Result<()> {
    match end {
        End::Killed => host.kill_agent()?,
        End::Asked => host.stop_agent()?,
    }
    host.start_agent()
}

fn state_is(trial: &Trial<'_>, host: &Host, expected: &str) -> Result<()> {
    let shown = trial.shown(host)?;
    ensure!(shown.state == expected, "to be {expected} on {}: {shown:?}", host.name);
    Ok(())
}

#[test]
fn guests_outlive_their_agents_and_are_managed_again() -> Result<()> {
    play(|lab| {
        let trial = Trial::begin(lab, GuestOptions::small("web1"))?;
        let (kvm1, kvm2) = (lab.kvm1(), lab.kvm2());
        let pid = trial.qemu(kvm1)?;
        for end in [End::Killed, End::Asked] {
            restart(kvm1, end).with_context(|| format!("{end:?}"))?;
            ensure!(trial.qemu(kvm1)? == pid, "another QEMU after {end:?}");
            let shown = trial.shown(kvm1)?;
            ensure!(
                (shown.state.as_str(), shown.pid) == ("running", Some(pid)) && shown.persistent,
                "{end:?}: {shown:?}"
            );
            trial.unharmed_on(kvm1).with_context(|| format!("{end:?}"))?;
        }
        // A suspended guest is found suspended.
        kvm1.ferry_output(["suspend", trial.name()])?;
        restart(kvm1, End::Killed)?;
        state_is(&trial, kvm1, "suspended")?;
        kvm1.ferry_output(["resume", trial.name()])?;
        trial.unharmed_on(kvm1)?;

        trial.moves(kvm1, kvm2, &[])?;
        for host in lab.hosts() {
            restart(host, End::Killed)?;
        }
        state_is(&trial, kvm1, "moved")?;
        trial.unharmed_on(kvm2)?;
        trial.moves(kvm2, kvm1, &[])?;

        // A guest that ended while nobody watched is found shut off, and everything of it is gone.
        kvm1.kill_agent()?;
        kvm1.kill_qemu(&trial.guest.uuid)?;
        kvm1.start_agent()?;
        state_is(&trial, kvm1, "shut-off")?;
        trial.gave_back(kvm1)?;
        trial.starts_afresh_on(kvm1)?;
        kvm1.ferry_output(["shutdown", trial.name()])?;
        state_is(&trial, kvm1, "shut-off")?;
        let audit = trial.guest.records()?;
        ensure!(audit.lost() == 0 && audit.boots.len() == 2, "{audit:?}");
        Ok(())
    })
}

#[test]
fn idle_agents_are_killed_and_asked_to_end() -> Result<()> {
    play(|lab| {
        for end in [End::Killed, End::Asked] {
            for host in lab.hosts() {
                restart(host, end).with_context(|| format!("{end:?} on {}", host.name))?;
                let listed: Vec<serde_json::Value> = host.ferry_json(&["list", "--all"])?;
                ensure!(listed.is_empty(), "{listed:?}");
                let left = left_on(host)?;
                ensure!(left.is_empty(), "{left:?}");
            }
        }
        // An agent that was asked to end leaves no socket.
        lab.kvm1().stop_agent()?;
        ensure!(!lab.kvm1().socket().exists(), "the socket is left behind");
        let silence = lab.kvm1().ferry_refusal(&["list"])?;
        ensure!((silence.code.as_str(), silence.exit) == ("agent-unreachable", 3), "{silence:?}");
        lab.kvm1().start_agent()
    })
}

#[test]
fn a_second_agent_on_the_same_socket_is_refused() -> Result<()> {
    play(|lab| {
        let host = lab.kvm1();
        let mut second = host
            .namespace
            .command(host.ferry_program())
            .args(host.agent_arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let end = Instant::now() + HAPPENS;
        while second.try_wait()?.is_none() {
            if Instant::now() > end {
                second.kill()?;
            }
            thread::sleep(LOOK);
        }
        let output = second.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "it ended with {}: {said}", output.status);
        ensure!(said.contains("another agent answers on"), "{said}");
        // The first one is none the worse.
        host.ferry_output(["version"])?;
        Ok(())
    })
}
