//! The thread that starts every sandbox.
//!
//! The kernel ties "die with your parent" to the parent's *thread*: started from a pool, a job would be killed when
//! its pool thread idles out. This one lives as long as the sandbox.

use std::io;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Request {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Starts processes from one long-lived thread. When the last of its users is gone, so is what it started.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::SyncSender<Request>,
}

/// Requests that may wait; each has a job waiting for it.
const REQUESTS_MAX: usize = 1024;

impl Spawner {
    pub(super) fn new() -> io::Result<Self> {
        let (requests, incoming) = mpsc::sync_channel::<Request>(REQUESTS_MAX);
        std::thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(move || {
            for mut request in incoming {
                let _in_runtime = request.runtime.enter();
                // Nobody waits any more: the child is dropped, and killed by that.
                let _ = request.answer.send(request.command.spawn());
            }
        })?;
        Ok(Self { requests })
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, spawned) = oneshot::channel();
        let gone = || io::Error::other("the sandbox's spawner is gone or overrun");
        self.requests
            .try_send(Request { command, runtime: Handle::current(), answer })
            .map_err(|_| gone())?;
        spawned.await.map_err(|_| gone())?
    }
}
