//! Every time-out and size this crate works with, in one place. Nothing here decides who may run a guest: a
//! request that timed out says only that no answer came.

use std::time::Duration;

/// How long a Unix or TCP connection and its TLS handshake may take.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long `ssh` may take until the agent at its other end has answered; a person may type a password.
pub const SSH_CONNECT_WITHIN: Duration = Duration::from_secs(120);

/// How often `ssh` asks its server for a sign of life, as an option of ssh_config(5); it gives up after three.
pub const SSH_ALIVE: &str = "ServerAliveInterval=15";

/// How long the kept connection may take to be ready for the next request, before another one is opened.
pub const READY_WITHIN: Duration = Duration::from_millis(100);

/// How long an ordinary request may take.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// How long starting a domain may take: QEMU is spawned and probed.
pub const START_WITHIN: Duration = Duration::from_secs(120);

/// How long starting, stopping or showing a pool may take: a server that is dead is waited for. The agent gives up first.
pub const POOL_WITHIN: Duration = Duration::from_secs(150);

/// How long sending a volume may take. The agent gives up first where its storage does not answer.
pub const CONTENT_WITHIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Longest silence while the bytes of a volume come.
pub const CONTENT_SILENCE: Duration = Duration::from_secs(60);

/// How long making, reverting or deleting a snapshot may take: the tables of large images are written.
pub const SNAPSHOT_WITHIN: Duration = Duration::from_secs(30 * 60);

/// How long a clone may take: its disks are copied. The agent ends it first.
pub const CLONE_WITHIN: Duration = Duration::from_secs(25 * 60 * 60);

/// How long the first answer to a new migration may take: both hosts check everything before it.
pub const MIGRATE_WITHIN: Duration = Duration::from_secs(120);

/// How long a host may take to tell what a domain would find there; it bounds each of its own questions first.
pub const CHECK_WITHIN: Duration = Duration::from_secs(30);

/// How long the probe of a link may take until it is answered: what lies in buffers goes over after the last byte was sent.
pub const LINK_WITHIN: Duration = Duration::from_secs(5);

/// How long a target may take to make room for a domain.
pub const OFFER_WITHIN: Duration = Duration::from_secs(90);

/// How long a sign of life of the target may take.
pub const TARGET_STATUS_WITHIN: Duration = Duration::from_secs(5);

/// How long the verdict on a pledge may take. After it the migration is in doubt, never decided.
pub const PLEDGE_WITHIN: Duration = Duration::from_secs(30);

/// How long a target may take to give everything back.
pub const ABANDON_WITHIN: Duration = Duration::from_secs(60);

/// What is added to the time that a guest is given to power itself off.
pub const SHUTDOWN_SLACK: Duration = Duration::from_secs(15);

/// Longest silence in a stream of events. Agents send a comment at least every 15 seconds.
pub const EVENTS_SILENCE: Duration = Duration::from_secs(90);

/// Longest body of a reply, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest list of what a target holds of a file, in bytes: of 2^20 blocks a hash each, and where they lie.
pub const HELD_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Longest single event, in bytes.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// How much of what `ssh` wrote to its standard error is kept for error messages, in bytes.
pub const SSH_STDERR_BYTES_MAX: usize = 4096;

/// How long to wait for `ssh` to say why it ended, once its output is closed.
pub const SSH_EXIT_WITHIN: Duration = Duration::from_secs(2);

/// Bytes that are typed into a console in one message; an agent takes no longer one.
pub const CONSOLE_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How long attaching or detaching a device may take; a guest is given time to let go of it.
pub const DEVICE_WITHIN: Duration = Duration::from_secs(90);

/// How long joining may take: the agent looks up another one and asks it twice in between.
pub const JOIN_WITHIN: Duration = Duration::from_secs(120);

/// How long making or removing a bridge may take, beyond the time in which it is to be confirmed: whatever configures the
/// host's links does it.
pub const BRIDGE_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of a disk that are held on their way, in each direction: enough for whole TLS records and few calls of the kernel.
pub const DISK_WAY_BYTES: usize = 256 * 1024;

/// How long a target's QEMU may take to let go of a broken connection and to listen again; it is given ten seconds there.
pub const LISTEN_WITHIN: Duration = Duration::from_secs(15);
