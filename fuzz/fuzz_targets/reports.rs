//! Feeds `rgrid_fuzz::reports` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::reports(bytes));
