//! What people may watch of one migration: phases, notes and figures, replayed from the start to everyone who asks.
//! It decides nothing. Main type: [`Tracker`].

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::{
    CopyProgress, Downtime, Memory, Migration, MigrationEvent, MigrationPhase, MigrationReport, Outcome,
    Progress, Role,
};
use futures_util::Stream;
use migration::phase::Phase;
use tokio::sync::watch;
use uuid::Uuid;

/// One migration's story, shared by the task that drives it and by all who watch.
#[derive(Debug, Clone)]
pub(crate) struct Tracker {
    story: Arc<Mutex<Story>>,
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Story {
    role: Role,
    report: MigrationReport,
    events: Vec<MigrationEvent>,
    /// The last figures, and which change of the story they were.
    figures: Option<(u64, MigrationEvent)>,
    began: Instant,
    /// Whether it began, or was taken up, in this agent's life.
    began_here: bool,
}

/// What a tracker is begun with.
pub(crate) struct Begin {
    pub(crate) id: Uuid,
    pub(crate) role: Role,
    pub(crate) domain: String,
    pub(crate) uuid: Uuid,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) phase: Phase,
    pub(crate) encrypted: bool,
    pub(crate) suspended: bool,
    pub(crate) offline: bool,
    pub(crate) skipped: Vec<String>,
}

impl Tracker {
    /// Begins a story.
    pub(crate) fn begin(begin: Begin) -> Tracker {
        let report = MigrationReport {
            id: begin.id,
            domain: begin.domain,
            uuid: begin.uuid,
            source: begin.source,
            target: begin.target,
            outcome: None,
            phase: shown(begin.phase),
            reason: None,
            mend: None,
            started_at: now(),
            wall_ms: 0,
            memory: Memory::default(),
            downtime: Downtime::default(),
            encrypted: begin.encrypted,
            suspended: begin.suspended,
            skipped: begin.skipped,
            verified: None,
            offline: begin.offline,
            copied: None,
            mirrored: None,
            prediction: None,
            decisions: Vec::new(),
        };
        let tracker = Tracker::new(begin.role, report, true);
        tracker.enter(begin.phase);
        tracker
    }

    /// A story that was told before this agent started.
    pub(crate) fn ended(role: Role, report: MigrationReport) -> Tracker {
        Tracker::new(role, report, false)
    }

    fn new(role: Role, report: MigrationReport, began_here: bool) -> Tracker {
        let events = match report.outcome {
            Some(_) => vec![MigrationEvent::Ended(Box::new(report.clone()))],
            None => Vec::new(),
        };
        let story = Story { role, report, events, figures: None, began: Instant::now(), began_here };
        Tracker { story: Arc::new(Mutex::new(story)), version: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Story)) {
        change(&mut self.lock());
        self.version.send_modify(|version| *version += 1);
    }

    /// A phase was entered.
    pub(crate) fn enter(&self, phase: Phase) {
        tracing::info!(migration = %self.id(), ?phase, "entered");
        self.change(|story| {
            story.report.phase = shown(phase);
            story.report.wall_ms = millis(story.began);
            story.events.push(MigrationEvent::Phase { phase: shown(phase), at: now() });
        });
    }

