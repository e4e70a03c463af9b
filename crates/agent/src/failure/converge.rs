//! Why a live migration was given up though nothing broke. Main type: [`ConvergeFailure`].

use std::time::Duration;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvergeFailure {
    #[error("it came to no end: {reason}")]
    Stuck { reason: String },
    #[error("the guest stood still for {after:?} without the migration completing")]
    SwitchoverTimedOut { after: Duration },
}
