//! What the system asks of a daemon: to stop (SIGTERM from the supervisor, SIGINT from a terminal),
//! or to read its configuration again (SIGHUP).

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, spawn_blocking};

use crate::program::Configuration;
use crate::reload::Reloader;
use crate::supervisor::{NotifyState, notify, notify_reloading};

/// Listens for a request to stop from when it is made: one that comes while the daemon is still
/// starting is not lost, and does not kill it.
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
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for the next request and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Listens for both kinds of requests.
#[derive(Debug)]
pub struct Signals {
    stop: StopSignals,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { stop: StopSignals::listen()?, hang_up: signal(SignalKind::hangup())? })
    }

    /// Waits for the next request to stop and returns its name. A reload does not matter any more.
    pub async fn stop(&mut self) -> &'static str {
        self.stop.next().await
    }

    /// Reloads whenever asked to, until asked to stop.
    ///
    /// # Errors
    /// If a reload panics.
    pub async fn reload_until_stop<C: Configuration>(
        &mut self,
        mut reloader: Reloader<C>,
    ) -> Result<&'static str, JoinError> {
        loop {
            tokio::select! {
                biased;
                name = self.stop.next() => return Ok(name),
                _ = self.hang_up.recv() => {}
            }
            notify_reloading();
            // It reads files.
            reloader = spawn_blocking(move || {
                reloader.reload();
                reloader
            })
            .await?;
            notify(&[NotifyState::Ready]);
        }
    }
}