    /// Says something to the people who watch.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(migration = %self.id(), "{text}");
        self.change(|story| story.events.push(MigrationEvent::Note { text, at: now() }));
    }

    /// New figures.
    pub(crate) fn progress(&self, progress: Progress) {
        self.show(|elapsed_ms| MigrationEvent::Progress(Progress { elapsed_ms, ..progress }));
    }

    /// New figures of a copy.
    pub(crate) fn copying(&self, progress: CopyProgress) {
        self.show(|elapsed_ms| MigrationEvent::Copying(CopyProgress { elapsed_ms, ..progress }));
    }

    fn show(&self, figures: impl FnOnce(u64) -> MigrationEvent) {
        let version = *self.version.borrow() + 1;
        self.change(|story| story.figures = Some((version, figures(millis(story.began)))));
    }

    /// Figures for the report.
    pub(crate) fn record(&self, record: impl FnOnce(&mut MigrationReport)) {
        self.change(|story| record(&mut story.report));
    }

    /// It has ended, or is in doubt; `in doubt` may be followed by another end.
    pub(crate) fn end(&self, phase: Phase, outcome: Outcome, reason: Option<String>, mend: Option<String>) {
        self.enter(phase);
        self.conclude(outcome, reason, mend);
    }

    /// It has ended, in the phase that was entered last.
    pub(crate) fn conclude(&self, outcome: Outcome, reason: Option<String>, mend: Option<String>) {
        self.change(|story| {
            story.report.outcome = Some(outcome);
            story.report.reason = reason;
            story.report.mend = mend;
        });
        self.tell_end();
    }

    /// It has ended; those who watch it wait for what the report is still to say, and for [`Tracker::tell_end`].
    pub(crate) fn settle(&self, outcome: Outcome) {
        self.change(|story| story.report.outcome = Some(outcome));
    }

    /// Tells those who watch the whole report, and that nothing follows.
    pub(crate) fn tell_end(&self) {
        self.change(|story| story.events.push(MigrationEvent::Ended(Box::new(story.report.clone()))));
    }

    /// The migration.
    pub(crate) fn id(&self) -> Uuid {
        self.lock().report.id
    }

    /// The story so far.
    pub(crate) fn migration(&self) -> Migration {
        let story = self.lock();
        let mut report = story.report.clone();
        if report.outcome.is_none() {
            report.wall_ms = millis(story.began);
        }
        Migration { role: story.role, report }
    }

    /// Whether it began, or was taken up, in this agent's life.
    pub(crate) fn began_here(&self) -> bool {
        self.lock().began_here
    }

    /// The last figures, while memory goes over.
    pub(crate) fn figures(&self) -> Option<Progress> {
        match self.lock().figures {
            Some((_, MigrationEvent::Progress(progress))) => Some(progress),
            Some(_) | None => None,
        }
    }

    /// Whether it has an end that nothing follows.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(
            self.lock().report.outcome,
            Some(Outcome::Moved | Outcome::Kept | Outcome::Lost | Outcome::Copied)
        )
    }

    /// Every event from the beginning, and then as they come; ends after the last one.
    pub(crate) fn events(&self) -> impl Stream<Item = MigrationEvent> + Send + use<> {
        let reader = Reader { tracker: self.clone(), changed: self.version.subscribe(), next: 0, figures: 0 };
        futures_util::stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            let event = reader.next().await?;
            let last = matches!(event, MigrationEvent::Ended(_));
            Some((event, (!last).then_some(reader)))
        })
    }
}

struct Reader {
    tracker: Tracker,
    changed: watch::Receiver<u64>,
    next: usize,
    figures: u64,
}

impl Reader {
    async fn next(&mut self) -> Option<MigrationEvent> {
        loop {
            self.changed.mark_unchanged();
            {
                let story = self.tracker.lock();
                if let Some(event) = story.events.get(self.next) {
                    self.next += 1;
                    // A doubt that was ended later: the reader who comes later wants the last end only.
                    let stale = matches!(event, MigrationEvent::Ended(_)) && self.next < story.events.len();
                    if stale {
                        continue;
                    }
                    return Some(event.clone());
                }
                if let Some((version, figures)) = &story.figures
                    && *version > self.figures
                {
                    self.figures = *version;
                    return Some(figures.clone());
                }
            }
            self.changed.changed().await.ok()?;
        }
    }
}

