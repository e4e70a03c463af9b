//! Who copies, and with which command. Main types: [`Tool`], [`Stage`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use lab::Lab;
use lab::host::{Host, Mount};
use serde::{Deserialize, Serialize};

use super::image::{Image, Kind};
use super::servers::{Nbd, Ssh};
use super::usage::{self, Spent};

/// The domain whose disk Ferry copies.
const DOMAIN: &str = "web1";

/// Everyone who copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    /// ferry migrate --offline --copy-storage
    Ferry,
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
            Tool::Ferry => "ferry",
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
            Tool::Ferry | Tool::Rsync | Tool::RsyncZstd => true,
            Tool::Scp | Tool::Nbd | Tool::NbdTls => false,
        }
    }

    /// Whether its copy of this image has no holes, and is as large as the whole disk.
    fn fills(self, image: &Image) -> bool {
        match self {
            Tool::Scp => image.kind == Kind::Sparse,
            Tool::Ferry | Tool::Rsync | Tool::RsyncZstd | Tool::Nbd | Tool::NbdTls => false,
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
    /// The directory of a host's images.
    pub(crate) fn disks_of(&self, host: &Host) -> PathBuf {
        self.disks.join(host.name)
    }

    /// Has each agent see the images of its own host at one and the same place, as on two machines, and defines a domain,
    /// shut off, with the image.
    pub(crate) fn define(&self, image: &Image) -> Result<()> {
        let at = self.lab.shared.join("disks");
        fs::create_dir_all(&at)?;
        for host in self.lab.hosts() {
            host.stop_agent()?;
            host.start_agent_seeing(&[Mount::Bind { from: self.disks_of(host), at: at.clone() }])?;
        }
        let definition = self.lab.shared.join(format!("{DOMAIN}.xml"));
        let (format, file) = (image.kind.format(), at.join(image.kind.file()));
        fs::write(
            &definition,
            format!(
                "<domain type='qemu'>
  <name>{DOMAIN}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='{format}'/>
      <source file='{}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>
</domain>
",
                file.display()
            ),
        )?;
        self.lab.kvm1().ferry_output(["define".as_ref(), definition.as_os_str()]).map(drop)
    }

    /// From which host to which one a trip goes: with Ferry the domain itself goes, so its second trip is the way back.
    fn ends(&self, tool: Tool, trip: Trip) -> [&Host; 2] {
        let [one, other] = self.lab.hosts();
        if tool == Tool::Ferry && trip == Trip::Second { [other, one] } else { [one, other] }
    }

    /// The image that a trip begins with.
    pub(crate) fn original(&self, tool: Tool, trip: Trip, image: &Image) -> PathBuf {
        self.disks_of(self.ends(tool, trip)[0]).join(image.kind.file())
    }

    /// Makes a copy and compares it.
    pub(crate) fn copy(&self, tool: Tool, trip: Trip, image: &Image) -> Result<Sample> {
        let [source, target] = self.ends(tool, trip);
        let original = self.original(tool, trip, image);
        let place = if tool.fills(image) { self.spacious.to_owned() } else { self.disks_of(target) };
        if trip == Trip::First {
            empty(&place)?;
        }
        let copy = place.join(image.kind.file());
        let before = [source.sent_bytes()?, target.sent_bytes()?];
        let spent = self
            .run(tool, trip, image, &copy)
            .with_context(|| format!("{} of {}", tool.name(), image.kind.file()))?;
        let [sent_bytes, back_bytes] = [source.sent_bytes()? - before[0], target.sent_bytes()? - before[1]];
        image.compare(&original, &copy)?;
        let allocated_bytes = super::image::allocated(&copy)?;
        if tool.fills(image) {
            empty(&place)?;
        }
        Ok(Sample { spent, sent_bytes, back_bytes, allocated_bytes })
    }

    fn run(&self, tool: Tool, trip: Trip, image: &Image, copy: &Path) -> Result<Spent> {
        let original = self.original(tool, trip, image);
        match tool {
            Tool::Ferry => self.by_ferry(self.ends(tool, trip), image, copy),
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
            Tool::Rsync => self.by_rsync(&[], &original, copy),
            Tool::RsyncZstd => self.by_rsync(&["--zc=zstd", "--zl=1"], &original, copy),
            Tool::Nbd => self.by_nbd(image, &original, copy, false),
            Tool::NbdTls => self.by_nbd(image, &original, copy, true),
        }
    }

    fn by_ferry(&self, [source, target]: [&Host; 2], image: &Image, copy: &Path) -> Result<Spent> {
        let agent = |host: &Host| host.agent_pid().with_context(|| format!("no agent runs on {}", host.name));
        let mut command = source.ferry();
        command.args(["migrate", DOMAIN, "--to", target.name, "--offline", "--copy-storage"]);
        usage::measure(command, &[agent(source)?], &[agent(target)?], || durable(copy))
            .with_context(|| format!("the domain with {}", image.kind.file()))
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
