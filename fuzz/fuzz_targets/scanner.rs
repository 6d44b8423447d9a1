//! Feeds `rgrid_fuzz::scanner` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::scanner(bytes));
