//! From a signal to the one token by which every role is told to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that SIGTERM and SIGINT cancel.
///
/// # Errors
/// When signals cannot be caught.
pub(crate) fn on_signals() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    cancel_on_signals(token.clone())?;
    Ok(token)
}

/// Cancels `token` on SIGTERM and SIGINT. A second signal ends the process at once: whoever sends it has waited.
///
/// # Errors
/// When signals cannot be caught.
pub(crate) fn cancel_on_signals(token: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if token.is_cancelled() {
                tracing::warn!(signal = name, "ending at once");
                std::process::exit(1);
            }
            tracing::info!(signal = name, "shutting down");
            token.cancel();
        }
    });
    Ok(())
}
