//! Any bytes as QMP, cut anywhere: the messages are the same however the stream was cut, and what is held is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu::qmp::codec::Decoder;

/// Far more than the fuzzer gives.
const LINE_BYTES_MAX: usize = 1 << 20;

fn messages(bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut decoder = Decoder::new(LINE_BYTES_MAX);
    let mut found = Vec::new();
    for part in bytes.chunks(chunk) {
        decoder.push(part);
        found.extend(std::iter::from_fn(|| decoder.next_message()).map(|message| format!("{message:?}")));
    }
    found
}

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, bytes) = input;
    assert_eq!(messages(bytes, bytes.len().max(1)), messages(bytes, usize::from(chunk).max(1)));
    // A short limit is met in the middle of a line too.
    let mut decoder = Decoder::new(usize::from(chunk));
    for part in bytes.chunks(3) {
        decoder.push(part);
        while decoder.next_message().is_some() {}
    }
});
