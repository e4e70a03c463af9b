//! Bridges in the own configuration of whatever configures a host's links, so that they are there again after a reboot:
//! systemd-networkd, NetworkManager or ifupdown. What is to be written and run is computed first and can be kept, so
//! that somebody else can undo it. Main type: [`Native`].

mod ifupdown;
mod network_manager;
mod networkd;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde::{Deserialize, Serialize};

use crate::limits::COMMAND_WITHIN;
use crate::link::{Link, colons};
use crate::{Network, NetworkError};

/// Who may read a new file: networkd is not root.
const MODE: u32 = 0o644;

/// What configures a link, by the name that people know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// systemd-networkd(8); netplan often writes what it reads.
    Networkd,
    /// NetworkManager(8).
    NetworkManager,
    /// ifup(8), of Debian.
    Ifupdown,
}

impl Keeper {
    /// Its own name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Keeper::Networkd => "systemd-networkd",
            Keeper::NetworkManager => "NetworkManager",
            Keeper::Ifupdown => "ifupdown",
        }
    }
}

/// A bridge as it is to be configured.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The bridge's name.
    pub bridge: &'a str,
    /// The link whose place it takes, or whose VLAN it carries.
    pub uplink: &'a Link,
    /// The bridge's address.
    pub mac: [u8; 6],
    /// Of bridge and uplink, in bytes.
    pub mtu: u32,
    /// Whether the MTU was asked for, so that it must be written down.
    pub mtu_asked: bool,
    /// The VLAN that gets a link.
    pub vlan: Option<&'a crate::NewVlan>,
}

/// One step of writing or of letting it take effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A file has this text.
    Write {
        /// The file.
        path: PathBuf,
        /// All of it.
        text: String,
    },
    /// A file is not there.
    Remove {
        /// The file.
        path: PathBuf,
    },
    /// A program is run, with its arguments.
    Run {
        /// The words of the command line.
        words: Vec<String>,
    },
    /// A link is not there.
    Unlink {
        /// The link.
        link: String,
    },
    /// A profile of NetworkManager is not there.
    Forget {
        /// Its name.
        profile: String,
    },
    /// A file of ifupdown has nothing of a bridge, and its lines that gave way to the bridge again.
    Release {
        /// The file.
        path: PathBuf,
        /// The bridge.
        bridge: String,
    },
}

/// What configures the bridge, and what takes that back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Native {
    /// Whose configuration it is.
    pub keeper: Keeper,
    /// In order.
    pub make: Vec<Step>,
    /// In order; each is right also where nothing has been made.
    pub unmake: Vec<Step>,
}

impl Native {
    /// How the bridge is configured where something configures its uplink; `None` where nothing does.
    ///
    /// # Errors
    /// [`NetworkError::Native`] where a configuration cannot be read, or cannot have such a bridge.
    pub async fn plan(wanted: &Wanted<'_>) -> Result<Option<Native>, NetworkError> {
        // What configures links does so where the first process is.
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        if namespace("thread-self") != namespace("1") {
            return Ok(None);
        }
        let uplink = wanted.uplink.clone();
        if let Some(found) = blocking(move || networkd::find(Path::new("/"), &uplink)).await? {
            return Ok(Some(networkd::plan(wanted, &found)));
        }
        if let Some(profile) = network_manager::find(Path::new("/"), &wanted.uplink.name).await? {
            return network_manager::plan(wanted, &profile).map(Some);
        }
        let uplink = wanted.uplink.name.clone();
        let found = blocking(move || ifupdown::find(Path::new("/"), &uplink)).await?;
        Ok(found.map(|found| ifupdown::plan(wanted, &found)))
    }
}

impl Network {
    /// Takes a step.
    ///
    /// # Errors
    /// [`NetworkError::Native`] where a file cannot be written or a program fails, [`NetworkError::Netlink`].
    pub async fn step(&self, step: &Step) -> Result<(), NetworkError> {
        match step.clone() {
            Step::Write { path, text } => on_file("write", path, move |path| write(path, &text)).await,
            Step::Remove { path } => on_file("remove", path, remove).await,
            Step::Release { path, bridge } => {
                on_file("rewrite", path, move |path| ifupdown::release(path, &bridge)).await
            }
            Step::Run { words } => run(&words).await.map(drop),
            Step::Unlink { link } => self.remove(&link).await,
            Step::Forget { profile } => network_manager::forget(&profile).await,
        }
    }
}

fn native(what: String, source: io::Error) -> NetworkError {
    NetworkError::Native { what, source }
}

async fn on_file(
    verb: &str,
    path: PathBuf,
    job: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) -> Result<(), NetworkError> {
    let what = format!("{verb} {}", path.display());
    blocking(move || job(&path)).await.map_err(|source| native(what, source))
}

/// Does what waits for a disk on a thread that nothing else waits for.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// All of it or nothing, and for good: the host may lose its power next. A file that is there keeps its owner and who may
/// read it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // A link to a file stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let beside = directory.join(format!(".ferry-{}", std::process::id()));
    let written = write_as(path, &beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What cannot be removed either is a file that nobody reads.
        drop(fs::remove_file(&beside));
        return written;
    }
    File::open(directory)?.sync_all()
}

fn write_as(path: &Path, beside: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(beside)?;
    let mode = match fs::metadata(path) {
        Ok(before) => {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
            before.permissions().mode()
        }
        Err(_) => MODE,
    };
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs a program to its end, and gives what it printed.
async fn run(words: &[String]) -> Result<String, NetworkError> {
    let output = output(words).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(words, &output))
}

async fn output(words: &[String]) -> Result<Output, NetworkError> {
    let (program, arguments) = words.split_first().expect("a step names its program");
    let said = |source| native(format!("run `{}`", words.join(" ")), source);
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_WITHIN, command.output()).await;
    output.map_err(|_elapsed| said(io::ErrorKind::TimedOut.into()))?.map_err(said)
}

fn failed(words: &[String], output: &Output) -> NetworkError {
    let complaint = String::from_utf8_lossy(&output.stderr);
    let source = io::Error::other(format!("{}: {}", output.status, complaint.trim()));
    native(format!("run `{}`", words.join(" ")), source)
}

fn words(line: &str) -> Step {
    Step::Run { words: line.split(' ').map(str::to_owned).collect() }
}

/// Who wrote a file, for whoever finds it.
fn banner(bridge: &str) -> String {
    format!("# Written by Ferry for the bridge {bridge}; `ferry bridge delete {bridge}` removes it.\n")
}

#[cfg(test)]
mod tests;
