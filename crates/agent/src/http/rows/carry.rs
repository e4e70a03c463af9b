//! What HTTP says where files of a domain did not go over.

use storage::{LockError, TransferError};

use super::{Row, row};
use crate::failure::CarryFailure;

/// The target has no room.
pub(crate) const NO_SPACE_CODE: &str = "copy-no-space";
const CUT_CODE: &str = "copy-cut";
const WIRE_CODE: &str = "copy-wire";
const BUSY_CODE: &str = "copy-busy";
const NOT_ASKED_CODE: &str = "file-not-asked";

/// Codes after which the same file is tried again: what broke was the way, or a block that is sent once more.
pub(crate) const TRY_AGAIN: [&str; 5] = [CUT_CODE, WIRE_CODE, BUSY_CODE, NOT_ASKED_CODE, "stopping"];

const NO_SUCH_FILE: Row = row(404, "no-such-file", "");
const NOT_ASKED: Row = row(409, NOT_ASKED_CODE, "ask what is held of it first");
const NOT_LANDING: Row = row(409, "files-not-expected", "");
const DIGITS: Row = row(400, "request-invalid", "`/api/v1/openapi.json` says what each endpoint takes");
const NAME: Row = row(422, "tpm-file-name", "");
const MIRROR_BROKE: Row =
    row(502, "mirror-broke", "the guest works on with its own disks; see to what broke, and migrate again");
const NOT_EXPORTED: Row = row(500, "disk-not-exported", "the target's log of the domain's QEMU says more");
const NOT_LIVE: Row = row(422, "file-not-live", "migrate it shut off, with --offline");
const NEVER_EQUAL: Row = row(
    502,
    "copy-never-equal",
    "look at the disks of both hosts: one of them does not keep what it is given",
);
const CUT_TOO_LONG: Row =
    row(502, "copy-cut-too-long", "see to the network between the hosts, and migrate again");
const UNREADABLE: Row =
    row(500, "source-unreadable", "look at the source's disk; `qemu-img check` finds what is damaged");
const TOO_LONG: Row = row(422, "file-too-long", "");
const CHANGED: Row = row(409, "source-changed", "find out who writes to it (`fuser`), and migrate again");
const IN_USE: Row =
    row(409, "image-in-use", "find out who has it open (`fuser -v`), end that, and migrate again");
const EXISTS: Row =
    row(409, "copy-exists", "choose another place with --map-disk, or remove what lies there");
const KEPT: Row = row(
    409,
    "copy-exists",
    "choose another place with --map-disk or --map-pool, or make one image of the chain with --flatten",
);
const TOO_SMALL: Row = row(409, "copy-too-small", "give it a larger device with --map-disk");
const NO_SPACE: Row = row(507, NO_SPACE_CODE, "make room there, and migrate again");
const UNWRITABLE: Row = row(500, "copy-unwritable", "look at the target's disk");
const MANGLED: Row = row(500, "copy-mangled", "the target's disk does not keep what it is given: replace it");
const DIFFERS: Row = row(409, "copy-differs", "ask what is held of it, and send the rest");
const WIRE: Row = row(400, WIRE_CODE, "ask what is held of it, and send the rest");
const CUT: Row = row(400, CUT_CODE, "ask what is held of it, and send the rest");
const BUSY: Row = row(409, BUSY_CODE, "ask again when that has ended");
const SILENT: Row = row(504, "copy-storage-silent", "see that the storage of that file answers");

const GUEST_RUNS: Row = row(422, "only-offline", "shut it down, and add --offline");
const NOT_SHOWN: Row = row(
    500,
    "image-not-shown",
    "see that qemu-storage-daemon is installed and /dev/fuse there, or make one image of the chain first: qemu-img convert",
);

/// The row of a failure.
pub(crate) fn row_of(failure: &CarryFailure) -> Row {
    match failure {
        CarryFailure::Transfer(error) => transfer(error),
        CarryFailure::Lock(error) => match error {
            LockError::Disk(_) | LockError::Io { .. } => UNREADABLE,
            LockError::InUse { .. } => IN_USE,
        },
        CarryFailure::GuestRuns => GUEST_RUNS,
        CarryFailure::Export(_) => NOT_SHOWN,
        CarryFailure::NoSuchFile { .. } => NO_SUCH_FILE,
        CarryFailure::NotAsked { .. } => NOT_ASKED,
        CarryFailure::NotLanding => NOT_LANDING,
        CarryFailure::Mirror(_) | CarryFailure::Way(_) | CarryFailure::Silent { .. } => MIRROR_BROKE,
        CarryFailure::Unreadable { .. } => UNREADABLE,
        CarryFailure::NotExported(_) => NOT_EXPORTED,
        CarryFailure::NotWhileRunning { .. } => NOT_LIVE,
        CarryFailure::Digits { .. } => DIGITS,
        CarryFailure::Name { .. } => NAME,
        CarryFailure::Directory { .. } | CarryFailure::Unnamed { .. } => UNWRITABLE,
        CarryFailure::NeverEqual { .. } => NEVER_EQUAL,
        CarryFailure::CutTooLong { .. } => CUT_TOO_LONG,
        CarryFailure::Kept { .. } => KEPT,
        CarryFailure::NoRoom { .. } => NO_SPACE,
    }
}

fn transfer(error: &TransferError) -> Row {
    match error {
        TransferError::Disk(_) | TransferError::Io { .. } | TransferError::Write { .. } => UNWRITABLE,
        TransferError::TooLong { .. } => TOO_LONG,
        TransferError::Read { .. } => UNREADABLE,
        TransferError::Changed { .. } => CHANGED,
        TransferError::Unfinished { .. } | TransferError::Cut { .. } => CUT,
        TransferError::Exists { .. } => EXISTS,
        TransferError::Kept { .. } => KEPT,
        TransferError::TooSmall { .. } => TOO_SMALL,
        TransferError::NoSpace { .. } => NO_SPACE,
        TransferError::Mangled { .. } => MANGLED,
        TransferError::Differs { .. } => DIFFERS,
        TransferError::Wire { .. } | TransferError::Held { .. } => WIRE,
        TransferError::InUse { .. } => BUSY,
        TransferError::TimedOut { .. } => SILENT,
    }
}
