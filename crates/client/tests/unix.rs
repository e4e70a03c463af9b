//! The client over a Unix socket, against a server in this process.

#[path = "server/mod.rs"]
mod server;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Client, ClientError, ProtocolError};
use futures_util::TryStreamExt;
use server::{Asked, reply, serve, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use uuid::Uuid;

/// An agent's socket in a directory of its own.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
    _directory: tempfile::TempDir,
}

/// Listens.
fn socket() -> Socket {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ferry.sock");
    Socket { listener: UnixListener::bind(&path).expect("a socket"), path, _directory: directory }
}

/// A server for every connection, and the number of connections.
fn answering(
    listener: UnixListener,
    answer: impl Fn(&str) -> hyper::Response<http_body_util::Full<bytes::Bytes>> + Clone + Send + 'static,
) -> (Asked, Arc<Mutex<usize>>) {
    let (asked, connections) = (Asked::default(), Arc::new(Mutex::new(0)));
    let (log, count) = (Arc::clone(&asked), Arc::clone(&connections));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            *count.lock().expect("lock") += 1;
            tokio::spawn(serve(stream, Arc::clone(&log), answer.clone()));
        }
    });
    (asked, connections)
}

/// Reads one request without a body's end in mind: these tests send small ones, in one write.
async fn read_request(stream: &mut UnixStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.expect("reads");
        if length == 0 {
            return None;
        }
        text.extend_from_slice(&buffer[..length]);
        let seen = String::from_utf8_lossy(&text);
        let Some((head, body)) = seen.split_once("\r\n\r\n") else { continue };
        let expected = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a number"));
        if body.len() >= expected {
            return Some(head.lines().next().expect("a line").to_owned());
        }
    }
}

const VERSION: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 44\r\n\r\n{\"ferry\":\"0.1.0\",\"protocol\":1,\"host\":\"kvm1\"}";

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let socket = socket();
    let (asked, connections) = answering(socket.listener, |line| match line {
        "GET /api/v1/version" => version(),
        "DELETE /api/v1/domains/a%2Fb" => reply(204, ""),
        _ => reply(200, "<domain/>"),
    });
    let client = Client::unix(&socket.path);
    client.connect().await.expect("connects");
    assert_eq!(client.version().await.expect("a version").host, "kvm1");
    client.undefine("a/b", None).await.expect("done");
    assert_eq!(client.clone().xml("web 1").await.expect("text"), "<domain/>");
    assert_eq!(
        *asked.lock().expect("lock"),
        ["GET /api/v1/version", "DELETE /api/v1/domains/a%2Fb", "GET /api/v1/domains/web%201/xml"]
    );
    assert_eq!(*connections.lock().expect("lock"), 1);
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_wait_for_each_other() {
    let socket = socket();
    let client = Client::unix(&socket.path);
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.shutdown("web1", Duration::from_secs(60)).await }
    });
    let (mut first, _) = socket.listener.accept().await.expect("accepts");
    let line = read_request(&mut first).await;
    assert_eq!(line.as_deref(), Some("POST /api/v1/domains/web1/shutdown HTTP/1.1"));
    answering(socket.listener, |_| version());
    client.version().await.expect("answered while the other request is open");
    assert!(!slow.is_finished());
    drop(first);
    assert!(slow.await.expect("joins").is_err());
}

#[tokio::test]
async fn a_problem_is_an_error_with_its_mend() {
    let socket = socket();
    answering(socket.listener, |_| {
        reply(
            404,
            r#"{"status":404,"code":"domain-not-found","detail":"no domain web9","mend":"see `ferry list --all`"}"#,
        )
    });
    let client = Client::unix(&socket.path);
    let error = client.domain("web9").await.expect_err("refused");
    assert_eq!(error.mend().as_deref(), Some("see `ferry list --all`"));
    assert_eq!(error.to_string(), "no domain web9");
    let ClientError::Problem(problem) = error else { panic!("{error:?}") };
    assert_eq!((problem.status, problem.code.as_str()), (404, "domain-not-found"));
}

