//! A guest's TPM: swtpm, a process beside its QEMU, in the same cgroup. It ends by itself when its QEMU goes (`--terminate`),
//! so that a killed agent and a killed QEMU leave none behind; its state stays in its directory.
//!
//! The listening socket is made here and inherited, so QEMU's connection waits in the kernel until swtpm takes it. It
//! never decides what becomes of the state. Main functions: [`start`], [`end`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use domain::{Tpm, TpmVersion};
use rustix::process::Signal;

use super::cgroup::Placement;
use super::launch::{DirectoryPath, detach};
use super::locate::{all_pids, arguments_of, pidfd_of};
use crate::command_line::SWTPM_SOCKET;
use crate::limits;

/// The program, found in the system's directories.
const PROGRAM: &str = "swtpm";

/// The descriptor number under which swtpm inherits its listening socket.
const SOCKET_FD: i32 = 3;

/// Why a guest has no TPM.
#[derive(Debug, thiserror::Error)]
pub enum SwtpmError {
    /// A file or directory could not be made ready.
    #[error("could not {step} {}", path.display())]
    Prepare {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// It could not be executed.
    #[error("could not run swtpm, which is the guest's TPM; install it (package `swtpm`)")]
    Execute(#[source] io::Error),
}

/// Starts the TPM of the QEMU that is about to run in `run_directory`. Its own words go to `log`, and so do its errors: it
/// is QEMU that notices when it does not answer.
pub async fn start(tpm: Tpm, run_directory: &Path, state: &Path, log: &Path) -> Result<(), SwtpmError> {
    let prepare = |step, path: &Path| {
        let path = path.to_owned();
        move |source| SwtpmError::Prepare { step, path, source }
    };
    end(run_directory).await;
    for directory in [run_directory, state] {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(prepare("make the directory", directory))?;
    }
    let socket = run_directory.join(SWTPM_SOCKET);
    let listener = listen(run_directory).map_err(prepare("listen on the TPM's socket", &socket))?;
    let log_file = OpenOptions::new().append(true).create(true).mode(0o600).open(log);
    let log_file = log_file.map_err(prepare("write to the log", log))?;
    let mut child = execute(tpm, run_directory, state, listener, &log_file).map_err(SwtpmError::Execute)?;
    // Somebody has to reap it.
    tokio::spawn(async move { child.wait().await });
    Ok(())
}

fn listen(run_directory: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(run_directory.join(SWTPM_SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(DirectoryPath::open(run_directory)?.join(SWTPM_SOCKET))
}

fn execute(
    tpm: Tpm,
    run_directory: &Path,
    state: &Path,
    listener: UnixListener,
    log: &File,
) -> io::Result<tokio::process::Child> {
    let (mut command, procs) = match Placement::prepare(run_directory) {
        // QEMU follows into the same one, and whoever watches QEMU removes it.
        Placement::Leaf { cgroup: _, procs } => (Command::new(PROGRAM), Some(procs)),
        Placement::Scope { unit } => {
            let unit = format!("{}-tpm.scope", unit.trim_end_matches(".scope"));
            let mut command = Command::new("systemd-run");
            command.args(["--scope", "--quiet", "--collect", "--unit", &unit, "--", PROGRAM]);
            (command, None)
        }
        Placement::Inherited => (Command::new(PROGRAM), None),
    };
    command.args(["socket", "--terminate", "--tpmstate"]);
    command.arg(format!("dir={},mode=0600", state.display()));
    command.args(["--ctrl", &format!("type=unixio,fd={SOCKET_FD}"), "--pid", &pid_option(run_directory)]);
    match tpm.version {
        TpmVersion::V1 => {}
        TpmVersion::V2 => _ = command.arg("--tpm2"),
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    detach(&mut command, procs);
    command
        .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(listener), child_fd: SOCKET_FD }])
        .expect("there is only one mapping");
    tokio::process::Command::from(command).kill_on_drop(false).spawn()
}

/// What its command line has and no other's.
fn pid_option(run_directory: &Path) -> String {
    format!("file={}", run_directory.join("swtpm.pid").display())
}

/// Ends the TPM of a run directory, where one is left, and waits until it is gone and its state unlocked.
pub async fn end(run_directory: &Path) {
    let option = pid_option(run_directory);
    let is_its = |pid: u32| {
        let arguments = arguments_of(pid);
        arguments.windows(2).any(|pair| pair[0] == b"--pid" && pair[1] == option.as_bytes())
    };
    for pid in all_pids().unwrap_or_default() {
        if !is_its(pid) {
            continue;
        }
        let Ok(Some(pidfd)) = pidfd_of(pid) else { continue };
        // Read again: the process that the descriptor names can no longer change.
        if !is_its(pid) || rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).is_err() {
            continue;
        }
        let gone = super::watchable(pidfd.into());
        if let Ok(gone) = gone
            && tokio::time::timeout(limits::KILL_TIMEOUT, gone.readable()).await.is_err()
        {
            tracing::error!(pid, "swtpm does not end");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::TpmModel;

    use super::*;
    use crate::accelerator::Accelerator;
    use crate::command_line::{CommandLine, Plain};
    use crate::process::Process;

    const TPM: Tpm = Tpm { model: TpmModel::Crb, version: TpmVersion::V2, persistent_state: false };

    fn running(run_directory: &Path) -> Vec<u32> {
        let option = pid_option(run_directory).into_bytes();
        all_pids().unwrap().into_iter().filter(|pid| arguments_of(*pid).contains(&option)).collect()
    }

    async fn wait_until_none(run_directory: &Path) {
        let gone = async {
            while !running(run_directory).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it ends");
    }

    #[tokio::test]
    async fn a_tpm_lives_as_long_as_its_qemu_and_its_state_longer() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state, log) =
            (directory.path().join("run"), directory.path().join("tpm"), directory.path().join("log"));
        start(TPM, &run, &state, &log).await.unwrap();
        let mut line = CommandLine::probe("q35", Accelerator::Tcg, None);
        let socket = format!("socket,id=chardev-tpm,path={}", run.join(SWTPM_SOCKET).display());
        line.push(&Plain("-chardev", &socket));
        line.push(&Plain("-tpmdev", "emulator,id=tpmdev-0,chardev=chardev-tpm"));
        line.push(&Plain("-device", "tpm-crb,tpmdev=tpmdev-0"));
        let emulator = Path::new("/usr/bin/qemu-system-x86_64");
        let process = Process::spawn(emulator, &line, &run, &log).await.unwrap();
        assert_eq!(running(&run).len(), 1);
        process.kill();
        process.exited().await;
        wait_until_none(&run).await;
        assert!(fs::read_dir(&state).unwrap().count() > 0, "its state is kept");
    }

    #[tokio::test]
    async fn a_tpm_whose_qemu_never_came_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let (run, state, log) =
            (directory.path().join("run"), directory.path().join("tpm"), directory.path().join("log"));
        start(TPM, &run, &state, &log).await.unwrap();
        assert_eq!(running(&run).len(), 1);
        // Also the next start does so.
        start(TPM, &run, &state, &log).await.unwrap();
        assert_eq!(running(&run).len(), 1);
        end(&run).await;
        assert_eq!(running(&run), [0; 0]);
    }
}
