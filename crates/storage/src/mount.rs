//! What is mounted where: NFS exports are mounted and unmounted through mount(8), which resolves names, agrees on a
//! version and knows rpc.statd; what is mounted is read from the kernel (proc_pid_mountinfo(5)), which answers though a
//! server is dead. It decides nothing about a pool. Main type: [`Mounted`].

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::{KILLED_TIMEOUT, MOUNT_OUTPUT_BYTES_MAX, MOUNT_TIMEOUT};
use crate::pool::PoolError;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Options that every mount has, last, so that no others undo them: what lies on the server are images.
const ALWAYS: &str = "nodev,nosuid,noexec";

/// What is mounted on a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// What is mounted, as it was given: `HOST:EXPORT` for NFS.
    pub device: String,
    /// The filesystem's type: `nfs`, `nfs4`, `ext4` …
    pub filesystem: String,
    /// Options of the mount and of the filesystem, as the kernel tells them.
    pub options: Vec<String>,
}

impl Mounted {
    /// The value of an option, as in `vers=4.2`.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether it is an NFS mount of `device`, where the server may be written as its name or as its address.
    #[must_use]
    pub fn is_nfs(&self, device: &str) -> bool {
        let export = |device: &str| {
            device.rsplit_once(":/").map(|(_, export)| export.trim_end_matches('/').to_owned())
        };
        let by_address = || {
            let address = self.option("addr").filter(|_| export(&self.device) == export(device))?;
            let host = device.split_once(":/")?.0;
            Some(host.trim_start_matches('[').trim_end_matches(']') == address)
        };
        ["nfs", "nfs4"].contains(&self.filesystem.as_str())
            && (self.device.trim_end_matches('/') == device.trim_end_matches('/')
                || by_address() == Some(true))
    }
}

