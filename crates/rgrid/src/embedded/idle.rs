//! When the embedded grid may stop: nothing is pending, queued or running, nobody follows, nothing is transferred,
//! for long enough.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::id::AccountId;
use rgrid_store::Store;
use rgrid_store::executions::Filter;
use tokio::signal::unix::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked at, at most; shorter idle times are looked at more often.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// And at least.
const LOOK_MIN: Duration = Duration::from_millis(50);
/// How often a grid that is to be replaced looks whether something still runs.
const REPLACE_LOOK: Duration = Duration::from_millis(100);
/// The state of an open connection in the kernel's table.
const ESTABLISHED: &str = "01";

/// Returns when the grid has had nothing to do for `idle`. Followers, transfers and workers are connections to
/// `port`, whatever they are about.
pub(crate) async fn wait(store: &Store, account: AccountId, port: u16, idle: Duration) {
    const OPEN: [Status; 3] = [Status::Pending, Status::Queued, Status::Running];
    let look = (idle / 4).clamp(LOOK_MIN, LOOK_MAX);
    let mut busy_at = Instant::now();
    while busy_at.elapsed() < idle {
        tokio::time::sleep(look).await;
        if has_connections(port) || !has_none(store, account, &OPEN).await {
            busy_at = Instant::now();
        }
    }
}

/// Returns when a newer version has asked for our place and nothing runs any more. What is queued waits for it:
/// `retire` sees to it that nothing new is started.
pub(crate) async fn after_replacement(
    store: &Store,
    account: AccountId,
    asked: &mut Signal,
    retire: &CancellationToken,
) {
    if asked.recv().await.is_none() {
        return std::future::pending().await;
    }
    tracing::info!("a newer version asks for our place");
    retire.cancel();
    while !has_none(store, account, &[Status::Running]).await {
        tokio::time::sleep(REPLACE_LOOK).await;
    }
}

/// True when no execution is in one of those states. Whoever cannot be asked is not called idle.
async fn has_none(store: &Store, account: AccountId, statuses: &[Status]) -> bool {
    let filter = Filter { statuses: statuses.to_vec(), ..Filter::default() };
    matches!(store.executions(account, &filter, None, 1).await, Ok(page) if page.executions.is_empty())
}

fn has_connections(port: u16) -> bool {
    // The table is always there on Linux; without it we would rather stay.
    std::fs::read_to_string("/proc/net/tcp").map_or(true, |table| open_connections(&table, port) > 0)
}

/// Connections that somebody has to our port, by the kernel's table of IPv4 sockets.
fn open_connections(table: &str, port: u16) -> usize {
    let ours = format!(":{port:04X}");
    let is_open = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        local.is_some_and(|local| local.ends_with(&ours)) && state == Some(ESTABLISHED)
    };
    table.lines().skip(1).filter(is_open).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_connections_to_our_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n\
            \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000\n\
            \x20  1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000\n\
            \x20  2: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000\n\
            \x20  3: 0100007F:1F90 0100007F:C002 06 00000000:00000000 00:00000000\n";
        assert_eq!(open_connections(table, 8080), 1);
        assert_eq!(open_connections(table, 8081), 0);
    }
}
