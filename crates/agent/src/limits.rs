//! Every queue, bound, time-out and retry of the agent, named.

use std::time::Duration;

/// Requests that wait for one domain's task.
pub(crate) const KEEPER_QUEUE: usize = 32;

/// How long a target lets a source wait for its turn before it says that it is not yet; the source asks again.
pub(crate) const TURN_WAIT: Duration = Duration::from_secs(20);

const _: () = assert!(TURN_WAIT.as_secs() < client::limits::REQUEST_WITHIN.as_secs());

/// How long a source waits for its turn before it tells those who watch.
pub(crate) const TURN_TOLD_AFTER: Duration = Duration::from_millis(300);

/// Domains of a host that is emptied that are prepared while others are on their way: the next one begins at once.
pub(crate) const DRAIN_PREPARED_AHEAD: usize = 2;

/// Requests that wait for one migration's task.
pub(crate) const DRIVE_QUEUE: usize = 8;

/// How long a TLS handshake may take: as long as the side that connects waits for it.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = client::limits::CONNECT_WITHIN;

/// Longest request body in bytes; a definition is the longest thing that is sent.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;

/// Longest sentence of axum's that is passed on with a refusal, in bytes.
pub(crate) const REFUSAL_BYTES_MAX: usize = 4096;

/// Between two signs of life that a source asks of its target while memory goes over.
pub(crate) const PULSE_EVERY: Duration = Duration::from_millis(1000);

/// Signs of life that must fail in a row before a source takes the target for unreachable and keeps the guest. Only
/// ever counted before the pledge.
pub(crate) const PULSE_FAILURES_MAX: u32 = 3;

/// How long one sign of life may take.
pub(crate) const PULSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a guest may stand still between QEMU's stop and its *completed* before the source takes it back.
pub(crate) const SWITCHOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at a QEMU that loads in post-copy, of which no event tells. It lies in the blackout.
pub(crate) const LOADED_PAUSE: Duration = Duration::from_millis(2);

/// How long a target waits, at a pledge, for its QEMU to say that everything is loaded.
pub(crate) const LOADED_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a target waits for RESUME after `cont`.
pub(crate) const RESUME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a source lets `migrate_cancel` take before it breaks QEMU's connections with `yank`.
pub(crate) const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a pledge waits for its connection, which is being used when the guest is stopped right after the first round.
pub(crate) const FRESHEN_TIMEOUT: Duration = Duration::from_millis(500);

/// Between two questions to a QEMU that lives and does not answer.
pub(crate) const ASK_QEMU_EVERY: Duration = Duration::from_secs(1);

/// How often an image is tried to be shown that the agent before had open, and the first pause; each is twice the one
/// before, so it has 6 s to be closed.
pub(crate) const SHOW_TRIES_MAX: usize = 6;
pub(crate) const SHOW_PAUSE_MIN: Duration = Duration::from_millis(100);

/// How often the new owner is tried to be written before the next agent has to do it.
pub(crate) const OWNER_TRIES_MAX: usize = 8;

/// How long a domain's task waits for QEMU when it is asked to show the domain.
pub(crate) const SHOW_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two tries to find a QEMU again that lives and cannot be talked to.
pub(crate) const FIND_EVERY: Duration = Duration::from_secs(2);

/// How long a QEMU may take to end after `quit` before it is killed.
pub(crate) const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the source waits for the target to give everything back, before it goes on alone.
pub(crate) const ABANDON_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a pledge waits for its verdict before the migration is shown as in doubt. The question goes on.
pub(crate) const VERDICT_TIMEOUT: Duration = Duration::from_secs(15);

/// Between two questions of a target to its source about what became of the migration.
pub(crate) const SETTLEMENT_EVERY: Duration = Duration::from_secs(3);

/// How often in a row a source may say that it does not know a migration before the target gives up. A target without a
/// pledge has no right to run, so giving up is always safe.
pub(crate) const SETTLEMENT_UNKNOWN_MAX: u32 = 5;

/// How the guest is announced on the target, in milliseconds: QEMU's own defaults (qapi `AnnounceParameters`).
pub(crate) const ANNOUNCE: qemu::command::AnnounceSelf =
    qemu::command::AnnounceSelf { initial: 50, max: 550, rounds: 5, step: 100 };

/// Shortest and longest pause between two questions to a host that could not be reached.
pub(crate) const SETTLE_PAUSE_MIN: Duration = Duration::from_millis(500);
/// See [`SETTLE_PAUSE_MIN`].
pub(crate) const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How much longer than twice its forward delay a port on an STP bridge may take until it forwards.
pub(crate) const FORWARDING_GRACE: Duration = Duration::from_secs(5);

/// Between two readings of a running migration's figures for the people who watch.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// How long after a round's beginning it is looked at. QEMU stops the guest within it where the round before was the last but one:
/// then it is asked nothing.
pub(crate) const ROUND_LOOK_AFTER: Duration = Duration::from_millis(5);

