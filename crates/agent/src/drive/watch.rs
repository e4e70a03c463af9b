//! Everything that a source waits for at once before its pledge: QEMU's events, QEMU's end, a cancel, the target's
//! signs of life. Beside it, it shows figures. It decides nothing. Main type: [`Watch`].

use std::time::Duration;

use api::{Progress, TargetPhase};
use client::Client;
use qemu::command::{MigrationInfo, QueryMigrate};
use qemu::migrate::{Events, EventsError, THROTTLE_PERCENT_MIN, What};
use qemu::process::Process;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::source::{Live, target_phase};
use crate::failure::Failure;
use crate::limits::{PROGRESS_EVERY, PULSE_EVERY, PULSE_FAILURES_MAX, PULSE_TIMEOUT};
use crate::tracker::{Tracker, rfc3339};

/// What came first.
pub(crate) enum Waited {
    /// QEMU says something.
    Qemu(What),
    /// The migration cannot go on.
    Failed(Failure),
}

/// What a source waits for.
pub(crate) struct Watch {
    events: Events,
    process: Option<Process>,
    tracker: Tracker,
    cancelled: CancellationToken,
    pulse: AbortOnDropHandle<Failure>,
    _figures: Option<AbortOnDropHandle<()>>,
}

impl Watch {
    /// Begins to watch. `events` were asked for before the first command whose events matter.
    pub(crate) fn new(live: &Live, events: Events) -> Watch {
        let tracker = live.begun.tracker.clone();
        let figures = live
            .process
            .clone()
            .map(|process| AbortOnDropHandle::new(tokio::spawn(show_figures(process, tracker.clone()))));
        let client = live.begun.node.neighbours.client(&live.target);
        let pulse = feel_pulse(client, live.target.clone(), tracker.id());
        Watch {
            events,
            process: live.process.clone(),
            tracker,
            cancelled: live.begun.cancelled.clone(),
            pulse: AbortOnDropHandle::new(tokio::spawn(pulse)),
            _figures: figures,
        }
    }

    /// What keeps it from going on, while nothing goes over yet. Cancel safe.
    pub(crate) async fn failed(&mut self) -> Failure {
        loop {
            if let Waited::Failed(failure) = self.next().await {
                return failure;
            }
        }
    }

    /// What keeps it from going on though QEMU says nothing. Whatever QEMU says waits for [`Watch::next`]. Cancel safe.
    pub(crate) async fn broken(&mut self) -> Failure {
        tokio::select! {
            () = self.cancelled.cancelled() => Failure::Cancelled,
            ended = &mut self.pulse => ended.unwrap_or(Failure::Stopping),
        }
    }

    /// What comes next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Waited {
        let gone = async {
            match &self.process {
                Some(process) => _ = process.exited().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What QEMU said before it ended comes before its end.
            biased;
            happened = self.events.next() => match happened {
                Ok(happened) => {
                    if happened.what == What::Stopped {
                        let at = rfc3339(happened.at);
                        self.tracker.record(|report| report.downtime.source_stopped_at = Some(at));
                    }
                    match happened.what {
                        What::Shutdown { guest: true, .. } => Waited::Failed(Failure::GuestShutDown),
                        what => Waited::Qemu(what),
                    }
                }
                Err(EventsError::Gone) => Waited::Failed(Failure::SourceQemuGone),
                Err(EventsError::Lost { count }) => {
                    Waited::Failed(Failure::StreamFailed { reason: format!("{count} of QEMU's events were lost") })
                }
            },
            () = gone => Waited::Failed(Failure::SourceQemuGone),
            () = self.cancelled.cancelled() => Waited::Failed(Failure::Cancelled),
            ended = &mut self.pulse => Waited::Failed(ended.unwrap_or(Failure::Stopping)),
        }
    }
}

