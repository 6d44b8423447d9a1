//! Feeds `rgrid_fuzz::words` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::words(bytes));
