//! One migration as a person at the source would watch it: begun with `ferry migrate --detach`, followed with
//! `ferry migrations watch`. Main type: [`Migration`]. It reports what is told; it judges nothing.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::host::Host;
use crate::limits::LOOK;

/// What a host says of a migration; the rest of its report is not the lab's matter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Report {
    /// Its id.
    pub id: String,
    /// `source` or `target`.
    #[serde(default)]
    pub role: String,
    /// How it ended, or `in-doubt`; none while it goes on.
    #[serde(default)]
    pub outcome: Option<String>,
    /// The last phase.
    pub phase: String,
    /// Why it ended so.
    #[serde(default)]
    pub reason: Option<String>,
    /// What to do.
    #[serde(default)]
    pub mend: Option<String>,
    /// Whether memory was encrypted.
    pub encrypted: bool,
    /// Whether the domain was suspended.
    pub suspended: bool,
    /// What the target saw afterwards.
    #[serde(default)]
    pub verified: Option<Verified>,
    /// What was copied.
    #[serde(default)]
    pub copied: Option<Copied>,
    /// What was decided to bring it to its end.
    #[serde(default)]
    pub decisions: Vec<Decided>,
}

/// Something that was decided.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Decided {
    /// What: `blackout`, `throttle`, …
    pub decision: String,
    /// The round.
    pub round: u64,
    /// How much is taken from the guest's time, of a throttle.
    #[serde(default)]
    pub percent: Option<u8>,
}

/// What was copied with a domain.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Copied {
    /// Each file.
    pub files: Vec<CopiedFile>,
    /// Bytes that went over the network.
    pub sent_bytes: u64,
    /// Times that it began again after a cut.
    pub resumed: u32,
}

/// A file that was copied.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CopiedFile {
    /// Its path on the source.
    pub from: String,
    /// Bytes of content that were sent.
    pub content_bytes: u64,
}

/// What a target saw of a domain that had moved.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Verified {
    /// Its interfaces.
    pub interfaces: Vec<InterfaceSeen>,
    /// Its disks and media.
    pub disks: Vec<DiskSeen>,
}

