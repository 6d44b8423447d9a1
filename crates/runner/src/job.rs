//! The life of one attempt: workspace and inputs and interpreter, then the sandbox with its logs, then outputs and
//! the finish. Each step has a file of its own; this one knows their order and what ends it early.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rgrid_api::attempts::Finish;
use rgrid_api::client::{AttemptRef, Client, ClientError};
use rgrid_api::dependencies::Preparing;
use rgrid_api::error::ErrorCode;
use rgrid_api::workers::{Directive, Lease};
use rgrid_core::limits;
use rgrid_core::outcome::Outcome;
use rgrid_core::runtime::{Runtime, SandboxKind};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::arriving::Arriving;
use crate::blob_cache::BlobCache;
use crate::causes::chain;
use crate::environments::build::BuildError;
use crate::environments::key;
use crate::environments::obtain::{self, Began, ObtainError, SHARE_PATIENCE};
use crate::environments::{Environments, InUse};
use crate::held::{Control, Holdings};
use crate::inputs::{self, Flights, InputError};
use crate::interpreter::{Interpreter, InterpreterError, Interpreters};
use crate::logs::{self, LogEnd};
use crate::mask::Mask;
use crate::outputs::{self, OutputError, Outputs};
use crate::room::{Containers, Room};
use crate::sandbox::{ImageInUse, SandboxError};
use crate::supervise::{self, Why};
use crate::upload::{self, UploadError};
use crate::verdict::{outcome, worse};
use crate::workspace::Workspace;
use crate::{command, retry, stdin};

/// A runner that is told to stop lets results that are on their way arrive for this long.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// A runner that is told to stop says so to the grid within this.
const HAND_BACK_PATIENCE: Duration = Duration::from_secs(5);

/// What every attempt of this runner works with.
pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) held: Arc<Holdings>,
    /// Where attempts run, but for those in container images.
    pub(crate) room: Room,
    pub(crate) containers: Containers,
    pub(crate) cache: BlobCache,
    pub(crate) flights: Flights,
    pub(crate) interpreters: Interpreters,
    pub(crate) environments: Arc<Environments>,
    /// What isolates attempts that name no image.
    pub(crate) kind: SandboxKind,
    /// The machine is the user's own: the lease's interpreter is here.
    pub(crate) embedded: bool,
    /// The runner stops: hand back what runs.
    pub(crate) stop: CancellationToken,
}

/// How an attempt leaves this runner.
enum Ending {
    /// With an outcome, to be told.
    Finish(Box<Finish>),
    /// Unharmed: somebody else shall try.
    HandBack,
    /// It is not ours any more: nobody wants to hear of it.
    Stale,
}

