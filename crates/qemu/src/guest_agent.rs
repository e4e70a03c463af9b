//! The agent inside a guest, as far as it is asked: what time it is there (docs/interop/qemu-ga-ref of QEMU). It changes
//! nothing in the guest. Main function: [`time`].

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::console::Place;
use crate::limits::GUEST_AGENT_LINE_BYTES_MAX;

/// What stands before an answer that is asked for with `guest-sync-delimited`: no byte of JSON.
const DELIMITER: u8 = 0xff;

/// Why a guest's agent did not say what time it is.
#[derive(Debug, thiserror::Error)]
pub enum GuestAgentError {
    /// Its channel cannot be used.
    #[error("the channel of the guest's agent is closed")]
    Channel(#[source] io::Error),
    /// What answers is none.
    #[error("what answers is not a guest's agent: {said:?}")]
    Answer {
        /// What it said.
        said: String,
    },
}

/// The guest's wall clock: time since 1970 (`guest-get-time`).
///
/// # Errors
/// [`GuestAgentError`]. It waits as long as the agent does: a guest without one never answers.
pub async fn time(channel: &Place) -> Result<Duration, GuestAgentError> {
    let (mut output, mut input) = channel.open().await.map_err(GuestAgentError::Channel)?;
    let sync = u64::from(std::process::id());
    let ask = json!({ "execute": "guest-sync-delimited", "arguments": { "id": sync } });
    // The delimiter ends whatever somebody before left half-said.
    let mut words = vec![DELIMITER];
    words.extend(ask.to_string().into_bytes());
    words.push(b'\n');
    input.write_all(&words).await.map_err(GuestAgentError::Channel)?;
    // What stands before the delimiter was meant for somebody who gave up.
    until(&mut output, DELIMITER).await?;
    let synced: Answer = parse(&until(&mut output, b'\n').await?)?;
    if synced.value != json!(sync) {
        return Err(GuestAgentError::Answer { said: synced.value.to_string() });
    }
    input.write_all(b"{\"execute\":\"guest-get-time\"}\n").await.map_err(GuestAgentError::Channel)?;
    let told: Answer = parse(&until(&mut output, b'\n').await?)?;
    let nanoseconds = told.value.as_u64();
    nanoseconds.map(Duration::from_nanos).ok_or(GuestAgentError::Answer { said: told.value.to_string() })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "return")]
    value: Value,
}

fn parse(line: &[u8]) -> Result<Answer, GuestAgentError> {
    serde_json::from_slice(line)
        .map_err(|_| GuestAgentError::Answer { said: String::from_utf8_lossy(line).into_owned() })
}

/// What comes before `end`.
async fn until(output: &mut crate::console::Output, end: u8) -> Result<Vec<u8>, GuestAgentError> {
    let mut said = Vec::new();
    loop {
        match output.read_u8().await.map_err(GuestAgentError::Channel)? {
            byte if byte == end => return Ok(said),
            byte => said.push(byte),
        }
        if said.len() > GUEST_AGENT_LINE_BYTES_MAX {
            return Err(GuestAgentError::Answer { said: String::from_utf8_lossy(&said).into_owned() });
        }
    }
}
