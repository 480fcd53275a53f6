//! When to stop: SIGTERM from the supervisor, SIGINT from a terminal.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The requests to stop, heard from the moment this is made: before it, such a signal ends the
/// process on the spot. So a daemon makes it before it says that it is ready.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first request since [`Self::listen`] and returns its name.
    pub async fn requested(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
