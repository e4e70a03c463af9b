//! A cgroup of QEMU's own, so that stopping the agent's service does not stop its guests.
//!
//! systemd, when it stops a unit, kills every process in the unit's cgroup; a new session alone does not help. Three
//! ways, in this order: under systemd, whose tree nobody else may change, a scope made by `systemd-run` in
//! [`SLICE`]; without systemd a leaf below the root of cgroup version 2; none, said by a warning. It sets no limits: an
//! operator sets those on the slice. The main type is [`Placement`].

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::limits;

/// Beginning of the name of every cgroup made here.
const PREFIX: &str = "ferry-";

/// The slice of all guests' scopes, a unit that the package installs (systemd.slice(5)). Where it is not installed,
/// systemd makes an empty one.
const SLICE: &str = "ferry.slice";

/// Where cgroup version 2 is mounted when it is the only hierarchy.
const UNIFIED_MOUNT: &str = "/sys/fs/cgroup";

/// Where the next QEMU goes.
#[derive(Debug)]
pub(super) enum Placement {
    /// Into a leaf; the child writes itself into `procs` before it becomes QEMU.
    Leaf {
        /// Removed when QEMU is gone.
        cgroup: Cgroup,
        /// `cgroup.procs`, open for writing.
        procs: File,
    },
    /// Through `systemd-run --scope`, which makes the scope and becomes QEMU.
    Scope {
        /// Unit name.
        unit: String,
    },
    /// Nowhere: QEMU stays in the agent's cgroup.
    Inherited,
}

/// A leaf cgroup made here.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Placement {
    /// Picks and prepares a place for the QEMU of a run directory.
    pub(super) fn prepare(run_directory: &Path) -> Self {
        let name = name_of(run_directory);
        // sd_booted(3).
        if Path::new("/run/systemd/system").is_dir() {
            return Self::Scope { unit: format!("{name}.scope") };
        }
        if let Some(mount) = mount_point() {
            match Self::leaf(mount.join(&name)) {
                Ok(leaf) => return leaf,
                Err(error) => tracing::debug!(%error, cgroup = name, "could not make a cgroup for QEMU"),
            }
        }
        tracing::warn!(
            "QEMU stays in the agent's own cgroup: cgroup version 2 is not writable and systemd does not run; \
             whatever kills the agent's whole cgroup kills its guests"
        );
        Self::Inherited
    }

    fn leaf(path: PathBuf) -> io::Result<Self> {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let procs = OpenOptions::new().write(true).open(path.join("cgroup.procs"))?;
        Ok(Self::Leaf { cgroup: Cgroup { path }, procs })
    }
}

/// The words before the emulator's that make systemd run it in a scope: `systemd-run` becomes what it runs, with its
/// descriptors (systemd-run(1)).
pub(super) fn scope_arguments(unit: &str) -> [String; 7] {
    ["--scope", "--quiet", "--collect", &format!("--slice={SLICE}"), "--unit", unit, "--"].map(str::to_owned)
}

impl Cgroup {
    /// The cgroup made here that a process is in.
    pub(super) fn of_process(pid: u32) -> Option<Self> {
        let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let within = memberships.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = within.rsplit('/').next().filter(|name| name.starts_with(PREFIX))?;
        // Our leaves stand directly below the root; a scope of systemd's is removed by systemd.
        (name == within && !name.ends_with(".scope")).then_some(())?;
        Some(Self { path: mount_point()?.join(name) })
    }

    /// The cgroup that a QEMU of this run directory left behind.
    pub(super) fn left_behind(run_directory: &Path) -> Option<Self> {
        let path = mount_point()?.join(name_of(run_directory));
        path.is_dir().then_some(Self { path })
    }

    /// Removes it if it is empty; gives it back if it is not yet.
    pub(super) fn try_remove(self) -> Result<(), Self> {
        match fs::remove_dir(&self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(_) => Err(self),
        }
    }

    /// Removes it, waiting a little. The kernel counts a process as gone from its cgroup only when it is reaped, and
    /// tells nobody, hence the few tries.
    pub(super) async fn remove(mut self) {
        for _ in 0..limits::CGROUP_REMOVE_RETRIES {
            match self.try_remove() {
                Ok(()) => return,
                Err(still) => self = still,
            }
            tokio::time::sleep(limits::CGROUP_REMOVE_PAUSE).await;
        }
        tracing::warn!(cgroup = %self.path.display(), "could not remove QEMU's cgroup");
    }
}

/// Readable (the directory is named after the domain's UUID) and distinct for agents that share a machine.
fn name_of(run_directory: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    run_directory.hash(&mut hasher);
    let hash = hasher.finish() & 0xffff_ffff;
    let last = run_directory.file_name().unwrap_or_default().to_string_lossy();
    let last: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{PREFIX}{last}-{hash:08x}")
}

/// Where cgroup version 2 is mounted; `/sys/fs/cgroup` wins where it is mounted twice.
fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let points = cgroup2_mounts(&mounts);
    points.iter().find(|point| **point == UNIFIED_MOUNT).or(points.first()).map(PathBuf::from)
}

/// proc_pid_mountinfo(5): `36 35 98:0 /root /mount/point options optional… - type source options`.
fn cgroup2_mounts(mountinfo: &str) -> Vec<&str> {
    let lines = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next() == Some("cgroup2")).then(|| before.split(' ').nth(4))?
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_cgroup_2_are_seen() {
        let mountinfo = "30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro\n\
                         31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n\
                         32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        assert_eq!(cgroup2_mounts(mountinfo), ["/sys/fs/cgroup/unified"]);
    }

    #[test]
    fn names_differ_by_directory_and_are_plain() {
        let one = name_of(Path::new("/run/a/0b3e"));
        let two = name_of(Path::new("/run/b/0b3e"));
        assert_ne!(one, two);
        assert!(one.starts_with("ferry-0b3e-"));
        assert!(name_of(Path::new("/run/a b/c.d")).starts_with("ferry-c-d-"));
    }
}
