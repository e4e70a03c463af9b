//! A KVM host of the lab: a network namespace, directories of its own, and the agent that runs in them.
//! Main type: [`Host`]. All its processes carry a path of the lab's directory on their command lines.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::{AGENT_START, AGENT_STOP, KILLED, LOOK, STATE_BYTES};
use crate::namespace::Namespace;
use crate::network;

/// Gives a process a wall clock of its own.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// The port that agents listen on for each other.
pub(crate) const PORT: u16 = 7700;

/// Another host, as an agent's configuration names it.
pub(crate) struct Neighbour {
    pub(crate) name: &'static str,
    pub(crate) address: Ipv4Addr,
}

/// Something that only the agent of one host sees, and the QEMUs that it starts: a mount in a namespace of its own,
/// which ends with the last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// An empty file system of a few KiB over a directory.
    Tmpfs {
        /// The directory.
        at: PathBuf,
        /// Its size in KiB.
        size_kib: u32,
    },
    /// Another file or directory in the place of one.
    Bind {
        /// What is shown.
        from: PathBuf,
        /// Where.
        at: PathBuf,
    },
    /// A directory that is read as before, and written elsewhere.
    Overlay {
        /// The directory.
        at: PathBuf,
        /// Where it is written; two directories are made in it.
        above: PathBuf,
    },
}

impl Mount {
    fn at(&self) -> &Path {
        match self {
            Mount::Tmpfs { at, .. } | Mount::Bind { at, .. } | Mount::Overlay { at, .. } => at,
        }
    }

    fn shell_line(&self) -> String {
        let quoted = |path: &Path| format!("'{}'", path.display());
        match self {
            Mount::Tmpfs { at, size_kib } => {
                format!("mount -t tmpfs -o size={size_kib}k,mode=0700 tmpfs {}\n", quoted(at))
            }
            Mount::Bind { from, at } => format!("mount --bind {} {}\n", quoted(from), quoted(at)),
            Mount::Overlay { at, above } => {
                let (lower, above) = (at.display(), above.display());
                format!(
                    "mkdir -p '{above}/upper' '{above}/work'\n\
                     mount -t overlay -o 'lowerdir={lower},upperdir={above}/upper,workdir={above}/work' overlay '{lower}'\n"
                )
            }
        }
    }
}

/// A command of `ferry` that was refused, as `--json` tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Refusal {
    /// The exit code.
    #[serde(skip)]
    pub exit: i32,
    /// The stable code.
    pub code: String,
    /// What was wrong.
    pub detail: String,
    /// What to do.
    #[serde(default)]
    pub mend: Option<String>,
    /// Every single thing that was wrong.
    #[serde(default)]
    pub details: Vec<Detail>,
}

/// One of several things that were wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Detail {
    /// The stable code.
    pub code: String,
    /// What was wrong.
    pub message: String,
    /// What to do.
    pub mend: String,
    /// Where in a document.
    #[serde(default)]
    pub line: Option<u32>,
    /// Where in its line.
    #[serde(default)]
    pub column: Option<u32>,
}

/// A host.
#[derive(Debug)]
pub struct Host {
    /// Its name for agents and people.
    pub name: &'static str,
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its address on the management network.
    pub address: Ipv4Addr,
    /// Everything that belongs to this host alone lies below.
    pub directory: PathBuf,
    ferry: Mutex<PathBuf>,
    /// What the agent sees besides, whenever it is started.
    sees: Mutex<Vec<Mount>>,
    /// What stands in QEMU's place, where something does.
    emulator: Option<PathBuf>,
    agent: Mutex<Option<Child>>,
}

impl Host {
    pub(crate) fn new(
        name: &'static str,
        namespace: Namespace,
        part: u8,
        directory: PathBuf,
        ferry: PathBuf,
        emulator: Option<PathBuf>,
    ) -> Host {
        Host {
            name,
            namespace,
            address: network::management(part),
            directory,
            ferry: Mutex::new(ferry),
            sees: Mutex::default(),
            emulator,
            agent: Mutex::new(None),
        }
    }

