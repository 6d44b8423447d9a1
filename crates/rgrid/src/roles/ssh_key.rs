//! The operator's key pair (`HETZNER_SSH_KEY_PATH`), with which bought servers can be entered: made when it is missing.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// The public half, as a line of OpenSSH. A missing pair is made: Ed25519, without a passphrase, for its owner alone.
///
/// # Errors
/// When it cannot be made or read.
pub(super) fn public_half(path: &Path) -> anyhow::Result<String> {
    if !path.exists() {
        make(path)?;
    }
    let beside = path.with_file_name(format!("{}.pub", path.file_name().unwrap_or_default().display()));
    let public = match std::fs::read_to_string(&beside) {
        Ok(public) => public,
        // Asks for no passphrase: there is nobody to be asked.
        Err(_) => keygen(&["-y", "-P", "", "-f"], path).context("its public half cannot be read")?,
    };
    let public = public.lines().next().unwrap_or_default().trim().to_owned();
    anyhow::ensure!(public.split_whitespace().count() >= 2, "{} holds no public key", beside.display());
    Ok(public)
}

fn make(path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let made = keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "rgrid", "-f"], path);
    // Another orchestrator of this host may have been first.
    if !path.exists() {
        made?;
    }
    tracing::info!(path = %path.display(), "a key pair was made, with which bought servers can be entered");
    Ok(())
}

fn keygen(args: &[&str], path: &Path) -> anyhow::Result<String> {
    let output = Command::new("ssh-keygen").args(args).arg(path).stdin(Stdio::null()).output();
    let output = output.context("ssh-keygen cannot be started; install openssh-client")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_missing_pair_is_made_once_and_one_that_is_there_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh/key");
        let made = public_half(&path).unwrap();
        assert!(made.starts_with("ssh-ed25519 "), "{made}");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(public_half(&path).unwrap(), made);
        std::fs::remove_file(folder.path().join("ssh/key.pub")).unwrap();
        let read = public_half(&path).unwrap();
        assert!(made.starts_with(&read) || read.starts_with(&made), "{made} {read}");
    }
}
