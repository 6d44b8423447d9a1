//! From a lease to its environment: kept here, fetched from the grid, or built, whichever comes first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rgrid_api::artifacts::{Artifact, ArtifactKind};
use rgrid_api::client::{AttemptRef, ClientError};
use rgrid_api::dependencies::{
    DependenciesBody, EnvironmentAnswer, EnvironmentBuilt, EnvironmentWanted, Preparing,
};
use rgrid_api::error::ErrorCode;
use rgrid_api::workers::Lease;
use rgrid_core::dependencies::ENVIRONMENT_PATH;
use rgrid_core::environment::EnvironmentOrigin;
use rgrid_core::limits;
use rgrid_core::submission::Sha256;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::build::{BuildError, Builder};
use super::telling::Teller;
use super::{BUILDING, InUse, PYTHON, key, packed};
use crate::blob_cache::BlobKey;
use crate::inputs::{self, InputError};
use crate::interpreter::Interpreter;
use crate::job::Bench;
use crate::sandbox::{JobLimits, Sandbox};
use crate::{retry, upload};

/// A packed environment is shared within this, or the next worker builds it again.
pub(crate) const SHARE_PATIENCE: Duration = Duration::from_secs(120);
/// Packed environments of one key that may be damaged before it is built here.
const DAMAGED_MAX: u32 = 3;

/// People are told at most this often what uv does.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// What is told takes at most this.
const SAY_PATIENCE: Duration = Duration::from_secs(5);

/// What preparing needs to know of the attempt.
pub(crate) struct Began {
    pub(crate) attempt: AttemptRef,
    pub(crate) slot: u32,
    pub(crate) limits: JobLimits,
}

/// An environment that a job can use.
pub(crate) struct Obtained {
    /// Its interpreter, with the environment among what it needs.
    pub(crate) interpreter: Interpreter,
    /// Keeps it where it is.
    pub(crate) in_use: InUse,
    /// It is on its way to the grid, so that others need not build it.
    pub(crate) sharing: Option<JoinHandle<()>>,
    /// What was said when it was built is on its way, for the person.
    pub(crate) telling: JoinHandle<()>,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObtainError {
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The grid cannot be asked.
    #[error("the grid cannot be asked for the environment")]
    Client(#[from] ClientError),
    /// The lease names packages, and not which.
    #[error("the lock is not among the inputs")]
    NoLock,
}

/// Gets the environment that a lease asks for. The blobs of its inputs are in the cache, and pinned.
pub(crate) async fn obtain(
    bench: &Arc<Bench>,
    lease: &Arc<Lease>,
    wanted: &DependenciesBody,
    base: &Interpreter,
    (began, sandbox): (&Began, &Sandbox),
) -> Result<Obtained, ObtainError> {
    let environments = &bench.environments;
    let (_, uv_version) = environments.uv.program().await.map_err(BuildError::NoUv)?;
    let key = key::of(lease, wanted, base, uv_version).ok_or(ObtainError::NoLock)?;
    let account = lease.account_id.as_str();
    let teller = Teller::of(&bench.client, &began.attempt, lease, wanted);
    if let Some(in_use) = environments.kept(account, key) {
        let telling = teller.tell_kept(EnvironmentOrigin::Kept, in_use.folder.clone());
        return Ok(obtained(base, in_use, None, telling));
    }
    say(bench, &began.attempt, Some(sentence(wanted, None))).await;
    let flight = environments.flight(&environments.place(account, key));
    let alone = flight.lock().await;
    let (mut origin, mut sharing) = (EnvironmentOrigin::Kept, None);
    if environments.kept(account, key).is_none() {
        let order = Order { bench, lease, wanted, base, began, sandbox, key };
        match order.build_or_fetch().await {
            Ok(had) => (origin, sharing) = had,
            Err(error) => {
                drop(alone);
                // Nothing of an attempt is written when it has ended, and with this it ends.
                if let ObtainError::Build(BuildError::Failed { log, .. }) = &error {
                    teller.tell(EnvironmentOrigin::Built, Some(log.clone())).await;
                }
                return Err(error);
            }
        }
    }
    say(bench, &began.attempt, None).await;
    let in_use = environments.kept(account, key).ok_or_else(|| {
        BuildError::Disk(std::io::Error::other(
            "it was removed at once: this worker's disk is too small for it",
        ))
    })?;
    let telling = teller.tell_kept(origin, in_use.folder.clone());
    Ok(obtained(base, in_use, sharing, telling))
}

fn obtained(
    base: &Interpreter,
    in_use: InUse,
    sharing: Option<JoinHandle<()>>,
    telling: JoinHandle<()>,
) -> Obtained {
    let mut needs = base.needs.clone();
    needs.push((in_use.environment(), PathBuf::from(ENVIRONMENT_PATH)));
    let interpreter = Interpreter {
        executable: PathBuf::from(PYTHON),
        base_executable: base.base_executable.clone(),
        build: base.build.clone(),
        needs,
        packages: Vec::new(),
        user_base: None,
        image: base.image.clone(),
        image_digest: base.image_digest.clone(),
    };
    Obtained { interpreter, in_use, sharing, telling }
}

/// The newest line, at most one in each period; never when none comes any more.
async fn next_line(heard: &mut watch::Receiver<String>) -> String {
    if heard.changed().await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(PROGRESS_PERIOD).await;
    heard.borrow_and_update().clone()
}

fn sentence(wanted: &DependenciesBody, line: Option<&str>) -> String {
    let mut sentence = format!("its packages are installed first, from {}", wanted.source);
    match line {
        Some(line) => sentence.push_str(&format!(": {line}")),
        None => sentence.push_str("; then it starts"),
    }
    sentence.truncate(sentence.floor_char_boundary(limits::PREPARING_BYTES_MAX));
    sentence
}

/// Tells people why the script does not run yet. It is a courtesy: nothing hangs on it.
pub(crate) async fn say(bench: &Bench, attempt: &AttemptRef, sentence: Option<String>) {
    let body = Preparing { sentence, image: None };
    match tokio::time::timeout(SAY_PATIENCE, bench.client.preparing(attempt, &body)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "nobody hears what is prepared");
        }
        Err(_) => tracing::debug!("nobody hears what is prepared in time"),
    }
}

