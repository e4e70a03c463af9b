//! A QEMU outlives the agent that started it, even when the agent's whole process group is killed.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use qemu::command::{QueryStatus, RunState};
use qemu::process::{Exit, Process};
use rustix::process::{Pid, Signal, kill_process_group};

/// `examples/spawn.rs`, which cargo builds beside the tests.
fn agent() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/spawn")
}

#[tokio::test]
async fn a_qemu_outlives_its_killed_agent() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Command::new(agent())
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
