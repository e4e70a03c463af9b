//! The test guest as seen from the lab: its images, its definition, its disk, and what it answers over HTTP.
//! Main types: [`Images`], [`Guest`]. What runs inside the guest is the crate `guest`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

pub use ::guest::Status;
pub use ::guest::memory::Rewrite;
pub use ::guest::record::Audit;
pub use ::guest::settings::Settings;
use anyhow::{Context, Result, bail, ensure};

use crate::limits::{GUEST_ANSWER, GUEST_CONNECT, LOOK};
use crate::namespace::Namespace;
use crate::network::{self, BRIDGE, CLIENT};
use crate::nfs::SHARE;

const PORT: u16 = 80;
/// Words for Linux: the console, no waiting after a panic, no protection that costs time under emulation, no doubt about
/// timers on a busy machine.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check";

/// What a guest with UEFI and a TPM has besides: an attribute of `<os>`, an element in it, a device.
const UEFI: (&str, &str, &str) = (
    " firmware='efi'",
    "
    <firmware>
      <feature enabled='no' name='secure-boot'/>
    </firmware>",
    "
    <tpm model='tpm-crb'>
      <backend type='emulator' version='2.0'/>
    </tpm>",
);

/// What `cargo xtask guest` builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
}

impl Images {
    /// Where they lie below the build's target directory.
    pub fn below(target: &Path) -> Images {
        Images { kernel: target.join("guest/vmlinuz"), initramfs: target.join("guest/initramfs") }
    }

    /// The images of this workspace.
    ///
    /// # Errors
    /// When they are not built yet.
    pub fn find() -> Result<Images> {
        let images = Images::below(&crate::target());
        for file in [&images.kernel, &images.initramfs] {
            ensure!(file.exists(), "{} is not there: run cargo xtask guest", file.display());
        }
        Ok(images)
    }
}

/// How a guest is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestOptions {
    /// The domain's name; also names its files.
    pub name: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// vCPUs.
    pub vcpus: u32,
    /// The last part of its address on the guest network, and of its MAC address.
    pub part: u8,
    /// Size of its disk in MiB.
    pub disk_mib: u32,
    /// What the guest program is told to do.
    pub settings: Settings,
    /// `<domain type=…>`: `qemu` or `kvm`.
    pub kind: &'static str,
    /// Whether it boots with UEFI, with variables of its own, and has a TPM.
    pub uefi: bool,
    /// `<on_crash>`.
    pub on_crash: &'static str,
    /// Whether its disk is reached by QEMU's own NFS client (`nfs://`), in a lab with an NFS server.
    pub over_nfs: bool,
    /// More elements of `<devices>`.
    pub devices: &'static str,
}

impl GuestOptions {
    /// A small guest at an easy pace: 256 MiB, one vCPU, emulated.
    pub fn small(name: &str) -> GuestOptions {
        let part = 100;
        GuestOptions {
            name: name.to_owned(),
            memory_mib: 256,
            vcpus: 1,
            part,
            disk_mib: 64,
            settings: Settings::easy(network::guest(part), network::guest(CLIENT)),
            kind: "qemu",
            uefi: false,
            on_crash: "destroy",
            over_nfs: false,
            devices: "",
        }
    }

    /// A guest of 1 GiB to be measured: it beats every 2 ms, writes no records, and rewrites `rate_pages` of its 192 MiB of
    /// pattern each second.
    pub fn measured(name: &str, rewrite: Rewrite, rate_pages: u32) -> GuestOptions {
        let mut options = GuestOptions::small(name);
        options.memory_mib = 1024;
        options.settings.memory_mib = 192;
        options.settings.rewrite = rewrite;
        options.settings.rate_pages = rate_pages;
        options.settings.records_rate = 0;
        options.settings.beat_every = Duration::from_millis(2);
        options
    }
}

/// A guest that has its disk and its definition; whether it runs is the agents' matter.
#[derive(Debug, Clone)]
pub struct Guest {
    /// How it was made.
    pub options: GuestOptions,
    /// The domain's UUID.
    pub uuid: String,
    /// Its disk, on the storage that both hosts see; over NFS, where the server has it.
    pub disk: PathBuf,
    /// The NFS server that its hosts ask for it.
    server: Option<Ipv4Addr>,
    /// The file with its definition in libvirt's XML.
    pub xml: PathBuf,
    /// What it writes to its serial console.
    pub console: PathBuf,
    client: Namespace,
}