/// Asks the target for signs of life until there are none, or until it says that it gave up.
pub(crate) async fn feel_pulse(client: Result<Client, Failure>, host: String, id: uuid::Uuid) -> Failure {
    let client = match client {
        Ok(client) => client,
        Err(failure) => return failure,
    };
    let mut failures = 0;
    let mut ticks = ticks(PULSE_EVERY);
    loop {
        ticks.tick().await;
        let last = match timeout(PULSE_TIMEOUT, client.target_status(id)).await {
            Ok(Ok(status)) => match status.phase {
                TargetPhase::Receiving | TargetPhase::Granted | TargetPhase::Running => {
                    failures = 0;
                    continue;
                }
                phase @ (TargetPhase::Refused | TargetPhase::Lost) => {
                    return Failure::TargetGaveUp { host, phase: target_phase(phase) };
                }
            },
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {PULSE_TIMEOUT:?}"),
        };
        failures += 1;
        tracing::warn!(host, failures, "no sign of life: {last}");
        if failures >= PULSE_FAILURES_MAX {
            return Failure::TargetSilent { host, last };
        }
    }
}

/// Reads QEMU's figures for the people who watch.
pub(super) async fn show_figures(process: Process, tracker: Tracker) {
    let began = Instant::now();
    let mut ticks = ticks(PROGRESS_EVERY);
    loop {
        ticks.tick().await;
        match process.qmp.execute(QueryMigrate).await {
            Ok(info) => {
                if let Some(progress) = figures(&info, began.elapsed()) {
                    tracker.progress(progress);
                }
            }
            Err(_gone) => return,
        }
    }
}

fn figures(info: &MigrationInfo, elapsed: Duration) -> Option<Progress> {
    let ram = info.ram.as_ref()?;
    let page_bytes = ram.page_size.unwrap_or(4096);
    Some(Progress {
        round: ram.dirty_sync_count.unwrap_or(1),
        sent_bytes: ram.transferred,
        left_bytes: ram.remaining,
        total_bytes: ram.total,
        rate_bytes_per_s: megabits(ram.mbps.unwrap_or(0.0)),
        dirty_bytes_per_s: ram.dirty_pages_rate.unwrap_or(0) * page_bytes,
        expected_blackout_ms: info.expected_downtime.unwrap_or(0),
        throttle_percent: throttled(info.cpu_throttle_percentage.unwrap_or(0)),
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
    })
}

/// The least that QEMU knows is what it does where it only stands ready.
fn throttled(percent: u64) -> u8 {
    match u8::try_from(percent) {
        Ok(percent) if percent <= THROTTLE_PERCENT_MIN => 0,
        Ok(percent) => percent,
        Err(_absurd) => 100,
    }
}

/// Bytes per second from QEMU's megabits per second; a saturating cast, since the figure is only shown.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is only shown")]
fn megabits(mbps: f64) -> u64 {
    (mbps * 125_000.0) as u64
}

pub(crate) fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::{figures, megabits};
    use qemu::command::{MigrationInfo, MigrationRam};
    use std::time::Duration;

    #[test]
    fn figures_are_in_bytes() {
        assert_eq!(megabits(8.0), 1_000_000);
        let ram = MigrationRam {
            transferred: 10,
            remaining: 20,
            total: 30,
            dirty_pages_rate: Some(2),
            page_size: Some(4096),
            ..MigrationRam::default()
        };
        let info = MigrationInfo { ram: Some(ram), ..MigrationInfo::default() };
        let shown = figures(&info, Duration::from_millis(7)).unwrap();
        assert_eq!((shown.sent_bytes, shown.left_bytes, shown.total_bytes), (10, 20, 30));
        assert_eq!((shown.dirty_bytes_per_s, shown.elapsed_ms, shown.round), (8192, 7, 1));
        assert!(figures(&MigrationInfo::default(), Duration::ZERO).is_none());
        let throttled = |percent| {
            let info = MigrationInfo { cpu_throttle_percentage: percent, ..info.clone() };
            figures(&info, Duration::ZERO).unwrap().throttle_percent
        };
        assert_eq!([None, Some(1), Some(2), Some(99), Some(900)].map(throttled), [0, 0, 2, 99, 100]);
    }
}
