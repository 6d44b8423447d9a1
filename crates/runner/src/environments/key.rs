//! What decides an environment: two attempts with the same key may share one, and nobody else (SEMANTICS section 8).

use rgrid_api::dependencies::DependenciesBody;
use rgrid_api::executions::InputBody;
use rgrid_api::workers::Lease;
use rgrid_core::dependencies::{Dependencies, LOCK_PATH};
use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::Sha256;
use sha2::Digest as _;

use crate::interpreter::Interpreter;

/// Another number makes every environment anew: it changes with how they are built.
const LAYOUT: &str = "1";

/// The key of what a lease asks for, on this machine; `None` when the lease names no lock that it brings.
pub(crate) fn of(
    lease: &Lease,
    wanted: &DependenciesBody,
    interpreter: &Interpreter,
    uv_version: &str,
) -> Option<Sha256> {
    let wanted = Dependencies::try_from(wanted).ok()?;
    let mut hash = sha2::Sha256::new();
    // Each part with its length before it: no two lists spell the same bytes.
    let mut part = |text: &[u8]| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    for text in [
        LAYOUT,
        &lease.account_id,
        &interpreter.build,
        interpreter.base_executable.to_str()?,
        std::env::consts::OS,
        std::env::consts::ARCH,
        uv_version,
    ] {
        part(text.as_bytes());
    }
    if let Some(image) = &interpreter.image {
        part(b"image");
        part(image.as_bytes());
    }
    let mut files: Vec<(&str, &str, u32)> = Vec::new();
    let mut has_lock = false;
    for input in &lease.inputs {
        let InputBody::File { path, sha256, mode, .. } = input else { continue };
        let parsed: AbsolutePath = path.parse().ok()?;
        let is_lock = path == LOCK_PATH;
        has_lock |= is_lock;
        if is_lock || wanted.local.iter().any(|package| package.is_built_from(&parsed)) {
            files.push((path, sha256, *mode & 0o111));
        }
    }
    files.sort_unstable();
    for (path, sha256, mode) in files {
        part(path.as_bytes());
        part(sha256.as_bytes());
        part(&mode.to_be_bytes());
    }
    let mut local: Vec<(String, bool)> =
        wanted.local.iter().map(|package| (package.path.to_string(), package.editable)).collect();
    local.sort_unstable();
    for (path, editable) in local {
        part(path.as_bytes());
        part(&[u8::from(editable)]);
    }
    has_lock.then(|| Sha256(hash.finalize().into()))
}

/// What runs a script, with or without an environment: the exact Python, the system, the architecture, the image. Another
/// one may give other outputs for the same inputs.
pub(crate) fn platform(interpreter: &Interpreter) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    let base = interpreter.base_executable.to_string_lossy();
    let image = interpreter.image.as_deref().unwrap_or_default();
    for part in [interpreter.build.as_str(), &base, std::env::consts::OS, std::env::consts::ARCH, image] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Sha256(hash.finalize().into())
}

/// The inputs that a build must see: the lock, and all of its local packages.
pub(crate) fn inputs_of_build<'a>(lease: &'a Lease, wanted: &DependenciesBody) -> Vec<&'a InputBody> {
    let local: Vec<AbsolutePath> =
        wanted.local.iter().filter_map(|package| package.path.parse().ok()).collect();
    lease
        .inputs
        .iter()
        .filter(|input| {
            let (InputBody::File { path, .. }
            | InputBody::Folder { path }
            | InputBody::Symlink { path, .. }) = input;
            path == LOCK_PATH
                || path
                    .parse()
                    .is_ok_and(|path: AbsolutePath| local.iter().any(|package| path.is_within(package)))
        })
        .collect()
}