/// Where an environment came from, and its way to the grid where it is shared.
type Had = (EnvironmentOrigin, Option<JoinHandle<()>>);

/// What is to be had, and for whom.
struct Order<'a> {
    bench: &'a Arc<Bench>,
    lease: &'a Arc<Lease>,
    wanted: &'a DependenciesBody,
    base: &'a Interpreter,
    began: &'a Began,
    sandbox: &'a Sandbox,
    key: Sha256,
}

impl Order<'_> {
    /// Builds it, and tells the person what uv does meanwhile.
    async fn build(&self) -> Result<(), BuildError> {
        let (lines, mut heard) = watch::channel(String::new());
        let builder = Builder {
            sandbox: self.sandbox,
            cache: &self.bench.cache,
            lease: self.lease,
            wanted: self.wanted,
            interpreter: self.base,
            limits: self.began.limits,
            slot: self.began.slot,
            labels: self.bench.containers.labels(&self.lease.execution_id, self.lease.attempt),
            lines,
        };
        tracing::info!(key = %self.key, source = self.wanted.source, "building an environment");
        let mut building = Box::pin(self.bench.environments.build(builder, self.key));
        loop {
            tokio::select! {
                built = &mut building => return built,
                line = next_line(&mut heard) => {
                    say(self.bench, &self.began.attempt, Some(sentence(self.wanted, Some(&line)))).await;
                }
            }
        }
    }

    /// Gets it, from wherever it is to be had.
    async fn build_or_fetch(&self) -> Result<Had, ObtainError> {
        // On the user's own machine there is nobody to share it with.
        if self.bench.embedded {
            self.build().await?;
            return Ok((EnvironmentOrigin::Built, None));
        }
        self.ask_grid().await
    }

    /// Asks the grid who has it, and does what it says.
    async fn ask_grid(&self) -> Result<Had, ObtainError> {
        let deadline = Instant::now() + limits::ENVIRONMENT_BUILD;
        let (mut damaged, mut tries) = (None, 0);
        loop {
            let question = EnvironmentWanted { key: self.key.to_string(), damaged: damaged.take() };
            let attempt = &self.began.attempt;
            let client = &self.bench.client;
            match retry::within(limits::RUNNER_PATIENCE, || client.environment(attempt, &question)).await? {
                EnvironmentAnswer::Ready { sha256, size_bytes, url } if tries < DAMAGED_MAX => {
                    tries += 1;
                    match self.fetch(&sha256, size_bytes, &url).await {
                        Ok(()) => return Ok((EnvironmentOrigin::Fetched, None)),
                        Err(reason) => {
                            tracing::warn!(reason, sha256, "a packed environment is not used");
                            damaged = Some(sha256);
                        }
                    }
                }
                EnvironmentAnswer::Ready { .. } => {
                    self.build().await?;
                    return Ok((EnvironmentOrigin::Built, None));
                }
                EnvironmentAnswer::Build => {
                    self.build().await?;
                    return Ok((EnvironmentOrigin::Built, Some(self.share())));
                }
                EnvironmentAnswer::Wait if Instant::now() < deadline => {}
                EnvironmentAnswer::Wait => {
                    self.build().await?;
                    return Ok((EnvironmentOrigin::Built, None));
                }
            }
        }
    }

    /// Fetches what another worker built; the text says why it cannot be used.
    async fn fetch(&self, sha256: &str, size_bytes: u64, url: &str) -> Result<(), String> {
        let account = self.lease.account_id.parse().map_err(|_| "whose it is is not known".to_owned())?;
        let sha256 = sha256.parse().map_err(|_| "its hash is none".to_owned())?;
        let blob = BlobKey { account, sha256 };
        let (client, cache, flights) = (&self.bench.client, &self.bench.cache, &self.bench.flights);
        let pins = inputs::fetch_blob(client, cache, flights, (blob, size_bytes), url)
            .await
            .map_err(|error: InputError| error.to_string())?;
        let environments = self.bench.environments.clone();
        let (account, key, archive) = (self.lease.account_id.clone(), self.key, cache.path(blob));
        let unpacked = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            let _pins = pins;
            let folder = environments.of_account(&account)?;
            let made = tempfile::Builder::new().prefix(BUILDING).tempdir_in(folder)?;
            packed::unpack(&archive, made.path())?;
            // Jobs of another user look into it.
            std::fs::set_permissions(made.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
            environments.keep(&account, key, &made.keep())
        });
        unpacked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Packs what was built and brings it to the grid, while the script runs.
    fn share(&self) -> JoinHandle<()> {
        let (bench, key) = (self.bench.clone(), self.key);
        let (account, attempt) = (self.lease.account_id.clone(), self.began.attempt.clone());
        tokio::spawn(async move {
            match share(&bench, &account, &attempt, key).await {
                Ok(bytes) => tracing::info!(%key, bytes, "an environment is shared"),
                Err(reason) => tracing::warn!(%key, reason, "an environment is not shared"),
            }
        })
    }
}

