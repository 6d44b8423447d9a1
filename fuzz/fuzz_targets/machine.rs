//! Feeds `rgrid_fuzz::machine` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::machine(bytes));