/// What is mounted on `path` itself, the uppermost; none where it is a directory like any other.
///
/// # Errors
/// [`PoolError::Io`] where /proc cannot be read.
pub fn mounted(path: &Path) -> Result<Option<Mounted>, PoolError> {
    let text = std::fs::read(MOUNTINFO).map_err(|source| PoolError::Io {
        step: "read",
        path: PathBuf::from(MOUNTINFO),
        source,
    })?;
    Ok(find(&String::from_utf8_lossy(&text), path))
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda rw,errors=continue`
fn find(mountinfo: &str, path: &Path) -> Option<Mounted> {
    let path = path.components().collect::<PathBuf>();
    let on_it = |line: &&str| {
        line.split(' ').nth(4).is_some_and(|point| unescape(point) == path.as_os_str().as_bytes())
    };
    let line = mountinfo.lines().rfind(on_it)?;
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let (kind, device) = (filesystem.next()?, filesystem.next()?);
    let options = mount.split(' ').nth(5)?.split(',').chain(filesystem.next()?.split(','));
    Some(Mounted {
        device: String::from_utf8_lossy(&unescape(device)).into_owned(),
        filesystem: kind.to_owned(),
        options: options.map(str::to_owned).collect(),
    })
}

/// Spaces, tabs, line breaks and backslashes are three octal digits there.
fn unescape(field: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let octal = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    bytes
}

/// Mounts an NFS export, with `version` where one is wanted, and with these options of mount(8).
///
/// # Errors
/// [`PoolError::NoProgram`], [`PoolError::MountRefused`] with mount's words, [`PoolError::TimedOut`].
pub async fn mount(
    device: &str,
    path: &Path,
    version: Option<&str>,
    options: &[String],
) -> Result<(), PoolError> {
    let mut all: Vec<String> = version.map(|version| format!("nfsvers={version}")).into_iter().collect();
    if !options.iter().any(|option| option.starts_with("retry=")) {
        // Minutes of trying would look like a hang; who wants them writes the option.
        all.push("retry=0".to_owned());
    }
    all.extend_from_slice(options);
    all.push(ALWAYS.to_owned());
    let all = all.join(",");
    let arguments = ["-t", "nfs", "-o", &all, "--", device].map(OsStr::new);
    let refused = |said| PoolError::MountRefused { device: device.to_owned(), path: path.to_owned(), said };
    let arguments = [&arguments[..], &[path.as_os_str()]].concat();
    let done = run("mount", path, &arguments, MOUNT_TIMEOUT, refused).await;
    if matches!(done, Err(PoolError::TimedOut { .. })) && mounted(path)?.is_some() {
        // It was done in the last moment, and nobody will use it.
        unmount(path).await?;
    }
    done
}

/// Unmounts what is mounted on `path`.
///
/// # Errors
/// [`PoolError::NoProgram`], [`PoolError::UnmountRefused`] with umount's words (somebody uses it), [`PoolError::TimedOut`].
pub async fn unmount(path: &Path) -> Result<(), PoolError> {
    let refused = |said| PoolError::UnmountRefused { path: path.to_owned(), said };
    run("umount", path, &[OsStr::new("--"), path.as_os_str()], MOUNT_TIMEOUT, refused).await
}

/// Runs a program. Where it does not end, it is killed with all that it has started (mount leaves the work to mount.nfs),
/// and waited for a moment only: in a system call on a dead server it may stay.
async fn run(
    program: &'static str,
    path: &Path,
    arguments: &[&OsStr],
    within: Duration,
    refused: impl FnOnce(String) -> PoolError,
) -> Result<(), PoolError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| PoolError::NoProgram { program, package: "mount", source })?;
    let errors = child.stderr.take().expect("the pipe was asked for");
    let ended = timeout(within, async {
        let mut said = Vec::new();
        errors.take(MOUNT_OUTPUT_BYTES_MAX).read_to_end(&mut said).await?;
        Ok::<_, io::Error>((child.wait().await?, said))
    });
    let (status, said) = match ended.await {
        Ok(ended) => {
            ended.map_err(|source| PoolError::Io { step: "mount on", path: path.to_owned(), source })?
        }
        Err(_elapsed) => {
            let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            // It fails where all of them have ended in this moment.
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            let _ = timeout(KILLED_TIMEOUT, child.wait()).await;
            return Err(PoolError::TimedOut { path: path.to_owned(), after: within });
        }
    };
    if status.success() { Ok(()) } else { Err(refused(in_one_line(&String::from_utf8_lossy(&said), status))) }
}

/// What a program said, and what to install where mount lacks its part for NFS.
fn in_one_line(said: &str, status: std::process::ExitStatus) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.contains("mount.<type> helper program") {
        return format!("{line} (Debian and Ubuntu: package nfs-common)");
    }
    if line.is_empty() { status.to_string() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        40 22 0:40 / /srv/shared rw,nosuid,nodev - tmpfs tmpfs rw\n\
        41 40 0:41 / /srv/shared rw,nosuid,nodev,noexec,relatime shared:7 master:1 - nfs4 nfs:/nfs-share/ rw,vers=4.1,hard,proto=tcp,addr=10.77.0.1\n\
        42 22 0:42 / /srv/with\\040space\\134 rw - nfs [fd00::2]:/x rw,vers=3,addr=fd00::2\n";

    fn device(path: &str) -> Option<String> {
        find(MOUNTS, Path::new(path)).map(|mounted| format!("{} {}", mounted.filesystem, mounted.device))
    }

    #[test]
    fn what_is_mounted_is_found() {
        assert_eq!(device("/srv/shared").as_deref(), Some("nfs4 nfs:/nfs-share/"));
        assert_eq!(device("/srv/shared/").as_deref(), Some("nfs4 nfs:/nfs-share/"));
        assert_eq!(device("/srv/with space\\").as_deref(), Some("nfs [fd00::2]:/x"));
        assert_eq!(device("/srv"), None);
        assert_eq!(device("/srv/shared/below"), None);
        let mounted = find(MOUNTS, Path::new("/srv/shared")).unwrap();
        assert_eq!((mounted.option("vers"), mounted.option("ver")), (Some("4.1"), None));
        assert!(mounted.options.contains(&"noexec".to_owned()), "{mounted:?}");
    }

    #[track_caller]
    fn check(path: &str, device: &str, expect: bool) {
        assert_eq!(find(MOUNTS, Path::new(path)).unwrap().is_nfs(device), expect, "{device}");
    }

    #[test]
    fn a_server_has_a_name_and_an_address() {
        check("/srv/shared", "nfs:/nfs-share", true);
        check("/srv/shared", "10.77.0.1:/nfs-share", true);
        check("/srv/shared", "10.77.0.1:/other", false);
        check("/srv/shared", "other:/nfs-share", false);
        check("/srv/with space\\", "[fd00::2]:/x", true);
        check("/", "/dev/vda", false);
    }

    #[tokio::test]
    async fn what_mount_says_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let refused = unmount(directory.path()).await.unwrap_err().to_string();
        assert!(refused.contains("not mounted"), "{refused}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_what_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let started = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {0}.new && mv {0}.new {0}; wait", started.display());
        let arguments = ["-c", &script].map(OsStr::new);
        let refused = |said| PoolError::UnmountRefused { path: PathBuf::new(), said };
        let running = run("sh", directory.path(), &arguments, Duration::from_secs(5), refused);
        assert!(matches!(running.await, Err(PoolError::TimedOut { .. })));
        let pid = std::fs::read_to_string(&started).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        let gone = async {
            // What is left of it when nobody has waited for it yet does not count.
            let state = |status: String| status.contains("State:\tZ");
            let status = || std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
            while !status().map_or(true, state) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), gone).await.expect("it is killed");
    }
}