#[tokio::test]
async fn answers_of_something_else_are_named() {
    let socket = socket();
    answering(socket.listener, |line| match line {
        "GET /api/v1/version" => reply(502, "Bad Gateway"),
        _ => reply(200, "[1]"),
    });
    let client = Client::unix(&socket.path);
    let error = client.version().await.expect_err("no problem in it");
    assert!(
        matches!(&error, ClientError::Protocol { source: ProtocolError::Status { status: 502 }, .. }),
        "{error:?}"
    );
    let error = client.domains(true).await.expect_err("not domains");
    assert!(
        matches!(&error, ClientError::Protocol { source: ProtocolError::Body { request, .. }, .. }
            if request == "GET /api/v1/domains?all=true"),
        "{error:?}"
    );
}

#[tokio::test]
async fn no_socket_says_how_to_start_an_agent() {
    let client = Client::unix("/nonexistent/ferry.sock");
    let error = client.version().await.expect_err("nothing there");
    assert!(error.is_unreachable() && !error.may_have_arrived());
    assert_eq!(error.to_string(), "cannot connect to the agent at /nonexistent/ferry.sock");
    assert!(error.mend().expect("a mend").contains("ferry agent --config"));
}

#[tokio::test]
async fn a_get_on_a_dead_connection_is_asked_again_once() {
    let socket = socket();
    let client = Client::unix(&socket.path);
    let served = tokio::spawn(async move {
        let (mut first, _) = socket.listener.accept().await.expect("accepts");
        read_request(&mut first).await.expect("a request");
        first.write_all(VERSION.as_bytes()).await.expect("writes");
        read_request(&mut first).await.expect("the second request, which gets no answer");
        drop(first);
        let (mut second, _) = socket.listener.accept().await.expect("accepts");
        read_request(&mut second).await.expect("the second request again");
        second.write_all(VERSION.as_bytes()).await.expect("writes");
        read_request(&mut second).await.expect("the third request, which gets no answer");
        drop(second);
        let (third, _) = socket.listener.accept().await.expect("accepts");
        drop(third);
        socket
    });
    client.version().await.expect("answered");
    client.version().await.expect("asked again");
    let error = client.version().await.expect_err("asked again only once");
    assert!(matches!(error, ClientError::Io { .. }), "{error:?}");
    served.await.expect("every connection was used");
}

#[tokio::test]
async fn a_pledge_is_never_repeated() {
    let socket = socket();
    let client = Client::unix(&socket.path);
    let served = tokio::spawn(async move {
        let (mut first, _) = socket.listener.accept().await.expect("accepts");
        let pledge = read_request(&mut first).await.expect("the pledge");
        assert!(pledge.contains("/pledge"), "{pledge}");
        drop(first);
        let (mut second, _) = socket.listener.accept().await.expect("accepts");
        let next = read_request(&mut second).await.expect("a request");
        second.write_all(VERSION.as_bytes()).await.expect("writes");
        next
    });
    client.connect().await.expect("connects");
    let error = client.pledge(Uuid::nil(), Uuid::nil()).await.expect_err("cut off");
    assert!(matches!(error, ClientError::Io { sent: true, .. }), "{error:?}");
    assert!(error.may_have_arrived());
    client.version().await.expect("answered");
    assert_eq!(served.await.expect("joins"), "GET /api/v1/version HTTP/1.1", "the pledge came once");
}