/// Connections that carry one file at once; no more than this host has processors, since each keeps one busy.
pub(crate) const COPY_STREAMS_MAX: usize = 4;

/// Bytes of a disk that are held on their way, in each direction: enough for whole TLS records and few calls of the kernel.
pub(crate) const DISK_WAY_BYTES: usize = 256 * 1024;

/// How long QEMU may take until it has agreed with the target's QEMU about a disk; its guest stands still meanwhile.
pub(crate) const MIRROR_BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Shortest and longest pause before a copy that was cut is tried again.
pub(crate) const CARRY_PAUSE_MIN: Duration = Duration::from_millis(250);
/// See [`CARRY_PAUSE_MIN`].
pub(crate) const CARRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a copy is tried again and again while nothing of it goes over. Then the domain stays.
pub(crate) const CUT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// How often one file is sent again because its copy is not equal.
pub(crate) const CARRY_TRIES_MAX: u32 = 3;

/// Bytes set aside for a journal when it is opened, so that a full disk is found before anything is changed.
pub(crate) const JOURNAL_BYTES: u64 = 64 << 10;

/// Ended migrations whose reports are kept.
pub(crate) const REPORTS_KEPT: usize = 1000;

/// How long a certificate must still be valid for the doctor to say nothing.
pub(crate) const CERTIFICATE_LEFT_MIN: Duration = Duration::from_secs(30 * 86_400);

/// How far the clocks of two hosts may be apart for the doctor to say nothing.
pub(crate) const CLOCK_SKEW_MAX: Duration = Duration::from_millis(500);

/// Free bytes that the doctor wants where journals and definitions lie.
pub(crate) const STATE_BYTES_MIN: u64 = 64 << 20;

/// Upper bounds of the buckets in which migrations' durations are counted, in seconds.
pub(crate) const DURATION_BUCKETS_S: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// Upper bounds of the buckets in which blackouts are counted, in seconds.
pub(crate) const BLACKOUT_BUCKETS_S: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

/// How long what is sent with a refused request is read before its connection is closed.
pub(crate) const RUN_OUT_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two tries to write down what a migration changed, while the disk does not take it.
pub(crate) const WRITE_AGAIN_EVERY: Duration = Duration::from_secs(5);

/// How long finding out one thing for a preflight may take; a storage or a QEMU that does not answer is a finding. A
/// target that is asked for its facts finds out one thing after another twice at most, and answers before it is given up.
pub(crate) const FACT_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(2 * FACT_TIMEOUT.as_secs() < client::limits::CHECK_WITHIN.as_secs());

/// Directories in which one check writes nonces.
pub(crate) const NONCES_MAX: usize = 64;

/// How long a target may take to say what time it is there, its TLS handshake included, before it counts as silent.
pub(crate) const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a preflight waits for a connection to a target's port. A firewall that drops packets says nothing.
pub(crate) const DOOR_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a target keeps a port open for a preflight.
pub(crate) const DOOR_OPEN: Duration = Duration::from_secs(15);

/// How long a target looks whether its bridges have learned a guest's addresses: longer than all of [`ANNOUNCE`].
pub(crate) const LEARN_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two looks at what bridges have learned.
pub(crate) const LEARNED_EVERY: Duration = Duration::from_millis(100);

/// Between two looks whether a domain that has come is its task's.
pub(crate) const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(20);

/// How long the agent in a guest may take to say what time it is there.
pub(crate) const GUEST_AGENT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a source waits for what its target saw afterwards. The guest runs meanwhile; only the report waits.
pub(crate) const VERIFY_TIMEOUT: Duration = Duration::from_secs(8);

/// Longest name of a file made from a domain's name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// How long a guest that is to be booted again may take to shut itself down, where nobody waits for it.
pub(crate) const REBOOT_TIMEOUT: Duration = Duration::from_secs(60);
/// Events about domains that are kept for those who ask later.
pub(crate) const NEWS_KEPT: usize = 1000;

/// Events about domains that a listener may fall behind before it loses the oldest.
pub(crate) const NEWS_QUEUE: usize = 256;

/// How long the last words of a QEMU that has ended may take to be read from its monitor.
pub(crate) const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a console that are carried at once.
pub(crate) const CONSOLE_BYTES: usize = 4096;

/// Longest message that is typed into a console at once, in bytes.
pub(crate) const CONSOLE_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// How long somebody at a console may take nothing before the console is closed: the guest waits for it.
pub(crate) const CONSOLE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the end of a guest may take to be known after QEMU has closed its console.
pub(crate) const CONSOLE_END_TIMEOUT: Duration = Duration::from_secs(10);

/// Ports that are tried for a SPICE screen whose definition names none: those of libvirt.
pub(crate) const SPICE_PORTS: std::ops::RangeInclusive<u16> = 5900..=65535;

/// How long whoever detaches a device waits for the guest to let go of it.
pub(crate) const DETACH_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest name of a snapshot, in bytes; libvirt and QEMU take more.
pub(crate) const SNAPSHOT_NAME_BYTES_MAX: usize = 128;

