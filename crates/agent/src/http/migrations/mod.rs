//! The endpoints of migrations, one a file.

pub(super) mod cancel;
pub(super) mod events;
pub(super) mod list;
pub(super) mod postcopy;
pub(super) mod resolve;
pub(super) mod settings;
pub(super) mod show;
pub(super) mod switchover;

use crate::failure::Failure;
use crate::tracker::Tracker;

/// Refuses what makes no sense for a migration that has ended.
fn ended(tracker: &Tracker) -> Result<(), Failure> {
    if tracker.is_settled() {
        return Err(Failure::MigrationEnded {
            phase: "it has a known end, which `ferry migrations show` tells",
        });
    }
    Ok(())
}
