//! `migrations list`, `show`, `watch`, `cancel`, `set`, `switchover-now`, `resolve`.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use api::{Migration, Settings};
use serde_json::json;
use uuid::Uuid;

use super::watch::{self, Interrupt};
use super::{Desk, migrate};
use crate::args::{Resolve, Set};
use crate::failure::{Exit, Failure};
use crate::{printer, resolve, story};

pub(super) async fn list(desk: &Desk<'_>) -> Result<Exit, Failure> {
    let migrations = desk.client.migrations().await?;
    desk.printer.answer(&migrations, |width| printer::migrations(&migrations, width));
    Ok(Exit::Done)
}

pub(super) async fn show(desk: &Desk<'_>, id: Uuid) -> Result<Exit, Failure> {
    let migration = desk.client.migration(id).await?;
    desk.printer.answer(&migration, |width| text(&migration, width));
    Ok(Exit::Done)
}

pub(super) fn text(migration: &Migration, width: usize) -> String {
    let mut facts = printer::Facts::default();
    facts.add("begun", &migration.report.started_at);
    let phase = story::phase(migration.report.phase, migration.report.offline);
    facts.add("here", &format!("{}, {phase}", story::role(migration.role)));
    format!("{}{}", story::report(&migration.report, width), facts.render(width))
}

pub(super) async fn watch(desk: &Desk<'_>, id: Uuid) -> Result<Exit, Failure> {
    let offline = desk.client.migration(id).await?.report.offline;
    let watched = watch::watch(desk, id, offline, Interrupt::Leaves).await?;
    Ok(migrate::end(desk, watched))
}

pub(super) async fn cancel(desk: &Desk<'_>, id: Uuid) -> Result<Exit, Failure> {
    desk.client.cancel_migration(id).await?;
    desk.printer.answer(&json!({ "cancelling": id }), |_| {
        format!("Asked the agent to keep the domain; `ferry migrations show {id}` tells how it ended.\n")
    });
    Ok(Exit::Done)
}

pub(super) async fn postcopy(desk: &Desk<'_>, id: Uuid) -> Result<Exit, Failure> {
    desk.client.switch_to_postcopy(id).await?;
    desk.printer.answer(&json!({ "switching": id }), |_| {
        format!(
            "Asked the agent to hand the guest over; `ferry migrations watch {id}` tells how it goes on.\n"
        )
    });
    Ok(Exit::Done)
}

pub(super) async fn set(desk: &Desk<'_>, typed: &Set) -> Result<Exit, Failure> {
    let settings = resolve::settings(typed);
    if settings == Settings::default() {
        return Err(Failure::Usage {
            message: "nothing is to be changed".to_owned(),
            mend: "say what: --bandwidth, --max-blackout or --max-throttle".to_owned(),
        });
    }
    desk.client.set_migration(typed.id, &settings).await?;
    desk.printer.answer(&json!({ "setting": typed.id }), |_| {
        format!("Told the agent; `ferry migrations watch {}` shows what follows.\n", typed.id)
    });
    Ok(Exit::Done)
}

pub(super) async fn switch_over(desk: &Desk<'_>, id: Uuid) -> Result<Exit, Failure> {
    desk.client.switch_migration_over(id).await?;
    desk.printer.answer(&json!({ "switching_over": id }), |_| {
        format!("Asked the agent for the end; `ferry migrations watch {id}` shows it.\n")
    });
    Ok(Exit::Done)
}

pub(super) async fn resolve(desk: &Desk<'_>, typed: &Resolve) -> Result<Exit, Failure> {
    let word = resolve::word(typed.word);
    let migration = desk.client.migration(typed.id).await?;
    if !typed.yes && !confirm(desk, &story::stake(&migration, word))? {
        return Err(Failure::Usage {
            message: "nothing was changed".to_owned(),
            mend: "look at the other host first: `ferry list --all` there tells whether the domain runs"
                .to_owned(),
        });
    }
    let resolved = desk.client.resolve_migration(typed.id, word).await?;
    desk.printer.answer(&resolved, |width| text(&resolved, width));
    Ok(Exit::Done)
}

/// Asks a person; only the whole word counts.
fn confirm(desk: &Desk<'_>, stake: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage {
            message: format!("a person must confirm this, and standard input is no terminal. {stake}"),
            mend: "make sure that it is true, then say --yes".to_owned(),
        });
    }
    let asked = format!("{}Type yes if this is true: ", printer::wrap(stake, "", "", desk.printer.width()));
    let mut terminal = anstream::stderr();
    terminal
        .write_all(asked.as_bytes())
        .and_then(|()| terminal.flush())
        .context("cannot ask on the terminal")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(answer.trim() == "yes")
}
