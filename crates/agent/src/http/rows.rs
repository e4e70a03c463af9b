//! Status, stable code and mend of every failure that HTTP carries. A code never changes its meaning. Main type: [`Row`].

pub(super) mod bridge;
pub(crate) mod carry;
pub(super) mod converge;
pub(super) mod drain;

use std::borrow::Cow;

/// What HTTP says about one kind of failure.
pub(crate) struct Row {
    pub(super) status: u16,
    pub(super) code: &'static str,
    /// What to do; empty where there is nothing to do.
    pub(super) mend: Cow<'static, str>,
}

impl Row {
    /// With a mend that names what the failure is about.
    pub(super) fn say(self, mend: String) -> Row {
        Row { mend: Cow::Owned(mend), ..self }
    }
}

pub(super) const fn row(status: u16, code: &'static str, mend: &'static str) -> Row {
    Row { status, code, mend: Cow::Borrowed(mend) }
}

pub(super) const AGENT_RESTARTED: Row = row(500, "agent-restarted", "migrate again");
pub(super) const BACKING_DIFFERS: Row =
    row(409, "backing-differs", "remove the <backingStore>, or put back the image that it names");
pub(super) const CANCELLED: Row = row(409, "cancelled", "");
pub(super) const COMMAND_LINE: Row = row(422, "command-line", "change the definition as the message says");
pub(super) const DEFINITION_CHANGED: Row = row(409, "definition-changed", "edit it again as it is now");
pub(super) const CONSOLE_BUSY: Row =
    row(409, "console-busy", "ask who it is, or take it over with `ferry console --force`");
pub(super) const CONSOLE_CLOSED: Row = row(502, "console-closed", "ask again; the domain's log says more");
pub(super) const DEFINITION_INVALID: Row =
    row(422, "definition-invalid", "mend the places named and define it again");
pub(super) const DEVICES_MISSING: Row = row(422, "devices-missing", "");
pub(super) const DEVICE_REFUSED: Row =
    row(409, "device-refused", "unmount or unconfigure it in the guest, and detach it again");
pub(super) const DEVICE_STAYS: Row = row(
    504,
    "device-stays",
    "see that the guest's operating system is up and does not use it; `ferry events` tells when it goes",
);
pub(super) const DISK_ELSEWHERE: Row =
    row(409, "disk-elsewhere", "mount the export, and name the disk's file there as its source");
pub(super) const DISK_FORMAT: Row = row(422, "disk-format", "write qcow2 or raw");
pub(super) const DISK_IS_DEVICE: Row =
    row(409, "disk-is-device", "copy it yourself, and `ferry define` a domain that names the copy");
pub(super) const DISK_UNSAID: Row =
    row(422, "disk-unsaid", "give the path of an image, or the size of one that is to be made");
pub(super) const DISK_UNUSABLE: Row =
    row(409, "disk-unusable", "make the disk readable and writable on this host");
pub(super) const DOMAIN_NOT_FOUND: Row = row(404, "domain-not-found", "`ferry list --all` shows all domains");
pub(super) const EMULATOR_NOT_ALLOWED: Row = row(422, "emulator-not-allowed", "");
pub(super) const FACTS_UNREADABLE: Row = row(500, "facts-unreadable", "");
pub(super) const FENCED: Row = row(
    409,
    "fenced",
    "start it where it belongs; if that host is gone for good and you are certain that the guest is not running, remove the record beside its first disk (its name ends in .ferry)",
);
pub(super) const GUEST_SHUT_DOWN: Row = row(409, "guest-shut-down", "`ferry start` boots it where it is");
pub(super) const HOST_UNKNOWN: Row = row(404, "host-unknown", "");
pub(super) const HOST_UNREACHABLE: Row = row(502, "host-unreachable", "");
pub(super) const IDENTITY_EDITED: Row = row(422, "identity-edited", "");
pub(super) const IMAGE_EXISTS: Row = row(409, "image-exists", "name another file with --file, or remove it");
pub(super) const IMAGE_FAILED: Row =
    row(409, "image-failed", "see what qemu-img says; whoever has the image open must let go of it first");
