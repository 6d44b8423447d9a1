//! What the commands find, ask and print.

mod discovery;
