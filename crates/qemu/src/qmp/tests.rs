//! The client against a scripted QEMU: order, time-outs, dropped callers, descriptors, the end.

use std::io::IoSliceMut;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::*;
use crate::command::{Cont, Done, GetFd, MigratePause, QueryName, QueryStatus, Stop};

/// QEMU's end of the connection.
struct Script {
    stream: BufReader<UnixStream>,
}

impl Script {
    async fn line(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn say(&mut self, value: Value) {
        self.stream.write_all(format!("{value}\r\n").as_bytes()).await.unwrap();
    }

    async fn answer(&mut self, to: &Value, value: Value) {
        self.say(json!({"return": value, "id": to["id"]})).await;
    }
}

/// A client and QEMU's end, past the handshake.
async fn pair(offered: Value) -> (Qmp, Script) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut script = Script { stream: BufReader::new(theirs) };
    script.say(json!({"QMP": {"version": {}, "capabilities": offered.clone()}})).await;
    let handshake = async {
        let line = script.line().await;
        assert_eq!(line["execute"], "qmp_capabilities");
        assert_eq!(line["arguments"], json!({"enable": offered}));
        script.answer(&line, json!({})).await;
    };
    let (qmp, ()) = tokio::join!(Qmp::connect(ours), handshake);
    (qmp.unwrap(), script)
}

fn event(name: &str) -> Value {
    json!({"event": name, "timestamp": {"seconds": 1, "microseconds": 2}})
}

#[tokio::test]
async fn replies_may_come_in_any_order_with_events_between() {
    let (qmp, mut script) = pair(json!(["oob"])).await;
    let mut events = qmp.events();
    let server = async {
        let (first, second) = (script.line().await, script.line().await);
        script.answer(&second, json!({"name": "b"})).await;
        script.say(event("NEVER_HEARD_OF")).await;
        script.answer(&first, json!({"running": true, "status": "running"})).await;
    };
    let (status, name, ()) = tokio::join!(qmp.execute(QueryStatus), qmp.execute(QueryName), server);
    assert!(status.unwrap().running);
    assert_eq!(name.unwrap().name.as_deref(), Some("b"));
    assert_eq!(events.recv().await.unwrap().name, "NEVER_HEARD_OF");
}

#[tokio::test]
async fn a_caller_that_gave_up_does_not_disturb_the_next() {
    let (qmp, mut script) = pair(json!([])).await;
    let late = qmp.execute_within(Stop, Duration::from_millis(1)).await;
    assert!(matches!(late, Err(QmpError::TimedOut { command, .. }) if command == "stop"));
    assert!(qmp.inner.shared.state().waiters.is_empty());
    let stop = script.line().await;
    let server = async {
        let cont = script.line().await;
        // The late reply comes before the one that is waited for.
        script.answer(&stop, json!({})).await;
        script.answer(&cont, json!({})).await;
    };
    let (cont, ()) = tokio::join!(qmp.execute(Cont), server);
    assert_eq!(cont.unwrap(), Done);
    assert!(qmp.inner.shared.state().waiters.is_empty());
}

#[tokio::test]
async fn a_refusal_and_a_misfit_are_told_apart() {
    let (qmp, mut script) = pair(json!([])).await;
    let server = async {
        let line = script.line().await;
        script.say(json!({"error": {"class": "CommandNotFound", "desc": "what?"}, "id": line["id"]})).await;
        let line = script.line().await;
        script.answer(&line, json!({"running": "perhaps"})).await;
    };
    let client = async { (qmp.execute(Stop).await, qmp.execute(QueryStatus).await) };
    let ((refused, misfit), ()) = tokio::join!(client, server);
    let refused = refused.unwrap_err();
    assert!(refused.is_unknown_command());
    assert_eq!(refused.to_string(), "QEMU refused stop: what?");
    assert!(matches!(misfit, Err(QmpError::Protocol { command, .. }) if command == "query-status"));
}

#[tokio::test]
async fn the_end_reaches_everyone() {
    let (qmp, script) = pair(json!([])).await;
    let mut events = qmp.events();
    let server = async {
        tokio::task::yield_now().await;
        drop(script);
    };
    let (waiting, (), ()) = tokio::join!(qmp.execute(Stop), qmp.closed(), server);
    assert!(matches!(waiting, Err(QmpError::Gone)));
    assert!(matches!(qmp.execute(Cont).await, Err(QmpError::Gone)));
    assert!(matches!(events.recv().await, Err(broadcast::error::RecvError::Closed)));
    assert!(matches!(qmp.events().recv().await, Err(broadcast::error::RecvError::Closed)));
    assert!(qmp.is_closed());
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_connection() {
    let (qmp, mut script) = pair(json!([])).await;
    drop(qmp.clone());
    assert!(!qmp.is_closed());
    drop(qmp);
    let mut line = String::new();
    assert_eq!(script.stream.read_line(&mut line).await.unwrap(), 0);
}

#[tokio::test]
async fn out_of_band_is_used_only_where_offered() {
    for (offered, key) in [(json!(["oob"]), "exec-oob"), (json!([]), "execute")] {
        let (qmp, mut script) = pair(offered).await;
        let server = async {
            let line = script.line().await;
            assert_eq!(line[key], "migrate-pause");
            script.answer(&line, json!({})).await;
        };
        let (done, ()) = tokio::join!(qmp.execute_oob(MigratePause), server);
        done.unwrap();
    }
}

#[tokio::test]
async fn something_else_than_qemu_is_not_connected_to() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut script = Script { stream: BufReader::new(theirs) };
    script.say(event("HELLO")).await;
    assert!(matches!(Qmp::connect(ours).await, Err(ConnectError::NoGreeting(None))));
}

#[tokio::test]
async fn descriptors_travel_with_their_command() {
    let (qmp, script) = pair(json!([])).await;
    let stream = script.stream.into_inner();
    let pipe = rustix::pipe::pipe().unwrap();
    let server = async {
        let mut bytes = [0; 256];
        let (count, fds) = stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let mut into = [IoSliceMut::new(&mut bytes)];
                let got = recvmsg(&stream, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
                let fds: Vec<OwnedFd> = ancillary
                    .drain()
                    .filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                        _ => None,
                    })
                    .flatten()
                    .collect();
                Ok((got.bytes, fds))
            })
            .await
            .unwrap();
        let line: Value = serde_json::from_slice(&bytes[..count]).unwrap();
        assert_eq!(line["arguments"], json!({"fdname": "tap"}));
        let mut script = Script { stream: BufReader::new(stream) };
        script.answer(&line, json!({})).await;
        (script, fds)
    };
    let get = qmp.execute_with_fds(GetFd { fdname: "tap".into() }, vec![pipe.1]);
    let (done, (_script, fds)) = tokio::join!(get, server);
    done.unwrap();
    // What came out the other end is the same pipe.
    assert_eq!(fds.len(), 1);
    rustix::io::write(&fds[0], b"x").unwrap();
    assert_eq!(rustix::io::read(&pipe.0, &mut [0; 4][..]).unwrap(), 1);
}
