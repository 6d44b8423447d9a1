//! Turns a leased execution into an outcome.
