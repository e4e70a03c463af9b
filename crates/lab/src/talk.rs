//! A `ferry` that goes on beside a test: `console`, into which lines are typed, or `events`. What it prints is read line
//! by line, with a limit. Main type: [`Talk`].

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::limits::{HAPPENS, LOOK};

/// A running `ferry`; it is killed when this is dropped.
#[derive(Debug)]
pub struct Talk {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Talk {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn begin(mut command: Command) -> Result<Talk> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let (tell, lines) = channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                // Whoever asked has gone when this fails.
                let _ = tell.send(String::from_utf8_lossy(&line).trim().to_owned());
                line.clear();
            }
        });
        Ok(Talk { child, input, lines, heard: Vec::new() })
    }

    /// Types a line.
    ///
    /// # Errors
    /// When it takes nothing more.
    pub fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("it takes nothing more")
    }

    /// Waits for a line that contains `text`, from here on.
    ///
    /// # Errors
    /// When none comes within `within`; with what came instead.
    pub fn hear(&mut self, text: &str, within: Duration) -> Result<String> {
        let end = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => self.heard.push(line),
                Err(_) => bail!("{text:?} was not said within {within:?}; what was: {:#?}", self.heard),
            }
        }
    }

    /// Types `line` again and again until a line comes that `fits`: a guest takes its time to find a device.
    ///
    /// # Errors
    /// When none comes in time; with the last answer.
    pub fn ask_until(&mut self, line: &str, answer: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + HAPPENS;
        loop {
            self.say(line)?;
            let said = self.hear(answer, HAPPENS)?;
            if fits(&said) {
                return Ok(said);
            }
            ensure!(Instant::now() < end, "the last answer to {line} was: {said}");
            thread::sleep(LOOK);
        }
    }

    /// Waits until it ends by itself: its exit code, and what it wrote to standard error.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn end(mut self) -> Result<(i32, String)> {
        let end = Instant::now() + HAPPENS;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > end => bail!("it goes on; what it said: {:#?}", self.heard),
                None => thread::sleep(LOOK),
            }
        };
        let mut said = String::new();
        self.child.stderr.take().context("no standard error")?.read_to_string(&mut said)?;
        Ok((status.code().unwrap_or(-1), said))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
