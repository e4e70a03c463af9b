//! The guest agent's side of a channel, played by a task: what is asked, and what wrong answers become.

use qemu::console::Place;
use qemu::guest_agent::{GuestAgentError, time};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

/// Answers a sync with `before`, the delimiter and the id, and a question for the time with `told`.
async fn check(before: &'static [u8], told: &'static str) -> Result<std::time::Duration, GuestAgentError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (output, mut input) = stream.into_split();
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        output.read_until(b'\n', &mut line).await.unwrap();
        assert_eq!(line[0], 0xff, "a delimiter ends what was half-said");
        let asked: serde_json::Value = serde_json::from_slice(&line[1..]).unwrap();
        assert_eq!(asked["execute"], "guest-sync-delimited");
        input.write_all(before).await.unwrap();
        input.write_all(&[0xff]).await.unwrap();
        let synced = format!("{{\"return\": {}}}\n", asked["arguments"]["id"]);
        input.write_all(synced.as_bytes()).await.unwrap();
        line.clear();
        output.read_until(b'\n', &mut line).await.unwrap();
        assert_eq!(line, b"{\"execute\":\"guest-get-time\"}\n");
        input.write_all(told.as_bytes()).await.unwrap();
    });
    time(&Place::Socket(path)).await
}

#[tokio::test]
async fn the_time_in_the_guest() {
    let told = check(b"", "{\"return\": 1800000000123000000}\n").await.unwrap();
    assert_eq!(told.as_millis(), 1_800_000_000_123);
    let told = check(b"{\"return\": {}}\n{\"ret", "{\"return\": 5}\n").await.unwrap();
    assert_eq!(told.as_nanos(), 5);
}

#[tokio::test]
async fn what_is_no_agent_is_told_so() {
    let refused = check(b"", "{\"error\": {\"class\": \"CommandNotFound\"}}\n").await;
    assert!(matches!(refused, Err(GuestAgentError::Answer { said }) if said.contains("CommandNotFound")));
    let ended = check(b"", "").await;
    assert!(matches!(ended, Err(GuestAgentError::Channel(_))), "{ended:?}");
}
