//! Follows a migration's events to their end. An agent that goes away and comes back is asked again: the migration
//! does not depend on anybody watching. Main function: [`watch`].

use std::pin::pin;
use std::time::Instant;

use anyhow::Context;
use api::{CopyProgress, MigrationEvent, MigrationReport, Progress};
use client::ClientError;
use futures_util::TryStreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use super::Desk;
use crate::failure::{Failure, chain};
use crate::limits::{WATCH_AGAIN_EVERY, WATCH_AGAIN_WITHIN};
use crate::progress::Display;

/// What the first Ctrl-C does; one more always stops watching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// It asks the source to keep the domain.
    Cancels,
    /// It stops watching.
    Leaves,
}

/// How watching ended.
pub(super) enum Watched {
    /// With the migration.
    Ended(Box<MigrationReport>),
    /// By Ctrl-C; the migration goes on.
    Left,
}

pub(super) async fn watch(
    desk: &Desk<'_>,
    id: Uuid,
    offline: bool,
    interrupt: Interrupt,
) -> Result<Watched, Failure> {
    let signal = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut watcher = Watcher {
        desk,
        id,
        offline,
        interrupt,
        signal,
        display: Display::new(desk.printer),
        shown: Shown::default(),
        trouble: None,
    };
    let watched = watcher.run().await;
    watcher.display.end();
    watched
}

struct Watcher<'a> {
    desk: &'a Desk<'a>,
    id: Uuid,
    /// Whether the domain is shut off.
    offline: bool,
    interrupt: Interrupt,
    signal: Signal,
    display: Display<'a>,
    shown: Shown,
    /// Since when the agent cannot be reached.
    trouble: Option<Instant>,
}

impl Watcher<'_> {
    async fn run(&mut self) -> Result<Watched, Failure> {
        loop {
            let mut events = pin!(self.desk.client.migration_events(self.id));
            loop {
                let event = tokio::select! {
                    event = events.try_next() => event,
                    _ = self.signal.recv() => match self.interrupted().await {
                        Some(watched) => return Ok(watched),
                        None => continue,
                    },
                };
                match event {
                    Ok(Some(event)) => {
                        self.trouble = None;
                        if self.shown.is_new(&event) {
                            self.display.event(&event, self.offline, Instant::now());
                        }
                        if let MigrationEvent::Ended(report) = event {
                            return Ok(Watched::Ended(report));
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.endure(error)?;
                        break;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(WATCH_AGAIN_EVERY) => {}
                _ = self.signal.recv() => {
                    if let Some(watched) = self.interrupted().await {
                        return Ok(watched);
                    }
                }
            }
        }
    }

    async fn interrupted(&mut self) -> Option<Watched> {
        match std::mem::replace(&mut self.interrupt, Interrupt::Leaves) {
            Interrupt::Cancels => {
                match self.desk.client.cancel_migration(self.id).await {
                    Ok(()) => {
                        self.display.say("Asked the agent to keep the domain; Ctrl-C once more leaves.")
                    }
                    Err(error) => {
                        self.display.say(&format!("It cannot be cancelled: {}", chain(&error)));
                    }
                }
                None
            }
            Interrupt::Leaves => {
                self.display.end();
                self.display
                    .say(&format!("The migration goes on; `ferry migrations watch {}` shows it.", self.id));
                Some(Watched::Left)
            }
        }
    }

    /// Passes over an error that a restart of the agent explains, for a while.
    fn endure(&mut self, error: ClientError) -> Result<(), Failure> {
        let passing = match error {
            ClientError::Connect { .. }
            | ClientError::Ssh { .. }
            | ClientError::Io { .. }
            | ClientError::TimedOut { .. }
            | ClientError::EventsCut { .. } => true,
            ClientError::Tls { .. }
            | ClientError::ServerName { .. }
            | ClientError::Problem(_)
            | ClientError::Protocol { .. }
            | ClientError::ProtocolVersion { .. } => false,
        };
        let first = self.trouble.is_none();
        let since = *self.trouble.get_or_insert_with(Instant::now);
        if !passing {
            return Err(error.into());
        }
        if since.elapsed() > WATCH_AGAIN_WITHIN {
            self.display.say(&format!(
                "The migration does not depend on being watched; `ferry migrations watch {}` shows it.",
                self.id
            ));
            return Err(error.into());
        }
        if first {
            self.display.say(&format!("{}; asking again", chain(&error)));
        }
        Ok(())
    }
}

/// What was shown. Events are replayed from the beginning, and a restarted agent replays fewer of them.
#[derive(Debug, Default)]
struct Shown {
    told: Vec<MigrationEvent>,
    elapsed_ms: Option<u64>,
}

impl Shown {
    /// Whether an event was not shown before; it counts as shown from now on.
    fn is_new(&mut self, event: &MigrationEvent) -> bool {
        match event {
            MigrationEvent::Progress(Progress { elapsed_ms, .. })
            | MigrationEvent::Copying(CopyProgress { elapsed_ms, .. }) => {
                let new = self.elapsed_ms.is_none_or(|elapsed| *elapsed_ms > elapsed);
                self.elapsed_ms = self.elapsed_ms.max(Some(*elapsed_ms));
                new
            }
            MigrationEvent::Phase { .. } | MigrationEvent::Note { .. } => {
                let new = !self.told.contains(event);
                if new {
                    self.told.push(event.clone());
                }
                new
            }
            MigrationEvent::Ended(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shown;
    use api::{MigrationEvent, MigrationPhase, Progress};

    fn note(text: &str) -> MigrationEvent {
        MigrationEvent::Note { text: text.to_owned(), at: "2026-01-01T00:00:00Z".to_owned() }
    }

    fn figures(elapsed_ms: u64) -> MigrationEvent {
        MigrationEvent::Progress(Progress {
            round: 1,
            sent_bytes: 0,
            left_bytes: 0,
            total_bytes: 0,
            rate_bytes_per_s: 0,
            dirty_bytes_per_s: 0,
            expected_blackout_ms: 0,
            throttle_percent: 0,
            elapsed_ms,
        })
    }

    #[test]
    fn a_replay_shows_only_what_is_new() {
        let phase = MigrationEvent::Phase { phase: MigrationPhase::Planned, at: String::new() };
        let mut shown = Shown::default();
        for event in [&note("a"), &phase, &figures(0), &figures(100), &note("b")] {
            assert!(shown.is_new(event), "{event:?}");
        }
        // A restarted agent has forgotten "b" and the figures.
        for (event, new) in [
            (note("a"), false),
            (phase, false),
            (figures(100), false),
            (figures(101), true),
            (note("c"), true),
            (note("b"), false),
        ] {
            assert_eq!(shown.is_new(&event), new, "{event:?}");
        }
    }
}
