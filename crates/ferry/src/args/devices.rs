//! What is typed after `attach-…`, `detach-…` and `change-media`.

use std::path::PathBuf;

use clap::{Args as Arguments, ValueEnum};

/// What a change is made to.
#[derive(Debug, Arguments)]
#[command(next_help_heading = "What is changed [default: the guest if it runs, else the definition]")]
pub(crate) struct ScopeWords {
    /// The guest that runs
    #[arg(long, conflicts_with = "persistent")]
    pub(crate) live: bool,
    /// The definition, for the next start
    #[arg(long, conflicts_with = "persistent")]
    pub(crate) config: bool,
    /// The definition, and the guest if it runs
    #[arg(long)]
    pub(crate) persistent: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct AttachDisk {
    /// Name or UUID
    pub(crate) domain: String,
    /// Its image
    pub(crate) source: PathBuf,
    /// The guest's name for it, as in vdb
    pub(crate) target: String,
    /// How it is connected: virtio, scsi, sata, usb … [default: by its name: vd… is virtio, sd… is scsi]
    #[arg(long, value_name = "BUS", alias = "targetbus")]
    pub(crate) bus: Option<String>,
    /// Format of the image: qcow2 or raw [default: by the image's name]
    #[arg(long, value_name = "FORMAT", alias = "subdriver")]
    pub(crate) format: Option<String>,
    /// How the host caches it: none, writeback, writethrough, directsync, unsafe
    #[arg(long, value_name = "MODE")]
    pub(crate) cache: Option<String>,
    /// Serial number, which the guest can find it by
    #[arg(long, value_name = "TEXT")]
    pub(crate) serial: Option<String>,
    /// The guest may only read it
    #[arg(long)]
    pub(crate) readonly: bool,
    /// More than one guest may have it
    #[arg(long)]
    pub(crate) shareable: bool,
    #[command(flatten)]
    pub(crate) scope: ScopeWords,
}

#[derive(Debug, Arguments)]
pub(crate) struct DetachDisk {
    /// Name or UUID
    pub(crate) domain: String,
    /// The guest's name for it, as in vdb
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) scope: ScopeWords,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InterfaceKind {
    /// On a bridge of the host
    Bridge,
    /// On a network that libvirt has defined
    Network,
}

#[derive(Debug, Arguments)]
pub(crate) struct AttachInterface {
    /// Name or UUID
    pub(crate) domain: String,
    /// What it is connected to
    #[arg(value_name = "TYPE")]
    pub(crate) kind: InterfaceKind,
    /// The bridge or network
    pub(crate) source: String,
    /// What the guest sees: virtio, e1000e …
    #[arg(long, value_name = "MODEL", default_value = "virtio")]
    pub(crate) model: String,
    /// Its MAC address [default: a fresh one]
    #[arg(long, value_name = "MAC")]
    pub(crate) mac: Option<String>,
    #[command(flatten)]
    pub(crate) scope: ScopeWords,
}

#[derive(Debug, Arguments)]
pub(crate) struct DetachInterface {
    /// Name or UUID
    pub(crate) domain: String,
    /// Its MAC address
    pub(crate) mac: String,
    #[command(flatten)]
    pub(crate) scope: ScopeWords,
}

#[derive(Debug, Arguments)]
pub(crate) struct OneDevice {
    /// Name or UUID
    pub(crate) domain: String,
    /// File with one <disk> or <interface>, or - for standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) scope: ScopeWords,
}

#[derive(Debug, Arguments)]
pub(crate) struct ChangeMedia {
    /// Name or UUID
    pub(crate) domain: String,
    /// The guest's name for the drive, as in sda
    pub(crate) target: String,
    /// The image
    #[arg(required_unless_present = "eject", conflicts_with = "eject")]
    pub(crate) file: Option<PathBuf>,
    /// Leave the drive empty
    #[arg(long)]
    pub(crate) eject: bool,
    /// Open a tray that the guest has locked
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) scope: ScopeWords,
}
