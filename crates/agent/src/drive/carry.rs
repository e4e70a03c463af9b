//! The files of a domain that is shut off go to the target: each over several connections at once, and again from where the
//! target stands after every cut, until it is equal there. It decides nothing about the domain. Main function: [`carry`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{CopiedFile, CopyProgress, CopyReport, CopyRole, FileSent, FileTaken};
use backon::BackoffBuilder;
use client::{Client, ClientError};
use futures_util::future::try_join_all;
use host::ProcessorTime;
use migration::compression::{Compression, Window};
use migration::journal::{Carried, Offline};
use storage::{Export, Figures, Held, ImageFormat, Line, Link, Original, ReadLock, Sender};
use tokio::time::Instant;

use super::source::Live;
use super::watch::{feel_pulse, ticks};
use crate::failure::{CarryFailure, Failure};
use crate::http::rows::carry::{NO_SPACE_CODE, TRY_AGAIN};
use crate::landing::image_of;
use crate::limits::{
    CARRY_PAUSE_MAX, CARRY_PAUSE_MIN, CARRY_TRIES_MAX, COPY_STREAMS_MAX, CUT_TIMEOUT, PROGRESS_EVERY,
};

/// Why a try ended.
enum Broken {
    /// The way broke: it is tried again.
    Cut(String),
    /// It cannot be done.
    Ends(Failure),
}

impl From<storage::TransferError> for Broken {
    fn from(error: storage::TransferError) -> Self {
        Broken::Ends(CarryFailure::from(error).into())
    }
}

/// A copy that is under way.
struct Carrying<'a> {
    live: &'a Live,
    line: Arc<Line>,
    originals: Vec<Arc<Original>>,
    /// Bytes of content of the files before the one that is under way.
    before_bytes: u64,
    /// Cuts so far.
    resumed: u32,
}

/// Copies every file, or says why that cannot be. The target has all of them then, durable and equal.
pub(crate) async fn carry(live: &Live, offline: &Offline) -> Result<CopyReport, Failure> {
    let mut shown = Vec::new();
    let carried = carry_all(live, offline, &mut shown).await;
    for export in shown {
        // Nothing was written through it; whoever starts the domain here is not to find its images in use.
        if let Err(error) = export.end().await {
            tracing::warn!("a chain of images is no longer needed: {}", crate::failure::chain(&error));
        }
    }
    carried
}

/// `shown` are chains that become one image; they are read until this returns.
async fn carry_all(live: &Live, offline: &Offline, shown: &mut Vec<Export>) -> Result<CopyReport, Failure> {
    let line = Arc::new(Line::new(offline.bandwidth_bytes_per_s));
    line.set_level(Compression::default().level());
    // Nobody writes to them meanwhile; let go of when this returns, and the domain can be started.
    let mut locks = Vec::new();
    for carried in &offline.files {
        locks.push(ReadLock::take(Path::new(&carried.from)).await.map_err(CarryFailure::from)?);
    }
    let mut originals = Vec::new();
    for (number, carried) in offline.files.iter().enumerate() {
        if carried.file.converted {
            let (original, export) = show(live, number, carried).await?;
            originals.push(original);
            shown.push(export);
        } else {
            originals.push(Original::open(Path::new(&carried.from)).await.map_err(CarryFailure::from)?);
        }
    }
    let mut carrying = Carrying { live, line, originals, before_bytes: 0, resumed: 0 };
    // First what others may stand on there: where it is another image, nothing has been written yet.
    let below = |number: &usize| matches!(offline.files[*number].file.role, CopyRole::Backing { .. });
    let (mut order, rest): (Vec<_>, Vec<_>) = (0..offline.files.len()).partition(below);
    order.extend(rest);
    let mut files = Vec::new();
    for &number in &order {
        files.push(carrying.file(number, &offline.files[number]).await?);
        carrying.before_bytes += carrying.originals[number].content_bytes();
    }
    // An agent of the target that was restarted meanwhile has the files before, and does not know that they are whole.
    carrying.before_bytes = 0;
    let mut told = offline.files.len() < 2;
    while !told {
        let resumed = carrying.resumed;
        for &number in &order {
            carrying.file(number, &offline.files[number]).await?;
        }
        told = carrying.resumed == resumed;
    }
    Ok(CopyReport {
        verify: offline.verify,
        files,
        sent_bytes: carrying.line.figures().wire_bytes,
        resumed: carrying.resumed,
    })
}

