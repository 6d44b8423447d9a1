//! Feeds `rgrid_fuzz::output` from libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rgrid_fuzz::output(bytes));
