//! `docs/states.md` is written from the tables: this test compares, and writes it anew with `RGRID_WRITE_DOCS=1`.

use std::fmt::Write;
use std::path::Path;

use rgrid_core::execution::TRANSITIONS;
use rgrid_core::worker::WORKER_TRANSITIONS;

fn page() -> String {
    let mut page = String::from(
        "# States\n\nWritten from the tables in `crates/core` by its tests (`RGRID_WRITE_DOCS=1 cargo test -p rgrid-core`).\n\n## Executions\n\n| from | step | to |\n|---|---|---|\n",
    );
    for (from, step, to) in TRANSITIONS {
        writeln!(page, "| {from} | {step:?} | {to} |").unwrap();
    }
    page.push_str("\n## Workers\n\n| from | step | to |\n|---|---|---|\n");
    for (from, step, to) in WORKER_TRANSITIONS {
        writeln!(page, "| {from} | {step:?} | {to} |").unwrap();
    }
    page
}

#[test]
#[expect(clippy::disallowed_methods, reason = "core cannot touch files; this test of it writes a page")]
fn the_page_of_states_equals_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/states.md");
    if std::env::var_os("RGRID_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page());
}
