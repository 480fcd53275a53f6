//! The life of the pixel: recover, serve, drain, seal.

use std::sync::Arc;

use anyhow::Context;
use sd_notify::NotifyState;
use sewer_ops::signals::StopSignals;
use sewer_ops::status::StatusServer;
use sewer_wal::recovery::RecoveryReport;
use sewer_wal::{Layout, Wal};
use tokio::sync::Notify;

use crate::commit::Committer;
use crate::config::Config;
use crate::listen::{Listening, inherit_or_listen, listen};
use crate::metrics::{Metrics, State};
use crate::policy::Policy;
use crate::policy::current::Policies;
use crate::server::{PixelServer, Shared};
use crate::space::SpaceWatch;
use crate::tls::{Tls, TlsWatch};

/// Runs until asked to stop, or until the WAL fails.
///
/// # Errors
/// What stopped it, for the operator; everything that was acknowledged is safe.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop = StopSignals::listen().context("listen for signals")?;
    let policy = Policy::new(&config).map_err(anyhow::Error::msg)?;
    let metrics = Arc::new(Metrics::new());
    let status_listener = listen(config.status.listen, "status.listen")?;
    let Listening { listener, is_inherited } =
        inherit_or_listen(config.pixel.listen, "pixel.listen")?;
    let tls = config.pixel.tls.as_ref().map(Tls::load).transpose()?;
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
    metrics.watch(committer.lanes());
    let tls_watch =
        tls.clone().map(TlsWatch::start).transpose().context("watch the certificate")?;
    let policies = Policies::new(policy);
    let shared = Shared { lanes: committer.lanes(), metrics: Arc::clone(&metrics), tls, policies };
    let pixel = PixelServer::start(listener, is_inherited, &config, shared)
        .context("start the pixel port")?;
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
    pixel.stop().await.context("pixel port")?;
    drop(tls_watch);
    let result = actix_web::rt::task::spawn_blocking(move || committer.stop()).await?;
    drop(space);
    status.stop();
    result.context("the WAL failed; restart to recover it, nothing acknowledged is lost")?;
    tracing::info!("stopped, the segment is sealed");
    Ok(())
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
