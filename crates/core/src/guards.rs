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
#[expect(clippy::disallowed_methods, reason = "a test's switch, in no release")]
pub(crate) fn holds(guard: &Guard) -> bool {
    static OFF: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    OFF.get_or_init(|| std::env::var("GUARD_OFF").ok()).as_deref() != Some(guard.0)
}

// What is bought.
pub(crate) const ON_THE_WAY_COUNTS: Guard = guard("on-the-way-counts");
pub(crate) const SERVERS_MAX: Guard = guard("servers-max");
pub(crate) const SPEND_PER_HOUR: Guard = guard("spend-per-hour");
pub(crate) const SPEND_PER_MONTH: Guard = guard("spend-per-month");
pub(crate) const HOUR_PRICE: Guard = guard("hour-price");
pub(crate) const REFUSED_CELL_RESTS: Guard = guard("refused-cell-rests");
pub(crate) const SHORT_TYPE_RESTS: Guard = guard("short-type-rests");
pub(crate) const PAUSED_PROVIDER_RESTS: Guard = guard("paused-provider-rests");
pub(crate) const BREAKER: Guard = guard("breaker");
pub(crate) const ONE_ON_TRIAL: Guard = guard("one-on-trial");

// What goes.
pub(crate) const HOUR_EDGE: Guard = guard("hour-edge");
pub(crate) const MONTH_SPENT_DRAINS: Guard = guard("month-spent-drains");
pub(crate) const AGE_MAX: Guard = guard("age-max");
pub(crate) const BUSY_STAYS: Guard = guard("busy-stays");
pub(crate) const MASS_SILENCE: Guard = guard("mass-silence");
pub(crate) const SILENT_MAY_RETURN: Guard = guard("silent-may-return");
pub(crate) const STATIC_STAYS: Guard = guard("static-stays");
pub(crate) const UNSEEN_IS_NOT_GONE: Guard = guard("unseen-is-not-gone");
pub(crate) const ASKED_UNTIL_GONE: Guard = guard("asked-until-gone");
