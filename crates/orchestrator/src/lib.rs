//! Keeps the fleet right: observe, plan, apply.
