//! The QEMU process: started so that it outlives the agent, found again, watched, killed.
//!
//! ```text
//! spawn ─► socket bound ─► child: setsid, own cgroup ─► exec ─► QMP handshake ─► Process
//! find  ─► qemu.pid ─► pidfd ─► is its command line ours? ─► QMP handshake ─► Process
//! ```
//!
//! QEMU has a session and, where the machine lets it, a cgroup of its own, and writes to its log, so that neither a
//! signal to the agent's process group nor the end of the agent's service or terminal reaches it. Dropping a
//! [`Process`] leaves QEMU running. Only a probe, which has no guest, ends with the agent. It never decides whether QEMU should run. The main type is [`Process`].

mod cgroup;
mod connecting;
mod launch;
mod locate;
pub mod swtpm;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::watch;

use self::cgroup::Cgroup;
#[cfg(test)]
use self::cgroup::Placement;
use self::launch::Life;
use crate::command_line::CommandLine;
use crate::qmp::{ConnectError, Qmp};

/// Name of the QMP socket within the run directory.
pub const QMP_SOCKET: &str = "qmp.sock";

/// Name of QEMU's pidfile within the run directory.
pub const PIDFILE: &str = "qemu.pid";

/// Why QEMU did not start. Nothing of it runs any more, and its socket and pidfile are gone.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A QEMU already lives in this run directory.
    #[error("a QEMU with pid {pid} already runs in {}", run_directory.display())]
    AlreadyRunning {
        /// Its process id.
        pid: u32,
        /// The directory.
        run_directory: PathBuf,
    },
    /// A directory or file could not be made ready.
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
    /// The emulator could not be executed.
    #[error("could not run the emulator {}", emulator.display())]
    Execute {
        /// The program.
        emulator: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// QEMU ended before it answered.
    #[error("QEMU ended while starting ({}): {}", shown(*status), log_tail.trim())]
    Died {
        /// How it ended, if that is known.
        status: Option<ExitStatus>,
        /// The end of what it wrote.
        log_tail: String,
    },
    /// QEMU lives but did not answer on QMP; it was killed.
    #[error("QEMU does not answer on its QMP socket and was killed: {}", log_tail.trim())]
    Mute {
        /// The end of what it wrote.
        log_tail: String,
        /// What went wrong.
        #[source]
        source: ConnectError,
    },
    /// QEMU did not answer within the time for starting; it was killed.
    #[error("QEMU was not ready within {after:?} and was killed: {}", log_tail.trim())]
    TimedOut {
        /// How long was waited.
        after: std::time::Duration,
        /// The end of what it wrote.
        log_tail: String,
    },
}

/// Why it is not known whether a QEMU lives in a run directory, or why it cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The process could not be watched.
    #[error("could not open a pidfd for QEMU with pid {pid}")]
    Pidfd {
        /// Its process id.
        pid: u32,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// QEMU lives, but does not talk. It may be hung, or another agent may hold its monitor.
    #[error("QEMU with pid {pid} lives but does not answer on {}", socket.display())]
    Connect {
        /// Its process id.
        pid: u32,
        /// Its QMP socket.
        socket: PathBuf,
        /// What went wrong.
        #[source]
        source: ConnectError,
    },
}

/// How a QEMU ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Known only to the agent that started it.
    pub status: Option<ExitStatus>,
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(self.status))
    }
}

fn shown(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "exit status unknown".to_owned(), |status| status.to_string())
}

/// A running QEMU; clones share it. QEMU goes on when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its QMP connection.
    pub qmp: Qmp,
    watched: Watched,
}

/// What is known of a process without talking to it.
#[derive(Clone, Debug)]
struct Watched {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Starts QEMU and waits until it answers on QMP.
    ///
    /// `run_directory` is made (0700) where missing; `qmp.sock` and `qemu.pid` in it are QEMU's. The log is appended
    /// to, beginning with a line that holds the command line. QEMU is started with `-S`: its guest waits for `cont`.
    pub async fn spawn(
        emulator: &Path,
        line: &CommandLine,
        run_directory: &Path,
        log: &Path,
    ) -> Result<Self, SpawnError> {
        launch::spawn(emulator, line, run_directory, log, Life::Own).await
    }

