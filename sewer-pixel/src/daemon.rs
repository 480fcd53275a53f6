//! The life of the pixel: recover, serve, drain, seal.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use sd_notify::NotifyState;
use sewer_ops::signals::StopSignals;
use sewer_ops::status::StatusServer;
use sewer_wal::recovery::RecoveryReport;
use sewer_wal::{Layout, Wal};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use crate::commit::Committer;
use crate::config::Config;
use crate::metrics::{Metrics, State};
use crate::policy::Policy;
use crate::policy::current::Policies;
use crate::server::{self, BACKLOG};
use crate::space::SpaceWatch;

/// Runs until asked to stop, or until the WAL fails.
///
/// # Errors
/// What stopped it, for the operator; everything that was acknowledged is safe.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen().context("listen for signals")?;
    let policy = Policy::new(&config).map_err(anyhow::Error::msg)?;
    let metrics = Arc::new(Metrics::new());
    let status_listener = listen(config.status.listen, "status.listen")?;
    let pixel_listener = listen(config.pixel.listen, "pixel.listen")?;
    let status = StatusServer::start(status_listener, metrics.registry(), metrics.clone())
        .context("start the status port")?;

    let (layout, options) = (Layout::new(&config.wal.dir), config.wal_options());
    let (wal, report) =
        actix_web::rt::task::spawn_blocking(move || Wal::open(layout, options)).await??;
    log_recovery(&report);

    let space = SpaceWatch::start(wal.layout().clone(), config.limits(), Arc::clone(&metrics))
        .context("start the thread that watches the free space")?;
    let failed = Arc::new(Notify::new());
    let on_failure = {
        let (metrics, failed) = (Arc::clone(&metrics), Arc::clone(&failed));
        move || {
            metrics.set_state(State::Failed);
            failed.notify_one();
        }
    };
    let queue_bytes = usize::try_from(config.pixel.queue_bytes.as_u64())?;
    let committer = Committer::start(wal, queue_bytes, Arc::clone(&metrics), on_failure)
        .context("start the committer")?;
    let (lanes, policies) = (committer.lanes(), Policies::new(policy));
    let (pixel, handle) =
        server::serve(pixel_listener, &config, lanes, Arc::clone(&metrics), policies)
            .context("start the pixel port")?;
    let pixel = actix_web::rt::spawn(pixel);
    metrics.set_state(State::Serving);
    tracing::info!(
        pixel = %config.pixel.listen,
        status = %config.status.listen,
        wal = %config.wal.dir.display(),
        workers = config.workers(),
        "serving"
    );
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);

    tokio::select! {
        signal = stop.next() => tracing::info!(signal, "draining"),
        () = failed.notified() => tracing::error!("the WAL failed; no event is acknowledged any more"),
    }
    notify(&[NotifyState::Stopping]);
    metrics.set_state(State::Draining);
    handle.stop(true).await;
    pixel.await?.context("pixel port")?;
    let result = actix_web::rt::task::spawn_blocking(move || committer.stop()).await?;
    drop(space);
    status.stop();
    result.context("the WAL failed; restart to recover it, nothing acknowledged is lost")?;
    tracing::info!("stopped, the segment is sealed");
    Ok(())
}

/// Opens a listening socket that may follow a predecessor at once and queues a crowd.
///
/// # Errors
/// With the address and the key that chose it.
pub fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG.cast_signed())?;
        socket.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    open().with_context(|| format!("listen on {address} (key `{key}`)"))
}

fn log_recovery(report: &RecoveryReport) {
    for log in &report.logs {
        tracing::info!(
            lsns = %log.range, torn_bytes = log.torn_bytes,
            "sealed what an earlier process left"
        );
        for damage in &log.damage {
            tracing::error!(
                offset = damage.offset, lost = %damage.lost, reason = damage.reason,
                "a segment is damaged; it is sealed as it is and will be quarantined"
            );
        }
    }
    let (wal_id, next_lsn) = (report.wal_id, report.next_lsn);
    tracing::info!(%wal_id, %next_lsn, created = report.created, "WAL open");
}

/// Tells systemd, if it started us. It is no error that nobody listens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the supervisor");
    }
}
