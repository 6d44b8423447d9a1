//! Private readers of what the kernel and the launcher say, opened for the crate that fuzzes them (`fuzz/`). No logic of
//! its own.

use std::net::IpAddr;

use super::plan::{Order, Plan, Report};
use super::{job, network, watch};

/// A line of `/proc/meminfo` or `smaps_rollup`, in bytes.
pub fn kibibytes(text: &str, name: &str) -> Option<u64> {
    watch::kibibytes(text, name)
}

/// The parent in `/proc/PID/stat`.
pub fn parent(stat: &str) -> Option<u32> {
    job::parent_in(stat)
}

/// The host's addresses in `fib_trie` and `if_inet6`.
pub fn addresses(trie: &str, six: &str) -> Vec<IpAddr> {
    network::addresses_in(trie, six)
}

/// A plan, read as the launcher does and written as the runner does.
pub fn plan(bytes: &[u8]) -> Option<Vec<u8>> {
    serde_json::to_vec(&serde_json::from_slice::<Plan>(bytes).ok()?).ok()
}

/// A report, read as the runner does and written as the launcher does.
pub fn report(line: &str) -> Option<String> {
    serde_json::to_string(&serde_json::from_str::<Report>(line).ok()?).ok()
}

/// An order's byte, read and written.
pub fn order(byte: u8) -> Option<u8> {
    Order::from_byte(byte).map(Order::as_byte)
}
