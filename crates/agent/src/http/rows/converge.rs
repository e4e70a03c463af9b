//! What HTTP says where a live migration was given up though nothing broke.

use super::{Row, row};
use crate::failure::ConvergeFailure;

const STUCK: Row = row(
    409,
    "stuck",
    "allow it more (--blackout-bound, --max-throttle, --deadline), have the guest paused for it (--on-stuck suspend), or move it \
     shut off (--offline)",
);
const SWITCHOVER_TIMED_OUT: Row = row(504, "switchover-timed-out", "try again when the link is free");

/// The row of a failure.
pub(crate) fn row_of(failure: &ConvergeFailure) -> Row {
    match failure {
        ConvergeFailure::Stuck { .. } => STUCK,
        ConvergeFailure::SwitchoverTimedOut { .. } => SWITCHOVER_TIMED_OUT,
    }
}
