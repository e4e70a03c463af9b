//! Any bytes as a journal, and any payload in a frame that holds: what is read is what was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use migration::journal::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    assert!(decode(bytes).whole_bytes <= bytes.len());
    let mut framed = u32::try_from(bytes.len()).expect("the fuzzer gives little").to_le_bytes().to_vec();
    framed.extend(crc32fast::hash(bytes).to_le_bytes());
    framed.extend(bytes);
    let decoded = decode(&framed);
    let written: Vec<u8> = decoded.records.iter().flat_map(encode).collect();
    assert_eq!(decode(&written).records, decoded.records);
});