/// How long a CA is valid, in years.
pub(crate) const CA_YEARS: i32 = 20;

/// How long a host's certificate is valid that somebody carries to it, in years.
pub(crate) const HOST_YEARS: i32 = 5;

/// How long the certificate of a host that has joined is valid, in days; it is renewed by itself.
pub(crate) const JOINED_DAYS: i32 = 365;

/// How long before its end a certificate is renewed: the issuer may be away for months.
pub(crate) const RENEW_BEFORE: Duration = Duration::from_secs(120 * 86_400);

/// How much earlier than that a host may ask for it: clocks differ.
pub(crate) const RENEW_EARLY: Duration = Duration::from_secs(86_400);

/// How long a token lets a host in where nobody says how long.
pub(crate) const TOKEN_VALID: Duration = Duration::from_secs(3600);

/// The longest that a token may let a host in.
pub(crate) const TOKEN_VALID_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How long a token that lets nobody in any more is remembered, so that whoever comes with it is told why.
pub(crate) const TOKEN_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Tokens that are remembered at once.
pub(crate) const TOKENS_MAX: usize = 100;

/// Wrong secrets after which a token lets nobody in any more.
pub(crate) const TOKEN_ATTEMPTS_MAX: u32 = 5;

/// Random bytes in a token's secret.
pub(crate) const TOKEN_SECRET_BYTES: usize = 32;

/// How far the clocks of two hosts may be apart when one joins the other: what Kerberos allows (RFC 4120, section 1.6).
pub(crate) const JOIN_SKEW_MAX: Duration = Duration::from_secs(300);

/// Hosts without a certificate that may talk to this one at the same time.
pub(crate) const STRANGERS_MAX: usize = 8;

/// How long a host without a certificate may stay.
pub(crate) const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest request body of a host without a certificate, in bytes.
pub(crate) const STRANGER_BODY_BYTES_MAX: usize = 16 << 10;

/// Between two questions of a host that has joined to the issuer: who is there, and who is revoked?
pub(crate) const ROSTER_EVERY: Duration = Duration::from_secs(60);

/// How long a host may take to say that it is there, when all of them are asked.
pub(crate) const HOST_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the addresses of a host's name may take to be found, when this host asks itself how it talks to it.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long somebody who sends a volume may send nothing, and somebody who gets one may take nothing: its pool is held.
pub(crate) const CONTENT_SILENCE: Duration = Duration::from_secs(60);

/// Pieces of a volume, of `storage::CONTENT_BYTES` each, that are read before they are taken.
pub(crate) const CONTENT_QUEUE: usize = 2;

/// Smallest MTU that IPv4 takes, in bytes (RFC 791).
pub(crate) const MTU_MIN: u32 = 68;

/// Smallest MTU that IPv6 takes, in bytes (RFC 8200, section 5): below it Linux removes a link's IPv6 addresses.
pub(crate) const MTU_MIN_IPV6: u32 = 1280;

/// Largest MTU of a link whose driver names none, in bytes: what a length in an IPv4 header can say.
pub(crate) const MTU_MAX: u32 = 65_535;

/// Longest time in which a bridge is to be confirmed.
pub(crate) const CONFIRM_WITHIN_MAX: Duration = Duration::from_secs(3600);

/// How long a host may take to answer before a bridge is made, to count as one that was reached.
pub(crate) const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a host that was reached may take to be reached again once a bridge has taken its uplink's place.
pub(crate) const NEIGHBOUR_AGAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to reach it.
pub(crate) const NEIGHBOUR_AGAIN_EVERY: Duration = Duration::from_millis(500);

/// Between two tries to undo a bridge.
pub(crate) const UNDO_AGAIN_EVERY: Duration = Duration::from_secs(5);

/// How long a bridge that needs not be confirmed may take to be made.
pub(crate) const BRIDGE_WITHIN_MAX: Duration = Duration::from_secs(60);

/// How long whatever configures the host's links may take to give an uplink its addresses again.
pub(crate) const NATIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What is sent at most to learn how fast a link is, and for how long. A gigabit network carries it in that time; a faster one
/// needs less.
pub(crate) const LINK_PROBE_BYTES_MAX: usize = 32 << 20;
/// See [`LINK_PROBE_BYTES_MAX`].
pub(crate) const LINK_PROBE_TIME: Duration = Duration::from_millis(300);

/// How long such a probe is listened to.
pub(crate) const LINK_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same in passing, while a target makes room: processors have other things to do then.
pub(crate) const LINK_GLANCE_BYTES_MAX: usize = 4 << 20;
/// See [`LINK_GLANCE_BYTES_MAX`].
pub(crate) const LINK_GLANCE_TIME: Duration = Duration::from_millis(60);

/// Pauses between looks at a guest that is about to leave; both fit into the time in which a target makes room.
pub(crate) const GLANCES: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(150)];

/// How long it is taken to be known how a guest writes, once that was measured for a plan.
pub(crate) const WRITES_KEPT_FOR: Duration = Duration::from_secs(10 * 60);
