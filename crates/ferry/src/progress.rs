//! Shows a migration while it goes on: a live line on a terminal, else a line for each phase and at most one a
//! second with figures. It prints to standard error, so that standard output holds the report alone. Main type:
//! [`Display`].

use std::io::IsTerminal;
use std::time::Instant;

use api::MigrationEvent;
use indicatif::{ProgressBar, ProgressStyle};

use crate::limits::{LIVE_LINE_EVERY, PROGRESS_LINE_EVERY};
use crate::printer::{Printer, wrap};
use crate::story;

/// Where a migration's events are shown.
pub(crate) enum Display<'a> {
    /// Every event is a line of JSON on standard output.
    Json(&'a Printer),
    /// A live line.
    Live { bar: ProgressBar, width: usize },
    /// Lines.
    Lines { printer: &'a Printer, thinner: Thinner },
}

impl<'a> Display<'a> {
    /// As suits the printer and standard error.
    pub(crate) fn new(printer: &'a Printer) -> Self {
        if printer.json() {
            return Self::Json(printer);
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { printer, thinner: Thinner::default() };
        }
        Self::Live { bar: live("{spinner} {wide_msg}"), width: printer.width().saturating_sub(2) }
    }

    /// Shows one event of a migration, `offline` of a domain that is shut off.
    pub(crate) fn event(&mut self, event: &MigrationEvent, offline: bool, now: Instant) {
        match self {
            Self::Json(printer) => printer.line(event),
            Self::Live { bar, width } => match event {
                MigrationEvent::Progress(figures) => bar.set_message(story::progress(figures, *width)),
                MigrationEvent::Copying(figures) => bar.set_message(story::copying(figures, *width)),
                MigrationEvent::Phase { .. } | MigrationEvent::Note { .. } => {
                    if let Some(text) = text(event, offline, *width) {
                        bar.println(text);
                    }
                }
                MigrationEvent::Ended(_) => bar.finish_and_clear(),
            },
            Self::Lines { printer, thinner } => {
                if thinner.lets_through(event, now)
                    && let Some(text) = text(event, offline, printer.width())
                {
                    printer.note(&text);
                }
            }
        }
    }

    /// Says something between events.
    pub(crate) fn say(&self, text: &str) {
        match self {
            Self::Json(printer) | Self::Lines { printer, .. } => printer.note(text),
            Self::Live { bar, .. } => bar.println(text),
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if let Self::Live { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}

/// What changes on a terminal in its place, by a template of indicatif's.
pub(crate) fn live(template: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template(template).expect("a constant template"));
    bar.enable_steady_tick(LIVE_LINE_EVERY);
    bar
}

/// Keeps lines of figures a second apart.
#[derive(Debug, Default)]
pub(crate) struct Thinner {
    last: Option<Instant>,
}

impl Thinner {
    fn lets_through(&mut self, event: &MigrationEvent, now: Instant) -> bool {
        let (MigrationEvent::Progress(_) | MigrationEvent::Copying(_)) = event else { return true };
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < PROGRESS_LINE_EVERY) {
            return false;
        }
        self.last = Some(now);
        true
    }
}

fn text(event: &MigrationEvent, offline: bool, width: usize) -> Option<String> {
    match event {
        MigrationEvent::Phase { phase, .. } => {
            Some(format!("{}: {}", story::phase_name(*phase), story::phase(*phase, offline)))
        }
        MigrationEvent::Note { text, .. } => Some(wrap(text, "", "  ", width).trim_end().to_owned()),
        MigrationEvent::Progress(figures) => Some(story::progress(figures, width)),
        MigrationEvent::Copying(figures) => Some(story::copying(figures, width)),
        MigrationEvent::Ended(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Thinner, text};
    use api::{MigrationEvent, MigrationPhase, Progress};
    use std::time::{Duration, Instant};

    fn figures() -> MigrationEvent {
        MigrationEvent::Progress(Progress {
            round: 2,
            sent_bytes: 1 << 30,
            left_bytes: 12 << 20,
            total_bytes: 1 << 30,
            rate_bytes_per_s: 100 << 20,
            dirty_bytes_per_s: 0,
            expected_blackout_ms: 300,
            throttle_percent: 0,
            elapsed_ms: 1,
        })
    }

    #[test]
    fn figures_come_at_most_each_second_and_phases_always() {
        let begin = Instant::now();
        let mut thinner = Thinner::default();
        let mut at =
            |ms, event: &MigrationEvent| thinner.lets_through(event, begin + Duration::from_millis(ms));
        assert!(at(0, &figures()));
        assert!(!at(999, &figures()));
        let phase = MigrationEvent::Phase { phase: MigrationPhase::Stopped, at: String::new() };
        assert!(at(999, &phase));
        assert!(at(1_000, &figures()));
        assert!(!at(1_999, &figures()));
    }

    #[test]
    fn lines() {
        let phase = MigrationEvent::Phase { phase: MigrationPhase::Streaming, at: String::new() };
        insta::assert_snapshot!(text(&phase, false, 80).expect("a line"), @"streaming: memory goes over while the guest works");
        insta::assert_snapshot!(text(&figures(), false, 80).expect("a line"), @"round 2  sent 1.00 GiB  left 12.0 MiB  100 MiB/s  blackout 300 ms");
    }
}
