//! Real QEMUs: started, found again, killed, outliving what started them, failing.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::accelerator::Accelerator;
use crate::command::{QueryStatus, Quit, RunState};
use crate::command_line::Plain;

const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";

/// A directory, and the QEMU in it, killed at the end whatever happened.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn run_directory(&self) -> PathBuf {
        // Longer than a socket path may be.
        self.directory.path().join("run".repeat(40))
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log/qemu.log")
    }

    async fn spawn(&self, line: &CommandLine) -> Result<Process, SpawnError> {
        Process::spawn(Path::new(EMULATOR), line, &self.run_directory(), &self.log()).await
    }

    async fn find(&self) -> Option<Process> {
        Process::find(&self.run_directory()).await.unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(Some((_, pidfd))) = locate::living(&self.run_directory()) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

fn line() -> CommandLine {
    let mut line = CommandLine::probe("q35", Accelerator::Tcg, None);
    line.push(&Plain("-m", "size=16M"));
    line
}

/// Field of `/proc/PID/stat` after the command, from 0: state, ppid, pgrp, session (proc_pid_stat(5)).
fn stat(pid: u32, field: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split(' ').nth(field).map(str::to_owned)
}

#[tokio::test]
async fn a_started_qemu_waits_and_ends() {
    let place = Place::new();
    let process = place.spawn(&line()).await.unwrap();
    let status = process.qmp.execute(QueryStatus).await.unwrap();
    assert_eq!((status.status, status.running), (RunState::Prelaunch, false));
    assert_eq!(stat(process.pid(), 3), Some(process.pid().to_string()), "a session of its own");
    let pidfile = std::fs::read_to_string(place.run_directory().join(PIDFILE)).unwrap();
    assert_eq!(pidfile.trim(), process.pid().to_string());
    let log = std::fs::read_to_string(place.log()).unwrap();
    assert!(log.lines().next().unwrap().contains("-machine q35,accel=tcg"), "{log}");

    process.qmp.execute(Quit).await.unwrap();
    let exit = process.exited().await;
    assert_eq!(exit.status.unwrap().code(), Some(0));
    process.qmp.closed().await;
    assert_eq!(stat(process.pid(), 0), None, "reaped");
    assert!(place.find().await.is_none());
}

#[tokio::test]
async fn a_killed_qemu_is_seen_and_reaped() {
    let place = Place::new();
    let process = place.spawn(&line()).await.unwrap();
    assert_eq!(process.exit(), None);
    let early = tokio::time::timeout(Duration::from_millis(1), process.exited()).await;
    assert!(early.is_err(), "it lives");
    process.kill();
    let exit = process.clone().exited().await;
    assert_eq!(exit.status.unwrap().signal(), Some(9));
    assert_eq!(process.exit(), Some(exit));
    assert_eq!(stat(process.pid(), 0), None, "reaped");
    process.kill();
    assert!(place.find().await.is_none());
    assert!(!place.run_directory().join(PIDFILE).exists(), "the stale pidfile is removed");
}

#[tokio::test]
async fn a_qemu_has_a_cgroup_of_its_own_that_goes_with_it() {
    let place = Place::new();
    let process = place.spawn(&line()).await.unwrap();
    let of = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let unified = |text: String| text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned));
    let (mine, its) = (unified(of("self")), unified(of(&process.pid().to_string())));
    match Placement::prepare(&place.run_directory()) {
        Placement::Leaf { .. } => assert_ne!(mine, its),
        Placement::Scope { .. } => return,
        Placement::Inherited => panic!("this machine has neither a writable cgroup version 2 nor systemd"),
    }
    process.kill();
    process.exited().await;
    assert!(Cgroup::left_behind(&place.run_directory()).is_none());
}

