//! The QMP byte stream: bytes in, [`Message`]s out; no socket, no clock of its own.
//!
//! QMP (QEMU's docs/interop/qmp-spec) is one JSON object a line, ended by `\r\n`. Each is one of:
//!
//! ```text
//! {"QMP": {"version": {…}, "capabilities": ["oob"]}}                       greeting, first on a connection
//! {"return": …, "id": 7}                                                   reply
//! {"error": {"class": "GenericError", "desc": "…"}, "id": 7}               refusal; no id if the line was not understood
//! {"event": "STOP", "data": {…}, "timestamp": {"seconds": …, "microseconds": …}}
//! ```
//!
//! It never panics on what QEMU sends, and holds at most one line of bounded length.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

/// An event that QEMU sent by itself. Events that Ferry does not know are events like the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// QAPI name, such as `MIGRATION`.
    pub name: String,
    /// QAPI data of the event; `Null` where it has none.
    pub data: Value,
    /// QEMU's wall clock when it happened.
    pub timestamp: SystemTime,
}

/// One line from QEMU.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The first line of a connection.
    Greeting {
        /// What may be switched on by `qmp_capabilities`.
        capabilities: Vec<String>,
    },
    /// The answer to a command.
    Reply {
        /// The id of the command; missing where QEMU could not read it.
        id: Option<u64>,
        /// What the command returned, or why it was refused.
        outcome: Result<Value, Failure>,
    },
    /// Something happened.
    Event(Event),
}

/// QEMU's `error` object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// QAPI `QapiErrorClass`.
    pub class: String,
    /// QEMU's own words.
    #[serde(rename = "desc")]
    pub description: String,
}

/// Why bytes are not QMP.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A line without an end.
    #[error("a QMP line is longer than {limit_bytes} bytes")]
    LineTooLong {
        /// The bound.
        limit_bytes: usize,
    },
    /// Not JSON, or a member of the wrong type.
    #[error("a QMP line is not readable: {excerpt:?}")]
    Unreadable {
        /// How the line begins.
        excerpt: String,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// JSON, but none of QMP's four forms.
    #[error("a QMP line is neither greeting, reply nor event: {excerpt:?}")]
    Unknown {
        /// How the line begins.
        excerpt: String,
    },
}

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// How many bytes of `buffer` were already searched for a line end.
    searched: usize,
    line_bytes_max: usize,
}

impl Decoder {
    /// A decoder that refuses lines longer than `line_bytes_max`.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, line_bytes_max }
    }

    /// Takes the next bytes of the stream, however they are cut.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes are pushed. After an error the bad line is gone and the next
    /// one is read, except after [`CodecError::LineTooLong`], which drops all that is held.
    pub fn next_message(&mut self) -> Option<Result<Message, CodecError>> {
        loop {
            let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.buffer.len() > self.line_bytes_max {
                    self.buffer = Vec::new();
                    self.searched = 0;
                    return Some(Err(CodecError::LineTooLong { limit_bytes: self.line_bytes_max }));
                }
                return None;
            };
            let end = self.searched + end;
            let too_long = end > self.line_bytes_max;
            let message = (!too_long).then(|| read_line(self.buffer[..end].trim_ascii()));
            self.buffer.drain(..=end);
            self.searched = 0;
            match message {
                None => return Some(Err(CodecError::LineTooLong { limit_bytes: self.line_bytes_max })),
                Some(Ok(None)) => {}
                Some(Ok(Some(message))) => return Some(Ok(message)),
                Some(Err(error)) => return Some(Err(error)),
            }
        }
    }
}

/// Every member that any of the four forms has.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
    #[serde(rename = "return", default, deserialize_with = "present")]
    returned: Option<Value>,
    error: Option<Failure>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    timestamp: Option<Timestamp>,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
struct Greeting {
    #[serde(default)]
    capabilities: Vec<Value>,
}

/// Seconds are -1 where QEMU could not read its clock.
#[derive(Deserialize)]
struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

/// A member that is there counts as present also when it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn read_line(line: &[u8]) -> Result<Option<Message>, CodecError> {
    if line.is_empty() {
        return Ok(None);
    }
    let read: Line = serde_json::from_slice(line)
        .map_err(|source| CodecError::Unreadable { excerpt: excerpt(line), source })?;
    let message = if let Some(name) = read.event {
        Message::Event(Event { name, data: read.data, timestamp: wall_clock(read.timestamp.as_ref()) })
    } else if let Some(failure) = read.error {
        Message::Reply { id: read.id.as_u64(), outcome: Err(failure) }
    } else if let Some(value) = read.returned {
        Message::Reply { id: read.id.as_u64(), outcome: Ok(value) }
    } else if let Some(greeting) = read.greeting {
        let capabilities = greeting.capabilities.into_iter().filter_map(|value| match value {
            Value::String(name) => Some(name),
            _ => None,
        });
        Message::Greeting { capabilities: capabilities.collect() }
    } else {
        return Err(CodecError::Unknown { excerpt: excerpt(line) });
    };
    Ok(Some(message))
}