/// Shows a chain as one file with the bytes that the guest sees.
async fn show(live: &Live, number: usize, carried: &Carried) -> Result<(Arc<Original>, Export), Failure> {
    let node = &live.begun.node;
    let top = Path::new(&carried.from);
    let format = image_of(&carried.file.role).map_or(ImageFormat::Raw, |(_, format)| format);
    let below = storage::below(top, format, |file| node.allows(file)).await?;
    let mut files = vec![top.to_owned()];
    files.extend(below.backing);
    let formats = below.headers.iter().map(|header| header.format).chain(std::iter::repeat(ImageFormat::Raw));
    let chain: Vec<Link> =
        files.iter().cloned().zip(formats).map(|(path, format)| Link { path, format }).collect();
    files.extend(below.data_files);
    if let Some(path) = files.iter().find(|path| !node.allows(path)) {
        let allowed = node.config.allowed_paths.clone();
        return Err(Failure::PathNotAllowed { path: path.clone(), allowed });
    }
    let place = node.store.shown_image(live.begun.tracker.id(), number);
    let export = Export::read(&chain, &place).await.map_err(CarryFailure::from)?;
    let original = Original::open_export(export.place(), &files).await.map_err(CarryFailure::from)?;
    Ok((original, export))
}

impl Carrying<'_> {
    /// One file, as often as it takes.
    async fn file(&mut self, number: usize, carried: &Carried) -> Result<CopiedFile, Failure> {
        let original = Arc::clone(&self.originals[number]);
        let sent_before = self.line.figures().content_bytes;
        let (mut tries, mut cut_since, mut pauses) = (0, None, pauses());
        loop {
            let before = self.line.figures();
            let tried = tokio::select! {
                tried = self.attempt(number, carried, &original) => tried,
                () = self.live.begun.cancelled.cancelled() => return Err(Failure::Cancelled),
            };
            match tried {
                Ok((FileTaken::Equal, blake3)) => {
                    return Ok(CopiedFile {
                        from: carried.from.clone(),
                        to: carried.file.path.clone(),
                        length_bytes: original.length(),
                        content_bytes: self.line.figures().content_bytes - sent_before,
                        blake3,
                    });
                }
                Ok((FileTaken::Differs { reason }, _)) => {
                    tries += 1;
                    self.live
                        .begun
                        .tracker
                        .note(format!("{}: {reason}; what differs is sent again", carried.from));
                    if tries >= CARRY_TRIES_MAX {
                        let path = PathBuf::from(&carried.from);
                        return Err(CarryFailure::NeverEqual { path, tries, reason }.into());
                    }
                }
                Err(Broken::Ends(failure)) => return Err(failure),
                Err(Broken::Cut(reason)) => {
                    if self.line.figures().wire_bytes > before.wire_bytes {
                        (cut_since, pauses) = (None, self::pauses());
                    }
                    self.rest(&mut cut_since, &mut pauses, &reason).await?;
                    self.resumed += 1;
                }
            }
        }
    }

    /// A pause after a cut; the first says so to those who watch.
    async fn rest(
        &self,
        cut_since: &mut Option<Instant>,
        pauses: &mut backon::ExponentialBackoff,
        reason: &str,
    ) -> Result<(), Failure> {
        if cut_since.is_none() {
            self.live
                .begun
                .tracker
                .note(format!("the copy was cut ({reason}); it goes on from where the target stands"));
        }
        let since = *cut_since.get_or_insert_with(Instant::now);
        if since.elapsed() > CUT_TIMEOUT {
            return Err(CarryFailure::CutTooLong { after: CUT_TIMEOUT }.into());
        }
        tokio::select! {
            () = tokio::time::sleep(pauses.next().unwrap_or(CARRY_PAUSE_MAX)) => Ok(()),
            () = self.live.begun.cancelled.cancelled() => Err(Failure::Cancelled),
        }
    }

    /// What the target lacks, once. The target is asked for signs of life meanwhile: a cut link says nothing by itself.
    async fn attempt(
        &self,
        number: usize,
        carried: &Carried,
        original: &Arc<Original>,
    ) -> Result<(FileTaken, String), Broken> {
        let client = self.live.begun.node.neighbours.client(&self.live.target).map_err(Broken::Ends)?;
        tokio::select! {
            sent = self.send(&client, number, carried, original) => sent,
            silent = self.pulse(&client) => Err(silent),
        }
    }

    async fn send(
        &self,
        client: &Client,
        number: usize,
        carried: &Carried,
        original: &Arc<Original>,
    ) -> Result<(FileTaken, String), Broken> {
        let id = self.live.begun.tracker.id();
        let held = client.file_held(id, number, &original.stamp().to_string()).await;
        let held = Held::decode(&held.map_err(|error| self.broken(error))?, original.length())?;
        let sender = original.send(held, &self.line)?;
        let streams = std::thread::available_parallelism().map_or(1, usize::from).min(COPY_STREAMS_MAX);
        let sending = (0..streams).map(|_| {
            let frames = sender.stream();
            async { client.send_blocks(id, number, frames).await }
        });
        let sent = tokio::select! {
            sent = try_join_all(sending) => sent,
            () = self.show(carried, &sender) => unreachable!("figures are shown until all is sent"),
        };
        // What broke here is told rather than what the target made of it.
        if let Some(fault) = sender.fault() {
            return Err(fault.into());
        }
        if let Err(error) = sent {
            return Err(lacking(self.broken(error), original, &sender));
        }
        let blake3 = sender.root().await?.to_string();
        let taken = client.complete_file(id, number, &FileSent { blake3: blake3.clone() }).await;
        Ok((taken.map_err(|error| self.broken(error))?, blake3))
    }

    fn broken(&self, error: ClientError) -> Broken {
        match error {
            ClientError::Problem(problem) if !TRY_AGAIN.contains(&problem.code.as_str()) => {
                Broken::Ends(Failure::of_host(&self.live.target, ClientError::Problem(problem)))
            }
            error => Broken::Cut(crate::failure::chain(&error)),
        }
    }

    /// Signs of life of the target, until there are none, or it says that it gave up.
    async fn pulse(&self, client: &Client) -> Broken {
        let (id, host) = (self.live.begun.tracker.id(), self.live.target.clone());
        match feel_pulse(Ok(client.clone()), host, id).await {
            // Here silence ends only this try.
            Failure::TargetSilent { last, .. } => Broken::Cut(last),
            failure => Broken::Ends(failure),
        }
    }

    /// Shows figures, and decides how much is compressed. It never ends.
    async fn show(&self, carried: &Carried, sender: &Sender) {
        let total_bytes = self.originals.iter().map(|original| original.content_bytes()).sum();
        let mut pace = Pace::new(&self.line);
        let mut ticks = ticks(PROGRESS_EVERY);
        loop {
            ticks.tick().await;
            let done_bytes = self.before_bytes + sender.done_bytes();
            let rate = pace.rate(done_bytes);
            pace.compress(&self.line);
            self.live.begun.tracker.copying(CopyProgress {
                file: carried.from.clone(),
                done_bytes,
                total_bytes,
                sent_bytes: self.line.figures().wire_bytes,
                rate_bytes_per_s: rate,
                left_ms: (total_bytes.saturating_sub(done_bytes) * 1000).checked_div(rate),
                level: self.line.level(),
                elapsed_ms: 0,
            });
        }
    }
}

