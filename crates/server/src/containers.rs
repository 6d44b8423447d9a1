//! Which container image a submission runs in, and whether this grid can run any.

use std::os::unix::net::UnixStream;

use rgrid_api::error::ErrorCode;
use rgrid_core::id::AccountId;
use rgrid_core::runtime::{Runtime, SandboxKind};
use rgrid_core::submission::{Draft, Submission};
use rgrid_store::idempotency::Idempotency;

use crate::Docker;
use crate::error::Refused;
use crate::state::App;

/// What a submission runs in here: a listed image under its own name; on a grid that isolates by containers also what asked
/// for a Python alone.
pub(crate) fn settle(app: &App, submission: Submission) -> Result<Submission, Refused> {
    let image = match (&submission.runtime, app.sandbox) {
        (Runtime::Image(name), _) => {
            app.images.find(name).map_err(|refused| Refused::invalid("runtime", refused))?
        }
        (Runtime::Python(python), SandboxKind::Docker) => {
            app.images.of_python(*python).map_err(|refused| Refused::invalid("runtime", refused))?
        }
        (Runtime::Python(_), SandboxKind::Process) => return Ok(submission),
    };
    Ok(Draft { runtime: Runtime::Image(image), ..(*submission).clone() }.parse()?)
}

/// Refuses what needs a container where no worker has Docker and none can be had that has. A repetition of what was accepted
/// before is let through: it is answered by what that made.
pub(crate) async fn check(
    app: &App,
    account: AccountId,
    runtime: &Runtime,
    idempotency: Option<&Idempotency>,
) -> Result<(), Refused> {
    match runtime {
        Runtime::Python(_) => return Ok(()),
        Runtime::Image(_) => {}
    }
    let hint = match (app.store.workers_have_docker().await?, &app.docker) {
        (Some(true), _) => return Ok(()),
        (Some(false) | None, Docker::Here(socket)) if UnixStream::connect(socket).is_ok() => return Ok(()),
        (Some(false) | None, Docker::Here(socket)) => format!(
            "nothing answers at {}: install Docker (apt-get install docker.io) and let this user use it, or {}",
            socket.display(),
            match app.sandbox {
                SandboxKind::Process => "run without an image",
                SandboxKind::Docker => "do not ask for containers (RGRID_EMBEDDED_SANDBOX)",
            }
        ),
        // Who joins first may have it.
        (None, Docker::OfWorkers) => return Ok(()),
        (Some(false), Docker::OfWorkers) if app.sizes.can_grow() => return Ok(()),
        (Some(false), Docker::OfWorkers) => {
            "install Docker on a worker and start its runner again, or run without an image".to_owned()
        }
    };
    match idempotency {
        Some(key) if app.store.made_before(account, key).await?.is_some() => Ok(()),
        Some(_) | None => {
            let message = "no worker of this grid has Docker, in which container images run";
            Err(Refused::new(ErrorCode::Invalid, message).hint(hint))
        }
    }
}
