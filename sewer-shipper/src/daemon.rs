//! The life of the shipper: start, ship for ever, stop when asked to.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use sewer_ops::access::Allowed;
use sewer_ops::descriptors;
use sewer_ops::failure::{Failure, inject};
use sewer_ops::logging::LogLevel;
use sewer_ops::program::Sources;
use sewer_ops::reload::Reloader;
use sewer_ops::signals::Signals;
use sewer_ops::status::StatusServer;
use sewer_ops::supervisor::{NotifyState, Supervisor, notify};
use sewer_wal::Layout;
use sewer_wal::sealed::SealedWatch;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::config::Config;
use crate::ship::planner::Planner;
use crate::ship::schedule::{self, Until};

/// How long a stop waits for the shipments under way. What is cut is taken up by the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long the watching thread may take to notice a stop.
const WATCH_PATIENCE: Duration = Duration::from_millis(200);

/// Runs until asked to stop. `sources` and `log` are for reloads.
///
/// # Errors
/// What keeps it from starting, for the operator.
pub async fn run(config: Config, sources: Sources, log: LogLevel) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("listen for signals")?;
    descriptors::raise().map_err(anyhow::Error::msg)?;
    let failure = Failure::default();
    failure.watch_panics(|| {});
    let listener = TcpListener::bind(config.status.listen)
        .with_context(|| format!("listen on {} (key `status.listen`)", config.status.listen))?;
    let mut planner = Planner::open(&config, &config.wal.dir, true)?;
    let metrics = Arc::clone(planner.metrics());
    let supervised = Arc::clone(&metrics);
    let allowed = Allowed::new(config.status.allow.clone());
    let status = StatusServer::start(listener, metrics.registry(), metrics, allowed.clone(), None)
        .context("start the status port")?;
    let sealed = Sealed::watch(&Layout::new(&config.wal.dir))?;
    tracing::info!(
        wal = %config.wal.dir.display(),
        wal_id = %planner.wal_id(),
        destination = planner.destination().describe(),
        path = config.destination.path,
        format = %config.destination.format,
        compression = %config.destination.compression,
        status = %config.status.listen,
        "shipping"
    );
    notify(&[NotifyState::Ready]);
    let supervisor =
        Supervisor::start(supervised).context("start the thread that tells systemd")?;

    let reloader = reloader(&config, sources, allowed, log);
    let (stop, stopping) = watch::channel(false);
    let until = Until::Stopped { scan_interval: config.shipper.scan_interval };
    let mut shipping =
        std::pin::pin!(schedule::ship(&mut planner, until, &sealed.changed, stopping));
    tokio::select! {
        _ = &mut shipping => {}
        // The shipments under way are cut; the next start takes them up.
        () = failure.wait() => bail!("a thread panicked; restart to go on"),
        signal = signals.reload_until_stop(reloader) => {
            tracing::info!(signal = signal?, "stopping");
            notify(&[NotifyState::Stopping]);
            stop.send_replace(true);
            let cut = tokio::select! {
                ended = timeout(STOP_PATIENCE, shipping) => ended.is_err(),
                _ = signals.stop() => true,
            };
            if cut {
                tracing::warn!("the shipments under way are cut; the next start takes them up");
            }
        }
    }
    drop(supervisor);
    status.stop();
    tracing::info!("stopped; what is not shipped stays in the WAL");
    Ok(())
}

/// The keys that take new values while the shipper runs.
fn reloader(
    config: &Config,
    sources: Sources,
    allowed: Allowed,
    log: LogLevel,
) -> Reloader<Config> {
    let mut reloader = Reloader::new(sources, config.clone(), log);
    reloader.part(&["status.allow"], move |config: &Config| {
        let (allowed, networks) = (allowed.clone(), config.status.allow.clone());
        Ok(Box::new(move || allowed.set(networks)))
    });
    reloader
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
                inject();
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
            // A panic in it is told by the hook of the daemon.
            let _ = thread.join();
        }
    }
}