#[tokio::test]
async fn a_pledge_carries_its_token_and_gets_a_verdict() {
    let socket = socket();
    let (asked, _) = answering(socket.listener, |_| reply(200, r#"{"verdict":"refused","reason":"no"}"#));
    let verdict = Client::unix(&socket.path).pledge(Uuid::nil(), Uuid::max()).await.expect("a verdict");
    assert_eq!(verdict, api::Verdict::Refused { reason: "no".to_owned() });
    assert_eq!(
        *asked.lock().expect("lock"),
        ["POST /api/v1/agent/migrations/00000000-0000-0000-0000-000000000000/pledge \
          {\"token\":\"ffffffff-ffff-ffff-ffff-ffffffffffff\"}"]
    );
}

#[tokio::test]
async fn another_protocol_version_is_an_error_before_the_body() {
    let socket = socket();
    answering(socket.listener, |line| {
        let mut answer = reply(200, r#"{"phase":"receiving"}"#);
        if line.starts_with("DELETE") {
            answer.headers_mut().remove(api::PROTOCOL_HEADER);
        } else {
            answer.headers_mut().insert(api::PROTOCOL_HEADER, 7.into());
        }
        answer
    });
    let client = Client::unix(&socket.path);
    let error = client.target_status(Uuid::nil()).await.expect_err("another version");
    assert!(
        matches!(error, ClientError::ProtocolVersion { theirs: api::Protocols { oldest: 7, newest: 7 }, .. }),
        "{error:?}"
    );
    let error = client.abandon(Uuid::nil()).await.expect_err("no version");
    assert!(matches!(error, ClientError::Protocol { source: ProtocolError::NoVersion, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_given_up() {
    let socket = socket();
    let error = Client::unix(&socket.path).target_status(Uuid::nil()).await.expect_err("silence");
    let ClientError::TimedOut { request, after, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*after, client::limits::TARGET_STATUS_WITHIN);
    assert!(request.starts_with("GET /api/v1/agent/migrations/"), "{request}");
    assert!(error.may_have_arrived());
}

const NOTE: &str = r#"data: {"event":"note","text":"waits","at":"2026-01-01T00:00:00Z"}"#;
const ENDED: &str = r#"data: {"event":"ended","id":"00000000-0000-0000-0000-000000000000","domain":"web1","uuid":"00000000-0000-0000-0000-000000000000","source":"kvm1","target":"kvm2","outcome":"moved","phase":"moved","started_at":"2026-01-01T00:00:00Z","wall_ms":1,"memory":{"total_bytes":0,"sent_bytes":0,"rounds":0,"normal_pages":0,"zero_pages":0},"downtime":{},"encrypted":true,"suspended":false}"#;

#[tokio::test]
async fn events_end_with_the_migration_or_with_an_error() {
    let socket = socket();
    let (_, connections) = answering(socket.listener, |line| match line {
        "GET /api/v1/migrations/00000000-0000-0000-0000-000000000000/events" => {
            reply(200, format!(": hello\n\n{NOTE}\n\n{ENDED}\n\n{NOTE}\n\n"))
        }
        "GET /api/v1/migrations/ffffffff-ffff-ffff-ffff-ffffffffffff/events" => {
            reply(200, format!("{NOTE}\n\n"))
        }
        _ => reply(404, r#"{"status":404,"code":"migration-not-found","detail":"no such migration"}"#),
    });
    let client = Client::unix(&socket.path);
    let events: Vec<_> = client.migration_events(Uuid::nil()).try_collect().await.expect("all events");
    assert_eq!(events.len(), 2, "nothing comes after the end: {events:?}");
    assert!(matches!(&events[1], api::MigrationEvent::Ended(report) if report.domain == "web1"));

    let mut cut = std::pin::pin!(client.migration_events(Uuid::max()));
    assert!(cut.try_next().await.expect("an event").is_some());
    let error = cut.try_next().await.expect_err("cut");
    assert!(matches!(error, ClientError::EventsCut { .. }), "{error:?}");

    let mut unknown = std::pin::pin!(client.migration_events(Uuid::from_u128(7)));
    let error = unknown.try_next().await.expect_err("unknown");
    assert!(matches!(error, ClientError::Problem(_)), "{error:?}");
    assert_eq!(*connections.lock().expect("lock"), 3, "a stream has a connection of its own");
}

#[tokio::test]
async fn a_program_that_ends_says_why() {
    let script = "echo 'kvm2: Permission denied (publickey).' >&2; exit 255";
    let client = Client::program("kvm2", "sh", vec!["-c".into(), script.into()]);
    let error = client.connect().await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "no connection to an agent through ssh to kvm2: kvm2: Permission denied (publickey)."
    );
    assert!(error.is_unreachable());
}
