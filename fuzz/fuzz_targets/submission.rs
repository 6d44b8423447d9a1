//! Feeds `rgrid_fuzz::submission` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::submission(bytes));
