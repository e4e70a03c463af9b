//! What is typed after `console`, `screenshot` and `events`.

use std::path::PathBuf;

use api::EventKind;
use clap::Args as Arguments;
use clap::builder::{PossibleValuesParser, TypedValueParser};

#[derive(Debug, Arguments)]
pub(crate) struct Console {
    /// Name or UUID
    pub(crate) domain: String,
    /// Which of its consoles, as in serial0 or console1 [default: the first one]
    #[arg(long, value_name = "NAME")]
    pub(crate) devname: Option<String>,
    /// Take it over from whoever is at it
    #[arg(long)]
    pub(crate) force: bool,
    /// The key that leaves it, on a terminal
    #[arg(long, value_name = "KEY", default_value = "^]", value_parser = escape)]
    pub(crate) escape: u8,
}

/// A key with Ctrl, as in `^]`; the terminal sends the lower five bits of the character (ascii(7)).
fn escape(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [b'^', key @ (b'@'..=b'_' | b'a'..=b'z')] => Ok(key & 0x1f),
        _ => Err("write a key with Ctrl, as in ^] or ^A".to_owned()),
    }
}

#[derive(Debug, Arguments)]
pub(crate) struct Screenshot {
    /// Name or UUID
    pub(crate) domain: String,
    /// File to make, or - for standard output [default: the domain's name and the time]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Arguments)]
pub(crate) struct Events {
    /// Name or UUID; without it, of all domains
    pub(crate) domain: Option<String>,
    /// First what happened since then: a time as in 2026-01-31T12:00:00Z, or how long ago, as in 10m
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only events of this kind; may be given more than once
    #[arg(long, value_name = "KIND", value_parser = kind())]
    pub(crate) event: Vec<EventKind>,
    /// Seconds after which it ends [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

fn kind() -> impl TypedValueParser<Value = EventKind> {
    let names = EventKind::ALL.iter().map(|kind| kind.as_str());
    PossibleValuesParser::new(names).map(|name| {
        let named = |kind: &&EventKind| kind.as_str() == name;
        *EventKind::ALL.iter().find(named).expect("only names of kinds are possible")
    })
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn keys_are_what_a_terminal_sends() {
        for (text, key) in [("^]", 0x1d), ("^A", 1), ("^a", 1), ("^@", 0), ("^_", 0x1f)] {
            assert_eq!(escape(text), Ok(key), "{text}");
        }
        for wrong in ["", "^", "]", "^]]", "Ctrl-]", "^1", "^ü"] {
            assert!(escape(wrong).is_err(), "{wrong}");
        }
    }
}