    /// The same for a QEMU that ends with the agent, even with one that is killed: it has no guest, and no other agent
    /// would look for it. Where the agent's service is stopped, it is stopped too.
    pub(crate) async fn spawn_probe(
        emulator: &Path,
        line: &CommandLine,
        run_directory: &Path,
        log: &Path,
    ) -> Result<Self, SpawnError> {
        launch::spawn(emulator, line, run_directory, log, Life::Agents).await
    }

    /// Finds the QEMU of a run directory again, as after a restart of the agent; `None` where none lives, in which
    /// case its socket and pidfile are removed.
    ///
    /// QEMU serves one QMP client at a time, so this connects only once the former connection is closed.
    pub async fn find(run_directory: &Path) -> Result<Option<Self>, FindError> {
        locate::find(run_directory).await
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.watched.pid
    }

    /// Resolves when the process is gone and, where it is a child, reaped. Cancel safe; may be awaited often.
    pub async fn exited(&self) -> Exit {
        self.watched.exited().await
    }

    /// How it ended; `None` while it lives.
    pub fn exit(&self) -> Option<Exit> {
        *self.watched.exit.borrow()
    }

    /// Breaks the TCP connections that it is still making, as those of a migration that was cancelled before the target
    /// answered. Says how many there were.
    ///
    /// # Errors
    /// Those of reading `/proc` and of `pidfd_getfd(2)`, which wants the right to trace the process.
    pub fn break_off_connecting(&self) -> io::Result<usize> {
        connecting::break_off(self.pid(), &self.watched.pidfd)
    }

    /// Sends SIGKILL. The guest stops at once and nothing of its memory is left. Killing what is gone does nothing.
    pub fn kill(&self) {
        self.watched.kill();
    }
}

impl Watched {
    /// Starts to watch a process; its cgroup is removed once it is gone. Needs a tokio runtime.
    fn new(pid: u32, pidfd: OwnedFd, mut child: Option<Child>, cgroup: Option<Cgroup>) -> io::Result<Self> {
        let pidfd = Arc::new(pidfd);
        let readable = watchable(Arc::clone(&pidfd)).inspect_err(|_| {
            if let Some(child) = &mut child {
                // The error at hand is the news; what was started and cannot be watched must not stay.
                let _ = child.start_kill();
            }
        })?;
        let (sender, exit) = watch::channel(None);
        tokio::spawn(watch_process(pid, readable, child, cgroup, sender));
        Ok(Self { pid, pidfd, exit })
    }

    async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let waited = exit.wait_for(Option::is_some).await.map(|exit| *exit);
        // The watching task ends without a value only when the runtime shuts down, and then nobody is polled.
        waited.ok().flatten().unwrap_or(Exit { status: None })
    }

    fn kill(&self) {
        match pidfd_send_signal(self.pidfd.as_fd(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::error!(pid = self.pid, %error, "could not kill QEMU"),
        }
    }
}

/// Has the runtime watch a pidfd.
#[expect(unsafe_code, reason = "tokio offers no safe way to watch a descriptor of the caller's")]
fn watchable(pidfd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the descriptor is owned by the `Arc` that the `AsyncFd` holds, and nothing can swap or close it before
    // the `AsyncFd` has unregistered it and dropped the `Arc`.
    let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    Ok(watched?)
}

/// A pidfd is readable once its process has ended (pidfd_open(2)).
async fn watch_process(
    pid: u32,
    pidfd: AsyncFd<Arc<OwnedFd>>,
    child: Option<Child>,
    cgroup: Option<Cgroup>,
    exit: watch::Sender<Option<Exit>>,
) {
    if let Err(error) = pidfd.readable().await {
        tracing::error!(pid, %error, "could not wait for QEMU to end");
        return;
    }
    let status = match child {
        Some(mut child) => child.wait().await.ok(),
        None => None,
    };
    let ended = Exit { status };
    tracing::debug!(pid, %ended, "QEMU ended");
    // A child is reaped here, so its cgroup goes at once; another process when whoever inherited it has reaped it.
    let cgroup = cgroup.and_then(|cgroup| cgroup.try_remove().err());
    exit.send_replace(Some(ended));
    if let Some(cgroup) = cgroup {
        cgroup.remove().await;
    }
}

#[cfg(test)]
mod tests;