fn wall_clock(timestamp: Option<&Timestamp>) -> SystemTime {
    timestamp
        .and_then(|at| {
            let seconds = Duration::from_secs(u64::try_from(at.seconds).ok()?);
            let micros = Duration::from_micros(u64::try_from(at.microseconds).ok()?);
            SystemTime::UNIX_EPOCH.checked_add(seconds)?.checked_add(micros)
        })
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// How a line begins, for an error text.
fn excerpt(line: &[u8]) -> String {
    const EXCERPT_BYTES: usize = 120;
    String::from_utf8_lossy(&line[..line.len().min(EXCERPT_BYTES)]).into_owned()
}

/// Writes one command as a QMP line. `arguments` that are `Null` are left out.
pub fn encode(name: &str, arguments: &Value, id: u64, out_of_band: bool) -> Vec<u8> {
    let mut line = serde_json::Map::new();
    line.insert(if out_of_band { "exec-oob" } else { "execute" }.into(), name.into());
    if !arguments.is_null() {
        line.insert("arguments".into(), arguments.clone());
    }
    line.insert("id".into(), id.into());
    let mut bytes = Value::Object(line).to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Result<Message, String>> {
        std::iter::from_fn(|| decoder.next_message())
            .map(|it| it.map_err(|error| error.to_string()))
            .collect()
    }

    fn check(input: &str, expect: &[Result<Message, String>]) {
        let mut decoder = Decoder::new(4096);
        decoder.push(input.as_bytes());
        assert_eq!(all(&mut decoder), expect);
    }

    fn reply(id: u64, value: Value) -> Message {
        Message::Reply { id: Some(id), outcome: Ok(value) }
    }

    #[test]
    fn the_four_forms_are_read() {
        check(
            "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\", {\"later\": 1}]}}\r\n",
            &[Ok(Message::Greeting { capabilities: vec!["oob".into()] })],
        );
        check("{\"return\": {}, \"id\": 7}\r\n\r\n", &[Ok(reply(7, json!({})))]);
        check("{\"return\": null, \"id\": 8}\n", &[Ok(reply(8, Value::Null))]);
        let failure = Failure { class: "GenericError".into(), description: "no".into() };
        check(
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
            &[Ok(Message::Reply { id: None, outcome: Err(failure) })],
        );
        let timestamp = SystemTime::UNIX_EPOCH + Duration::new(5, 7_000);
        check(
            "{\"timestamp\": {\"seconds\": 5, \"microseconds\": 7}, \"event\": \"NEW\", \"data\": {\"a\": 1}}\n",
            &[Ok(Message::Event(Event { name: "NEW".into(), data: json!({"a": 1}), timestamp }))],
        );
    }

    #[test]
    fn a_bad_line_does_not_spoil_the_next() {
        check(
            "{]\n[1]\n{\"id\": 1}\n{\"return\": 1, \"id\": 2}\n",
            &[
                Err("a QMP line is not readable: \"{]\"".into()),
                Err("a QMP line is not readable: \"[1]\"".into()),
                Err("a QMP line is neither greeting, reply nor event: \"{\\\"id\\\": 1}\"".into()),
                Ok(reply(2, json!(1))),
            ],
        );
    }

    #[test]
    fn a_line_without_end_is_refused_and_forgotten() {
        let mut decoder = Decoder::new(10);
        decoder.push(&[b' '; 11]);
        assert!(matches!(decoder.next_message(), Some(Err(CodecError::LineTooLong { limit_bytes: 10 }))));
        assert!(decoder.buffer.is_empty());
        decoder.push(b"{\"return\": 1, \"id\": 2}\n");
        assert!(matches!(decoder.next_message(), Some(Err(CodecError::LineTooLong { limit_bytes: 10 }))));
        assert!(decoder.next_message().is_none());
    }

    #[test]
    fn a_command_is_one_line() {
        let line = encode("migrate-pause", &Value::Null, 3, true);
        assert_eq!(String::from_utf8(line).unwrap(), "{\"exec-oob\":\"migrate-pause\",\"id\":3}\n");
        let line = encode("getfd", &json!({"fdname": "a\nb"}), 4, false);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\\nb\"},\"id\":4}\n"
        );
    }

    fn a_message() -> impl Strategy<Value = (String, Message)> {
        let replies = (any::<u64>(), "[a-z\"\\\\é\n]{0,12}").prop_map(|(id, text)| {
            (json!({"return": {"text": text}, "id": id}).to_string(), reply(id, json!({"text": text})))
        });
        let events =
            ("[A-Z_]{1,12}", 0..4_000_000_000_u64, 0..1_000_000_u64).prop_map(|(name, seconds, micros)| {
                let line = json!({"event": name, "timestamp": {"seconds": seconds, "microseconds": micros}});
                let timestamp =
                    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
                (line.to_string(), Message::Event(Event { name, data: Value::Null, timestamp }))
            });
        prop_oneof![replies, events]
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_gives_the_same_messages(
            messages in proptest::collection::vec(a_message(), 0..12),
            cuts in proptest::collection::vec(1..64_usize, 1..40),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|(line, _)| format!("{line}\r\n").into_bytes()).collect();
            let mut decoder = Decoder::new(4096);
            let (mut rest, mut cuts, mut seen) = (bytes.as_slice(), cuts.iter().cycle(), Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                decoder.push(piece);
                seen.extend(all(&mut decoder));
                rest = after;
            }
            let expect: Vec<_> = messages.into_iter().map(|(_, message)| Ok(message)).collect();
            prop_assert_eq!(seen, expect);
        }

        #[test]
        fn junk_is_an_error_and_never_a_panic(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new(64);
            decoder.push(&junk);
            while decoder.next_message().is_some() {}
            decoder.push(b"\n");
            while decoder.next_message().is_some() {}
            decoder.push(b"{\"return\": 1, \"id\": 2}\n");
            prop_assert_eq!(all(&mut decoder), vec![Ok(reply(2, json!(1)))]);
        }
    }
}
