//! Guards that a test may switch off, to show that it fails without them: `guards.toml` names each guard, the rule
//! that it is for, and its test; `cargo xtask soak --guards` tries all of them.
//!
//! Only the feature `guards-off`, which no release has, knows switches: there `GUARD_OFF=name` removes one guard. In
//! every other build [`holds`] is true, and nothing of this is left.

/// One guard.
#[cfg_attr(not(feature = "guards-off"), expect(dead_code, reason = "only the switch reads it"))]
pub(crate) struct Guard(&'static str);

const fn guard(name: &'static str) -> Guard {
    Guard(name)
}

/// False when the guard is switched off.
#[cfg(not(feature = "guards-off"))]
pub(crate) const fn holds(_: &Guard) -> bool {
    true
}

/// False when the guard is switched off.
#[cfg(feature = "guards-off")]
pub(crate) fn holds(guard: &Guard) -> bool {
    static OFF: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    OFF.get_or_init(|| std::env::var("GUARD_OFF").ok()).as_deref() != Some(guard.0)
}

pub(crate) const OWN_GAP: Guard = guard("own-gap");

// Servers that are bought.
pub(crate) const ABSENCE_CONFIRMED: Guard = guard("absence-confirmed");
pub(crate) const AMBIGUOUS_KEPT: Guard = guard("ambiguous-kept");
pub(crate) const SOUGHT_BY_NAME: Guard = guard("sought-by-name");
pub(crate) const EARLIER_SENDING: Guard = guard("earlier-sending");
pub(crate) const OURS_ALONE: Guard = guard("ours-alone");
pub(crate) const SWITCH_OFF: Guard = guard("switch-off");
pub(crate) const STOP_HEEDED: Guard = guard("stop-heeded");
pub(crate) const RESTORED_REST: Guard = guard("restored-rest");
pub(crate) const TERMINATING_FIRST: Guard = guard("terminating-first");
pub(crate) const ASKED_IS_NOT_GONE: Guard = guard("asked-is-not-gone");
pub(crate) const METADATA_SEEN_CLOSED: Guard = guard("metadata-seen-closed");
pub(crate) const TWO_SIGHTINGS: Guard = guard("two-sightings");
pub(crate) const FIRST_ASKS_ALONE: Guard = guard("first-asks-alone");
pub(crate) const CALLS_UNDER_LEASE: Guard = guard("calls-under-lease");
pub(crate) const CALLS_RESERVED: Guard = guard("calls-reserved");
