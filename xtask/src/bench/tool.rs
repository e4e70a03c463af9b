//! Who copies, and with which command. Main types: [`Tool`], [`Stage`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use lab::Lab;
use serde::{Deserialize, Serialize};

use super::image::{Image, Kind};
use super::servers::{Nbd, Ssh};
use super::usage::{self, Spent};

/// Everyone who copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    /// scp
    Scp,
    /// rsync --sparse --inplace, over ssh
    Rsync,
    /// rsync --sparse --inplace --zc=zstd --zl=1, over ssh
    RsyncZstd,
    /// qemu-img convert to an NBD server, in the clear
    Nbd,
    /// qemu-img convert to an NBD server, with TLS
    NbdTls,
}

/// The first copy of an image, or the next one after a little of it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trip {
    First,
    Second,
}

impl Tool {
    /// What it is called in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::Scp => "scp",
            Tool::Rsync => "rsync",
            Tool::RsyncZstd => "rsync, zstd",
            Tool::Nbd => "convert, NBD",
            Tool::NbdTls => "convert, NBD, TLS",
        }
    }

    /// Whether it finds out by itself what an older copy lacks.
    pub(crate) fn updates(self) -> bool {
        match self {
            Tool::Rsync | Tool::RsyncZstd => true,
            Tool::Scp | Tool::Nbd | Tool::NbdTls => false,
        }
    }

    /// Whether its copy of this image has no holes, and is as large as the whole disk.
    fn fills(self, image: &Image) -> bool {
        match self {
            Tool::Scp => image.kind == Kind::Sparse,
            Tool::Rsync | Tool::RsyncZstd | Tool::Nbd | Tool::NbdTls => false,
        }
    }
}

/// One copy, as it went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    #[serde(flatten)]
    pub(crate) spent: Spent,
    /// Into the network by the source.
    pub(crate) sent_bytes: u64,
    /// And by the target.
    pub(crate) back_bytes: u64,
    /// What the copy takes on the target.
    pub(crate) allocated_bytes: u64,
}

/// Where copies are made.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) ssh: &'a Ssh,
    /// What each host has; `kvm1` has the image.
    pub(crate) disks: &'a Path,
    /// Room for copies without holes.
    pub(crate) spacious: &'a Path,
}

impl Stage<'_> {
    /// A directory of images of the host with this name.
    pub(crate) fn disks_of(&self, host: &str) -> PathBuf {
        self.disks.join(host)
    }

    /// Makes a copy and compares it.
    pub(crate) fn copy(&self, tool: Tool, trip: Trip, image: &Image) -> Result<Sample> {
        let original = self.disks_of(self.lab.kvm1().name).join(image.kind.file());
        let place =
            if tool.fills(image) { self.spacious.to_owned() } else { self.disks_of(self.lab.kvm2().name) };
        if trip == Trip::First {
            empty(&place)?;
        }
        let copy = place.join(image.kind.file());
        let before = self.traffic()?;
        let spent = self
            .run(tool, image, &original, &copy)
            .with_context(|| format!("{} of {}", tool.name(), image.kind.file()))?;
        let after = self.traffic()?;
        image.compare(&original, &copy)?;
        let allocated_bytes = super::image::allocated(&copy)?;
        if tool.fills(image) {
            empty(&place)?;
        }
        Ok(Sample {
            spent,
            sent_bytes: after[0] - before[0],
            back_bytes: after[1] - before[1],
            allocated_bytes,
        })
    }

    fn run(&self, tool: Tool, image: &Image, original: &Path, copy: &Path) -> Result<Spent> {
        match tool {
            Tool::Scp => {
                let mut command = self.lab.kvm1().namespace.command("scp");
                command
                    .arg("-q")
                    .arg("-F")
                    .arg(&self.ssh.configuration)
                    .arg(original)
                    .arg(self.address(copy));
                self.by_ssh(command, copy)
            }
            Tool::Rsync => self.by_rsync(&[], original, copy),
            Tool::RsyncZstd => self.by_rsync(&["--zc=zstd", "--zl=1"], original, copy),
            Tool::Nbd => self.by_nbd(image, original, copy, false),
            Tool::NbdTls => self.by_nbd(image, original, copy, true),
        }
    }

    fn by_rsync(&self, compression: &[&str], original: &Path, copy: &Path) -> Result<Spent> {
        let mut command = self.lab.kvm1().namespace.command("rsync");
        command
            // A change within the second in which the copy was made is otherwise taken for none.
            .args(["--sparse", "--inplace", "--ignore-times"])
            .args(compression)
            .args(["-e", &format!("ssh -F {}", self.ssh.configuration.display())])
            .arg(original)
            .arg(self.address(copy));
        self.by_ssh(command, copy)
    }

    fn by_ssh(&self, command: Command, copy: &Path) -> Result<Spent> {
        usage::measure(command, &[], &[self.ssh.pid()], || durable(copy))
    }

    fn by_nbd(&self, image: &Image, original: &Path, copy: &Path, tls: bool) -> Result<Spent> {
        let [source, target] = self.lab.hosts();
        let format = image.kind.format();
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", format])
            .arg(copy)
            .arg(image.virtual_bytes.to_string())
            .output()
            .context("qemu-img")?;
        ensure!(made.status.success(), "qemu-img create: {}", String::from_utf8_lossy(&made.stderr).trim());
        let certificates = target.tls();
        let server = Nbd::start(target, copy, format, tls.then_some(&certificates))?;
        let mut command = source.namespace.command("qemu-img");
        command.args(["convert", "-n", "-f", format]);
        if tls {
            let credentials = format!("tls-creds-x509,id=tls,endpoint=client,dir={}", source.tls().display());
            command.args(["--object", &credentials]);
        }
        command.arg("--target-image-opts").arg(original).arg(Nbd::target_options(target, tls));
        let spent = usage::measure(command, &[], &[server.pid()], || durable(copy))?;
        server.end()?;
        Ok(spent)
    }

    /// How ssh names a file on the target.
    fn address(&self, copy: &Path) -> String {
        format!("{}:{}", self.lab.kvm2().name, copy.display())
    }

    /// What source and target have sent so far.
    fn traffic(&self) -> Result<[u64; 2]> {
        let [source, target] = self.lab.hosts();
        Ok([source.sent_bytes()?, target.sent_bytes()?])
    }
}

/// Every copy ends with it being on the disk.
fn durable(copy: &Path) -> Result<()> {
    let synced = File::open(copy).and_then(|file| file.sync_all());
    synced.with_context(|| format!("fsync of {}", copy.display()))
}

/// Removes all files of a directory.
fn empty(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    for entry in fs::read_dir(directory)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}
