//! The lab's NFS server: nfs-ganesha and the portmapper that clients of version 3 ask, in the network namespace `nfs` and
//! with a `/run` of their own. What it exports is a directory of this machine, so a test sees both ends. Main type:
//! [`NfsServer`].

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::limits::{LOOK, NFS_START};
use crate::namespace::Namespace;
use crate::network;

/// The last part of the server's address.
pub(crate) const PART: u8 = 20;
/// What the storage that all hosts see is exported as.
pub const SHARE: &str = "/nfs-share";

/// The user and group that a client's root becomes where it is squashed.
pub const NOBODY: u32 = 65534;

/// The program of the MOUNT protocol (RFC 1813, appendix I); it is registered last.
const MOUNT_PROGRAM: &str = "100005";

/// Something that the server exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Part of every file handle: another number makes all handles stale.
    pub id: u16,
    /// The directory of this machine.
    pub directory: PathBuf,
    /// What clients call it.
    pub name: String,
    /// Whether a client's root stays root.
    pub no_root_squash: bool,
}

impl Export {
    /// A directory as [`SHARE`], as a host for guests' disks wants it.
    pub fn share(directory: &Path) -> Export {
        Export { id: 1, directory: directory.to_owned(), name: SHARE.to_owned(), no_root_squash: true }
    }

    fn block(&self) -> String {
        let Export { id, directory, name, no_root_squash } = self;
        let squash = if *no_root_squash { "No_Root_Squash" } else { "Root_Squash" };
        // Nobody, as most servers have it; ganesha's own choice is -2.
        format!(
            "EXPORT {{ Export_Id = {id}; Path = {}; Pseudo = {name}; Access_Type = RW; Squash = {squash}; \
             Anonymous_Uid = {NOBODY}; Anonymous_Gid = {NOBODY}; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
            directory.display()
        )
    }
}

/// The server.
#[derive(Debug)]
pub struct NfsServer {
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its address on the management network.
    pub address: Ipv4Addr,
    directory: PathBuf,
    server: Mutex<Option<Child>>,
}

impl NfsServer {
    pub(crate) fn new(namespace: Namespace, directory: PathBuf) -> NfsServer {
        let address = network::management(PART);
        NfsServer { namespace, address, directory, server: Mutex::default() }
    }

    /// Starts the server, and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, or does not answer in time; with the end of its log.
    pub fn start(&self, exports: &[Export]) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let (configuration, log) = (self.directory.join("ganesha.conf"), self.directory.join("ganesha.log"));
        // Tests change files behind the server's back: it must look each time.
        let mut text = String::from(
            "EXPORT_DEFAULTS { Attr_Expiration_Time = 0; }\nNFS_CORE_PARAM { Protocols = 3, 4; MNT_Port = 20048; Enable_NLM = false; Enable_RQUOTA = false; \
             mount_path_pseudo = true; }\nNFSV4 { Graceless = true; }\nLOG { Default_Log_Level = EVENT; }\n",
        );
        for export in exports {
            text.write_str(&export.block())?;
        }
        fs::write(&configuration, text)?;
        // `ip netns exec` makes a mount namespace of its own.
        let script = "set -e; mount -t tmpfs tmpfs /run; mkdir /run/rpcbind; mount -t tmpfs tmpfs /var/lib/nfs; \
                      mkdir -p /var/lib/nfs/ganesha; rpcbind -w -f & \
                      until rpcinfo -p > /dev/null 2>&1; do sleep 0.02; done; exec \"$@\"";
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_some() {
            bail!("the NFS server runs already");
        }
        let child = self
            .namespace
            .command("sh")
            .args(["-c", script, "sh", "ganesha.nfsd", "-F", "-p"])
            .arg(self.directory.join("ganesha.pid"))
            .arg("-f")
            .arg(&configuration)
            .arg("-L")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.directory.join("stderr.log"))?)
            // The portmapper is of the same group, and ends with it.
            .process_group(0)
            .spawn()
            .context("ip netns exec")?;
        let child = server.insert(child);
        let end = Instant::now() + NFS_START;
        while !self.answers()? {
            if let Some(status) = child.try_wait()? {
                bail!("the NFS server ended: {status}\n{}", crate::tail(&log));
            }
            if Instant::now() > end {
                bail!("the NFS server does not answer\n{}", crate::tail(&log));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Kills the server, as a crash would.
    ///
    /// # Errors
    /// When it does not run: a fault that did not happen proves nothing.
    pub fn kill(&self) -> Result<()> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = server.take().context("no NFS server to kill")?;
        let group = Pid::from_raw(child.id().cast_signed()).context("a process number")?;
        kill_process_group(group, Signal::KILL)?;
        child.wait()?;
        Ok(())
    }

    /// Whether a client would be told where to mount.
    fn answers(&self) -> Result<bool> {
        let mut asked = self.namespace.command("rpcinfo");
        asked.args(["-t", &self.address.to_string(), MOUNT_PROGRAM, "3"]);
        Ok(asked.stdout(Stdio::null()).stderr(Stdio::null()).status().context("rpcinfo")?.success())
    }
}
