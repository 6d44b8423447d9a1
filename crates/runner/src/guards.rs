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

/// Tells a process that we start inside a sandbox what is switched off.
#[cfg(not(feature = "guards-off"))]
pub(crate) const fn pass_on(_: &mut tokio::process::Command) {}

/// Tells a process that we start inside a sandbox what is switched off.
#[cfg(feature = "guards-off")]
pub(crate) fn pass_on(command: &mut tokio::process::Command) {
    command.envs(std::env::var_os("GUARD_OFF").map(|off| ("GUARD_OFF", off)));
}

pub(crate) const FORBIDDEN_VARIABLES: Guard = guard("forbidden-variables");
pub(crate) const MASKING: Guard = guard("masking");
pub(crate) const SECCOMP: Guard = guard("seccomp");
pub(crate) const LANDLOCK: Guard = guard("landlock");
pub(crate) const LAST_PROCESS: Guard = guard("last-process");
pub(crate) const PROCESS_LIMIT: Guard = guard("process-limit");
pub(crate) const MEMORY_LIMIT: Guard = guard("memory-limit");
pub(crate) const DISK_LIMIT: Guard = guard("disk-limit");
pub(crate) const PRIVATE_RANGES: Guard = guard("private-ranges");
pub(crate) const GRID_BLOCKED: Guard = guard("grid-blocked");
pub(crate) const BUILD_REACH: Guard = guard("build-reach");
