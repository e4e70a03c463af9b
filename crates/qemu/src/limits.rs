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

/// The short window in which a guest's writes are counted: long enough for a count, short enough for a set of pages that is
/// written again and again not to be written wholly.
pub const DIRTY_WINDOW_SHORT: Duration = Duration::from_millis(100);

/// The long one: such a set shows its size in it.
pub const DIRTY_WINDOW_LONG: Duration = Duration::from_secs(2);

/// The windows of a QEMU that knows only seconds (before 8.2).
pub const DIRTY_WINDOWS_S: [u64; 2] = [1, 3];

/// Pages that QEMU hashes of a guest, all in all, within the bounds of [`DIRTY_SAMPLE_PAGES_MIN`] and
/// [`DIRTY_SAMPLE_PAGES_MAX`] of each GiB: few milliseconds of one processor.
pub const DIRTY_SAMPLE_PAGES: u64 = 8192;

/// What QEMU takes least (`MIN_SAMPLE_PAGE_COUNT`).
pub const DIRTY_SAMPLE_PAGES_MIN: u64 = 128;

/// Most of each GiB; QEMU takes 16384. The time to hash them must be small beside the short window, of which it is a part.
pub const DIRTY_SAMPLE_PAGES_MAX: u64 = 4096;

/// Pause between two looks at whether QEMU has measured; no event tells.
pub const DIRTY_RATE_PAUSE: Duration = Duration::from_millis(10);

/// How much longer than its window a measurement may take: in a large guest many pages are hashed twice.
pub const DIRTY_RATE_SLACK: Duration = Duration::from_secs(10);

/// Pages of a guest that are read to learn what they hold: enough to tell a share of its memory to one per cent. Their 8 MiB are
/// held until the look has ended.
pub const LOOK_PAGES: usize = 2048;

/// Mappings of a QEMU that can be its guest's memory, one for each NUMA node. Any number of small ones add up to any size.
pub const MEMORY_MAPPINGS_MAX: usize = 64;

/// How long a QEMU may take to let go of a connection that is broken on purpose (`migrate-pause`), and to listen again.
pub const PAUSE_TIMEOUT: Duration = Duration::from_secs(10);