/// Where the target has no room, how much of it is missing at least.
fn lacking(broken: Broken, original: &Original, sender: &Sender) -> Broken {
    match broken {
        Broken::Ends(Failure::RefusedByTarget { host, problem }) if problem.code == NO_SPACE_CODE => {
            let path = original.path().to_owned();
            let left_bytes = original.content_bytes().saturating_sub(sender.done_bytes());
            Broken::Ends(CarryFailure::NoRoom { host, path, left_bytes }.into())
        }
        broken => broken,
    }
}

/// How fast it goes lately, and how much is compressed.
struct Pace {
    /// Bytes that were done, and when, some seconds back.
    marks: std::collections::VecDeque<(Instant, u64)>,
    compression: Compression,
    decided: (Instant, Figures, Option<ProcessorTime>),
}

/// Marks that the rate is taken over: five seconds at [`PROGRESS_EVERY`].
const MARKS: usize = 20;

impl Pace {
    fn new(line: &Line) -> Pace {
        let decided = (Instant::now(), line.figures(), ProcessorTime::read());
        Pace { marks: std::collections::VecDeque::new(), compression: Compression::at(line.level()), decided }
    }

    fn rate(&mut self, done_bytes: u64) -> u64 {
        let now = Instant::now();
        self.marks.push_back((now, done_bytes));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
        let (then, before) = self.marks[0];
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds > 0.0 { (done_bytes.saturating_sub(before) as f64 / seconds) as u64 } else { 0 }
    }

    fn compress(&mut self, line: &Line) {
        let (then, before, processors) = self.decided;
        let (figures, now) = (line.figures(), ProcessorTime::read());
        let elapsed = then.elapsed().as_secs_f64();
        self.decided = (Instant::now(), figures, now);
        let (waited, worked) = (figures.waited - before.waited, figures.worked - before.worked);
        let all = (waited + worked).as_secs_f64();
        let idle = now.zip(processors).and_then(|(now, then)| now.idle_since(then));
        if let Some(idle) = idle.filter(|_| all > 0.0) {
            let content_bytes_per_s = (figures.content_bytes - before.content_bytes) as f64 / elapsed;
            let waited = waited.as_secs_f64() / all;
            self.compression = self.compression.after(Window { waited, idle, content_bytes_per_s });
            line.set_level(self.compression.level());
        }
    }
}

fn pauses() -> backon::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(CARRY_PAUSE_MIN)
        .with_max_delay(CARRY_PAUSE_MAX)
        .without_max_times()
        .build()
}
