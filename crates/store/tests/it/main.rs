//! The store against a real PostgreSQL: one test binary, one file per noun.

mod blobs;
mod logs;
mod migrations;
mod objects;
mod retention;
mod stage;
mod stdin;
mod vault;
