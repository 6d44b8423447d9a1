//! Feeds `rgrid_fuzz::follow` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::follow(bytes));