pub(super) const JOURNAL_FAILED: Row = row(507, "journal-failed", "make room in the agent's state directory");
pub(super) const KVM_UNUSABLE: Row = row(
    422,
    "kvm-unusable",
    "make KVM work (firmware setting, kvm module), or use <domain type='qemu'>, which is slow",
);
pub(super) const LIBVIRT_RUNS: Row = row(409, "libvirt-runs", "");
pub(super) const LIBVIRT_SAVED: Row = row(409, "libvirt-saved", "");
pub(super) const MIGRATING: Row = row(409, "migrating", "");
pub(super) const MIGRATION_ENDED: Row = row(409, "migration-ended", "");
pub(super) const MIGRATION_KNOWN: Row = row(409, "migration-known", "");
pub(super) const MIGRATION_NOT_FOUND: Row =
    row(404, "migration-not-found", "`ferry migrations list` shows all that are known");
pub(super) const MOVED_AWAY: Row = row(409, "moved-away", "");
pub(super) const NAME_TAKEN: Row =
    row(409, "name-taken", "choose another name, or give the definition that domain's UUID to replace it");
pub(super) const NETWORK_FAILED: Row =
    row(409, "network-failed", "check the bridges that the definition names");
pub(super) const NETWORK_UNKNOWN: Row = row(409, "network-unknown", "");
pub(super) const NO_ENDPOINT: Row = row(404, "no-endpoint", "`/api/v1/openapi.json` lists them all");
pub(super) const NO_DISKS: Row = row(409, "no-disks", "give it a disk, or leave its snapshots be");
pub(super) const NO_SUCH_DISK: Row = row(422, "no-such-disk", "`ferry info` shows its disks");
pub(super) const NOT_AN_AGENT: Row = row(403, "not-an-agent", "");
pub(super) const NOT_FROZEN: Row = row(422, "not-frozen", "define the domain with Ferry, which fills it in");
pub(super) const NOT_IN_LIBVIRT: Row =
    row(404, "not-in-libvirt", "`virsh list --all` shows its domains; a file can be imported, too");
pub(super) const NOT_LISTENING: Row =
    row(409, "not-listening", "`ferry host token` or `ferry host join` give it both");
pub(super) const NOT_LOCAL: Row = row(403, "not-local", "");
pub(super) const NO_CONSOLE: Row = row(
    409,
    "no-console",
    "give the domain <serial type='pty'/> or <console type='pty'/>; what goes into a file cannot be typed into",
);
pub(super) const NO_DEVICE: Row = row(404, "no-device", "`ferry dumpxml` shows what there is");
pub(super) const NO_MAC: Row = row(422, "no-mac", "write it as in 52:54:00:00:00:01");
pub(super) const NO_TIME: Row = row(422, "no-time", "write it as in 2026-01-31T12:00:00Z");
pub(super) const NO_VNC: Row = row(409, "no-vnc", "give the domain <graphics type='vnc'/>");
pub(super) const NOT_PLACEABLE: Row = row(422, "not-placeable", "");
pub(super) const NO_SPICE_PORT: Row =
    row(409, "no-spice-port", "write a free `port` into <graphics type='spice'>");
pub(super) const OWNER_RECORD_FAILED: Row =
    row(500, "owner-record-failed", "make the storage writable for this host's root");
pub(super) const OWNER_RECORD_UNREADABLE: Row =
    row(409, "owner-record-unreadable", "look at the file; Ferry did not write it so");
pub(super) const NVRAM_UNSAID: Row = row(
    409,
    "nvram-unsaid",
    "`ferry undefine --nvram` removes them, `ferry undefine --keep-nvram` leaves them where they are",
);
pub(super) const PATH_NOT_ALLOWED: Row = row(422, "path-not-allowed", "");
pub(super) const PICTURE_UNREADABLE: Row =
    row(500, "picture-unreadable", "make room in the agent's run directory");
