//! QEMU's own record of when each guest ran: a script in the emulator's place has QEMU trace every change of its run
//! state into a file of its own, so that no agent has to live for it. Main type: [`Traces`].
//!
//! ```text
//! 4711@1795399518.973125:runstate_set current_run_state 6 (prelaunch) new_state 9 (running)
//! ```

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use anyhow::{Context, Result};

use crate::host::gone_within;
use crate::limits::LOOK;
use crate::runs::Run;

/// The emulator that the script stands for.
const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";
/// The name of the run state in which vCPUs run (qapi `RunState`).
const RUNNING: &str = "running";

/// The traces of one lab's QEMUs. While it lives, it also notes when QEMUs end: one that is killed writes nothing more.
#[derive(Debug)]
pub(crate) struct Traces {
    directory: PathBuf,
    /// When each process that is gone was first seen to be gone, in microseconds since 1970.
    ends: Arc<Mutex<HashMap<u32, i64>>>,
    stop: Arc<AtomicBool>,
}

impl Traces {
    /// Makes the script in a lab's directory, and returns its path too. QEMU keeps the true time, whatever clock its agent
    /// was given.
    pub(crate) fn begin(lab: &Path) -> Result<(Traces, PathBuf)> {
        let (path, directory) = (lab.join("qemu-traced"), lab.join("traces"));
        fs::create_dir_all(&directory)?;
        let script = format!(
            "#!/bin/sh\nunset LD_PRELOAD\n\
             exec {EMULATOR} \"$@\" -msg timestamp=on -trace enable=runstate_set -D '{}/%d.trace'\n",
            directory.display()
        );
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let traces = Traces { directory, ends: Arc::default(), stop: Arc::default() };
        let (directory, ends, stop) =
            (traces.directory.clone(), Arc::clone(&traces.ends), Arc::clone(&traces.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                note_ends(&directory, &ends);
                thread::sleep(LOOK);
            }
        });
        Ok((traces, path))
    }

    /// Every time in which a QEMU of this lab ran a guest.
    pub(crate) fn runs(&self) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for (pid, path) in traces_in(&self.directory) {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let ended_us = lock(&self.ends).get(&pid).copied();
            runs.extend(runs_of(&format!("QEMU {pid}"), &text, ended_us));
        }
        Ok(runs)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lock(ends: &Mutex<HashMap<u32, i64>>) -> MutexGuard<'_, HashMap<u32, i64>> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}

fn traces_in(directory: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path))).collect()
}

fn note_ends(directory: &Path, ends: &Mutex<HashMap<u32, i64>>) {
    for (pid, _) in traces_in(directory) {
        if !lock(ends).contains_key(&pid) && gone_within(pid, Duration::ZERO) {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            lock(ends).insert(pid, i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        }
    }
}

/// The runs in one trace; the last is open where QEMU runs the guest still.
fn runs_of(qemu: &str, trace: &str, ended_us: Option<i64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at_us, running) in trace.lines().filter_map(change) {
        match runs.last_mut().filter(|run| run.to_us.is_none()) {
            Some(open) if !running => open.to_us = Some(at_us),
            None if running => runs.push(Run { host: qemu.to_owned(), from_us: at_us, to_us: None }),
            Some(_) | None => {}
        }
    }
    if let Some(open) = runs.last_mut().filter(|run| run.to_us.is_none()) {
        open.to_us = ended_us;
    }
    runs
}

/// When a line says that the run state changed, and whether the new one is `running`.
fn change(line: &str) -> Option<(i64, bool)> {
    let (head, rest) = line.split_once(":runstate_set ")?;
    let (seconds, micros) = head.split_once('@')?.1.split_once('.')?;
    let at_us = seconds.parse::<i64>().ok()? * 1_000_000 + micros.parse::<i64>().ok()?;
    let state = rest.rsplit_once('(')?.1.trim_end().strip_suffix(')')?;
    Some((at_us, state == RUNNING))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(trace: &str, ended_us: Option<i64>, expect: &[(i64, Option<i64>)]) {
        let found: Vec<_> =
            runs_of("QEMU 7", trace, ended_us).into_iter().map(|run| (run.from_us, run.to_us)).collect();
        assert_eq!(found, expect, "{trace}");
    }

    #[test]
    fn run_states_become_runs() {
        const ON: &str = "7@1.000002:runstate_set current_run_state 6 (prelaunch) new_state 9 (running)\n";
        const OFF: &str = "7@2.500000:runstate_set current_run_state 9 (running) new_state 7 (postmigrate)\n";
        const OTHER: &str =
            "7@3.000000:runstate_set current_run_state 7 (postmigrate) new_state 4 (paused)\n";
        check("", Some(1), &[]);
        check(OFF, None, &[]);
        check(ON, None, &[(1_000_002, None)]);
        check(ON, Some(9), &[(1_000_002, Some(9))]);
        check(&format!("{ON}{OFF}{OTHER}"), Some(9), &[(1_000_002, Some(2_500_000))]);
        check(&format!("something else\n{ON}{OFF}7@4.0"), None, &[(1_000_002, Some(2_500_000))]);
    }
}
