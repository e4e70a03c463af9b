//! Agents of bare hosts on addresses of the loopback interface: no certificate, nobody they know. Main type: [`Agent`].

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Gives a process a wall clock of its own.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// How long something may take that an agent does by itself.
const WITHIN: Duration = Duration::from_secs(20);

/// A host with its agent, which ends with the test.
pub(crate) struct Agent {
    pub(crate) name: &'static str,
    /// Address and port for other hosts.
    pub(crate) address: String,
    pub(crate) directory: TempDir,
    child: Option<Child>,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// How often something is looked at that gives no event.
const LOOK: Duration = Duration::from_millis(50);

/// An address that no other agent of any test has.
pub(crate) fn address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{}.{}:7700", high | 0x80, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Agent {
    /// Starts the agent of a bare host.
    pub(crate) fn bare(name: &'static str) -> Agent {
        let directory = tempfile::tempdir().expect("a directory");
        let mut agent = Agent { name, address: address(), directory, child: None, log: Arc::default() };
        let dirs =
            ["state", "run", "log", "tls"].map(|what| format!("{what}_dir = {:?}\n", agent.path(what)));
        let text = format!("host = {name:?}\nsocket = {:?}\n{}", agent.path("ferry.sock"), dirs.concat());
        std::fs::write(agent.path("agent.toml"), text).expect("writes");
        agent.start();
        agent
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds lines to the configuration, for the next start.
    pub(crate) fn configure(&self, lines: &str) {
        let text = std::fs::read_to_string(self.path("agent.toml")).expect("reads");
        std::fs::write(self.path("agent.toml"), text + lines).expect("writes");
    }

    pub(crate) fn start(&mut self) {
        self.start_at("+0");
    }

    /// Starts the agent with a clock of its own, as faketime(1) says it.
    pub(crate) fn start_at(&mut self, clock: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.arg("agent").arg("--config").arg(self.path("agent.toml")).env("RUST_LOG", "debug");
        if clock != "+0" {
            assert!(std::path::Path::new(FAKETIME).exists(), "install libfaketime: `cargo xtask setup` does");
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", clock);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DISABLE_SHM", "1");
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("spawns");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Log::default());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                kept.more.notify_all();
            }
        });
        (self.child, self.log) = (Some(child), log);
        self.says("the agent is ready");
    }

    /// Ends the agent.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("runs").success());
        assert!(child.wait().expect("waits").success());
    }

    /// Waits until the agent has logged a line with these words.
    pub(crate) fn says(&self, words: &str) {
        let lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(words));
        let (lines, waited) =
            self.log.more.wait_timeout_while(lines, WITHIN, silent).unwrap_or_else(PoisonError::into_inner);
        let tail = &lines[lines.len().saturating_sub(30)..];
        assert!(!waited.timed_out(), "{} does not say {words:?}: {tail:#?}", self.name);
    }

    /// Everything that the agent has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The agent's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// `ferry --json` on this host: the answer, or the error.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<Value, Value> {
        self.ask_typing(words, "")
    }

    /// The same with something on standard input.
    pub(crate) fn ask_typing(&self, words: &[&str], typed: &str) -> Result<Value, Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.arg("--socket").arg(self.path("ferry.sock")).arg("--json").args(words);
        command.env_remove("RUST_LOG").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("runs");
        // Who reads nothing may have ended already.
        drop(child.stdin.take().expect("piped").write_all(typed.as_bytes()));
        let output = child.wait_with_output().expect("waits");
        let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
        match output.status.success() {
            true => Ok(json(&output.stdout)),
            false => {
                let mut error = json(&output.stderr)["error"].take();
                error["exit"] = output.status.code().into();
                Err(error)
            }
        }
    }

    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> Value {
        self.ask(words).unwrap_or_else(|error| panic!("{}: {words:?}: {error:#}", self.name))
    }

    /// Asks what is refused with this code, and words.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str], code: &str, says: &[&str]) {
        let error = self.ask(words).expect_err("refused");
        assert_eq!(error["code"], code, "{error:#}");
        let detail = error["detail"].as_str().expect("a detail");
        assert!(says.iter().all(|word| detail.contains(word)), "{says:?}: {detail}");
        assert!(error["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{error:#}");
    }

    /// A token that this host makes.
    #[track_caller]
    pub(crate) fn token(&self, more: &[&str]) -> String {
        let words = [&["host", "token", "--listen", &self.address], more].concat();
        self.done(&words)["token"].as_str().expect("a token").to_owned()
    }

    /// The words with which this host joins the one that made a token.
    pub(crate) fn joining<'a>(&'a self, token: &'a str) -> [&'a str; 6] {
        ["host", "join", "--token", token, "--listen", &self.address]
    }

    #[track_caller]
    pub(crate) fn join(&self, token: &str) -> Value {
        self.done(&self.joining(token))
    }

    /// What this host says of others: name and state.
    #[track_caller]
    pub(crate) fn hosts(&self) -> Vec<(String, String)> {
        let hosts = self.done(&["host", "list"]);
        states(hosts.as_array().expect("hosts"))
    }

    /// Waits until this host says so of others.
    #[track_caller]
    pub(crate) fn will_say(&self, expect: &[(&str, &str)]) {
        let expect: Vec<_> = expect.iter().map(|(name, state)| ((*name).into(), (*state).into())).collect();
        self.will_list(&|hosts| states(hosts) == expect);
    }

    /// Waits until what this host lists is as expected.
    #[track_caller]
    pub(crate) fn will_list(&self, expected: &dyn Fn(&[Value]) -> bool) {
        let end = Instant::now() + WITHIN;
        loop {
            let hosts = self.done(&["host", "list"]);
            if expected(hosts.as_array().expect("hosts")) {
                return;
            }
            assert!(Instant::now() < end, "{} still lists {hosts:#}", self.name);
            std::thread::sleep(LOOK);
        }
    }
}

/// Name and state of each host.
fn states(hosts: &[Value]) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    hosts.iter().map(|host| (word(&host["name"]), word(&host["state"]))).collect()
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
