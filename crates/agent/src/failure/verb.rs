//! Why one kind of verb did not do what it was asked, where it has words of its own. Main types: [`CopyFailure`],
//! [`ImportFailure`], [`InstallFailure`], [`ScreenFailure`], [`PlugFailure`].

use std::path::PathBuf;
use std::time::Duration;

/// Why disks were not copied or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyFailure {
    #[error("domain {domain} has no disk that it alone writes")]
    NoDisks { domain: String },
    #[error("disk {disk} is reached by QEMU itself, over NFS: there is no file on this host to work on")]
    DiskElsewhere { disk: String },
    #[error("disk {disk} is the block device {path}, and a copy of it would need another one")]
    DiskIsDevice { disk: String, path: PathBuf },
    #[error("domain {domain} has no disk {disk} that would be copied")]
    NoSuchDisk { domain: String, disk: String },
    #[error("disk {disk} ({path}) is not qcow2, and no other format keeps snapshots")]
    SnapshotFormat { disk: String, path: PathBuf },
    #[error("{name:?} cannot be a snapshot's name")]
    SnapshotName { name: String },
    #[error("domain {domain} has a snapshot {name} already")]
    SnapshotExists { domain: String, name: String },
    #[error("domain {domain} has no snapshot {name}")]
    SnapshotNotFound { domain: String, name: String },
    #[error("disk {disk} lacks the snapshot {name}")]
    SnapshotLacking { disk: String, name: String },
}

/// Why a domain was not taken over from libvirt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportFailure {
    #[error("libvirt on this host has no domain {name}")]
    NotInLibvirt { name: String },
    #[error("libvirt runs the domain {name} with process id {pid}")]
    LibvirtRuns { name: String, pid: u32 },
    #[error("libvirt has saved the memory of the domain {name}, which belongs to its disks as they are now")]
    LibvirtSaved { name: String },
}

/// Why a domain was not made by a few words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallFailure {
    #[error("no operating system is known by the name {os:?}")]
    SystemUnknown { os: String },
    #[error("a disk has neither a path nor a size")]
    DiskUnsaid,
    #[error("no image of the format {format} can be used")]
    Format { format: String },
}

/// Why nobody sees or types what a guest shows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenFailure {
    #[error("domain {domain} has no {} that can be typed into{}", .wanted.as_deref().unwrap_or("console"), there_are(.known))]
    NoConsole { domain: String, wanted: Option<String>, known: Vec<String> },
    #[error("somebody is at the console {console} of domain {domain}")]
    ConsoleBusy { domain: String, console: String },
    #[error("the console {console} of domain {domain} cannot be opened")]
    ConsoleClosed {
        domain: String,
        console: String,
        #[source]
        source: std::io::Error,
    },
    #[error("domain {domain} has no VNC server")]
    NoVnc { domain: String },
    #[error("the picture of domain {domain}'s screen cannot be read")]
    Picture {
        domain: String,
        #[source]
        source: std::io::Error,
    },
}

/// Why a device did not come or go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlugFailure {
    #[error("{of} has no {device}")]
    NoDevice { device: String, of: &'static str },
    #[error("{text:?} is no MAC address")]
    NoMac { text: String },
    #[error("the guest of {domain} refuses to give up {device}: it may be in use there")]
    DeviceRefused { domain: String, device: String },
    #[error("the guest of {domain} did not let go of the device within {after:?}; it still may")]
    DeviceStays { domain: String, after: Duration },
}

fn there_are(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; it has {}", known.join(", ")) }
}
