//! The fuzzer's input as what a QEMU says.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::qmp(bytes));
