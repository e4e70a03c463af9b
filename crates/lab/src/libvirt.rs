//! libvirtd on a host of the lab, beside its agent: what Ferry is measured against. It sees directories of its own in the place
//! of the machine's, and a host name of its own. Main type: [`Libvirt`]. The guests that it starts outlive it, until the lab
//! is taken down.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::host::Host;
use crate::limits::{LIBVIRT_START, LOOK};
use crate::namespace::Namespace;

/// What of the machine libvirtd sees its own of.
const OWN: [&str; 4] = ["/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"];

/// A running libvirtd; it is killed when this is dropped.
#[derive(Debug)]
pub struct Libvirt {
    daemon: Child,
    socket: PathBuf,
    address: Ipv4Addr,
    namespace: Namespace,
}

impl Libvirt {
    /// Starts it, and waits until it knows what QEMU can do. Disks in `shared` count as storage that other hosts see. It gives
    /// QEMU the host's certificates for memory, where the host has any.
    ///
    /// # Errors
    /// When it is not installed, or does not answer in time; with the end of its log.
    pub fn start(host: &Host, shared: &Path) -> Result<Libvirt> {
        let directory = host.directory.join("libvirt");
        let run = directory.join("run");
        fs::create_dir_all(&run)?;
        // `ip netns exec` makes a mount namespace of its own.
        let mut script = format!("set -e\nhostname {}\n", host.name);
        for place in OWN {
            let own = directory.join(&place[1..]);
            fs::create_dir_all(&own)?;
            script += &format!("mkdir -p {place}\nmount --bind '{}' {place}\n", own.display());
        }
        script += &format!(
            "mount -t tmpfs tmpfs /run\nmkdir /run/libvirt\nmount --bind '{}' /run/libvirt\nexec \"$@\"",
            run.display()
        );
        let configuration = directory.join("etc/libvirt/libvirtd.conf");
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        fs::write(
            &configuration,
            format!(
                "listen_tls = 0\nlisten_tcp = 1\nauth_tcp = \"none\"\nauth_unix_rw = \"none\"\nhost_uuid = \"{}\"\n",
                uuid.trim()
            ),
        )?;
        let mut qemu = format!(
            "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nnamespaces = []\n\
             cgroup_controllers = []\nstdio_handler = \"file\"\nshared_filesystems = [\"{}\"]\n",
            shared.display()
        );
        // Memory goes encrypted where somebody asks for it, with the certificates that agents have.
        if host.tls().exists() {
            let tls = host.tls();
            qemu +=
                &format!("migrate_tls_x509_cert_dir = \"{}\"\nmigrate_tls_x509_verify = 1\n", tls.display());
        }
        fs::write(directory.join("etc/libvirt/qemu.conf"), qemu)?;
        let log = directory.join("libvirtd.log");
        let daemon = host
            .namespace
            .command("unshare")
            .args(["--uts", "sh", "-c", &script, "sh", "libvirtd", "--listen", "--config"])
            .arg(&configuration)
            .arg("--pid-file")
            .arg(directory.join("libvirtd.pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("ip netns exec")?;
        let mut libvirt = Libvirt {
            daemon,
            socket: run.join("libvirt-sock"),
            address: host.address,
            namespace: host.namespace.clone(),
        };
        libvirt.wait_until_it_answers().with_context(|| format!("libvirtd\n{}", crate::tail(&log)))?;
        Ok(libvirt)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let end = Instant::now() + LIBVIRT_START;
        loop {
            match self.output(["domcapabilities", "--virttype", "qemu"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => {}
            }
            if let Some(status) = self.daemon.try_wait()? {
                bail!("it ended: {status}");
            }
            thread::sleep(LOOK);
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// `virsh`, to be run against it.
    pub fn virsh(&self) -> Command {
        let mut command = self.namespace.command("virsh");
        command.args(["--connect", &self.uri()]);
        command
    }

    /// How it is reached on this machine.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket.display())
    }

    /// How other hosts reach it, and where they send memory.
    pub fn from_elsewhere(&self) -> [String; 2] {
        [format!("qemu+tcp://{}/system", self.address), format!("tcp://{}", self.address)]
    }

    /// What `virsh` prints.
    ///
    /// # Errors
    /// What it says against it.
    pub fn output<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        let mut command = self.virsh();
        let output = command.args(arguments).output().context("ip netns exec")?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
