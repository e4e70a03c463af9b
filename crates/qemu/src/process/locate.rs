//! Finding the QEMU of a run directory among the machine's processes.
//!
//! The pidfile says which process, the pidfd pins it, and then its command line has to name this very pidfile: a
//! pid that the kernel gave to someone else in the meantime is not taken for QEMU. Nothing is started here.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;

use super::cgroup::Cgroup;
use super::launch::DirectoryPath;
use super::{FindError, PIDFILE, Process, QMP_SOCKET, Watched};
use crate::qmp::{ConnectError, Qmp};

pub(super) async fn find(run_directory: &Path) -> Result<Option<Process>, FindError> {
    let run_directory = std::path::absolute(run_directory)
        .map_err(|source| FindError::Read { path: run_directory.to_owned(), source })?;
    let Some((pid, pidfd)) = living(&run_directory)? else {
        for name in [QMP_SOCKET, PIDFILE] {
            // Missing files are as good as removed ones, and what stays is found again next time.
            let _ = fs::remove_file(run_directory.join(name));
        }
        if let Some(cgroup) = Cgroup::left_behind(&run_directory) {
            cgroup.remove().await;
        }
        return Ok(None);
    };
    let watched = Watched::new(pid, pidfd, None, Cgroup::of_process(pid))
        .map_err(|source| FindError::Pidfd { pid, source })?;
    let connected = tokio::select! {
        connected = connect(&run_directory) => connected,
        // It was about to end: as if it had not been there.
        _ = watched.exited() => return Ok(None),
    };
    match connected {
        Ok(qmp) => Ok(Some(Process { qmp, watched })),
        Err(source) => {
            let socket = run_directory.join(QMP_SOCKET);
            Err(FindError::Connect { pid, socket, source })
        }
    }
}

/// Connects to the QMP socket of a run directory, whatever the length of its path.
pub(super) async fn connect(run_directory: &Path) -> Result<Qmp, ConnectError> {
    let directory = DirectoryPath::open(run_directory).map_err(ConnectError::Socket)?;
    let stream = UnixStream::connect(directory.join(QMP_SOCKET)).await.map_err(ConnectError::Socket)?;
    Qmp::connect(stream).await
}

/// The living QEMU of a run directory, pinned by a pidfd.
pub(super) fn living(run_directory: &Path) -> Result<Option<(u32, OwnedFd)>, FindError> {
    let pidfile = run_directory.join(PIDFILE);
    let written = match fs::read_to_string(&pidfile) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(FindError::Read { path: pidfile, source }),
    };
    if let Some(pid) = written
        && let Some(pidfd) = pin(pid, &pidfile)?
    {
        return Ok(Some((pid, pidfd)));
    }
    // QEMU writes its pidfile a moment after it was started; an agent killed within that moment left one without.
    for pid in all_pids()? {
        if belongs(pid, &pidfile)
            && let Some(pidfd) = pin(pid, &pidfile)?
        {
            return Ok(Some((pid, pidfd)));
        }
    }
    Ok(None)
}

/// A pidfd for `pid` if it is the QEMU that was told to write `pidfile`.
fn pin(pid: u32, pidfile: &Path) -> Result<Option<OwnedFd>, FindError> {
    match pidfd_of(pid) {
        // Read after the pidfd was opened: the process it names can no longer change.
        Ok(pidfd) => Ok(pidfd.filter(|_| belongs(pid, pidfile))),
        Err(source) => Err(FindError::Pidfd { pid, source }),
    }
}

/// A descriptor that stands for a process, and not for the next one with its number.
pub(super) fn pidfd_of(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    match pidfd_open(raw, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => Ok(Some(pidfd)),
        // EINVAL: the number is a thread's.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the command line of a process holds `-pidfile PIDFILE`. That of a zombie is empty.
fn belongs(pid: u32, pidfile: &Path) -> bool {
    let wanted = pidfile.as_os_str().as_encoded_bytes();
    // A wrapper that is about to become QEMU, such as systemd-run, counts as well.
    arguments_of(pid).windows(2).any(|pair| pair[0] == b"-pidfile" && pair[1] == wanted)
}

/// The command line of a process; nothing where there is none.
pub(super) fn arguments_of(pid: u32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

pub(super) fn all_pids() -> Result<Vec<u32>, FindError> {
    let path = PathBuf::from("/proc");
    let entries = fs::read_dir(&path).map_err(|source| FindError::Read { path, source })?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}
