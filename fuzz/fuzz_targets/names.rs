//! Feeds `rgrid_fuzz::names` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::names(bytes));
