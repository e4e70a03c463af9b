//! `ferry console` against an agent that answers as each test wants: on a terminal, and with a script's standard
//! streams.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent whose guests answer every line in capitals, and end at `poweroff`.
struct Agent {
    directory: tempfile::TempDir,
}

impl Agent {
    fn new() -> Agent {
        let directory = tempfile::tempdir().expect("a directory");
        let console = async |uri: Uri, upgrade: WebSocketUpgrade| -> Response {
            match uri.query() {
                Some("force=true&devname=console1") => upgrade.on_upgrade(guest),
                Some("force=false") if uri.path().contains("web1") => upgrade.on_upgrade(guest),
                _ => {
                    let problem = r#"{"status":409,"code":"console-busy","detail":"somebody is at the console serial0 of domain web2","mend":"take it over","details":[]}"#;
                    (axum::http::StatusCode::CONFLICT, problem).into_response()
                }
            }
        };
        let router = Router::new().route("/api/v1/domains/{domain}/console", get(console));
        let listener = UnixListener::bind(directory.path().join("ferry.sock")).expect("a socket");
        tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Agent { directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("ferry.sock")
    }

    fn console(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
        command.arg("console").args(arguments.split_whitespace()).arg("--socket").arg(self.socket());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.env_remove("RUST_LOG");
        command
    }
}

async fn guest(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Binary(typed) = message else { continue };
        if typed.starts_with(b"poweroff") {
            let why = "web1 is shut off: the guest powered itself off";
            socket.send(Message::Text(why.into())).await.expect("is heard");
            return;
        }
        socket.send(Message::Binary(typed.to_ascii_uppercase().into())).await.expect("is heard");
    }
}

async fn ended(child: &mut Child) -> (Option<i32>, String) {
    let status = timeout(PATIENCE, child.wait()).await.expect("ends").expect("is waited for");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).await.expect("text");
    (status.code(), said)
}

#[tokio::test]
async fn a_script_types_and_reads() {
    let agent = Agent::new();
    let mut child = agent.console("web1 --devname console1 --force").spawn().expect("runs");
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    // What leaves a terminal is a byte like any other here.
    input.write_all(b"ls \x1d\n").await.expect("is typed");
    let mut line = String::new();
    timeout(PATIENCE, output.read_line(&mut line)).await.expect("is answered").expect("text");
    assert_eq!(line, "LS \x1d\n");
    drop(input);
    assert_eq!(ended(&mut child).await, (Some(0), String::new()));
}

#[tokio::test]
async fn the_end_of_the_guest_is_told() {
    let agent = Agent::new();
    let mut child = agent.console("web1").spawn().expect("runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"poweroff\n").await.expect("is typed");
    let said = "web1 is shut off: the guest powered itself off\n".to_owned();
    assert_eq!(ended(&mut child).await, (Some(0), said));
}

#[tokio::test]
async fn a_refusal_is_told_as_every_other() {
    let agent = Agent::new();
    let mut child = agent.console("web2").spawn().expect("runs");
    let said = "error: somebody is at the console serial0 of domain web2\n→ take it over\n".to_owned();
    assert_eq!(ended(&mut child).await, (Some(4), said));
}

/// A terminal: the person's end, and the program's.
fn terminal() -> (File, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&person).expect("is granted");
    unlockpt(&person).expect("is unlocked");
    let path = ptsname(&person, Vec::new()).expect("has a name").into_string().expect("text");
    let program = File::options().read(true).write(true).open(path).expect("opens");
    (person.into(), program.into())
}

fn is_raw(terminal: impl AsFd) -> bool {
    !tcgetattr(terminal).expect("is a terminal").local_modes.intersects(LocalModes::ICANON | LocalModes::ISIG)
}

/// A person at a console, who has seen an answer, so that the terminal is raw by now.
async fn sat_down(agent: &Agent, options: &str) -> (Child, File, OwnedFd) {
    let (mut person, program) = terminal();
    assert!(!is_raw(&program));
    let input = Stdio::from(program.try_clone().expect("is cloned"));
    let mut child = agent.console(&format!("web1 {options}")).stdin(input).spawn().expect("runs");
    let mut note = BufReader::new(child.stderr.as_mut().expect("piped"));
    let mut line = String::new();
    timeout(PATIENCE, note.read_line(&mut line)).await.expect("is told").expect("text");
    assert!(line.starts_with("At the console of web1; Ctrl-"), "{line}");
    // Ctrl-C goes to the guest like every key.
    person.write_all(b"hi\x03").expect("is typed");
    let mut answer = [0; 3];
    let output = child.stdout.as_mut().expect("piped");
    timeout(PATIENCE, output.read_exact(&mut answer)).await.expect("is answered").expect("bytes");
    assert_eq!(&answer, b"HI\x03");
    assert!(is_raw(&program));
    (child, person, program)
}

#[tokio::test]
async fn on_a_terminal_every_key_goes_through_and_one_leaves() {
    let agent = Agent::new();
    for (options, key) in [("", b"\x1d"), ("--escape ^A", b"\x01")] {
        let (mut child, mut person, program) = sat_down(&agent, options).await;
        person.write_all(key).expect("is typed");
        assert_eq!(ended(&mut child).await, (Some(0), "\n".to_owned()), "{options}");
        assert!(!is_raw(&program), "{options}: the terminal is raw");
    }
}

#[tokio::test]
async fn a_signal_leaves_the_terminal_as_it_was() {
    let agent = Agent::new();
    let (mut child, _person, program) = sat_down(&agent, "").await;
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())).expect("runs");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("is sent");
    assert_eq!(ended(&mut child).await.0, Some(130));
    assert!(!is_raw(&program));
}
