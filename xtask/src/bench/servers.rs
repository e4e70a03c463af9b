//! What waits on the target host for copies that are not Ferry's: an ssh server with keys of its own, and an NBD server
//! for one copy. Main types: [`Ssh`], [`Nbd`]. The lab ends what an error leaves running.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::host::Host;

use crate::setup;

/// A server listens, and one whose client has gone has ended, within this time.
const PROMPT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
const SSH_PORT: u16 = 22;
const NBD_PORT: u16 = 10809;

/// An ssh server on a host, and the configuration by which another host reaches it under the host's name.
#[derive(Debug)]
pub(crate) struct Ssh {
    server: Child,
    /// For `ssh -F`.
    pub(crate) configuration: PathBuf,
}

impl Ssh {
    /// Starts it with everything in `directory`.
    pub(crate) fn start(host: &Host, directory: &Path) -> Result<Ssh> {
        fs::create_dir_all(directory)?;
        let path = |name: &str| directory.join(name).display().to_string();
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)])
                .output()
                .context("ssh-keygen")?;
            ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        private(
            &path("sshd_config"),
            &format!(
                "Port {SSH_PORT}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\n\
                 Subsystem sftp internal-sftp\n",
                host.address,
                path("host"),
                path("user.pub")
            ),
        )?;
        // Where root's password is locked, sshd lets nobody in, with a key neither.
        private(&path("shadow"), "root:*:1:0:99999:7:::\n")?;
        private(&path("known_hosts"), &format!("{} {}", host.name, fs::read_to_string(path("host.pub"))?))?;
        private(
            &path("config"),
            &format!(
                "Host {name}\n  HostName {}\n  HostKeyAlias {name}\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
                 UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  BatchMode yes\n",
                host.address,
                path("user"),
                path("known_hosts"),
                name = host.name
            ),
        )?;
        // `ip netns exec` makes a mount namespace of its own.
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount --bind '{}' /etc/shadow && exec \"$@\"",
            path("shadow")
        );
        let sshd = setup::find("sshd").context("no sshd: cargo xtask setup installs it")?;
        let log = File::create(path("sshd.log"))?;
        let mut server = host
            .namespace
            .command("sh")
            .args(["-c", &script, "sh"])
            .arg(sshd)
            .args(["-D", "-e", "-f", &path("sshd_config")])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .context("ip netns exec")?;
        wait_until_listening(&mut server, host.address, SSH_PORT)?;
        Ok(Ssh { server, configuration: path("config").into() })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// An NBD server on a host that ends when its client goes.
#[derive(Debug)]
pub(crate) struct Nbd {
    server: Child,
}

impl Nbd {
    /// Serves an image; with the host's certificates in `tls`, only to who has one of the same authority.
    pub(crate) fn start(host: &Host, image: &Path, format: &str, tls: Option<&Path>) -> Result<Nbd> {
        let mut command = host.namespace.command("qemu-nbd");
        command.args(["--format", format, "--export-name", "disk", "--discard=unmap"]).args([
            "--bind",
            &host.address.to_string(),
            "--port",
            &NBD_PORT.to_string(),
        ]);
        if let Some(directory) = tls {
            let credentials =
                format!("tls-creds-x509,id=tls,endpoint=server,verify-peer=on,dir={}", directory.display());
            command.args(["--object", &credentials, "--tls-creds", "tls"]);
        }
        let mut server = command.arg(image).stdin(Stdio::null()).spawn().context("ip netns exec")?;
        wait_until_listening(&mut server, host.address, NBD_PORT)?;
        Ok(Nbd { server })
    }

    /// How `qemu-img` is told where to write.
    pub(crate) fn target_options(host: &Host, tls: bool) -> String {
        let credentials = if tls { ",tls-creds=tls" } else { "" };
        format!("driver=nbd,host={},port={NBD_PORT},export=disk{credentials}", host.address)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> Result<()> {
        let end = Instant::now() + PROMPT;
        while Instant::now() < end {
            if let Some(status) = self.server.try_wait()? {
                ensure!(status.success(), "qemu-nbd: {status}");
                return Ok(());
            }
            thread::sleep(LOOK);
        }
        self.server.kill()?;
        self.server.wait()?;
        bail!("qemu-nbd is still there {PROMPT:?} after its client has gone")
    }
}

fn private(path: &str, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, PermissionsExt::from_mode(0o600))?)
}

/// Looks at the sockets of the server's own network (proc_pid_net(5)): connecting would be the one client that some wait for.
fn wait_until_listening(server: &mut Child, address: Ipv4Addr, port: u16) -> Result<()> {
    const LISTEN: &str = "0A";
    let local = format!("{:08X}:{port:04X}", u32::from_le_bytes(address.octets()));
    let end = Instant::now() + PROMPT;
    loop {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", server.id())).unwrap_or_default();
        let listens = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&LISTEN)
        };
        if table.lines().any(listens) {
            return Ok(());
        }
        if let Some(status) = server.try_wait()? {
            bail!("the server for port {port} ended: {status}");
        }
        ensure!(Instant::now() < end, "nobody listens on {address}:{port} after {PROMPT:?}");
        thread::sleep(LOOK);
    }
}
