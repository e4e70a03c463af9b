//! Every bound, queue, buffer, time-out and retry of this crate, by name.
//!
//! Nothing here is read from a configuration: these are the figures that keep a wrong QEMU from taking the agent
//! along. What an operator may choose belongs to the agent.

use std::time::Duration;

/// Longest QMP line accepted, in bytes. The longest that QEMU 10.0 sends is its schema, about 240 KiB.
pub const QMP_LINE_BYTES_MAX: usize = 16 << 20;

/// Bytes read from the QMP socket at once.
pub const QMP_READ_BYTES: usize = 64 << 10;

/// Commands that may wait for the QMP socket to take them.
pub const QMP_SEND_QUEUE: usize = 64;

/// Events a receiver may fall behind before it loses the oldest.
pub const QMP_EVENT_QUEUE: usize = 1024;

/// File descriptors that may travel with one command (`SCM_MAX_FD` in Linux is 253; QEMU takes 16).
pub const QMP_FDS_MAX: usize = 16;

/// How long a command may take to be answered, unless the caller says otherwise.
pub const QMP_REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// How long QEMU may take to send its greeting after a connection was made.
pub const QMP_GREETING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a new QEMU may take until it answers on its QMP socket.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How many bytes of the end of QEMU's log an error carries.
pub const LOG_TAIL_BYTES: u64 = 4096;

/// How long a QEMU that was killed may take to be gone.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a probe QEMU may take to quit by itself before it is killed.
pub const PROBE_QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the tiny guest that tries KVM may run. On hardware it needs a few tens of milliseconds.
pub const KVM_PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a cgroup that should be empty is tried to be removed; the kernel empties it after the process is reaped.
pub const CGROUP_REMOVE_RETRIES: u32 = 20;

/// Pause between two tries to remove a cgroup.
pub const CGROUP_REMOVE_PAUSE: Duration = Duration::from_millis(25);

/// How long `query-migrate` is asked for the port that an incoming migration listens on.
pub const INCOMING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long QEMU may take to clean up after its last migration before the next is refused. It is milliseconds, but for one
/// that was cancelled while it connected to a host that does not answer, where nobody broke that connection off: there it
/// is up to two minutes, and nobody waits.
pub const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two looks at `query-migrate` or `query-yank`, where no event tells of what is waited for.
pub const QUERY_MIGRATE_PAUSE: Duration = Duration::from_millis(5);

/// Longest answer of a guest's agent, in bytes: a time is short, and a guest may say anything.
pub const GUEST_AGENT_LINE_BYTES_MAX: usize = 4096;

/// Pause between two looks at how far a mirror is, where no event tells of what is waited for.
pub const MIRROR_PAUSE: Duration = Duration::from_millis(20);

/// Between two looks at whether a guest writes faster than its disks go over.
pub const MIRROR_LOOK: Duration = Duration::from_millis(500);

/// How long the last writes of all mirrors may take while the guest stands still. Mirrors that are equal have none but what
/// the target's disk has not flushed yet.
pub const MIRROR_FINISH_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a mirror whose connection is closed may take to be gone. It is milliseconds.
pub const MIRROR_ABORT_TIMEOUT: Duration = Duration::from_secs(5);
