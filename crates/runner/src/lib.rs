//! Turns a leased execution into an outcome.

pub mod sandbox;
