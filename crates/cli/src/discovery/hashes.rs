//! Remembers the hashes of files.