async fn share(bench: &Arc<Bench>, account: &str, attempt: &AttemptRef, key: Sha256) -> Result<u64, String> {
    let in_use = bench.environments.kept(account, key).ok_or("it is gone already")?;
    let folder = bench.environments.of_account(account).map_err(|error| error.to_string())?;
    let place =
        tempfile::Builder::new().prefix(BUILDING).tempdir_in(folder).map_err(|error| error.to_string())?;
    let (made, archive) = (in_use.folder.clone(), place.path().join("packed"));
    let (hash, bytes) = tokio::task::spawn_blocking(move || packed::pack(&made, &archive))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let sha256 = Sha256(hash).to_string();
    let artifact = Artifact {
        kind: ArtifactKind::Output,
        path: "/packed".to_owned(),
        sha256: Some(sha256.clone()),
        size_bytes: bytes,
        mode: 0o600,
        modified_ns: 0,
        folder: false,
        url: None,
    };
    upload::upload(&bench.client, attempt, place.path(), &[artifact])
        .await
        .map_err(|error| error.to_string())?;
    let built = EnvironmentBuilt { key: key.to_string(), sha256, size_bytes: bytes };
    retry::within(limits::UPLOAD_PATIENCE, || bench.client.environment_built(attempt, &built))
        .await
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// True when the grid says that the attempt is somebody else's by now.
pub(crate) fn is_stale(error: &ClientError) -> bool {
    retry::code(error) == Some(ErrorCode::NotCurrent)
}
