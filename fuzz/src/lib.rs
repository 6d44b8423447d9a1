//! What must hold of every reader of outside bytes, for any bytes: one function a target, which panics when it does not.
//!
//! libFuzzer calls these (`fuzz_targets/`, by `cargo xtask soak --fuzz`), and so does a test, with every input that is
//! kept in `corpus/`: what was found once is tried by CI with nothing but stable Rust.

mod follow;
mod input;
mod machine;
mod names;
mod output;
mod places;
mod reports;
mod scanner;
mod settings;
mod submission;
mod words;

pub use follow::follow;
pub use machine::machine;
pub use names::names;
pub use output::output;
pub use places::places;
pub use reports::reports;
pub use scanner::scanner;
pub use settings::settings;
pub use submission::submission;
pub use words::words;

/// What is fed with bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 10] = [
    ("follow", follow),
    ("machine", machine),
    ("names", names),
    ("output", output),
    ("places", places),
    ("reports", reports),
    ("scanner", scanner),
    ("settings", settings),
    ("submission", submission),
    ("words", words),
];
