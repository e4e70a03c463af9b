//! Every time-out, pace and bound of the lab, by name.

use std::time::Duration;

/// An agent listens on its socket within this time after its start.
pub const AGENT_START: Duration = Duration::from_secs(20);
/// The NFS server answers within this time after its start.
pub const NFS_START: Duration = Duration::from_secs(30);
/// A KVM host that is a guest has run its commands within this time; some of them wait for a server that is gone.
pub const HOST_DONE: Duration = Duration::from_secs(600);
/// An agent that was asked to end does so within this time.
pub const AGENT_STOP: Duration = Duration::from_secs(10);
/// A killed process is gone within this time.
pub const KILLED: Duration = Duration::from_secs(5);
/// How often something is looked at that gives no event.
pub const LOOK: Duration = Duration::from_millis(20);
/// A bridge port with STP forwards within this time (twice the forward delay, and a margin).
pub const STP_FORWARDS: Duration = Duration::from_secs(15);
/// The forward delay of bridges with STP; the kernel allows no less than 2 s.
pub const STP_FORWARD_DELAY: Duration = Duration::from_secs(2);
/// The guest serves HTTP within this time after its start, on a busy machine too.
pub const GUEST_BOOT: Duration = Duration::from_secs(120);
/// One HTTP answer of the guest; a check reads all of its memory, and emulation is slow.
pub const GUEST_ANSWER: Duration = Duration::from_secs(60);
/// Connecting to the guest; a first packet that is lost is sent again after a second.
pub const GUEST_CONNECT: Duration = Duration::from_secs(5);
/// From one echo request of the client to the next.
pub const PING_EVERY: Duration = Duration::from_millis(10);
/// An echo request of the client without an answer for so long is lost.
pub const PING_LOST_AFTER: Duration = Duration::from_secs(1);
/// How long one read of echo answers waits, and with it how long stopping takes.
pub const PING_RECEIVE: Duration = Duration::from_millis(100);
/// A cut network is proved by this long a silence.
pub const SILENCE: Duration = Duration::from_millis(300);
/// A whole network is proved by an answer within this time.
pub const REACHED: Duration = Duration::from_secs(5);
/// How often a teardown looks for processes before it leaves what it cannot end to the list of leaks.
pub const TEARDOWN_LOOKS: u32 = 20;
/// What a test waits for happens within this time; on a machine that does other work too.
pub const HAPPENS: Duration = Duration::from_secs(60);
/// A migration in doubt is settled within this time after both agents can hear each other again.
pub const SETTLES: Duration = Duration::from_secs(60);
/// A host has given everything back within this time after a migration: it asks the other side only now and then.
pub const GIVEN_BACK: Duration = Duration::from_secs(60);
/// The size of a file system that holds one agent's state.
pub const STATE_BYTES: u64 = 64 << 20;
/// The size of a file system that holds the disks of one of two hosts that share none: kernel and initramfs lie there too.
pub const STORAGE_BYTES: u64 = 96 << 20;
/// A network fault lasts so long at most: until a source has given up a target that it cannot hear, or is in doubt.
pub const FAULT_LASTS: Duration = Duration::from_secs(18);
/// A connection that could not be made while the network was cut is made or given up within this time: TCP asks again
/// after 1, 2, 4 … seconds.
pub const LETS_GO: Duration = Duration::from_secs(140);
/// A QEMU that is driven by hand says something within this time.
pub const QMP_ANSWER: Duration = Duration::from_secs(30);
/// How often it is looked whether such a QEMU has started or ended: what is measured must not wait for the lab.
pub const QMP_LOOK: Duration = Duration::from_millis(1);
/// libvirtd answers within this time after its start; the first time it asks QEMU for all that it can do.
pub const LIBVIRT_START: Duration = Duration::from_secs(60);
