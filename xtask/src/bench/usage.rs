//! What a copy takes: time, processors and memory of both ends. Main function: [`measure`]. It reads proc(5) and knows
//! nothing of what is copied.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What a server started for one copy has ended within this time after it; only then is its time counted whole.
const SETTLES: Duration = Duration::from_secs(2);
/// Linux tells programs times in hundredths of a second, whatever its own clock is (`USER_HZ`, time(7)).
const TICKS_PER_S: f64 = 100.0;

/// What the processes of one end took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// On processors, in user mode and in the kernel, in seconds.
    pub(crate) cpu_s: f64,
    /// Memory that is in no file (`RssAnon`), the most there was at one look, in bytes.
    pub(crate) memory_bytes: u64,
}

/// What a copy took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// From the start of the command until the copy is durable, in seconds.
    pub(crate) wall_s: f64,
    pub(crate) source: Usage,
    pub(crate) target: Usage,
    /// Everything that ran on this machine meanwhile, the kernel's own work too, in seconds of processors.
    pub(crate) machine_cpu_s: f64,
}

impl Spent {
    /// What ran meanwhile on this machine and was none of it, in seconds of processors.
    pub(crate) fn other_cpu_s(&self) -> f64 {
        (self.machine_cpu_s - self.source.cpu_s - self.target.cpu_s).max(0.0)
    }
}

/// Runs `command` at the source, then `seal`, which makes the copy durable. `source` and `target` are processes that work for
/// it beside the command; their children count.
///
/// # Errors
/// When the command fails, with what it said; when `seal` fails.
pub(crate) fn measure(
    mut command: Command,
    source: &[u32],
    target: &[u32],
    seal: impl FnOnce() -> Result<()>,
) -> Result<Spent> {
    let before = Clocks::read(source, target)?;
    let began = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let with_command: Vec<u32> = source.iter().copied().chain([child.id()]).collect();
    let (stop, stopped) = mpsc::channel::<()>();
    let (output, memory) = thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut most = [0; 2];
            loop {
                let now = [anonymous(&with_command), anonymous(target)];
                most = [most[0].max(now[0]), most[1].max(now[1])];
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return most;
                }
            }
        });
        let output = child.wait_with_output();
        drop(stop);
        (output, watcher.join().expect("looking at memory does not panic"))
    });
    let output = output?;
    let said = [&output.stdout[..], &output.stderr].concat();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said).trim());
    seal()?;
    let wall = began.elapsed();
    settle(target);
    let after = Clocks::read(source, target)?;
    let usage =
        |end: fn(&Clocks) -> f64, memory_bytes| Usage { cpu_s: end(&after) - end(&before), memory_bytes };
    Ok(Spent {
        wall_s: wall.as_secs_f64(),
        source: usage(|clocks| clocks.source_s, memory[0]),
        target: usage(|clocks| clocks.target_s, memory[1]),
        machine_cpu_s: after.machine_s - before.machine_s,
    })
}

/// Times on processors since each began.
struct Clocks {
    source_s: f64,
    target_s: f64,
    machine_s: f64,
}

impl Clocks {
    fn read(source: &[u32], target: &[u32]) -> Result<Clocks> {
        let all = |pids: &[u32]| -> Result<f64> {
            pids.iter().map(|pid| process_s(&pid.to_string(), &[UTIME, STIME, CUTIME, CSTIME])).sum()
        };
        // The command is a child of this process.
        let command_s = process_s("self", &[CUTIME, CSTIME])?;
        Ok(Clocks { source_s: all(source)? + command_s, target_s: all(target)?, machine_s: machine_s()? })
    }
}

/// Fields of proc_pid_stat(5), counted from the state on: of the process, and of its children that it has waited for.
const UTIME: usize = 11;
const STIME: usize = 12;
const CUTIME: usize = 13;
const CSTIME: usize = 14;

fn process_s(pid: &str, fields: &[usize]) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat without a name")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields.iter().filter_map(|field| words.get(*field)?.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS_PER_S)
}

/// The time that all processors worked since the machine started.
pub(super) fn machine_s() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let words: Vec<&str> = stat.lines().next().unwrap_or_default().split_whitespace().collect();
    // proc_stat(5): user, nice, system, idle, iowait, irq, softirq.
    let ticks = [1, 2, 3, 6, 7].iter().filter_map(|field| words.get(*field)?.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS_PER_S)
}

/// The anonymous memory of processes and all that they have started. One that is gone has none.
fn anonymous(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| held(*pid, "RssAnon:").unwrap_or_default() + anonymous(&children(*pid))).sum()
}

/// All that a process has in memory, the files that it maps included, in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    held(pid, "VmRSS:").with_context(|| format!("process {pid} has no memory"))
}

/// A figure of /proc/PID/status, in bytes.
fn held(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn settle(pids: &[u32]) {
    let end = Instant::now() + SETTLES;
    while Instant::now() < end && pids.iter().any(|pid| !children(*pid).is_empty()) {
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_measured_and_its_failure_told() -> Result<()> {
        let shell = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            command
        };
        // Something that works for a while, in a child of the command, then waits.
        let busy = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; sleep 0.2";
        let spent = measure(shell(busy), &[], &[std::process::id()], || Ok(()))?;
        assert!(spent.source.cpu_s > 0.0, "{spent:?}");
        assert!(spent.wall_s >= 0.2, "{spent:?}");
        assert!(spent.machine_cpu_s >= spent.source.cpu_s - 0.1, "{spent:?}");
        assert!(
            spent.source.memory_bytes > 0 && spent.target.memory_bytes > spent.source.memory_bytes,
            "{spent:?}"
        );
        let failed =
            measure(shell("echo no; exit 3"), &[], &[], || Ok(())).err().map(|error| error.to_string());
        assert!(failed.is_some_and(|error| error.ends_with(": no")));
        Ok(())
    }
}
