//! What must hold for any input of the readers of what others hand in; it panics where it does not. `cargo xtask fuzz` makes
//! inputs up, and the tests here replay those that were worth keeping (`fuzz/corpus`). Main functions: [`domain_xml`],
//! [`qmp`], [`journal`].

use domain::{Definition, Freezer, MacAddress};
use qemu::qmp::codec::Decoder;
use uuid::Uuid;

/// Far more than a fuzzer gives.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Any text as a definition: it is read or refused. One that is read comes back byte for byte, and is frozen once and for
/// all. Bytes that are no text are nobody's definition.
pub fn domain_xml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let definition = match Definition::parse(text) {
        Ok(definition) => definition,
        Err(error) => {
            assert!(!error.problems.is_empty() && !error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(definition.xml(), text);
    let Ok(frozen) = definition.freeze(&mut Counting(0)) else { return };
    let again = Definition::parse(frozen.xml()).expect("what freezing writes is read");
    assert_eq!(again.domain(), frozen.domain());
    assert_eq!(again.freeze(&mut Counting(99)).expect("it was frozen").xml(), frozen.xml());
}

/// Any bytes as QMP, cut anywhere, the first byte saying how: the messages are the same however the stream was cut, and what
/// is held is bounded.
pub fn qmp(bytes: &[u8]) {
    let Some((chunk, bytes)) = bytes.split_first() else { return };
    let chunk = usize::from(*chunk);
    assert_eq!(messages(bytes, bytes.len().max(1)), messages(bytes, chunk.max(1)));
    // A short limit is met in the middle of a line too.
    let mut decoder = Decoder::new(chunk);
    for part in bytes.chunks(3) {
        decoder.push(part);
        while decoder.next_message().is_some() {}
    }
}

/// Any bytes as a journal, and any payload in a frame that holds: what is read is what was written.
pub fn journal(bytes: &[u8]) {
    use migration::journal::{decode, encode};
    assert!(decode(bytes).whole_bytes <= bytes.len());
    let mut framed = u32::try_from(bytes.len()).expect("inputs are short").to_le_bytes().to_vec();
    framed.extend(crc32fast::hash(bytes).to_le_bytes());
    framed.extend(bytes);
    let decoded = decode(&framed);
    let written: Vec<u8> = decoded.records.iter().flat_map(encode).collect();
    assert_eq!(decode(&written).records, decoded.records);
}

fn messages(bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut decoder = Decoder::new(LINE_BYTES_MAX);
    let mut found = Vec::new();
    for part in bytes.chunks(chunk) {
        decoder.push(part);
        found.extend(std::iter::from_fn(|| decoder.next_message()).map(|message| format!("{message:?}")));
    }
    found
}

/// Fills in what a definition leaves open, and counts up.
struct Counting(u8);

impl Freezer for Counting {
    fn machine(&mut self, name: &str) -> Option<String> {
        match name {
            "q35" => Some("pc-q35-10.0".to_owned()),
            "pc" => Some("pc-i440fx-10.0".to_owned()),
            versioned => Some(versioned.to_owned()),
        }
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(7)
    }

    fn mac(&mut self) -> MacAddress {
        self.0 = self.0.wrapping_add(1);
        MacAddress([0x52, 0x54, 0, 0, 0, self.0])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use super::*;

    fn check(corpus: &str, holds: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(corpus);
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).expect("the corpus is part of the repository") {
            let file = entry.expect("a folder is listed whole").path();
            let input = fs::read(&file).expect("the corpus has files only");
            let held = catch_unwind(AssertUnwindSafe(|| holds(&input)));
            assert!(held.is_ok(), "it does not hold for {}", file.display());
            inputs += 1;
        }
        assert!(inputs > 0, "nothing in {}", folder.display());
    }

    #[test]
    fn it_holds_for_definitions_that_were_found() {
        check("domain_xml", domain_xml);
    }

    #[test]
    fn it_holds_for_messages_that_were_found() {
        check("qmp", qmp);
    }

    #[test]
    fn it_holds_for_journals_that_were_found() {
        check("journal", journal);
    }
}