    /// Where the agent keeps its definitions and journals.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Where sockets and pidfiles are.
    pub fn run(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Where logs are; the agent's own is `agent.log`.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The agent's socket for the local root.
    pub fn socket(&self) -> PathBuf {
        self.run().join("ferry.sock")
    }

    /// What the agent itself has in its run directory: its socket and the lock of it, which outlives the agent.
    pub fn agent_files(&self) -> [PathBuf; 2] {
        [self.socket(), self.socket().with_extension("lock")]
    }

    /// The agent's configuration.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    /// Gives the agent's state a file system of its own, that can become full without filling anything else.
    pub(crate) fn mount_state(&self) -> Result<()> {
        mount_bounded(&self.state(), STATE_BYTES)
    }

    /// From now on the agent sees this whenever it is started.
    pub(crate) fn always_sees(&self, mount: Mount) {
        self.sees.lock().unwrap_or_else(PoisonError::into_inner).push(mount);
    }

    /// Makes the directories, the configuration, and where a CA is there, the certificate and an address for other hosts.
    pub(crate) fn prepare(
        &self,
        authority: Option<&Path>,
        shared: &Path,
        neighbours: &[Neighbour],
    ) -> Result<()> {
        for directory in [self.state(), self.run(), self.log()] {
            fs::create_dir_all(directory)?;
        }
        let mut text = self.configuration_text(shared);
        if let Some(authority) = authority {
            self.issue_certificate(authority)?;
            text += &format!("listen = \"{}\"\n", self.listen());
        }
        for Neighbour { name, address } in neighbours {
            text += &format!("\n[hosts.{name}]\naddress = \"{address}:{PORT}\"\n");
        }
        Ok(fs::write(self.configuration(), text)?)
    }

    fn issue_certificate(&self, authority: &Path) -> Result<()> {
        let issued = Command::new(self.ferry_program())
            .args(["ca", "issue", self.name, "--address", &self.address.to_string(), "--dir"])
            .arg(authority)
            .arg("--out")
            .arg(self.tls())
            .output()
            .context("ferry ca issue")?;
        ensure!(
            issued.status.success(),
            "ferry ca issue: {}",
            String::from_utf8_lossy(&issued.stderr).trim()
        );
        Ok(())
    }

    /// Where other hosts reach the agent.
    pub fn listen(&self) -> String {
        format!("{}:{PORT}", self.address)
    }

    /// Starts the agent and waits until it takes connections on its socket.
    ///
    /// # Errors
    /// When it is running already, ends at once or does not listen in time; with the end of its log.
    pub fn start_agent(&self) -> Result<()> {
        self.start_agent_seeing(&[])
    }

    /// Starts the agent where it sees what `mounts` put in its way.
    ///
    /// # Errors
    /// As [`Host::start_agent`].
    pub fn start_agent_seeing(&self, mounts: &[Mount]) -> Result<()> {
        // `ip netns exec` makes a mount namespace of its own.
        self.start(&mounts.iter().fold(String::new(), |lines, mount| lines + &mount.shell_line()))
    }

    /// Starts the agent with a wall clock of its own, which [`Host::set_clock`] sets; its monotonic clock stays the true
    /// one, as when an administrator sets the time.
    ///
    /// # Errors
    /// As [`Host::start_agent`].
    pub fn start_agent_with_clock(&self) -> Result<()> {
        self.set_clock(0)?;
        self.start(&format!(
            "export LD_PRELOAD='{FAKETIME}' FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_NO_CACHE=1\n\
             export FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1\n",
            self.clock().display()
        ))
    }

    /// Sets the agent's own wall clock to so many seconds before or after the true time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        // Renamed, so that the agent never reads half of it.
        let written = self.clock().with_extension("new");
        fs::write(&written, format!("{seconds:+}\n"))?;
        Ok(fs::rename(written, self.clock())?)
    }