/// The phase as the API shows it.
pub(crate) fn shown(phase: Phase) -> MigrationPhase {
    match phase {
        Phase::Planned => MigrationPhase::Planned,
        Phase::Reserved => MigrationPhase::Reserved,
        Phase::Streaming | Phase::Pledging => MigrationPhase::Streaming,
        Phase::Stopped => MigrationPhase::Stopped,
        Phase::Pledged => MigrationPhase::Pledged,
        Phase::Serving => MigrationPhase::Serving,
        Phase::Moved => MigrationPhase::Moved,
        Phase::Kept => MigrationPhase::Kept,
        Phase::InDoubt => MigrationPhase::InDoubt,
        Phase::Lost => MigrationPhase::Lost,
        Phase::Offered => MigrationPhase::Offered,
        Phase::Prepared => MigrationPhase::Prepared,
        Phase::Receiving => MigrationPhase::Receiving,
        Phase::Loaded => MigrationPhase::Loaded,
        Phase::Granted => MigrationPhase::Granted,
        Phase::Filling => MigrationPhase::Filling,
        Phase::Running => MigrationPhase::Running,
        Phase::Refused => MigrationPhase::Refused,
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Now, RFC 3339.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A time stamp, RFC 3339 with microseconds.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| String::from("unknown"), |at| format!("{at:.6}"))
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// How far another clock is ahead of this one, in milliseconds: it was asked at `began_ms`, and is taken to have been
/// looked at half-way.
pub(crate) fn ahead_ms(theirs_ms: u64, began_ms: u64, round_trip: Duration) -> i64 {
    let half_ms = u64::try_from(round_trip.as_millis()).unwrap_or(0) / 2;
    let ours = i64::try_from(began_ms.saturating_add(half_ms)).unwrap_or(i64::MAX);
    i64::try_from(theirs_ms).unwrap_or(i64::MAX).saturating_sub(ours)
}

#[cfg(test)]
mod tests {
    use super::{Begin, Tracker, ahead_ms};
    use api::{MigrationEvent, MigrationPhase, Outcome, Role};
    use futures_util::StreamExt;
    use migration::phase::Phase;
    use std::time::Duration;
    use uuid::Uuid;

    fn tracker() -> Tracker {
        Tracker::begin(Begin {
            id: Uuid::nil(),
            role: Role::Source,
            domain: "web1".into(),
            uuid: Uuid::nil(),
            source: "kvm1".into(),
            target: "kvm2".into(),
            phase: Phase::Planned,
            encrypted: true,
            suspended: false,
            offline: false,
            skipped: Vec::new(),
        })
    }

    fn phases(events: &[MigrationEvent]) -> Vec<MigrationPhase> {
        let phase = |event: &MigrationEvent| match event {
            MigrationEvent::Phase { phase, .. } => Some(*phase),
            MigrationEvent::Note { .. }
            | MigrationEvent::Progress(_)
            | MigrationEvent::Copying(_)
            | MigrationEvent::Ended(_) => None,
        };
        events.iter().filter_map(phase).collect()
    }

    #[tokio::test]
    async fn an_early_and_a_late_watcher_see_the_same_story() {
        let tracker = tracker();
        let early = tokio::spawn(tracker.events().collect::<Vec<_>>());
        tokio::task::yield_now().await;
        tracker.enter(Phase::Reserved);
        tracker.end(Phase::Moved, Outcome::Moved, None, None);
        let early = early.await.unwrap();
        let late: Vec<_> = tracker.events().collect().await;
        let expect = [MigrationPhase::Planned, MigrationPhase::Reserved, MigrationPhase::Moved];
        assert_eq!(phases(&early), expect);
        assert_eq!(phases(&late), expect);
        assert!(matches!(late.last(), Some(MigrationEvent::Ended(_))));
    }

    #[tokio::test]
    async fn a_story_ends_when_the_report_is_whole() {
        let tracker = tracker();
        tracker.settle(Outcome::Moved);
        assert!(tracker.is_settled());
        let watching = tokio::spawn(tracker.events().collect::<Vec<_>>());
        tokio::task::yield_now().await;
        tracker.record(|report| report.wall_ms = 7);
        tracker.tell_end();
        let events = watching.await.unwrap();
        let Some(MigrationEvent::Ended(report)) = events.last() else { panic!("no end") };
        assert_eq!((report.outcome, report.wall_ms), (Some(Outcome::Moved), 7));
    }

    #[tokio::test]
    async fn a_doubt_that_was_ended_is_told_with_its_end() {
        let tracker = tracker();
        tracker.end(Phase::InDoubt, Outcome::InDoubt, None, None);
        assert!(!tracker.is_settled());
        tracker.end(Phase::Kept, Outcome::Kept, None, None);
        let events: Vec<_> = tracker.events().collect().await;
        let Some(MigrationEvent::Ended(report)) = events.last() else { panic!("no end") };
        assert_eq!(report.outcome, Some(Outcome::Kept));
        assert!(tracker.is_settled());
    }

    #[test]
    fn half_of_the_way_is_taken_off_a_clock() {
        assert_eq!(ahead_ms(10_050, 10_000, Duration::from_millis(100)), 0);
        assert_eq!(ahead_ms(9_000, 10_000, Duration::from_millis(20)), -1010);
    }
}
