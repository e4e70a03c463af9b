//! Bridges in the own configuration of whatever configures a host's links, so that they are there again after a reboot:
//! systemd-networkd, NetworkManager or ifupdown. What is to be written and run is computed first and can be kept, so
//! that somebody else can undo it. Main type: [`Native`].

mod ifupdown;
mod network_manager;
mod networkd;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use crate::limits::COMMAND_WITHIN;
use crate::link::Link;
use crate::{Network, NetworkError};

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
    /// How the bridge is configured where something configures its uplink; `None` where nothing does. `root` is `/`.
    ///
    /// # Errors
    /// [`NetworkError::Native`] where a configuration cannot be read.
    pub async fn plan(root: &Path, wanted: &Wanted<'_>) -> Result<Option<Native>, NetworkError> {
        // What configures links does so where the first process is.
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        if namespace("thread-self") != namespace("1") {
            return Ok(None);
        }
        if let Some(found) = networkd::find(root, wanted.uplink)? {
            return Ok(Some(networkd::plan(wanted, &found)));
        }
        if let Some(profile) = network_manager::find(root, &wanted.uplink.name).await? {
            return Ok(Some(network_manager::plan(wanted, &profile)));
        }
        Ok(ifupdown::find(root, &wanted.uplink.name)?.map(|found| ifupdown::plan(wanted, &found)))
    }
}

impl Network {
    /// Takes a step.
    ///
    /// # Errors
    /// [`NetworkError::Native`] where a file cannot be written or a program fails, [`NetworkError::Netlink`].
    pub async fn step(&self, step: &Step) -> Result<(), NetworkError> {
        match step {
            Step::Write { path, text } => {
                write(path, text).map_err(|source| native(format!("write {}", path.display()), source))
            }
            Step::Remove { path } => match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(native(format!("remove {}", path.display()), error))
                }
                Ok(()) | Err(_) => Ok(()),
            },
            Step::Run { words } => run(words).await.map(drop),
            Step::Unlink { link } => self.remove(link).await,
        }
    }
}

fn native(what: String, source: io::Error) -> NetworkError {
    NetworkError::Native { what, source }
}

/// All of it or nothing, and for good: the host may lose its power next.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let beside = directory.join(format!(".ferry-{}", std::process::id()));
    let mut file = std::fs::File::create(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| std::fs::rename(&beside, path));
    if renamed.is_err() {
        // What cannot be removed either is a file that nobody reads.
        drop(std::fs::remove_file(&beside));
        return renamed;
    }
    std::fs::File::open(directory)?.sync_all()
}

/// Runs a program to its end, and gives what it printed.
async fn run(words: &[String]) -> Result<String, NetworkError> {
    let (program, arguments) = words.split_first().expect("a step names its program");
    let said = |source| native(format!("run `{}`", words.join(" ")), source);
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_WITHIN, command.output()).await;
    let output = output.map_err(|_elapsed| said(io::ErrorKind::TimedOut.into()))?.map_err(said)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(said(io::Error::other(format!("{}: {}", output.status, complaint.trim()))))
}

fn words(line: &str) -> Step {
    Step::Run { words: line.split(' ').map(str::to_owned).collect() }
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Who wrote a file, for whoever finds it.
fn banner(bridge: &str) -> String {
    format!("# Written by Ferry for the bridge {bridge}; `ferry bridge delete {bridge}` removes it.\n")
}

#[cfg(test)]
mod tests;
