//! What the kernel and the launcher in the sandbox say. The names in the kernel's tables are the jobs' own.

use rgrid_runner::fuzzing as runner;
use rgrid_runner::sandbox::fuzzing as sandbox;

use crate::input::Input;

/// After its letter the input is such a text.
pub fn machine(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() {
        b'm' => {
            let name = input.text_line();
            let text = input.text();
            let found = [runner::meminfo(&text, &name), sandbox::kibibytes(&text, &name)];
            assert!(found.into_iter().flatten().all(|bytes| bytes % 1024 == 0));
        }
        b's' => parent(&input.text()),
        b'a' => {
            let text = input.text();
            let (trie, six) = text.split_once('\0').unwrap_or((&text, ""));
            assert!(sandbox::addresses(trie, six).is_sorted_by(|a, b| a < b), "each once");
        }
        b'p' => {
            if let Some(plan) = sandbox::plan(input.rest()) {
                assert_eq!(sandbox::plan(&plan), Some(plan));
            }
        }
        b'o' => {
            let byte = input.byte();
            assert!(sandbox::order(byte).is_none_or(|order| order == byte));
        }
        _ => {
            if let Some(report) = sandbox::report(&input.text()) {
                assert_eq!(sandbox::report(&report), Some(report));
            }
        }
    }
}

/// The text is a process's name: whatever it is, the process stays its parent's child.
fn parent(name: &str) {
    // As a whole table it need not be one: that it does not panic is what is looked at.
    let _ = sandbox::parent(name);
    let stat = format!("12 ({name}) S 7 12 12 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0\n");
    assert_eq!(sandbox::parent(&stat), Some(7));
}