    /// Starts the agent after the lines of `prelude`, for a shell, in which `"$@"` is the agent.
    ///
    /// # Errors
    /// As [`Host::start_agent`].
    pub fn start_agent_after(&self, prelude: &str) -> Result<()> {
        self.start(prelude)
    }

    fn start(&self, prelude: &str) -> Result<()> {
        let mut agent = self.agent();
        ensure!(agent.is_none(), "the agent of {} runs already", self.name);
        let sees = self.sees.lock().unwrap_or_else(PoisonError::into_inner);
        let mounts: String = sees.iter().map(Mount::shell_line).collect();
        let log = File::options().create(true).append(true).open(self.agent_log())?;
        let child = self
            .namespace
            .command("sh")
            .args(["-c", &format!("set -e\n{mounts}{prelude}exec \"$@\""), "sh"])
            .arg(self.ferry_program())
            .args(self.agent_arguments())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("ip netns exec")?;
        let child = agent.insert(child);
        let end = Instant::now() + AGENT_START;
        while !listens(&self.socket(), child.id()) {
            if let Some(status) = child.try_wait()? {
                *agent = None;
                bail!("the agent of {} ended: {status}\n{}", self.name, crate::tail(&self.agent_log()));
            }
            if Instant::now() > end {
                bail!("the agent of {} does not listen\n{}", self.name, crate::tail(&self.agent_log()));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The arguments that make `ferry` the agent of this host.
    pub fn agent_arguments(&self) -> [OsString; 3] {
        ["agent".into(), "--config".into(), self.configuration().into()]
    }

    /// A path as the agent sees it, whatever is mounted in its way.
    ///
    /// # Errors
    /// When no agent runs.
    pub fn seen_by_agent(&self, path: &Path) -> Result<PathBuf> {
        let pid = self.agent_pid().with_context(|| format!("no agent runs on {}", self.name))?;
        Ok(Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// Kills the agent with `kill -9`, as a crash would.
    ///
    /// # Errors
    /// When it does not run: a fault that did not happen proves nothing.
    pub fn kill_agent(&self) -> Result<()> {
        let mut child = self.agent().take().with_context(|| format!("no agent of {} to kill", self.name))?;
        ensure!(child.try_wait()?.is_none(), "the agent of {} had ended by itself", self.name);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks the agent to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not run or does not end in time.
    pub fn stop_agent(&self) -> Result<()> {
        let mut child = self.agent().take().with_context(|| format!("no agent of {} to stop", self.name))?;
        signal(child.id(), Signal::TERM)?;
        let end = Instant::now() + AGENT_STOP;
        while child.try_wait()?.is_none() {
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                bail!("the agent of {} did not end within {AGENT_STOP:?}", self.name);
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Freezes the agent (SIGSTOP): it keeps its connections and answers nothing, as on a host that hangs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze_agent(&self) -> Result<()> {
        self.signal_agent(Signal::STOP)
    }

    /// Lets a frozen agent go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw_agent(&self) -> Result<()> {
        self.signal_agent(Signal::CONT)
    }

    /// Whether an agent that was started here is still running.
    pub fn agent_runs(&self) -> bool {
        self.agent().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What this host has put into the management network so far, by its link's own counter. A packet that the network
    /// card would still divide counts once, with one head.
    ///
    /// # Errors
    /// When `ip` cannot tell.
    pub fn sent_bytes(&self) -> Result<u64> {
        network::sent_bytes(&self.namespace)
    }

    /// The agent's process.
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent().as_ref().map(Child::id)
    }

    /// The agent's own log.
    pub fn agent_log(&self) -> PathBuf {
        self.log().join("agent.log")
    }

    /// `ferry`, to be run on this host against its agent.
    pub fn ferry(&self) -> Command {
        let mut command = self.namespace.command(self.ferry_program());
        command.arg("--socket").arg(self.socket());
        command
    }

    /// The program itself, for commands that need no agent.
    pub fn ferry_program(&self) -> PathBuf {
        self.ferry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another `ferry` in the place of the one that is installed: for commands at once, for the agent when it is
    /// started the next time.
    pub fn install(&self, ferry: PathBuf) {
        *self.ferry.lock().unwrap_or_else(PoisonError::into_inner) = ferry;
    }

    /// What [`Host::ferry`] is for a person's shell.
    pub fn ferry_line(&self) -> String {
        let command = self.ferry();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    /// Runs `ferry` and returns what it prints.
    ///
    /// # Errors
    /// When it does not exit with 0; with what it said.
    pub fn ferry_output<I, S>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.ferry();
        let output = command.args(arguments).output().context("ip netns exec")?;
        ensure!(
            output.status.success(),
            "on {}: {command:?}: {}: {}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ferry --json` and reads what it prints.
    ///
    /// # Errors
    /// When it does not exit with 0, or prints something else.
    pub fn ferry_json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.ferry_output(["--json"].iter().chain(arguments))?;
        serde_json::from_str(&text).with_context(|| format!("ferry {} printed: {text}", arguments.join(" ")))
    }

    /// Runs `ferry --json`, which is to fail, and reads why.
    ///
    /// # Errors
    /// When it succeeds, or does not say in its own form why it failed.
    pub fn ferry_refusal(&self, arguments: &[&str]) -> Result<Refusal> {
        let output = self.ferry().arg("--json").args(arguments).output().context("ip netns exec")?;
        let (said, printed) =
            (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        let line = format!("on {}: ferry {}", self.name, arguments.join(" "));
        ensure!(!output.status.success(), "{line}: was to be refused, and was done: {printed}");
        #[derive(Deserialize)]
        struct Said {
            error: Refusal,
        }
        let Said { error } = serde_json::from_str(&said)
            .with_context(|| format!("{line}: {}: {printed}{said}", output.status))?;
        Ok(Refusal { exit: output.status.code().unwrap_or(-1), ..error })
    }

    /// The QEMUs of this host, by their pidfiles, as UUID and process; only those that live.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn qemus(&self) -> Result<Vec<(String, u32)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.run())? {
            let entry = entry?;
            let Ok(text) = fs::read_to_string(entry.path().join("qemu.pid")) else { continue };
            let Ok(pid) = text.trim().parse::<u32>() else { continue };
            let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let path = self.directory.as_os_str().as_encoded_bytes();
            // The pidfile of a process that is gone may name somebody else's process.
            if command_line.windows(path.len()).any(|window| window == path) {
                found.push((entry.file_name().to_string_lossy().into_owned(), pid));
            }
        }
        Ok(found)
    }

    /// The QEMU of a domain.
    ///
    /// # Errors
    /// When there is none.
    pub fn qemu(&self, uuid: &str) -> Result<u32> {
        let found = self.qemus()?.into_iter().find(|(of, _)| of == uuid).map(|(_, pid)| pid);
        found.with_context(|| format!("no QEMU of {uuid} on {}", self.name))
    }

    /// Freezes the QEMU of a domain (SIGSTOP): its guest stands still, and nobody is answered.
    ///
    /// # Errors
    /// When there is none.
    pub fn freeze_qemu(&self, uuid: &str) -> Result<()> {
        signal(self.qemu(uuid)?, Signal::STOP)
    }

    /// Lets a frozen QEMU go on.
    ///
    /// # Errors
    /// When there is none.
    pub fn thaw_qemu(&self, uuid: &str) -> Result<()> {
        signal(self.qemu(uuid)?, Signal::CONT)
    }

    /// Kills the QEMU of a domain with `kill -9` and waits until it is gone.
    ///
    /// # Errors
    /// When there is none: a fault that did not happen proves nothing.
    pub fn kill_qemu(&self, uuid: &str) -> Result<()> {
        kill_all(&[self.qemu(uuid)?])
    }

    /// Kills both QEMUs of a domain that is being migrated. They are found before either dies: an agent ends its own as soon
    /// as it hears that the other one is gone.
    ///
    /// # Errors
    /// As [`Host::kill_qemu`].
    pub fn kill_both_qemus(&self, other: &Host, uuid: &str) -> Result<()> {
        kill_all(&[self.qemu(uuid)?, other.qemu(uuid)?])
    }

    /// Waits until no connection of this host's is on its way to somebody who does not answer (`SYN_SENT`, proc(5)). A QEMU
    /// whose migration was cancelled meanwhile begins no other one before.
    ///
    /// # Errors
    /// When one is still on its way.
    pub fn wait_until_connected(&self, within: Duration) -> Result<()> {
        const SYN_SENT: &str = "02";
        let end = Instant::now() + within;
        loop {
            if !self.connections()?.lines().any(|line| line.split_whitespace().nth(3) == Some(SYN_SENT)) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "a connection of {} is still not made", self.name);
            thread::sleep(LOOK);
        }
    }

    /// The ports from which this host has connections open to agents of others.
    ///
    /// # Errors
    /// When no agent runs.
    pub fn ports_to_agents(&self) -> Result<Vec<u16>> {
        const ESTABLISHED: &str = "01";
        let of = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
        let table = self.connections()?;
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let open = lines.filter(|words| words.get(3) == Some(&ESTABLISHED));
        Ok(open.filter(|words| of(words[2]) == Some(PORT)).filter_map(|words| of(words[1])).collect())
    }

    /// The TCP connections of this host (proc(5), `/proc/net/tcp`).
    fn connections(&self) -> Result<String> {
        let pid = self.agent_pid().with_context(|| format!("no agent runs on {}", self.name))?;
        Ok(fs::read_to_string(format!("/proc/{pid}/net/tcp"))?)
    }

    /// Makes a directory read-only for everything that the agent opens from now on. An agent that is started later sees
    /// nothing of it.
    ///
    /// # Errors
    /// When no agent runs, or `mount` refuses.
    pub fn lock(&self, directory: &Path) -> Result<()> {
        let path = directory.display();
        self.in_agents_mounts(&format!("mount --bind '{path}' '{path}' && mount -o remount,bind,ro '{path}'"))
    }

    /// Undoes [`Host::lock`].
    ///
    /// # Errors
    /// When no agent runs, or `umount` refuses.
    pub fn unlock(&self, directory: &Path) -> Result<()> {
        self.in_agents_mounts(&format!("umount --lazy '{}'", directory.display()))
    }

    /// Runs a command with its words in the host's network namespace.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn run_line(&self, line: &str) -> Result<()> {
        let (program, words) = line.split_once(' ').context("a program and its words")?;
        let output =
            self.namespace.command(program).args(words.split(' ')).output().context("ip netns exec")?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Restarts the agent with another configuration while `look` looks.
    ///
    /// # Errors
    /// When the configuration is not another one, the agent does not start or stop; and as `look`.
    pub fn configured(
        &self,
        change: impl FnOnce(&str) -> String,
        look: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let before = fs::read_to_string(self.configuration())?;
        let after = change(&before);
        ensure!(before != after, "the configuration was not changed");
        self.stop_agent()?;
        fs::write(self.configuration(), after)?;
        self.start_agent()?;
        look()?;
        self.stop_agent()?;
        fs::write(self.configuration(), before)?;
        self.start_agent()
    }

    /// Has the running agent see another mount while `look` looks.
    ///
    /// # Errors
    /// When no agent runs, it cannot be mounted or unmounted; and as `look`.
    pub fn seeing(&self, mount: &Mount, look: impl FnOnce() -> Result<()>) -> Result<()> {
        self.in_agents_mounts(&format!("set -e\n{}", mount.shell_line()))?;
        let looked = look();
        let at = mount.at().display();
        let undone = self.in_agents_mounts(&format!("umount '{at}' || umount --lazy '{at}'"));
        looked.and(undone)
    }

    fn in_agents_mounts(&self, script: &str) -> Result<()> {
        let pid = self.agent_pid().with_context(|| format!("no agent runs on {}", self.name))?;
        let output = Command::new("nsenter")
            .args(["--mount", "--target", &pid.to_string(), "sh", "-c", script])
            .output()
            .context("nsenter")?;
        ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn clock(&self) -> PathBuf {
        self.directory.join("clock")
    }

    fn signal_agent(&self, what: Signal) -> Result<()> {
        ensure!(self.agent_runs(), "no agent runs on {}", self.name);
        signal(self.agent_pid().context("no agent")?, what)
    }

    /// Its certificate and key.
    pub fn tls(&self) -> PathBuf {
        self.directory.join("tls")
    }

    /// The agent's configuration, but for other hosts.
    fn configuration_text(&self, shared: &Path) -> String {
        let quoted = |path: PathBuf| format!("{:?}", path.to_string_lossy());
        let mut text = format!(
            "host = \"{}\"\nstate_dir = {}\nrun_dir = {}\nlog_dir = {}\nsocket = {}\ntls_dir = {}\n\
             allowed_paths = [{}]\n",
            self.name,
            quoted(self.state()),
            quoted(self.run()),
            quoted(self.log()),
            quoted(self.socket()),
            quoted(self.tls()),
            quoted(shared.to_owned()),
        );
        if let Some(emulator) = &self.emulator {
            text += &format!("emulators = [{}]\n", quoted(emulator.clone()));
        }
        text
    }

    fn agent(&self) -> MutexGuard<'_, Option<Child>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file system of its own over a directory, that can become full without filling anything else.
pub(crate) fn mount_bounded(directory: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(directory)?;
    let flags = MountFlags::NODEV | MountFlags::NOEXEC;
    let data = CString::new(format!("size={}k,mode=0700", bytes >> 10))?;
    mount("ferry-lab", directory, "tmpfs", flags, Some(data.as_c_str())).context("a tmpfs")
}

/// What fills a directory's file system.
const BALLAST: &str = "ballast";

/// Fills a directory's file system, which must be one of its own, to the last byte.
///
/// # Errors
/// When it does not become full.
pub fn fill(directory: &Path) -> Result<()> {
    let mut ballast = File::create(directory.join(BALLAST))?;
    let block = [0; 4096];
    loop {
        match ballast.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("{} is to be full", directory.display()));
            }
        }
    }
}

/// Undoes [`fill`].
///
/// # Errors
/// When it was not filled.
pub fn free(directory: &Path) -> Result<()> {
    fs::remove_file(directory.join(BALLAST)).with_context(|| format!("what fills {}", directory.display()))
}

/// Whether this very process listens on a socket. A connection alone says less: a killed agent's socket is also held by
/// the child that it was about to make into a QEMU.
fn listens(socket: &Path, pid: u32) -> bool {
    let Ok(stream) = UnixStream::connect(socket) else { return false };
    socket_peercred(&stream).is_ok_and(|listener| listener.pid.as_raw_nonzero().get().unsigned_abs() == pid)
}

/// Sends a signal to a process that is there now, never to one that took its number since.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process number")?;
    let process = pidfd_open(number, PidfdFlags::empty()).with_context(|| format!("process {pid}"))?;
    pidfd_send_signal(&process, signal).with_context(|| format!("process {pid}"))
}

fn kill_all(pids: &[u32]) -> Result<()> {
    pids.iter().try_for_each(|pid| signal(*pid, Signal::KILL))?;
    pids.iter().try_for_each(|pid| {
        ensure!(gone_within(*pid, KILLED), "QEMU {pid} survives SIGKILL");
        Ok(())
    })
}

/// Waits until a process is gone, or only waits for its parent.
pub(crate) fn gone_within(pid: u32, within: Duration) -> bool {
    let end = Instant::now() + within;
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // proc_pid_stat(5): the state follows the name in brackets.
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        if matches!(state, None | Some('Z' | 'X')) {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(LOOK);
    }
}
