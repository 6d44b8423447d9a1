//! Feeds `rgrid_fuzz::places` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::places(bytes));