#[tokio::test]
async fn a_forgotten_qemu_is_found_again() {
    let place = Place::new();
    let first = place.spawn(&line()).await.unwrap();
    let pid = first.pid();
    drop(first);
    let found = place.find().await.expect("it lives");
    assert_eq!(found.pid(), pid);
    assert_eq!(found.qmp.execute(QueryStatus).await.unwrap().status, RunState::Prelaunch);
    drop(found);

    // As when the agent was killed before QEMU wrote its pidfile.
    std::fs::remove_file(place.run_directory().join(PIDFILE)).unwrap();
    let found = place.find().await.expect("it lives");
    assert_eq!(found.pid(), pid);
    found.kill();
    found.exited().await;
    assert!(place.find().await.is_none());
}

#[tokio::test]
async fn a_pidfile_that_names_someone_else_is_stale() {
    let place = Place::new();
    std::fs::create_dir_all(place.run_directory()).unwrap();
    assert!(place.find().await.is_none());
    for content in [std::process::id().to_string(), "0".into(), "-5".into(), "junk".into(), String::new()] {
        std::fs::write(place.run_directory().join(PIDFILE), content).unwrap();
        assert!(place.find().await.is_none());
        assert!(!place.run_directory().join(PIDFILE).exists());
    }
}

#[tokio::test]
async fn a_second_qemu_in_the_same_place_is_refused() {
    let place = Place::new();
    let first = place.spawn(&line()).await.unwrap();
    let second = place.spawn(&line()).await;
    assert!(matches!(second, Err(SpawnError::AlreadyRunning { pid, .. }) if pid == first.pid()));
    assert!(first.qmp.execute(QueryStatus).await.is_ok(), "the first is not disturbed");
    first.kill();
    first.exited().await;
    let second = place.spawn(&line()).await.unwrap();
    second.kill();
    second.exited().await;
}

#[tokio::test]
async fn a_qemu_that_dies_at_start_says_why() {
    let place = Place::new();
    let mut wrong = line();
    wrong.push(&Plain("-device", "warp-drive"));
    let error = place.spawn(&wrong).await.unwrap_err();
    let SpawnError::Died { status, log_tail } = &error else { panic!("{error:?}") };
    assert_eq!(status.unwrap().code(), Some(1));
    assert!(log_tail.contains("'warp-drive' is not a valid device model name"), "{log_tail}");
    assert!(!log_tail.contains("starting at"), "only what QEMU wrote");
    assert!(!place.run_directory().join(QMP_SOCKET).exists());
    assert!(place.find().await.is_none());
}

#[tokio::test]
async fn an_emulator_that_is_not_there_is_named() {
    let place = Place::new();
    let emulator = Path::new("/nowhere/qemu");
    let error = Process::spawn(emulator, &line(), &place.run_directory(), &place.log()).await.unwrap_err();
    assert_eq!(error.to_string(), "could not run the emulator /nowhere/qemu");
    assert!(!place.run_directory().join(QMP_SOCKET).exists());
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_qemu() {
    let place = Place::new();
    let mut living = None;
    {
        let line = line();
        let spawning = place.spawn(&line);
        tokio::pin!(spawning);
        // Polled until the process is there, then dropped before it has answered.
        while living.is_none() {
            let early = tokio::time::timeout(Duration::ZERO, &mut spawning).await;
            assert!(early.is_err(), "it was not caught in time");
            living = locate::living(&place.run_directory()).unwrap();
        }
    }
    let (pid, pidfd) = living.unwrap();
    let pidfd = watchable(Arc::new(pidfd)).unwrap();
    let _ = pidfd.readable().await.unwrap();
    while stat(pid, 0).is_some() {
        tokio::task::yield_now().await;
    }
    assert!(place.find().await.is_none());
    assert!(!place.run_directory().join(QMP_SOCKET).exists());
}

#[test]
fn errors_name_what_failed() {
    let status = ExitStatus::from_raw(0x100);
    let died = SpawnError::Died { status: Some(status), log_tail: "no such disk\n".into() };
    assert_eq!(died.to_string(), "QEMU ended while starting (exit status: 1): no such disk");
}
