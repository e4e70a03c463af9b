//! `migrate`: begins a migration and watches it.

use super::Desk;
use super::watch::{self, Interrupt, Watched};
use crate::args::Migrate;
use crate::failure::{Exit, Failure};
use crate::resolve;
use crate::story;

pub(super) async fn migrate(desk: &Desk<'_>, typed: &Migrate) -> Result<Exit, Failure> {
    let started = desk.client.migrate(&typed.domain, &resolve::migration(typed)).await?;
    if typed.detach {
        desk.printer.answer(&started, |_| {
            format!("Migration {0} has begun; `ferry migrations watch {0}` shows it.\n", started.id)
        });
        return Ok(Exit::Done);
    }
    let watched = watch::watch(desk, started.id, typed.offline, Interrupt::Cancels).await?;
    Ok(end(desk, watched))
}

/// Prints how a watched migration ended.
pub(super) fn end(desk: &Desk<'_>, watched: Watched) -> Exit {
    match watched {
        Watched::Ended(report) => {
            // As JSON the report was the last event.
            if !desk.printer.json() {
                crate::printer::out(&story::report(&report, desk.printer.width()));
            }
            report.outcome.map_or(Exit::Failed, Exit::from)
        }
        Watched::Left => Exit::Interrupted,
    }
}
