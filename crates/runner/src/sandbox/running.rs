//! A job that runs, in whichever sandbox: how it is told to end, and how its end is heard of.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::process::plan::Order;
use super::{JobEnd, JobExit};

/// A job that runs. Dropping it kills it.
#[derive(Debug)]
pub struct RunningJob {
    orders: OwnedWriteHalf,
    kill: CancellationToken,
    end: watch::Receiver<Option<JobEnd>>,
}

impl RunningJob {
    /// `orders` leads to what started the program; whoever holds the others kills it, and says when nothing is left.
    pub(super) fn new(
        orders: OwnedWriteHalf,
        kill: CancellationToken,
        end: watch::Receiver<Option<JobEnd>>,
    ) -> Self {
        Self { orders, kill, end }
    }

    /// Waits for the end; afterwards nothing of the job is left.
    pub async fn wait(&mut self) -> JobEnd {
        let lost = JobEnd {
            exit: JobExit::Signalled(Signal::SIGKILL as u8),
            out_of_memory: None,
            disk_full: false,
            peak_memory_bytes: None,
            cpu_ms: None,
        };
        // The sender goes without a value only when the runtime itself is shut down.
        self.end.wait_for(Option::is_some).await.map_or(lost, |end| end.unwrap_or(lost))
    }

    /// SIGINT to the main process, as Ctrl-C does it.
    pub fn interrupt(&self) {
        self.order(Order::Interrupt);
    }

    /// SIGTERM to every process.
    pub fn terminate(&self) {
        self.order(Order::Terminate);
    }

    fn order(&self, order: Order) {
        // Past the runtime, which may not have heard yet that a new socket can be written to, and would then let the order
        // fall. The socket's buffer holds thousands; when it is closed the job has ended.
        let socket = self.orders.as_ref().as_fd().as_raw_fd();
        let _ = send(socket, &[order.as_byte()], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }

    /// SIGKILL to every process; returns when nothing is left.
    pub async fn kill(&self) {
        self.kill.cancel();
        // Ends at the latest with the supervisor itself.
        let _ = self.end.clone().wait_for(Option::is_some).await;
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}