impl Guest {
    /// Makes disk and definition in `shared`, a directory that all hosts see at this path.
    pub(crate) fn create(
        options: GuestOptions,
        images: &Images,
        shared: &Path,
        server: Option<Ipv4Addr>,
        client: Namespace,
    ) -> Result<Guest> {
        let boot = shared.join("boot");
        fs::create_dir_all(&boot)?;
        let images = Images {
            kernel: place(&images.kernel, &boot.join("vmlinuz"))?,
            initramfs: place(&images.initramfs, &boot.join("initramfs"))?,
        };
        let name = &options.name;
        let guest = Guest {
            uuid: fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned(),
            disk: shared.join(format!("{name}.qcow2")),
            xml: shared.join(format!("{name}.xml")),
            console: shared.join(format!("{name}.console")),
            options,
            server,
            client,
        };
        create_disk(&guest.disk, guest.options.disk_mib)?;
        fs::write(&guest.xml, guest.definition(&images))?;
        Ok(guest)
    }

    /// Its address on the guest network.
    pub fn address(&self) -> Ipv4Addr {
        self.options.settings.address
    }

    /// Its MAC address, in QEMU's range.
    pub fn mac(&self) -> String {
        format!("52:54:00:fe:00:{:02x}", self.options.part)
    }

    /// The kernel's command line.
    pub fn command_line(&self) -> String {
        format!("{COMMAND_LINE} {}", self.options.settings.words())
    }

    /// A file with its definition, in which `from` is `to`.
    ///
    /// # Errors
    /// When `from` is not in it.
    pub fn changed(&self, from: &str, to: &str) -> Result<PathBuf> {
        let path = self.xml.with_extension("changed.xml");
        let before = fs::read_to_string(&self.xml)?;
        let after = before.replace(from, to);
        ensure!(before != after, "the definition was not changed: {from}");
        fs::write(&path, after)?;
        Ok(path)
    }

    /// Its counters.
    ///
    /// # Errors
    /// When it does not answer within the limits.
    pub fn status(&self) -> Result<Status> {
        self.query("/")
    }

    /// Its counters after it has compared all of its memory and read all of its records from the disk.
    ///
    /// # Errors
    /// When it does not answer within the limits.
    pub fn check(&self) -> Result<Status> {
        self.query("/check")
    }

