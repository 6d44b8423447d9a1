//! What the fleet should do now: a view and a policy go in, actions come out, each with its reason.