impl Ending {
    /// An outcome of an attempt whose script never ran.
    fn without_run(outcome: &Outcome) -> Self {
        Self::Finish(Box::new(Finish {
            outcome: outcome.into(),
            outputs: Vec::new(),
            not_brought_back: Vec::new(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            peak_memory_bytes: None,
            cpu_ms: None,
            platform: None,
        }))
    }

    fn sandbox_failed(message: impl Into<String>) -> Self {
        Self::without_run(&Outcome::SandboxFailed { message: message.into() })
    }
}

/// Lives through one attempt, from its lease to its last word.
#[tracing::instrument(skip_all, fields(execution = %lease.execution_id, attempt = lease.attempt))]
pub(crate) async fn live(bench: Arc<Bench>, lease: Lease, mut control: Control) {
    let lease = Arc::new(lease);
    let attempt = control.attempt.clone();
    let _held = HeldUntilDropped(bench.held.clone(), attempt.clone());
    let mut started = tokio::spawn(say_started(bench.client.clone(), attempt.clone(), control.stale.clone()));
    let mut workspace = None;
    let ending = match prepare_or_end(&bench, &lease, &mut control).await {
        Ok(prepared) => run(&bench, &lease, &mut control, prepared, &mut workspace).await,
        Err(ending) => ending,
    };
    bench.held.release_slot(&attempt);
    // The grid learns of the start before it learns of the end.
    tokio::select! {
        _ = &mut started => {}
        () = bench.stop.cancelled() => started.abort(),
    }
    let told = async {
        match ending {
            Ending::Finish(finish) => tell(&bench.client, &attempt, &finish).await,
            Ending::HandBack => hand_back(&bench.client, &attempt).await,
            Ending::Stale => tracing::info!("the attempt is not current any more"),
        }
    };
    tokio::select! {
        () = told => {}
        () = control.stale.cancelled() => {}
        () = stopped(&bench.stop, STOP_PATIENCE) => hand_back(&bench.client, &attempt).await,
    }
    if let Some(workspace) = workspace {
        tokio::task::spawn_blocking(|| Workspace::remove(workspace));
    }
}

/// Names the attempt to the grid for as long as this lives, and not longer even if a bug of ours ends it.
struct HeldUntilDropped(Arc<Holdings>, AttemptRef);

impl Drop for HeldUntilDropped {
    fn drop(&mut self) {
        self.0.remove(&self.1);
    }
}

async fn say_started(client: Client, attempt: AttemptRef, stale: CancellationToken) {
    match retry::within(limits::LEASE, || client.started(&attempt)).await {
        Ok(()) => {}
        Err(error) if is_stale(&error) => stale.cancel(),
        Err(error) => tracing::warn!(error = chain(&error), "the grid did not take note of the start"),
    }
}

/// Says exactly which image an attempt runs in, for the records.
async fn record_image(client: Client, attempt: AttemptRef, image: Option<String>) {
    if image.is_none() {
        return;
    }
    let body = Preparing { sentence: None, image };
    if let Err(error) = retry::within(limits::LEASE, || client.preparing(&attempt, &body)).await {
        tracing::warn!(error = chain(&error), "the grid did not take note of the image");
    }
}

async fn tell(client: &Client, attempt: &AttemptRef, finish: &Finish) {
    match retry::within(limits::RUNNER_PATIENCE, || client.finish(attempt, finish)).await {
        Ok(finished) => tracing::debug!(status = finished.status, "finished"),
        Err(error) if is_stale(&error) => tracing::info!("the attempt is not current any more"),
        Err(error) => tracing::error!(error = chain(&error), "the grid does not take the finish"),
    }
}

/// Gives an attempt back unharmed.
pub(crate) async fn hand_back(client: &Client, attempt: &AttemptRef) {
    match tokio::time::timeout(
        HAND_BACK_PATIENCE,
        retry::within(HAND_BACK_PATIENCE, || client.hand_back(attempt)),
    )
    .await
    {
        Ok(Ok(())) => tracing::info!("handed back"),
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "the attempt could not be handed back"),
        Err(_) => tracing::warn!("the attempt could not be handed back in time"),
    }
}

fn is_stale(error: &ClientError) -> bool {
    retry::code(error) == Some(ErrorCode::NotCurrent)
}

/// Waits for the runner's stop, and then for `patience`.
async fn stopped(stop: &CancellationToken, patience: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(patience).await;
}