    /// Asks for the counters until it answers.
    ///
    /// # Errors
    /// The last error, when it has not answered within `within`; with the end of its console.
    pub fn wait_until_serving(&self, within: Duration) -> Result<Status> {
        let end = Instant::now() + within;
        loop {
            match self.status() {
                Ok(status) => return Ok(status),
                Err(error) if Instant::now() > end => {
                    return Err(error.context(format!(
                        "{} does not serve after {within:?}; its console ends so:\n{}",
                        self.options.name,
                        crate::tail(&self.console)
                    )));
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    /// Has it shut itself down, as somebody who is logged in there would.
    ///
    /// # Errors
    /// When it does not answer within the limits.
    pub fn power_off(&self) -> Result<()> {
        let address = SocketAddr::from((self.address(), PORT));
        self.client.enter(|| http_get(address, "/off"))?.map(drop)
    }

    /// Reads the records out of the disk image; nobody may have it open for writing.
    ///
    /// # Errors
    /// When the image or its filesystem cannot be read.
    pub fn records(&self) -> Result<Audit> {
        records(&self.disk)
    }

    fn query(&self, path: &str) -> Result<Status> {
        let address = SocketAddr::from((self.address(), PORT));
        let body = self.client.enter(|| http_get(address, path))??;
        serde_json::from_slice(&body).context("the guest's answer")
    }

    /// The type of its disk, and the element that says where it is.
    fn disk_source(&self) -> (&'static str, String) {
        match self.server {
            None => ("file", format!("<source file='{}'/>", self.disk.display())),
            Some(server) => {
                let name = self.disk.file_name().unwrap_or_default().display();
                let host = format!("<host name='{server}'/>");
                ("network", format!("<source protocol='nfs' name='{SHARE}/{name}'>{host}</source>"))
            }
        }
    }

    /// The type of its serial line, and the element that has all of it kept in a file of this machine. Beside a disk on a
    /// server that file would be one of each host's own, so there it is only a log.
    fn serial(&self) -> (&'static str, String) {
        let console = self.console.display();
        match self.server {
            None => ("file", format!("<source path='{console}' append='on'/>")),
            Some(_) => ("pty", format!("<log file='{console}' append='on'/>")),
        }
    }

    /// The definition in libvirt's XML.
    fn definition(&self, images: &Images) -> String {
        let Guest { options, uuid, .. } = self;
        let GuestOptions { name, memory_mib, vcpus, kind, on_crash, devices, .. } = options;
        let (kernel, initramfs) = (images.kernel.display(), images.initramfs.display());
        let (serial_type, serial) = self.serial();
        let (disk_type, disk) = self.disk_source();
        let (mac, command_line) = (self.mac(), self.command_line());
        let (firmware, secure_boot, tpm) = if self.options.uefi { UEFI } else { ("", "", "") };
        format!(
            "<domain type='{kind}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <title>Test guest</title>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>{vcpus}</vcpu>
  <os{firmware}>
    <type arch='x86_64' machine='q35'>hvm</type>{secure_boot}
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>{command_line}</cmdline>
  </os>
  <features>
    <acpi/>
  </features>
  <cpu mode='custom' match='exact'>
    <model>qemu64</model>
  </cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>{on_crash}</on_crash>
  <devices>
    <disk type='{disk_type}' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      {disk}
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='{mac}'/>
      <source bridge='{BRIDGE}'/>
      <model type='virtio'/>
    </interface>
    <serial type='{serial_type}'>
      {serial}
      <target port='0'/>
    </serial>
    <memballoon model='virtio'/>{tpm}
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
{devices}  </devices>
</domain>
"
        )
    }
}

/// An empty ext4 filesystem in a qcow2 image.
///
/// # Errors
/// When mke2fs or qemu-img fail; their own text is in the error.
pub fn create_disk(path: &Path, size_mib: u32) -> Result<()> {
    let raw = path.with_extension("raw");
    fs::File::create(&raw)?.set_len(u64::from(size_mib) << 20)?;
    run(Command::new(sbin("mke2fs")).args(["-q", "-t", "ext4", "-F"]).arg(&raw))?;
    run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(path))?;
    fs::remove_file(&raw)?;
    Ok(())
}

/// The guest's records, read from outside: the image is unpacked, its journal replayed, the file copied out.
///
/// # Errors
/// When the image or its filesystem cannot be read.
pub fn records(disk: &Path) -> Result<Audit> {
    let raw = disk.with_extension("audit");
    run(Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(disk).arg(&raw))?;
    // A guest that was killed leaves a journal; e2fsck says 1 when it repaired something.
    let fsck = Command::new(sbin("e2fsck")).args(["-f", "-p"]).arg(&raw).output().context("e2fsck")?;
    ensure!(
        matches!(fsck.status.code(), Some(0 | 1)),
        "e2fsck finds the guest's filesystem broken: {}",
        String::from_utf8_lossy(&fsck.stdout)
    );
    let output =
        Command::new(sbin("debugfs")).args(["-R", "cat /records"]).arg(&raw).output().context("debugfs")?;
    ensure!(output.status.success(), "debugfs: {}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(&raw)?;
    Ok(Audit::of(&output.stdout))
}

/// The image at a path that all hosts see: linked, or copied where that cannot be.
pub(crate) fn place(image: &Path, to: &Path) -> Result<PathBuf> {
    if !to.exists() && fs::hard_link(image, to).is_err() {
        fs::copy(image, to).with_context(|| image.display().to_string())?;
    }
    Ok(to.to_owned())
}

/// Programs that the system keeps for root may not be in everyone's `PATH`.
fn sbin(program: &str) -> PathBuf {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| program.into())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn http_get(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream =
        TcpStream::connect_timeout(&address, GUEST_CONNECT).context("connecting to the guest")?;
    stream.set_read_timeout(Some(GUEST_ANSWER))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("reading the guest's answer")?;
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").context("the guest's answer has no end")?;
    if !answer.starts_with(b"HTTP/1.1 20") {
        bail!("the guest answers: {}", String::from_utf8_lossy(&answer));
    }
    Ok(answer.split_off(end + 4))
}
