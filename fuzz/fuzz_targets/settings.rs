//! Feeds `rgrid_fuzz::settings` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::settings(bytes));
