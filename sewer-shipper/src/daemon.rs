//! The life of the shipper: start, ship for ever, stop when asked to.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use sewer_ops::signals::StopSignals;
use sewer_ops::status::StatusServer;
use sewer_wal::Layout;
use sewer_wal::sealed::SealedWatch;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::config::Config;
use crate::schedule::{self, Until};
use crate::worker::Worker;

/// How long a stop waits for the shipments under way. What is cut is taken up by the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long the watching thread may take to notice a stop.
const WATCH_PATIENCE: Duration = Duration::from_millis(200);

/// Runs until asked to stop.
///
/// # Errors
/// What keeps it from starting, for the operator.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop_signals = StopSignals::listen().context("listen for signals")?;
    let listener = TcpListener::bind(config.status.listen)
        .with_context(|| format!("listen on {} (key `status.listen`)", config.status.listen))?;
    let mut worker = Worker::open(&config, &config.wal.dir, true)?;
    let metrics = Arc::clone(worker.metrics());
    let status = StatusServer::start(listener, metrics.registry(), metrics)
        .context("start the status port")?;
    let sealed = Sealed::watch(&Layout::new(&config.wal.dir))?;
    tracing::info!(
        wal = %config.wal.dir.display(),
        wal_id = %worker.wal_id(),
        destination = worker.destination().describe(),
        path = config.destination.path,
        format = %config.destination.format,
        compression = %config.destination.compression,
        status = %config.status.listen,
        "shipping"
    );
    notify(&[NotifyState::Ready, NotifyState::Status("shipping")]);

    let (stop, stopping) = watch::channel(false);
    let until = Until::Stopped { scan_interval: config.shipper.scan_interval };
    let mut shipping =
        std::pin::pin!(schedule::ship(&mut worker, until, &sealed.changed, stopping));
    tokio::select! {
        _ = &mut shipping => {}
        signal = stop_signals.next() => {
            tracing::info!(signal, "stopping");
            notify(&[NotifyState::Stopping]);
            stop.send_replace(true);
            if timeout(STOP_PATIENCE, shipping).await.is_err() {
                tracing::warn!("the shipments under way are cut; the next start takes them up");
            }
        }
    }
    status.stop();
    tracing::info!("stopped; what is not shipped stays in the WAL");
    Ok(())
}

/// A thread that waits for the kernel to tell of a sealed segment. The loop above looks now and
/// then by itself, so nothing is lost if this ends.
struct Sealed {
    changed: Arc<Notify>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sealed {
    fn watch(layout: &Layout) -> anyhow::Result<Self> {
        let watch = SealedWatch::new(layout)?;
        let changed = Arc::new(Notify::new());
        let stop = Arc::new(AtomicBool::new(false));
        let (notify, stopped) = (Arc::clone(&changed), Arc::clone(&stop));
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                match watch.wait(WATCH_PATIENCE) {
                    Ok(true) => notify.notify_one(),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "no longer told of sealed segments; looking now and then");
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("watch-sealed".into())
            .spawn(run)
            .context("start the thread that watches sealed segments")?;
        Ok(Self { changed, stop, thread: Some(thread) })
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It only waits; a panic in it has no consequence.
            let _ = thread.join();
        }
    }
}

/// Tells systemd, if it started us. It is no error that nobody listens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the supervisor");
    }
}