/// Waits for somebody to cancel.
async fn cancelled(directive: &mut watch::Receiver<Directive>) -> Outcome {
    match directive.wait_for(|directive| directive.cancel.is_some()).await.map(|d| d.cancel) {
        Ok(Some(by)) => Outcome::Cancelled { by: by.into() },
        // The table is gone, and with it everybody who could cancel.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// A workspace with all that the script needs, and the Python that runs it.
struct Prepared {
    room: Room,
    /// The image stays while the script runs.
    image: Option<ImageInUse>,
    workspace: Workspace,
    interpreter: Interpreter,
    plan: command::Plan,
    /// The environment stays where it is while the script runs.
    in_use: Option<InUse>,
    /// What is on its way to the grid: the environment, and what was said when it was built.
    sharing: Option<tokio::task::JoinHandle<()>>,
    telling: Option<tokio::task::JoinHandle<()>>,
}

async fn prepare_or_end(
    bench: &Arc<Bench>,
    lease: &Arc<Lease>,
    control: &mut Control,
) -> Result<Prepared, Ending> {
    let began = Began { attempt: control.attempt.clone(), slot: control.slot, limits: control.limits };
    tokio::select! {
        biased;
        () = control.stale.cancelled() => Err(Ending::Stale),
        outcome = cancelled(&mut control.directive) => Err(Ending::without_run(&outcome)),
        () = bench.stop.cancelled() => Err(Ending::HandBack),
        prepared = prepare(bench, lease, &began) => prepared,
    }
}

async fn prepare(bench: &Arc<Bench>, lease: &Arc<Lease>, began: &Began) -> Result<Prepared, Ending> {
    let (slot, disk_bytes) = (began.slot, began.limits.disk_bytes);
    let runtime: Runtime = lease
        .runtime
        .parse()
        .map_err(|error: rgrid_core::runtime::UnknownRuntime| Ending::sandbox_failed(error.to_string()))?;
    let own = lease.interpreter.as_deref().map(Path::new).filter(|_| bench.embedded);
    let found = async {
        match &runtime {
            // Never weaker than configured: the API asks for an image where it is configured alike.
            Runtime::Python(_) if bench.kind == SandboxKind::Docker => {
                Err(Ending::sandbox_failed(match bench.embedded {
                    true => {
                        "it was made for this machine's own Python, and scripts run in containers here now; run it again"
                    }
                    false => {
                        "this worker runs scripts in containers only, and the grid names no image; its [sandbox] kind is another"
                    }
                }))
            }
            Runtime::Python(python) => {
                let found = bench.interpreters.find(*python, own).await;
                let found = found.map_err(|error: InterpreterError| Ending::sandbox_failed(chain(&error)))?;
                Ok((bench.room.clone(), None, found))
            }
            Runtime::Image(name) => {
                let failed = |error: SandboxError| Ending::sandbox_failed(chain(&error));
                let room = bench.containers.room().await.map_err(failed)?;
                // On their own machine people fetch images themselves.
                let found = room.sandbox.find_image(name.as_str(), !bench.embedded).await;
                let found = found.map_err(failed)?;
                tracing::info!(image = name.as_str(), exactly = found.resolved, "in a container");
                let interpreter = Interpreter::of_image(&found);
                Ok((room.clone(), Some(found.in_use), interpreter))
            }
        }
    };
    let inputs = async {
        let arriving = Arriving::default();
        let fetching = inputs::fetch(&bench.client, &bench.cache, &bench.flights, lease, &arriving);
        arriving.told(fetching, (bench, &began.attempt)).await.map_err(|error| match error {
            InputError::Missing { path, corrupt } => {
                Ending::without_run(&Outcome::InputMissing { path, corrupt })
            }
            InputError::Stale => Ending::Stale,
            InputError::Unreachable { .. } => {
                tracing::warn!(error = chain(&error), "handing back");
                Ending::HandBack
            }
            InputError::Disk(_) => Ending::sandbox_failed(chain(&error)),
        })
    };
    let ((room, image, mut interpreter), pins) = tokio::try_join!(found, inputs)?;
    let (mut in_use, mut sharing, mut telling) = (None, None, None);
    if let Some(wanted) = &lease.dependencies {
        let obtained = obtain::obtain(bench, lease, wanted, &interpreter, (began, &room.sandbox))
            .await
            .map_err(no_environment)?;
        (in_use, sharing, telling) = (Some(obtained.in_use), obtained.sharing, Some(obtained.telling));
        interpreter = obtained.interpreter;
    }
    let (bench, lease) = (bench.clone(), lease.clone());
    let placed = tokio::task::spawn_blocking(move || -> std::io::Result<Prepared> {
        let mut workspace = room.workspaces.take(slot, disk_bytes)?;
        workspace.place(&lease.account_id, lease.inputs.iter(), &bench.cache)?;
        drop(pins);
        let plan = command::plan(&lease, &interpreter, &mut workspace)?;
        Ok(Prepared { room, image, workspace, interpreter, plan, in_use, sharing, telling })
    });
    match placed.await.map_err(std::io::Error::other) {
        Ok(Ok(prepared)) => Ok(prepared),
        Ok(Err(error)) if is_full(&error) => {
            Err(Ending::without_run(&Outcome::DiskFull { limit_bytes: disk_bytes }))
        }
        Ok(Err(error)) | Err(error) => {
            Err(Ending::sandbox_failed(format!("the workspace cannot be made: {}", chain(&error))))
        }
    }
}

/// How an attempt ends that gets no environment.
fn no_environment(error: ObtainError) -> Ending {
    match error {
        ObtainError::Build(BuildError::Failed { message, .. }) => {
            Ending::without_run(&Outcome::DependenciesFailed { message })
        }
        ObtainError::Build(_) | ObtainError::NoLock => Ending::sandbox_failed(chain(&error)),
        ObtainError::Client(error) if obtain::is_stale(&error) => Ending::Stale,
        ObtainError::Client(error) => {
            tracing::warn!(error = chain(&error), "handing back");
            Ending::HandBack
        }
    }
}

/// What was sent does not fit into the disk that the attempt was given.
fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Runs the script to its end, and brings back what it wrote.
async fn run(
    bench: &Arc<Bench>,
    lease: &Arc<Lease>,
    control: &mut Control,
    prepared: Prepared,
    leftover: &mut Option<Workspace>,
) -> Ending {
    let Prepared { room, image: _image, workspace, interpreter, plan, in_use: _in_use, sharing, telling } =
        prepared;
    let attempt = control.attempt.clone();
    let pipes = match command::Pipes::new(lease.stdin) {
        Ok(pipes) => pipes,
        Err(error) => return Ending::sandbox_failed(format!("no pipes: {error}")),
    };
    let (notices, notices_heard) = mpsc::channel(logs::NOTICES_MAX);
    let (ended, abandoned) = (CancellationToken::new(), CancellationToken::new());
    // Whatever ends this function ends the pump.
    let _abandon = abandoned.clone().drop_guard();
    let sources = logs::Sources {
        stdout: pipes.stdout_read,
        stderr: pipes.stderr_read,
        notices: notices_heard,
        directive: control.directive.clone(),
        stale: control.stale.clone(),
        ended: ended.clone(),
        mask: Mask::of(&lease.environment),
        abandoned: abandoned.clone(),
    };
    let log = {
        let (client, attempt, spool) = (bench.client.clone(), attempt.clone(), room.sandbox.spool_folder());
        tokio::spawn(async move { logs::pump(&client, &attempt, sources, &spool).await })
    };
    let mut job =
        command::job(lease, &interpreter, plan, &workspace, control, pipes.stdin, pipes.stdout, pipes.stderr);
    job.image.clone_from(&interpreter.image);
    job.labels = bench.containers.labels(&lease.execution_id, lease.attempt);
    let mut running = match room.sandbox.start(job).await {
        Ok(running) => running,
        Err(error) => {
            *leftover = Some(workspace);
            return Ending::sandbox_failed(chain(&error));
        }
    };
    let recorded =
        tokio::spawn(record_image(bench.client.clone(), attempt.clone(), interpreter.image_digest.clone()));
    let feeder = pipes.stdin_write.map(|pipe| {
        let (client, attempt) = (bench.client.clone(), attempt.clone());
        tokio::spawn(async move {
            if let Err(error) = stdin::feed(&client, &attempt, pipe).await {
                tracing::warn!(%error, "stdin cannot be fed");
            }
        })
    });
    let (workspaces, slot) = (room.workspaces.clone(), control.slot);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = workspaces.prepare(slot) {
            tracing::warn!(%error, "no workspace could be made ahead");
        }
    });

    let grace = Duration::from_millis(lease.grace_ms);
    let (end, why) = supervise::to_the_end(&mut running, control, &bench.stop, grace, &notices).await;
    ended.cancel();
    if let Some(feeder) = feeder {
        feeder.abort();
    }
    bench.held.release_slot(&attempt);
    match why {
        Why::Stale => {
            *leftover = Some(workspace);
            return Ending::Stale;
        }
        Why::Stopped => {
            *leftover = Some(workspace);
            return Ending::HandBack;
        }
        Why::Itself | Why::Ended(_) => {}
    }
    let outcome = outcome(&end, why, control.limits.disk_bytes);
    let root = workspace.root.clone();
    let brought = bring_back(bench, lease, &attempt, workspace, leftover, &root);
    let settled = async { tokio::join!(log, brought) };
    let (log, brought) = tokio::select! {
        biased;
        () = control.stale.cancelled() => return Ending::Stale,
        () = stopped(&bench.stop, STOP_PATIENCE) => return Ending::HandBack,
        () = tokio::time::sleep(limits::UPLOAD_PATIENCE) => return Ending::HandBack,
        settled = settled => settled,
    };
    let (stdout_bytes, stderr_bytes) = match log {
        Ok(Ok(LogEnd::Pushed { stdout_bytes, stderr_bytes })) => (stdout_bytes, stderr_bytes),
        Ok(Ok(LogEnd::Stale)) => return Ending::Stale,
        Ok(Ok(LogEnd::GaveUp)) => return Ending::HandBack,
        Ok(Ok(LogEnd::Refused)) => {
            return Ending::sandbox_failed(
                "the grid did not take what the script printed; the runner's log says why",
            );
        }
        Ok(Err(error)) => {
            return Ending::sandbox_failed(format!("the script's output cannot be read: {error}"));
        }
        Err(error) => return Ending::sandbox_failed(format!("the log pump failed: {error}")),
    };
    let (outcome, outputs) = match brought {
        Ok(outputs) => (outcome, outputs),
        Err(Lost::Outcome(instead)) => (worse(outcome, instead), Outputs::default()),
        Err(Lost::Stale) => return Ending::Stale,
    };
    // Nothing of an attempt is written when it has ended.
    let _ = recorded.await; // a panic in it was reported by the runtime
    if let Some(telling) = telling {
        let _ = telling.await; // nor in this, which has a deadline of its own
    }
    if let Some(sharing) = sharing
        && tokio::time::timeout(SHARE_PATIENCE, sharing).await.is_err()
    {
        tracing::warn!("the environment was not shared in time");
    }
    Ending::Finish(Box::new(Finish {
        outcome: (&outcome).into(),
        outputs: outputs.artifacts,
        not_brought_back: outputs.not_brought_back,
        stdout_bytes,
        stderr_bytes,
        peak_memory_bytes: end.peak_memory_bytes,
        cpu_ms: end.cpu_ms,
        platform: Some(key::platform(&interpreter).to_string()),
    }))
}

