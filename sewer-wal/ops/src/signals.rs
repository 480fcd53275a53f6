//! What the system asks of a daemon: to stop (SIGTERM from the supervisor, SIGINT from a terminal),
//! or to read its configuration again (SIGHUP).

use std::io;
use std::thread::Builder;

use nix::sys::signal::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::program::Configuration;
use crate::reload::Reloader;
use crate::supervisor::{NotifyState, notify, notify_reloading};

/// Listens for a request to stop from when it is made: one that comes while the daemon is still
/// starting is not lost, and does not kill it.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// A file has reached the limit of its size (`ulimit -f`): listened to, it ends no process, and
    /// the write that met it fails as on a full disk.
    _file_size: Signal,
}

impl StopSignals {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let file_size = signal(SignalKind::from_raw(Number::SIGXFSZ as i32))?;
        Ok(Self { terminate, interrupt, _file_size: file_size })
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
    pub fn listen() -> io::Result<Self> {
        Ok(Self { stop: StopSignals::listen()?, hang_up: signal(SignalKind::hangup())? })
    }

    /// Waits for the next request to stop and returns its name. A reload does not matter any more.
    pub async fn stop(&mut self) -> &'static str {
        self.stop.next().await
    }

    /// Reloads whenever asked to, until asked to stop. A reload reads files, on its own thread: a
    /// file system that does not answer keeps nobody from ending.
    ///
    /// # Errors
    /// If there can be no thread, or a reload panics.
    pub async fn reload_until_stop<C: Configuration>(
        &mut self,
        mut reloader: Reloader<C>,
    ) -> io::Result<&'static str> {
        let (ask, mut asked) = mpsc::channel(1);
        let (tell, mut told) = mpsc::channel(1);
        let run = move || {
            while let Some(()) = asked.blocking_recv() {
                reloader.reload();
                // Nobody waits for it when the daemon ends.
                let _ = tell.blocking_send(());
            }
        };
        Builder::new().name("reload".into()).spawn(run)?;
        let panicked = || io::Error::other("a reload panicked");
        loop {
            tokio::select! {
                biased;
                name = self.stop.next() => return Ok(name),
                _ = self.hang_up.recv() => {}
            }
            notify_reloading();
            ask.send(()).await.map_err(|_| panicked())?;
            tokio::select! {
                biased;
                name = self.stop.next() => return Ok(name),
                done = told.recv() => done.ok_or_else(panicked)?,
            }
            notify(&[NotifyState::Ready]);
        }
    }
}
