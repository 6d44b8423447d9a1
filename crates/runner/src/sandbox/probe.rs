//! Finds out what this machine can do.
