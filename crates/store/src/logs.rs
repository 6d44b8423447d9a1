//! Log bytes: append, read by cursor, compaction.