/// Why outputs did not come back.
enum Lost {
    /// The attempt ends so instead.
    Outcome(Outcome),
    Stale,
}

async fn bring_back(
    bench: &Arc<Bench>,
    lease: &Arc<Lease>,
    attempt: &AttemptRef,
    workspace: Workspace,
    leftover: &mut Option<Workspace>,
    root: &Path,
) -> Result<Outputs, Lost> {
    let failed = |error: &dyn std::error::Error| {
        Lost::Outcome(Outcome::SandboxFailed { message: format!("the outputs are lost: {}", chain(error)) })
    };
    let their_lease = lease.clone();
    let scanned = tokio::task::spawn_blocking(move || {
        let result = outputs::scan(&workspace.root, &workspace.snapshot, &outputs::wanted(&their_lease));
        (workspace, result)
    });
    let (workspace, scanned) = scanned.await.map_err(|error| failed(&error))?;
    *leftover = Some(workspace);
    let outputs = scanned.map_err(|error| match error {
        OutputError::TooLarge { size_bytes, files } => {
            tracing::info!(size_bytes, files, "too much to bring back");
            Lost::Outcome(Outcome::OutputTooLarge { limit_bytes: lease.output_bytes_max, size_bytes })
        }
        OutputError::Io(error) => failed(&error),
    })?;
    match upload::upload(&bench.client, attempt, root, &outputs.artifacts).await {
        Ok(()) => Ok(outputs),
        Err(UploadError::Client(error)) if is_stale(&error) => Err(Lost::Stale),
        Err(error) => Err(failed(&error)),
    }
}
