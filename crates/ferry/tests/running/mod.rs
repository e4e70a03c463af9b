//! A real agent without guests, and the program that asks it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub(crate) fn ferry(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("FERRY_SOCKET");
    command
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration whose directories are all below `directory`.
pub(crate) fn configuration(directory: &Path) -> String {
    let path = directory.join("agent.toml");
    let below = |name: &str| directory.join(name).display().to_string();
    let text = format!(
        "host = \"kvm1\"\nstate_dir = {:?}\nrun_dir = {:?}\nlog_dir = {:?}\nsocket = {:?}\nimages = {:?}\n\
         allowed_paths = [{:?}]\n",
        below("state"),
        below("run"),
        below("log"),
        below("ferry.sock"),
        below("images/new"),
        below("images"),
    );
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

/// The agent, ended with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An agent that says it is ready.
pub(crate) fn start(config: &str) -> Running {
    let child = ferry(&["agent", "--config", config]).stderr(Stdio::piped()).spawn().expect("spawns");
    let mut agent = Running(child);
    let mut log = BufReader::new(agent.0.stderr.take().expect("piped")).lines();
    let mut said = Vec::new();
    while said.last().is_none_or(|line: &String| !line.contains("ready")) {
        let line = log.next().unwrap_or_else(|| panic!("it ended: {said:#?}"));
        said.push(line.expect("reads"));
    }
    agent
}
