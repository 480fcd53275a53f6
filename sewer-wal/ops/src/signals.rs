//! When to stop: SIGTERM from the supervisor, SIGINT from a terminal.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for the first request to stop and returns its name.
///
/// # Errors
/// If the handlers cannot be installed.
pub async fn stop_requested() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
