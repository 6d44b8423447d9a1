//! A submission in rows, both directions.
