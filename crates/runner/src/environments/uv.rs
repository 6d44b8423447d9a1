//! uv, the program that installs packages: where it lies on this worker, and how it comes here when it is nowhere.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::sync::{OnceCell, oneshot};

use crate::FetchUv;

/// uv says its version within this.
const ASK_DEADLINE: Duration = Duration::from_secs(20);
/// Whoever fetches it has tried by then: some 20 MB.
const FETCH_DEADLINE: Duration = Duration::from_secs(300);

/// This worker has no uv.
#[derive(Debug, thiserror::Error)]
#[error("uv, which installs packages, is not on this worker; install it there: pip install uv")]
pub(crate) struct NoUv;

/// Where uv is looked for when it is needed first.
#[derive(Debug, Default)]
pub(crate) struct Uv {
    /// Besides `PATH`.
    places: Vec<PathBuf>,
    /// Who brings it to one of the places.
    fetch: Option<FetchUv>,
    found: OnceCell<(PathBuf, String)>,
}

impl Uv {
    pub(crate) fn new(places: Vec<PathBuf>, fetch: Option<FetchUv>) -> Self {
        Self { places, fetch, found: OnceCell::new() }
    }

    /// It and its version; fetched when it is nowhere. What fails is tried again when it is asked for again.
    pub(crate) async fn program(&self) -> Result<&(PathBuf, String), NoUv> {
        self.found
            .get_or_try_init(|| async {
                if self.look().is_none() {
                    self.bring().await;
                }
                let program = self.look().ok_or(NoUv)?;
                let asked = tokio::process::Command::new(&program)
                    .arg("--version")
                    .stdin(Stdio::null())
                    .kill_on_drop(true)
                    .output();
                let answer = tokio::time::timeout(ASK_DEADLINE, asked).await;
                let answer = answer.map_err(|_| NoUv)?.map_err(|_| NoUv)?;
                let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
                if version.is_empty() { Err(NoUv) } else { Ok((program, version)) }
            })
            .await
    }

    fn look(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join("uv"));
        on_path.chain(self.places.iter().cloned()).find(|file| file.is_file())
    }

    async fn bring(&self) {
        let Some(fetch) = &self.fetch else { return };
        let (tried, told) = oneshot::channel();
        let asked = async {
            if fetch.send(tried).await.is_ok() {
                // No answer is one too: it is looked for in any case.
                let _ = told.await;
            }
        };
        if tokio::time::timeout(FETCH_DEADLINE, asked).await.is_err() {
            tracing::warn!(seconds = FETCH_DEADLINE.as_secs(), "uv was not fetched in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn uv_is_fetched_when_it_is_nowhere_and_asked_for_again_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("uv");
        let (fetch, mut wanted) = tokio::sync::mpsc::channel::<oneshot::Sender<()>>(1);
        let uv = Uv::new(vec![place.clone()], Some(fetch));
        if uv.look().is_some() {
            // This machine has one, which goes before.
            assert!(uv.program().await.is_ok());
            return;
        }
        let fetcher = tokio::spawn(async move {
            drop(wanted.recv().await.unwrap());
            let tried = wanted.recv().await.unwrap();
            std::fs::write(&place, "#!/bin/sh\necho uv 9\n").unwrap();
            std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
            tried.send(()).unwrap();
        });
        assert!(uv.program().await.is_err());
        assert_eq!(uv.program().await.unwrap().1, "uv 9");
        fetcher.await.unwrap();
    }
}