pub(super) const POOL_ACTIVE: Row = row(409, "pool-active", "`ferry pool stop` stops it");
pub(super) const POOL_BUSY: Row = row(409, "pool-busy", "ask again when that has ended");
pub(super) const POOL_INACTIVE: Row = row(409, "pool-inactive", "`ferry pool start` starts it");
pub(super) const POOL_INCOMPLETE: Row = row(422, "pool-incomplete", "");
pub(super) const POOL_NAME_TAKEN: Row =
    row(409, "pool-name-taken", "choose another name, or leave <uuid> out to define that pool anew");
pub(super) const POOL_NOT_FOUND: Row = row(404, "pool-not-found", "`ferry pool list` shows all pools");
pub(super) const POOL_PATH_TAKEN: Row =
    row(409, "pool-path-taken", "choose another directory, or undefine that pool");
pub(super) const POOL_HAS_GUESTS: Row = row(409, "pool-has-guests", "shut them off, or migrate them");
pub(super) const POOL_PLACE_NOT_ALLOWED: Row = row(
    403,
    "pool-place-not-allowed",
    "do it on that host itself, or add the directory to `allowed_paths` in that agent's configuration",
);
pub(super) const POOL_UNUSABLE: Row = row(409, "pool-unusable", "");
pub(super) const POOL_UUID_TAKEN: Row = row(409, "pool-uuid-taken", "leave <uuid> out to get a new one");
pub(super) const PREFLIGHT_REFUSED: Row =
    row(422, "preflight-refused", "mend what is named and migrate again");
pub(super) const RULE_NEEDED: Row = row(422, "rule-needed", "mend what it finds, or choose another target");
pub(super) const RULE_UNKNOWN: Row = row(422, "rule-unknown", "");
pub(super) const PROTOCOL_VERSION: Row =
    row(409, "protocol-version", "update Ferry on the host that speaks the older ones");
pub(super) const QEMU_DID_NOT_START: Row =
    row(500, "qemu-did-not-start", "QEMU's own words are in the domain's log");
pub(super) const QEMU_NOT_FOUND_AGAIN: Row =
    row(500, "qemu-not-found-again", "restart the agent: it takes that QEMU up again");
pub(super) const QEMU_NOT_LISTENING: Row =
    row(502, "qemu-not-listening", "check the target's address and certificates");
pub(super) const QEMU_NOT_PREPARED: Row =
    row(502, "qemu-not-prepared", "QEMU's own words are in the domain's log");
pub(super) const QEMU_PROBE_FAILED: Row =
    row(500, "qemu-probe-failed", "check that the emulator is installed and runs");
pub(super) const QMP_FAILED: Row = row(500, "qmp-failed", "QEMU's own words are in the domain's log");
pub(super) const REBOOT_TIMED_OUT: Row =
    row(504, "reboot-timed-out", "look at its console; `ferry reset` boots it again without asking it");
pub(super) const REFUSED_BY_TARGET: Row = row(409, "refused-by-target", "");
pub(super) const REQUEST_INVALID: Row =
    row(400, "request-invalid", "`/api/v1/openapi.json` says what each endpoint takes");
pub(super) const REQUEST_TOO_LONG: Row = row(413, "request-too-long", "");
pub(super) const SHUTDOWN_TIMED_OUT: Row =
    row(504, "shutdown-timed-out", "look at its console; `ferry destroy` ends it without asking the guest");
pub(super) const SNAPSHOT_EXISTS: Row =
    row(409, "snapshot-exists", "choose another name, or delete that one");
pub(super) const SNAPSHOT_FORMAT: Row = row(409, "snapshot-format", "");
pub(super) const SNAPSHOT_LACKING: Row = row(
    409,
    "snapshot-lacking",
    "`ferry snapshot list` shows which disks have it; take the others out of the domain",
);
pub(super) const SNAPSHOT_NAME: Row =
    row(422, "snapshot-name", "write letters, digits, `.`, `_` and `-`, not digits only, at most 128 bytes");
