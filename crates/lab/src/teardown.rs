//! Takes a lab down, knowing nothing but its id, and tells what is left of it. Works the same from a normal end, a
//! panic, a signal, or another process a day later.
//!
//! A lab is recognised by names that hold its id: its directory and its namespaces. Its processes are those with the
//! directory on their command line, and those in one of its network namespaces.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::host::{gone_within, signal};
use crate::limits::{KILLED, LOOK, TEARDOWN_LOOKS};
use crate::namespace::NAMES;

/// Exit status after Ctrl-C, as shells know it: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Labs of this process that are not to outlive it.
static LIVING: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Whether a signal ends this process.
static ENDING: AtomicBool = AtomicBool::new(false);

/// A lab's directory.
pub fn directory(id: &str) -> PathBuf {
    Path::new("/var/tmp").join(format!("ferry-lab-{id}"))
}

/// The name of one of a lab's namespaces.
pub fn namespace_name(id: &str, part: &str) -> String {
    format!("ferry-{id}-{part}")
}

/// Takes the lab down when dropped, unless it is told to leave it.
#[derive(Debug)]
pub(crate) struct Guard {
    id: String,
}

impl Guard {
    /// From now on, also Ctrl-C and SIGTERM take the lab down.
    pub(crate) fn new(id: &str) -> Guard {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // Another handler in this process is its author's choice; dropping still works.
            let _ = ctrlc::set_handler(|| {
                ENDING.store(true, Ordering::Relaxed);
                for id in living().drain(..) {
                    teardown(&id);
                }
                std::process::exit(INTERRUPTED);
            });
        });
        living().push(id.to_owned());
        Guard { id: id.to_owned() }
    }

    /// Leaves the lab as it is.
    pub(crate) fn disarm(&self) {
        living().retain(|id| *id != self.id);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut labs = living();
        if ENDING.load(Ordering::Relaxed) {
            drop(labs);
            // Whoever noticed that its lab went must not end this process first, as if something had failed.
            loop {
                thread::park();
            }
        }
        if let Some(place) = labs.iter().position(|id| *id == self.id) {
            labs.remove(place);
            drop(labs);
            teardown(&self.id);
        }
    }
}

fn living() -> std::sync::MutexGuard<'static, Vec<String>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all processes of a lab, then removes its namespaces (links go with them) and its directory. Goes on after
/// every failure; [`leaks`] tells what is left.
pub fn teardown(id: &str) {
    // A process may start another while it is being ended, and one that has just been started shows no command line
    // for a moment: only two looks without any find none.
    let mut quiet = 0;
    for _ in 0..TEARDOWN_LOOKS {
        let processes = processes(id);
        for (pid, _) in &processes {
            // One that ended by itself meanwhile is as good.
            let _ = signal(*pid, Signal::KILL);
        }
        for (pid, _) in &processes {
            gone_within(*pid, KILLED);
        }
        quiet = if processes.is_empty() { quiet + 1 } else { 0 };
        if quiet == 2 {
            break;
        }
        thread::sleep(LOOK);
    }
    for name in namespaces(id) {
        // What cannot be removed is found by leaks().
        let _ = Command::new("ip").args(["netns", "delete", &name]).output();
    }
    for mount in mounts(id) {
        // A process that is about to go may still hold it.
        let _ = unmount(mount, UnmountFlags::DETACH);
    }
    let _ = fs::remove_dir_all(directory(id));
}

/// What is left of a lab: namespaces, processes, sockets and files, one line each. Links need no list of their own:
/// they live in its namespaces, which end with them.
pub fn leaks(id: &str) -> Vec<String> {
    let mut left: Vec<String> = namespaces(id).into_iter().map(|name| format!("namespace {name}")).collect();
    left.extend(processes(id).into_iter().map(|(pid, line)| format!("process {pid}: {line}")));
    left.extend(mounts(id).into_iter().map(|mount| format!("mount {}", mount.display())));
    left.extend(files_below(&directory(id)));
    // Sockets without a living file name still stand in the list of Unix sockets of this namespace.
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = directory(id).to_string_lossy().into_owned();
    left.extend(sockets.lines().filter(|line| line.contains(&path)).map(|line| format!("socket {line}")));
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let links = links.map(|entry| entry.file_name().to_string_lossy().into_owned());
    left.extend(links.filter(|name| name.contains(id)).map(|name| format!("link {name}")));
    left
}

/// Ids of all labs of which anything is there on this machine.
pub fn labs() -> BTreeSet<String> {
    let names = |path: &str| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let directories = names("/var/tmp").filter_map(|name| Some(name.strip_prefix("ferry-lab-")?.to_owned()));
    let namespaces =
        names(NAMES).filter_map(|name| Some(name.strip_prefix("ferry-")?.split_once('-')?.0.to_owned()));
    directories.chain(namespaces).collect()
}

/// What is mounted below a lab's directory (proc_pid_mountinfo(5): the fifth word of a line is the place).
fn mounts(id: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    places.filter(|place| place.starts_with(directory(id))).collect()
}

/// Files and sockets below a directory, the directory itself included, one line each.
pub(crate) fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(directory) {
        found.push(format!("file {}", directory.display()));
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
                Ok(_) | Err(_) => found.push(format!("file {}", entry.path().display())),
            }
        }
    }
    found
}

/// Processes of a lab with their command lines, this one left out.
pub(crate) fn processes(id: &str) -> Vec<(u32, String)> {
    let path = directory(id).to_string_lossy().into_owned();
    let inodes: Vec<u64> = namespaces(id)
        .iter()
        .filter_map(|name| fs::metadata(Path::new(NAMES).join(name)).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // A zombie has no command line any more, and holds nothing.
        let inside =
            || fs::metadata(entry.path().join("ns/net")).is_ok_and(|net| inodes.contains(&net.ino()));
        // The directory or a namespace (`ip netns exec` is on its way in), not the bare id: our own caller may be
        // told that.
        let named = line.contains(&format!("{path}/")) || line.contains(&namespace_name(id, ""));
        if !line.is_empty() && (named || inside()) {
            found.push((pid, line.trim_end().to_owned()));
        }
    }
    found
}

fn namespaces(id: &str) -> Vec<String> {
    let prefix = namespace_name(id, "");
    let names = fs::read_dir(NAMES).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&prefix)).collect()
}
