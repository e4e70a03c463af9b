//! `migrate`, `migrations`: watched to the end, interrupted, resolved, on a terminal and in JSON.

use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use insta::assert_snapshot;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::{Agent, FERRY, ID, PATIENCE, answer, shown};

fn report(outcome: &str) -> String {
    format!(
        r#""id":"{ID}","domain":"web1","uuid":"{ID}","source":"kvm1","target":"kvm2","outcome":"{outcome}","phase":"{outcome}","started_at":"2026-01-01T00:00:00Z","wall_ms":4210,"memory":{{"total_bytes":1073741824,"sent_bytes":1300000000,"rounds":3,"normal_pages":1,"zero_pages":1}},"downtime":{{"qemu_ms":18}},"encrypted":true,"suspended":false"#
    )
}

fn events(outcome: &str) -> String {
    [
        r#"{"event":"phase","phase":"planned","at":"2026-01-01T00:00:00Z"}"#.to_owned(),
        r#"{"event":"phase","phase":"streaming","at":"2026-01-01T00:00:01Z"}"#.to_owned(),
        r#"{"event":"note","text":"kvm2 takes memory in at 10.0.0.2:49152","at":"2026-01-01T00:00:01Z"}"#.to_owned(),
        r#"{"event":"progress","round":1,"sent_bytes":104857600,"left_bytes":943718400,"total_bytes":1073741824,"rate_bytes_per_s":104857600,"dirty_bytes_per_s":0,"expected_blackout_ms":300,"throttle_percent":0,"elapsed_ms":1000}"#.to_owned(),
        format!(r#"{{"event":"ended",{}}}"#, report(outcome)),
    ]
    .map(|event| format!("data: {event}\n\n"))
    .concat()
}

/// An agent that moves every domain with this outcome.
fn moving(outcome: &'static str) -> Agent {
    Agent::new(move |line| match line {
        "POST /domains/web1/migrations" => answer(202, format!(r#"{{"id":"{ID}"}}"#)),
        line if line.ends_with("/events") => answer(200, events(outcome)),
        line if line.starts_with("POST /migrations/") || line.starts_with("GET /migrations/") => {
            answer(200, format!(r#"{{"role":"source",{}}}"#, report(outcome)))
        }
        _ => answer(500, "unexpected"),
    })
}

#[tokio::test]
async fn a_migration_is_watched_to_its_end() {
    let agent = moving("moved");
    assert_snapshot!(shown(&agent.ferry("migrate web1 --to kvm2 --bandwidth 1Gbit/s").await), @r"
    exit 0
    web1 moved from kvm1 to kvm2 in 4.2 s
      blackout    18 ms by QEMU
      memory      1.21 GiB sent in 3 rounds, the guest has 1.00 GiB
      on the way  encrypted
      migration   01900000-0000-7000-8000-000000000001
    --- stderr
    planned: both hosts were checked, nothing stands in the way
    streaming: memory goes over while the guest works
    kvm2 takes memory in at 10.0.0.2:49152
    round 1  sent 100 MiB  left 900 MiB  100 MiB/s  blackout 300 ms
    ");
    assert_snapshot!(agent.asked().join("\n"), @r#"
    POST /domains/web1/migrations {"to":"kvm2","source_definition":"tombstone","transient":false,"blackout_ms_max":30,"blackout_bound_ms":300,"throttle_percent_max":80,"on_stuck":"keep","bandwidth_bytes_per_s":125000000,"channels":1,"plaintext":false,"offline":false}
    GET /migrations/01900000-0000-7000-8000-000000000001/events
    "#);
}

#[tokio::test]
async fn every_outcome_has_its_exit_code() {
    for (outcome, code) in [("moved", 0), ("kept", 5), ("in-doubt", 6), ("lost", 7)] {
        let agent = moving(outcome);
        let output = agent.ferry("migrate web1 --to kvm2").await;
        assert_eq!(output.status.code(), Some(code), "{}", shown(&output));
        let output = agent.ferry(&format!("migrations watch {ID}")).await;
        assert_eq!(output.status.code(), Some(code), "{}", shown(&output));
    }
}

#[tokio::test]
async fn json_is_one_event_a_line() {
    let output = moving("moved").ferry("--json migrate web1 --to kvm2").await;
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 5, "{text}");
    assert_eq!((&events[4]["event"], &events[4]["outcome"]), (&"ended".into(), &"moved".into()));
    assert!(output.stderr.is_empty());
}

#[tokio::test]
async fn detached_migrations_are_not_watched() {
    let agent = moving("moved");
    assert_snapshot!(shown(&agent.ferry("migrate web1 --to kvm2 --detach").await), @r"
    exit 0
    Migration 01900000-0000-7000-8000-000000000001 has begun; `ferry migrations watch 01900000-0000-7000-8000-000000000001` shows it.
    --- stderr
    ");
    assert_eq!(agent.asked().len(), 1);
}

/// An agent whose migration goes on until something is sent.
fn hanging() -> (Agent, mpsc::UnboundedSender<Bytes>) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let agent = Agent::new(move |line| match line {
        "POST /domains/web1/migrations" => answer(202, format!(r#"{{"id":"{ID}"}}"#)),
        line if line.ends_with("/events") => {
            let receiver = receiver.lock().expect("lock").take().expect("one watcher");
            let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
                let piece = receiver.recv().await?;
                Some((Ok::<_, std::io::Error>(piece), receiver))
            });
            answer(200, Body::from_stream(stream))
        }
        line if line.ends_with("/cancel") => answer(202, ""),
        _ => answer(500, "unexpected"),
    });
    let first = "data: {\"event\":\"phase\",\"phase\":\"streaming\",\"at\":\"\"}\n\n";
    sender.send(Bytes::from(first)).expect("is heard");
    (agent, sender)
}

async fn interrupt(child: &tokio::process::Child) {
    let pid = child.id().expect("runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("runs").success());
}

async fn line_with(lines: &mut (impl AsyncBufReadExt + Unpin), text: &str) {
    let waiting = async {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(lines.read_line(&mut line).await.expect("reads"), 0, "ended without {text:?}");
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no line with {text:?}"));
}

#[tokio::test]
async fn ctrl_c_cancels_and_goes_on_watching() {
    let (agent, sender) = hanging();
    let mut child = agent.command("migrate web1 --to kvm2").stderr(Stdio::piped()).spawn().expect("spawns");
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    line_with(&mut lines, "streaming").await;
    interrupt(&child).await;
    line_with(&mut lines, "Asked the agent to keep the domain").await;
    assert_eq!(agent.asked().last(), Some(&format!("POST /migrations/{ID}/cancel")));
    let ended = format!("data: {{\"event\":\"ended\",{}}}\n\n", report("kept"));
    sender.send(Bytes::from(ended)).expect("is heard");
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("ends").expect("waits");
    assert_eq!(status.code(), Some(5));
}

#[tokio::test]
async fn ctrl_c_twice_leaves_the_migration_to_itself() {
    let (agent, _sender) = hanging();
    let mut child = agent.command("migrate web1 --to kvm2").stderr(Stdio::piped()).spawn().expect("spawns");
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    line_with(&mut lines, "streaming").await;
    interrupt(&child).await;
    line_with(&mut lines, "Ctrl-C once more").await;
    interrupt(&child).await;
    line_with(&mut lines, &format!("ferry migrations watch {ID}")).await;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("ends").expect("waits");
    assert_eq!(status.code(), Some(130));
}

#[tokio::test]
async fn a_watcher_survives_a_cut_and_repeats_nothing() {
    let cut = Arc::new(Mutex::new(true));
    let agent = Agent::new(move |line| match line {
        line if line.ends_with("/events") => {
            let events = events("moved");
            if std::mem::replace(&mut *cut.lock().expect("lock"), false) {
                answer(200, events[..events.len() / 2].to_owned())
            } else {
                answer(200, events)
            }
        }
        line if line.starts_with("GET /migrations/") => {
            answer(200, format!(r#"{{"role":"source",{}}}"#, report("moved")))
        }
        _ => answer(500, "unexpected"),
    });
    let output = agent.ferry(&format!("migrations watch {ID}")).await;
    assert_eq!(agent.asked().len(), 3, "it asked what it is, and twice for its events");
    let text = shown(&output);
    assert_eq!(text.matches("planned:").count(), 1, "{text}");
    assert!(text.contains("asking again") && text.starts_with("exit 0\nweb1 moved"), "{text}");
}

#[tokio::test]
async fn resolve_wants_a_person_or_yes() {
    let agent = moving("in-doubt");
    let command = format!("migrations resolve {ID} --as kept");
    assert_snapshot!(shown(&agent.ferry(&command).await), @r"
    exit 2
    --- stderr
    error: a person must confirm this, and standard input is no terminal. Your word:
      web1 never ran on kvm2, not for a moment, and its QEMU there is gone. kvm1
      then goes on with the memory of the moment it stopped. If the guest did run on
      kvm2, its disks have changed since and are damaged for good.
    → make sure that it is true, then say --yes
    ");
    assert_eq!(agent.asked(), [format!("GET /migrations/{ID}")], "nothing was resolved");
    let output = agent.ferry(&format!("{command} --yes")).await;
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert_eq!(agent.asked().last(), Some(&format!(r#"POST /migrations/{ID}/resolve {{"as":"kept"}}"#)));
}

/// What the program says on a terminal, and how it ends, when this is typed.
async fn on_a_terminal(agent: &Agent, arguments: &str, typed: &str) -> Output {
    let line = format!("{FERRY} {arguments}");
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("FERRY_SOCKET", agent.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script of bsdutils is installed");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(typed.as_bytes()).await.expect("writes");
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    output.expect("ends").expect("waits")
}

#[tokio::test]
async fn a_person_confirms_with_the_whole_word() {
    for (typed, resolved) in [("yes\n", true), ("y\n", false), ("\n", false)] {
        let agent = moving("in-doubt");
        let output = on_a_terminal(&agent, &format!("migrations resolve {ID} --as lost"), typed).await;
        let text = String::from_utf8_lossy(&output.stdout);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("two guests write to its disks") && text.contains("Type yes"), "{text}");
        assert_eq!(output.status.code(), Some(if resolved { 0 } else { 2 }), "{text}");
        let asked = agent.asked().iter().any(|line| line.ends_with(r#"/resolve {"as":"lost"}"#));
        assert_eq!(asked, resolved, "{typed:?}: {text}");
    }
}

#[tokio::test]
async fn a_terminal_has_a_live_line_and_colour() {
    let output = on_a_terminal(&moving("moved"), "migrate web1 --to kvm2", "").await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("streaming: memory goes over"), "{text}");
    assert!(text.contains("\u{1b}[1m\u{1b}[32mweb1 moved from kvm1 to kvm2"), "{text:?}");
}
