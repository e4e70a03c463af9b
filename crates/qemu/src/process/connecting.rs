//! Breaks connections that a QEMU is still making. Connections that stand are never touched. Main function:
//! [`break_off`].
//!
//! QEMU connects in a thread that nothing in QMP reaches: a migration that was cancelled meanwhile counts as over, and yet
//! keeps its place (`yank` instance `migration`) until TCP gives up, two minutes where nobody answers. Until then
//! another one is refused: *duplicate yank instance* (seen with QEMU 10.0.2). But `shutdown` ends a connection in
//! `SYN_SENT` at once, and `pidfd_getfd(2)` gives the descriptor of another process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

/// The state `TCP_SYN_SENT`, and the columns of state and inode in `/proc/PID/net/tcp` (proc_pid_net(5)).
const SYN_SENT: &str = "02";
const STATE: usize = 3;
const INODE: usize = 9;

/// Breaks every TCP connection that a process has begun to make and that nobody has answered. Says how many there were.
pub(super) fn break_off(pid: u32, pidfd: &OwnedFd) -> io::Result<usize> {
    let process = Path::new("/proc").join(pid.to_string());
    let mut unanswered = Vec::new();
    for table in ["net/tcp", "net/tcp6"] {
        match fs::read_to_string(process.join(table)) {
            Ok(table) => unanswered.extend(unanswered_in(&table)),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if unanswered.is_empty() {
        return Ok(0);
    }
    let mut broken = 0;
    for entry in fs::read_dir(process.join("fd"))? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        match pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()) {
            Ok(descriptor) if unanswered.contains(&fstat(&descriptor)?.st_ino) => {
                shutdown(&descriptor, Shutdown::Both)?;
                broken += 1;
            }
            // Another one, or one that was closed meanwhile.
            Ok(_) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(broken)
}

/// The inodes of sockets that wait for an answer; those of the whole network namespace.
fn unanswered_in(table: &str) -> impl Iterator<Item = u64> {
    table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let waits = columns.get(STATE) == Some(&SYN_SENT);
        waits.then(|| columns.get(INODE)?.parse().ok()).flatten()
    })
}
