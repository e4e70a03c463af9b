//! Starting QEMU: socket, log, session, cgroup, exec, handshake.
//!
//! The listening QMP socket is made here and inherited, so the first connection waits in the kernel until QEMU
//! takes it: nothing polls for a socket file. Everything that is taken is given back when a later step fails.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use command_fds::{CommandFdExt, FdMapping};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, set_parent_process_death_signal,
};

use super::cgroup::{Cgroup, Placement, scope_arguments};
use super::locate::{connect, living};
use super::{FindError, PIDFILE, Process, QMP_SOCKET, SpawnError, Watched};
use crate::command_line::CommandLine;
use crate::limits;

/// The descriptor number under which QEMU inherits its listening QMP socket.
const QMP_SOCKET_FD: i32 = 3;

/// Directories and files made here are root's alone.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// How long a QEMU lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// As long as it likes: a guest.
    Own,
    /// No longer than the agent: a probe, which nobody would look for.
    Agents,
}

pub(super) async fn spawn(
    emulator: &Path,
    line: &CommandLine,
    run_directory: &Path,
    log: &Path,
    life: Life,
) -> Result<Process, SpawnError> {
    let prepare = |step, path: &Path| {
        let path = path.to_owned();
        move |source| SpawnError::Prepare { step, path, source }
    };
    let run_directory =
        &std::path::absolute(run_directory).map_err(prepare("resolve the run directory", run_directory))?;
    make_directory(run_directory).map_err(prepare("make the run directory", run_directory))?;
    refuse_second(run_directory)?;

    let socket = run_directory.join(QMP_SOCKET);
    let listener = listen(run_directory).map_err(prepare("listen on the QMP socket", &socket))?;
    let made = Made { run_directory };
    let arguments = with_monitor(line, run_directory);
    let (log_file, log_start) =
        open_log(log, emulator, &arguments).map_err(prepare("write to the log", log))?;
    let log = Log { path: log, start: log_start };

    let placement = match life {
        Life::Own => Placement::prepare(run_directory),
        Life::Agents => Placement::Inherited,
    };
    let executed = execute(emulator, &arguments, listener, &log_file, placement, life);
    let (child, cgroup) =
        executed.map_err(|source| SpawnError::Execute { emulator: emulator.to_owned(), source })?;
    let process = greet(run_directory, child, cgroup, &log).await?;
    std::mem::forget(made);
    Ok(process)
}

/// From the running child to a QEMU that answers. Kills it if it does not, also when the caller gives up.
async fn greet(
    run_directory: &Path,
    mut child: tokio::process::Child,
    cgroup: Option<Cgroup>,
    log: &Log<'_>,
) -> Result<Process, SpawnError> {
    let pid = child.id().expect("the child was not waited for");
    let watch_error =
        |source| SpawnError::Prepare { step: "watch QEMU in", path: PathBuf::from("/proc"), source };
    let pidfd = pin(pid).inspect_err(|_| {
        // As in `Watched::new`.
        let _ = child.start_kill();
    });
    let pidfd = pidfd.map_err(watch_error)?;
    let watched = Watched::new(pid, pidfd, Some(child), cgroup).map_err(watch_error)?;
    let starting = Starting { watched: &watched, answered: Cell::new(false) };

    let after = limits::START_TIMEOUT;
    let connected = tokio::time::timeout(after, connect(run_directory)).await;
    let error = match connected {
        Ok(Ok(qmp)) => {
            starting.answered.set(true);
            drop(starting);
            return Ok(Process { qmp, watched });
        }
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    // A closed socket means that QEMU is ending; then its own exit status is the news.
    if let Some(crate::qmp::ConnectError::Silent { .. }) | None = error {
        watched.kill();
        watched.exited().await;
        let log_tail = log.tail();
        return Err(match error {
            Some(source) => SpawnError::Mute { log_tail, source },
            None => SpawnError::TimedOut { after, log_tail },
        });
    }
    if tokio::time::timeout(limits::KILL_TIMEOUT, watched.exited()).await.is_err() {
        watched.kill();
    }
    let exit = watched.exited().await;
    Err(SpawnError::Died { status: exit.status, log_tail: log.tail() })
}

fn pin(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    Ok(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// Kills a QEMU that did not get as far as answering.
struct Starting<'a> {
    watched: &'a Watched,
    answered: Cell<bool>,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if !self.answered.get() {
            self.watched.kill();
        }
    }
}

/// Socket and pidfile, removed unless QEMU took them over.
struct Made<'a> {
    run_directory: &'a Path,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for name in [QMP_SOCKET, PIDFILE] {
            // QEMU removes its pidfile itself when it ends in order.
            let _ = fs::remove_file(self.run_directory.join(name));
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

fn refuse_second(run_directory: &Path) -> Result<(), SpawnError> {
    match living(run_directory) {
        Ok(None) => Ok(()),
        Ok(Some((pid, _))) => {
            Err(SpawnError::AlreadyRunning { pid, run_directory: run_directory.to_owned() })
        }
        Err(FindError::Read { path, source }) => Err(SpawnError::Prepare { step: "read", path, source }),
        Err(
            FindError::Pidfd { source, .. }
            | FindError::Connect { source: crate::qmp::ConnectError::Socket(source), .. },
        ) => Err(SpawnError::Prepare { step: "look for a QEMU in", path: run_directory.to_owned(), source }),
        Err(FindError::Connect { pid, .. }) => {
            Err(SpawnError::AlreadyRunning { pid, run_directory: run_directory.to_owned() })
        }
    }
}

/// A directory held open, and named through `/proc` so that a socket path in it is always short: the kernel takes
/// 107 bytes at most (unix(7)).
pub(super) struct DirectoryPath {
    directory: File,
}

impl DirectoryPath {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { directory: File::open(path)? })
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()))
    }
}

