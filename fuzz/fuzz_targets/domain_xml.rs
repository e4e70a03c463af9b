//! The fuzzer's input as a definition.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::domain_xml(bytes));
