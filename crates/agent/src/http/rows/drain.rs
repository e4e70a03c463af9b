//! What HTTP says where a host was not emptied.

use super::{Row, row};
use crate::failure::DrainFailure;

const OTHER_HOST: Row = row(422, "drain-other-host", "");
const RUNS: Row = row(409, "drain-runs", "`ferry drain HOST --watch` shows it");
const NONE: Row = row(404, "drain-not-found", "`ferry drain HOST` begins one");
const NO_TARGETS: Row =
    row(409, "drain-no-targets", "let another host join: `ferry host token` and `ferry host join`");
const TAKES_NONE: Row = row(409, "host-draining", "choose another host, or wait until it has been emptied");

/// The row of a failure.
pub(crate) fn row_of(failure: &DrainFailure) -> Row {
    match failure {
        DrainFailure::OtherHost { asked, .. } => {
            OTHER_HOST.say(format!("ask its own agent: `ferry --host ssh://{asked} drain {asked}`"))
        }
        DrainFailure::Runs { .. } => RUNS,
        DrainFailure::None { .. } => NONE,
        DrainFailure::NoTargets => NO_TARGETS,
        DrainFailure::TakesNone { .. } => TAKES_NONE,
    }
}