fn listen(run_directory: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(run_directory.join(QMP_SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(DirectoryPath::open(run_directory)?.join(QMP_SOCKET))
}

/// The command line with the QMP monitor on the inherited socket, and the pidfile.
fn with_monitor(line: &CommandLine, run_directory: &Path) -> Vec<OsString> {
    let mut arguments = line.arguments();
    let chardev = format!("socket,id=qmp,fd={QMP_SOCKET_FD},server=on,wait=off");
    for argument in ["-chardev", &chardev, "-mon", "chardev=qmp,mode=control", "-pidfile"] {
        arguments.push(argument.into());
    }
    arguments.push(run_directory.join(PIDFILE).into());
    arguments
}

/// Where in the log this start begins.
struct Log<'a> {
    path: &'a Path,
    start: u64,
}

impl Log<'_> {
    /// The end of what was written since the start.
    fn tail(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.path)?;
            let end = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(self.start.max(end.saturating_sub(limits::LOG_TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.take(limits::LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(its log {} is not readable: {error})", self.path.display()),
        }
    }
}

fn open_log(path: &Path, emulator: &Path, arguments: &[OsString]) -> io::Result<(File, u64)> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let words = std::iter::once(emulator.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    let line: Vec<_> = words.map(quoted).collect();
    file.write_all(format!("starting at {seconds} seconds since 1970: {}\n", line.join(" ")).as_bytes())?;
    let start = file.stream_position()?;
    Ok((file, start))
}

/// A word as a shell reads it back.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

type Started = (tokio::process::Child, Option<Cgroup>);

fn execute(
    emulator: &Path,
    arguments: &[OsString],
    listener: UnixListener,
    log: &File,
    placement: Placement,
    life: Life,
) -> io::Result<Started> {
    let (mut command, cgroup, procs) = match placement {
        Placement::Leaf { cgroup, procs } => (Command::new(emulator), Some(cgroup), Some(procs)),
        Placement::Scope { unit } => {
            let mut command = Command::new("systemd-run");
            command.args(scope_arguments(&unit)).arg(emulator);
            (command, None, None)
        }
        Placement::Inherited => (Command::new(emulator), None, None),
    };
    command.args(arguments).current_dir("/").stdin(Stdio::null());
    if life == Life::Agents {
        end_with_agent(&mut command);
    }
    match try_execute(command, OwnedFd::from(listener), log, procs) {
        Ok(child) => Ok((child, cgroup)),
        Err(error) => {
            // No process ever was in it, so one try is enough.
            if let Some(Err(_)) = cgroup.map(Cgroup::try_remove) {
                tracing::warn!("could not remove the cgroup of a QEMU that did not start");
            }
            Err(error)
        }
    }
}

fn try_execute(
    mut command: Command,
    listener: OwnedFd,
    log: &File,
    procs: Option<File>,
) -> io::Result<tokio::process::Child> {
    command.stdout(log.try_clone()?).stderr(log.try_clone()?);
    detach(&mut command, procs);
    // After `detach`, so that the numbers it uses are still its own when it runs in the child.
    command
        .fd_mappings(vec![FdMapping { parent_fd: listener, child_fd: QMP_SOCKET_FD }])
        .expect("there is only one mapping");
    tokio::process::Command::from(command).kill_on_drop(false).spawn()
}

/// Makes the child leave the agent's session and, through `procs`, its cgroup, before it becomes QEMU.
#[expect(unsafe_code, reason = "a new session can only be made in the child between fork and exec")]
pub(super) fn detach(command: &mut Command, procs: Option<File>) {
    let hook = move || {
        rustix::process::setsid()?;
        if let Some(procs) = &procs {
            // "0" is the writing process itself (cgroups(7)).
            rustix::io::write(procs, b"0")?;
        }
        Ok(())
    };
    // SAFETY: the hook runs in the forked child of a threaded process, so it may only do what is async-signal-safe
    // and must not allocate. It makes two system calls, setsid and write, without memory of its own.
    unsafe {
        command.pre_exec(hook);
    }
}

/// Makes the child end when the agent does, however that comes.
///
/// The kernel tells a child when the *thread* ends that forked it (`PR_SET_PDEATHSIG`, prctl(2)). Here that is the one
/// that polls the caller: a worker of the runtime, or the thread in `block_on`. Both live as long as the agent; a worker
/// that called `block_in_place` would not, and clippy.toml forbids that. A thread of `spawn_blocking` ends when it has
/// had nothing to do for a while, but it polls nothing.
#[expect(unsafe_code, reason = "the signal can only be asked for in the child between fork and exec")]
fn end_with_agent(command: &mut Command) {
    let agent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // An agent that ended before that is no news any more.
        if getppid() != Some(agent) {
            return Err(Errno::SRCH.into());
        }
        Ok(())
    };
    // SAFETY: as in `detach`: two system calls, prctl and getppid, and an error that is a number.
    unsafe {
        command.pre_exec(hook);
    }
}
