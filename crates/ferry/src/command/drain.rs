//! `drain`: empties a host and watches it. Main function: [`drain`].

use std::io::IsTerminal;
use std::pin::pin;

use anyhow::Context;
use api::{Drain, StopDrain};
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};

use super::Desk;
use crate::args;
use crate::drained;
use crate::failure::{Exit, Failure};
use crate::progress::live;
use crate::resolve;

pub(super) async fn drain(desk: &Desk<'_>, typed: &args::Drain) -> Result<Exit, Failure> {
    if !typed.watch {
        let begun = desk.client.drain(&resolve::drain(typed)).await?;
        if typed.detach {
            let host = &typed.name;
            desk.printer.answer(&begun, |_| {
                format!("{host} is being emptied; `ferry drain {host} --watch` shows it.\n")
            });
            return Ok(Exit::Done);
        }
    }
    let Some(ended) = watch(desk, &typed.name, !typed.watch).await? else { return Ok(Exit::Interrupted) };
    if !desk.printer.json() {
        crate::printer::out(&drained::table(&ended, desk.printer.width()));
    }
    Ok(ended.outcome().map_or(Exit::Failed, Exit::from))
}

/// Shows it to its end. The first Ctrl-C begins with no further domain, the second cancels what is under way, the third stops
/// watching; for who only watches, the first does that.
async fn watch(desk: &Desk<'_>, host: &str, ours: bool) -> Result<Option<Drain>, Failure> {
    let mut signal = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut interrupts = [
        (
            StopDrain { cancel: false },
            "No further domain is begun with; Ctrl-C once more cancels those on their way.",
        ),
        (StopDrain { cancel: true }, "Asked the agent to keep those on their way; Ctrl-C once more leaves."),
    ]
    .into_iter()
    .filter(|_| ours);
    let mut shown = Shown::new(desk);
    let mut events = pin!(desk.client.drain_events());
    loop {
        tokio::select! {
            event = events.try_next() => match event? {
                Some(table) => {
                    shown.show(&table);
                    if table.ended {
                        return Ok(Some(table));
                    }
                }
                None => {
                    return Err(Failure::Unfinished {
                        message: "the agent told no end".to_owned(),
                        mend: format!("`ferry drain {host} --watch` looks again"),
                    });
                }
            },
            _ = signal.recv() => match interrupts.next() {
                Some((stop, said)) => {
                    desk.client.stop_drain(stop).await?;
                    shown.say(said);
                }
                None => {
                    shown.say(&format!("It goes on; `ferry drain {host} --watch` shows it."));
                    return Ok(None);
                }
            },
        }
    }
}

/// What was shown: JSON a line each, on a terminal a live table, else a line for each domain that has come further.
struct Shown<'a> {
    desk: &'a Desk<'a>,
    bar: Option<ProgressBar>,
    before: Drain,
}

impl<'a> Shown<'a> {
    fn new(desk: &'a Desk<'a>) -> Self {
        let is_live = !desk.printer.json() && std::io::stderr().is_terminal();
        let bar = is_live.then(|| live("{spinner} {msg}"));
        Shown { desk, bar, before: Drain::default() }
    }

    fn show(&mut self, table: &Drain) {
        if self.desk.printer.json() {
            self.desk.printer.line(table);
            return;
        }
        let width = self.desk.printer.width().saturating_sub(2);
        drained::news(&self.before, table, width).iter().for_each(|line| self.say(line));
        if let Some(bar) = &self.bar {
            bar.set_message(drained::live(table, width));
        }
        self.before = table.clone();
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.desk.printer.note(text),
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
