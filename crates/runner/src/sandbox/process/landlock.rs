//! The second layer: even if a mount were wrong, the kernel's own list of writable places still holds.
//!
//! System folders stay readable and executable only. Signals and abstract sockets do not leave the job.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

/// Newest rules this code knows; an older kernel enforces what it has.
const RULES: ABI = ABI::V6;

/// What may be done with a file that is writable, but not in its folder: devices, `/proc`.
fn existing_files() -> landlock::BitFlags<AccessFs> {
    AccessFs::from_read(RULES) | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
}

/// Builds the rules for this root; a thread takes them on with `restrict_self`.
///
/// Where the job itself may make entries in `/`, everything in `/` is its own, and mounts alone divide it.
pub(super) fn rules(read_only: &[PathBuf], root_is_the_jobs: bool) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(RULES);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(RULES))?
        .create()?;
    rules = allow(rules, Path::new("/"), if root_is_the_jobs { all } else { AccessFs::from_read(RULES) })?;
    for folder in ["/dev", "/proc"] {
        rules = allow(rules, Path::new(folder), existing_files())?;
    }
    rules = allow(rules, Path::new("/dev/shm"), all)?;
    let Ok(entries) = std::fs::read_dir("/") else { return Ok(rules) };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_system = [b"/dev".as_slice(), b"/proc"].contains(&path.as_os_str().as_bytes())
            || read_only.contains(&path);
        if is_folder && !is_system {
            rules = allow(rules, &path, all)?;
        }
    }
    Ok(rules)
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(folder) => rules.add_rule(PathBeneath::new(folder, access)),
        Err(_) => Ok(rules), // what cannot be opened needs no rule
    }
}
