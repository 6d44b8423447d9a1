//! The rgrid binary.
fn main() {}
