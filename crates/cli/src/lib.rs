//! The user's commands and their output.
