//! The store against a real PostgreSQL: one test binary, one file per noun.

mod migrations;
