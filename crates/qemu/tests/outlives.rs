//! A QEMU outlives the agent that started it, even when the agent's whole process group is killed; a probe does not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qemu::command::{QueryStatus, RunState};
use qemu::process::{Exit, Process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal, test_kill_process,
};

const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";

/// A program of `examples/`, which cargo builds beside the tests.
fn agent(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

#[tokio::test]
async fn a_qemu_outlives_its_killed_agent() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Command::new(agent("spawn"))
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let started = directory.path().join("started");
    while !started.exists() {
        assert!(agent.try_wait().unwrap().is_none(), "the agent ended by itself");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let group = Pid::from_raw(i32::try_from(agent.id()).unwrap()).unwrap();
    kill_process_group(group, Signal::KILL).unwrap();
    // Also its pipes are closed: QEMU must not write into them.
    drop((agent.stdout.take(), agent.stderr.take()));
    assert_eq!(agent.wait().unwrap().signal(), Some(9));

    let run_directory = directory.path().join("run");
    let found = Process::find(&run_directory).await.unwrap().expect("QEMU outlived its agent");
    assert_eq!(found.qmp.execute(QueryStatus).await.unwrap().status, RunState::Prelaunch);
    found.kill();
    assert_eq!(found.exited().await, Exit { status: None }, "it was not ours to reap");
    assert!(Process::find(&run_directory).await.unwrap().is_none(), "finding nothing clears up what is left");
}

#[test]
fn a_probe_ends_with_its_killed_agent() {
    let directory = tempfile::tempdir().unwrap();
    let (emulator, written) = (directory.path().join("emulator"), directory.path().join("pid"));
    // It freezes the agent, and then becomes a QEMU that waits for the agent's words for ever.
    let script = format!(
        "#!/bin/sh\nkill -STOP $PPID\necho $$ >{0}.new\nmv {0}.new {0}\nexec {EMULATOR} \"$@\"\n",
        written.display()
    );
    fs::write(&emulator, script).unwrap();
    fs::set_permissions(&emulator, Permissions::from_mode(0o700)).unwrap();
    let mut agent = Command::new(agent("probe"))
        .arg(&emulator)
        // What a killed agent leaves of a probe.
        .env("TMPDIR", directory.path())
        .spawn()
        .unwrap();
    let is_qemu = |pid: Pid| {
        let program = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok();
        program.as_deref() == Some(Path::new(EMULATOR))
    };
    let probe = loop {
        assert!(agent.try_wait().unwrap().is_none(), "the agent ended by itself");
        let pid =
            fs::read_to_string(&written).ok().and_then(|text| Pid::from_raw(text.trim().parse().unwrap()));
        match pid {
            Some(pid) if is_qemu(pid) => break pid,
            Some(_) | None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let pidfd = pidfd_open(probe, PidfdFlags::empty()).unwrap();
    test_kill_process(probe).unwrap();

    agent.kill().unwrap();
    agent.wait().unwrap();
    let within = Timespec { tv_sec: 10, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&within)).unwrap();
    // Not left behind by a test that fails.
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    assert_eq!(ended, 1, "the probe {probe:?} outlived its agent");
}
