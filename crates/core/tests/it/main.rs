//! Facts about core that hold for any input.

mod fleet;
mod states;
mod transitions;
