//! Stdin on its way to a running attempt.
