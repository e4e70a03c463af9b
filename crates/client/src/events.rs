//! Server-sent events, read byte by byte as the WHATWG HTML standard has them (section 9.2.6, "Interpreting an
//! event stream"). Only the data of events: names, ids and retry times are skipped. It does no I/O. Main type:
//! [`Parser`].

use std::collections::VecDeque;

use crate::limits::EVENT_BYTES_MAX;

/// Turns pieces of a stream, cut anywhere, into the data of its events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    after_cr: bool,
    begun: bool,
    ready: VecDeque<Vec<u8>>,
}

/// An event grew beyond [`EVENT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Parser {
    /// Takes the next piece of the stream.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        for &byte in piece {
            let after_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' => self.end_line(),
                b'\r' => {
                    self.after_cr = true;
                    self.end_line();
                }
                _ => {
                    let kept = self.data.as_ref().map_or(0, Vec::len);
                    if self.line.len() + kept >= EVENT_BYTES_MAX {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    /// The data of the oldest event that is complete. An event that the stream broke off is never given.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        if text.is_empty() {
            self.ready.extend(self.data.take());
            return;
        }
        let colon = text.iter().position(|&byte| byte == b':');
        let (field, value) = match colon {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &text[text.len()..]),
        };
        if field != b"data" {
            return;
        }
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES_MAX, Parser, TooLong};
    use proptest::prelude::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece).expect("short");
            while let Some(data) = parser.next() {
                events.push(String::from_utf8(data).expect("UTF-8"));
            }
        }
        events
    }

    #[track_caller]
    fn check(stream: &str, expect: &[&str]) {
        assert_eq!(events(&[stream.as_bytes()]), expect, "{stream:?}");
    }

    #[test]
    fn streams_of_the_standard() {
        check("data: a\n\n", &["a"]);
        check("data:a\n\ndata:  b\n\n", &["a", " b"]);
        check("data: a\r\ndata: b\r\n\r\n", &["a\nb"]);
        check("data: a\rdata\r\r", &["a\n"]);
        check(": keep-alive\n\nevent: x\nid: 1\ndata: a\nretry: 5\n\n", &["a"]);
        check("\u{feff}data: a\n\n", &["a"]);
        check("data: a\n\ndata: cut off\n", &["a"]);
        check("datum: a\ndata : b\n\n", &[]);
        check("\n\n\n", &[]);
        check("data\n\n", &[""]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        parser.feed(b"data: ").expect("short");
        assert_eq!(parser.feed(&vec![b'x'; EVENT_BYTES_MAX]), Err(TooLong));
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let refused = (0..2 * EVENT_BYTES_MAX / 1000).any(|_| parser.feed(&line).is_err());
        assert!(refused, "many lines of one event are bounded too");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in "((data|id|event|: x)?:? ?[a-zé]{0,4}(\n|\r|\r\n|\n\n|\r\n\r\n)){0,20}",
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[bytes]));
        }

        #[test]
        fn what_is_written_is_read(messages in prop::collection::vec("[^\r\n]{0,30}", 0..8)) {
            let stream: String = messages.iter().map(|text| format!("data: {text}\n\n")).collect();
            prop_assert_eq!(events(&[stream.as_bytes()]), messages);
        }
    }
}