pub(super) const SNAPSHOT_NOT_FOUND: Row =
    row(404, "snapshot-not-found", "`ferry snapshot list` shows those that it has");
pub(super) const SOURCE_QEMU_GONE: Row =
    row(500, "source-qemu-gone", "the domain's log says why; it may be started afresh");
pub(super) const STILL_RUNS: Row = row(409, "still-runs", "restart the agent: it takes that QEMU up again");
pub(super) const STOPPING: Row = row(503, "stopping", "ask again when the agent is back");
pub(super) const STORE_FAILED: Row = row(507, "store-failed", "make room in the agent's state directory");
pub(super) const STREAM_FAILED: Row = row(502, "stream-failed", "QEMU's logs on both hosts say more");
pub(super) const SYSTEM_UNKNOWN: Row = row(422, "system-unknown", "");
pub(super) const TARGET_GAVE_UP: Row = row(502, "target-gave-up", "the target agent's log says why");
pub(super) const TARGET_SILENT: Row = row(502, "target-silent", "check the network between the hosts");
pub(super) const TICKET_ADDRESS: Row =
    row(502, "ticket-address", "update Ferry on the host that speaks the older ones");
pub(super) const TPM_FAILED: Row = row(500, "tpm-failed", "the domain's log says more");
pub(super) const UUID_TAKEN: Row =
    row(409, "uuid-taken", "leave <uuid> out to get a new one, or keep that domain's name to replace it");
pub(super) const VARIABLES_NOT_MADE: Row = row(
    409,
    "variables-not-made",
    "see that <nvram> names a file that can be made, and a template that is there",
);
pub(super) const VERDICT_LOST: Row = row(502, "verdict-lost", "`ferry start` boots the domain afresh");
pub(super) const VERDICT_REFUSED: Row = row(502, "verdict-refused", "the target agent's log says why");
pub(super) const VOLUME_BELOW: Row =
    row(422, "volume-below", "rebase the image onto one in a pool (`qemu-img rebase`)");
pub(super) const VOLUME_CUT: Row = row(400, "volume-cut", "send it again; nothing of it was kept");
pub(super) const VOLUME_EXISTS: Row = row(409, "volume-exists", "choose another name, or delete that volume");
pub(super) const VOLUME_NAME: Row = row(
    422,
    "volume-name",
    "write a file's name of at most 200 bytes that does not begin with `.` and does not end in `.ferry`",
);
pub(super) const VOLUME_NOT_FOUND: Row =
    row(404, "volume-not-found", "`ferry vol list POOL` shows all volumes");
pub(super) const VOLUME_OWNED: Row = row(
    409,
    "volume-owned",
    "do it where the domain is, after `ferry undefine`; if there is no such domain any more, remove the record (its name ends in .ferry)",
);
pub(super) const VOLUME_SHRINKS: Row =
    row(409, "volume-shrinks", "shrink the filesystem in it first; `--shrink` allows it");
pub(super) const VOLUME_HOST_SILENT: Row = row(
    409,
    "volume-host-silent",
    "see to it that its agent runs, in this version; `ferry host remove` removes a host that is gone for good",
);
pub(super) const VOLUME_USE_UNKNOWN: Row =
    row(409, "volume-use-unknown", "start the pool that its disks lie in, or undefine the domain");
pub(super) const VOLUME_USED: Row =
    row(409, "volume-used", "shut the domain off, or undefine it to remove the volume");
pub(super) const WORD_REFUSED: Row =
    row(409, "word-refused", "look at both hosts again with `ferry migrations show`");
pub(super) const WRONG_SIDE: Row = row(409, "wrong-side", "ask the agent of the source host");
pub(super) const WRONG_STATE: Row = row(409, "wrong-state", "");
pub(super) const WRONG_TOKEN: Row = row(403, "wrong-token", "");