/// An interface on a bridge.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct InterfaceSeen {
    /// Its MAC address.
    pub mac: String,
    /// Whether the bridge has learned it; none where that was not asked.
    #[serde(default)]
    pub learned: Option<bool>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DiskSeen {
    /// The guest's name for it.
    pub disk: String,
    /// Whether QEMU has it open; none where it did not say.
    #[serde(default)]
    pub open: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event {
    Phase { phase: String, at: Timestamp },
    Note { text: String },
    Progress { sent_bytes: u64 },
    Copying { sent_bytes: u64 },
    Ended(Box<Report>),
}

/// What was heard so far.
#[derive(Debug, Default)]
struct Heard {
    phases: Vec<String>,
    /// When the last phase was entered, by the agent's clock.
    entered_at: Option<Timestamp>,
    sent_bytes: u64,
    notes: Vec<String>,
    ended: Option<Box<Report>>,
    /// Something that is no event.
    strange: Option<String>,
    /// The watcher has ended.
    silent: bool,
}

/// A migration that was begun, and is being watched.
#[derive(Debug)]
pub struct Migration {
    /// Its id.
    pub id: String,
    watcher: Child,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

impl Migration {
    /// Begins to move `domain` away from `source`; returns as soon as the target has made room.
    ///
    /// # Errors
    /// When it is refused.
    pub fn begin(source: &Host, domain: &str, target: &Host, options: &[&str]) -> Result<Migration> {
        #[derive(Deserialize)]
        struct Started {
            id: String,
        }
        let mut words = vec!["migrate", domain, "--to", target.name, "--detach"];
        words.extend(options);
        let Started { id } = source.ferry_json(&words)?;
        Migration::watch(source, id)
    }

    /// Watches a migration that was begun.
    ///
    /// # Errors
    /// When `ferry` cannot be started.
    pub fn watch(host: &Host, id: String) -> Result<Migration> {
        let mut watcher = host
            .ferry()
            .args(["--json", "migrations", "watch", &id])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("ip netns exec")?;
        let stdout = watcher.stdout.take().context("the watcher has no output")?;
        let heard = Arc::<(Mutex<Heard>, Condvar)>::default();
        let told = Arc::clone(&heard);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                take(&told, |heard| match serde_json::from_str(&line) {
                    Ok(Event::Phase { phase, at }) => {
                        heard.phases.push(phase);
                        heard.entered_at = Some(at);
                    }
                    Ok(Event::Progress { sent_bytes } | Event::Copying { sent_bytes }) => {
                        heard.sent_bytes = sent_bytes;
                    }
                    Ok(Event::Ended(report)) => heard.ended = Some(report),
                    Ok(Event::Note { text }) => heard.notes.push(text),
                    Err(error) => heard.strange = Some(format!("{error}: {line}")),
                });
            }
            take(&told, |heard| heard.silent = true);
        });
        Ok(Migration { id, watcher, heard })
    }

    /// The phases that were told so far, in order.
    pub fn phases(&self) -> Vec<String> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).phases.clone()
    }

    /// When the last phase that was told was entered, by the clock of the agent.
    pub fn entered_at(&self) -> Option<Timestamp> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).entered_at
    }

    /// Waits until a phase is told.
    ///
    /// # Errors
    /// When it is not told in time, or the migration ends without it.
    pub fn wait_for(&self, phase: &str, within: Duration) -> Result<()> {
        self.wait(phase, within, |heard| heard.phases.iter().any(|told| told == phase))
    }

    /// Waits until some memory is on its way.
    ///
    /// # Errors
    /// When it is not in time, or the migration ends before.
    pub fn wait_for_bytes(&self, bytes: u64, within: Duration) -> Result<()> {
        self.wait("memory on its way", within, |heard| heard.sent_bytes >= bytes)
    }

    /// Waits until something is told that has `words` in it.
    ///
    /// # Errors
    /// When it is not told in time, or the migration ends without it.
    pub fn wait_for_note(&self, words: &str, within: Duration) -> Result<()> {
        self.wait(words, within, |heard| heard.notes.iter().any(|note| note.contains(words)))
    }

    /// Whether something was told that has `words` in it.
    pub fn has_told(&self, words: &str) -> bool {
        let heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.notes.iter().any(|note| note.contains(words))
    }

    /// Waits for the end of what there is to watch, which is the migration's, or doubt.
    ///
    /// # Errors
    /// When it does not come in time, or the watcher ends without telling one.
    pub fn wait_for_end(&self, within: Duration) -> Result<Report> {
        self.wait("its end", within, |heard| heard.ended.is_some())?;
        let heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.ended.as_deref().cloned().context("no end was told")
    }

    /// The exit code of `ferry migrations watch`, which tells the outcome.
    ///
    /// # Errors
    /// When it has not ended in time.
    pub fn exit(&mut self, within: Duration) -> Result<i32> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.watcher.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            ensure!(Instant::now() < end, "the watcher does not end within {within:?}");
            thread::sleep(LOOK);
        }
    }

    fn wait(&self, what: &str, within: Duration, come: impl Fn(&Heard) -> bool) -> Result<()> {
        let (heard, more) = &*self.heard;
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (heard, _) = more
            .wait_timeout_while(heard, within, |heard| {
                !come(heard) && !heard.silent && heard.ended.is_none() && heard.strange.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(strange) = &heard.strange {
            bail!("the watcher of migration {} says: {strange}", self.id);
        }
        ensure!(
            come(&heard),
            "migration {}: no sign of {what} within {within:?}; it told {:?} and {:?}",
            self.id,
            heard.phases,
            heard.ended
        );
        Ok(())
    }
}

impl Drop for Migration {
    fn drop(&mut self) {
        // It has ended by itself most times; a watcher is nothing that a migration depends on.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
    }
}

fn take(told: &(Mutex<Heard>, Condvar), change: impl FnOnce(&mut Heard)) {
    change(&mut told.0.lock().unwrap_or_else(PoisonError::into_inner));
    told.1.notify_all();
}

/// What `host` knows of a migration.
///
/// # Errors
/// When its agent does not answer, or does not know it.
pub fn report(host: &Host, id: &str) -> Result<Report> {
    host.ferry_json(&["migrations", "show", id])
}

/// Asks `host` until it says that the migration has one of these outcomes.
///
/// # Errors
/// With the last report, when it has none of them in time.
pub fn wait_for_outcome(host: &Host, id: &str, outcomes: &[&str], within: Duration) -> Result<Report> {
    let end = Instant::now() + within;
    loop {
        let said = report(host, id)?;
        if said.outcome.as_deref().is_some_and(|outcome| outcomes.contains(&outcome)) {
            return Ok(said);
        }
        ensure!(
            Instant::now() < end,
            "migration {id} has none of the outcomes {outcomes:?} on {} after {within:?}: {said:?}",
            host.name
        );
        thread::sleep(LOOK);
    }
}
