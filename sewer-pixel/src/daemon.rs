//! The life of the pixel: recover, serve, drain, seal.

use std::sync::Arc;

use actix_web::rt::task::spawn_blocking;
use anyhow::{Context, bail};
use sewer_ops::access::Allowed;
use sewer_ops::descriptors;
use sewer_ops::failure::Failure;
use sewer_ops::logging::LogLevel;
use sewer_ops::program::Sources;
use sewer_ops::reload::{Live, Reloader};
use sewer_ops::signals::Signals;
use sewer_ops::status::StatusServer;
use sewer_ops::supervisor::{NotifyState, Supervisor, notify};
use sewer_wal::{Layout, RecoveryReport, Wal, WalError};

use crate::config::Config;
use crate::http::limits::connections_max;
use crate::http::server::PixelServer;
use crate::http::worker::Shared;
use crate::metrics::{Metrics, State};
use crate::net::listen::{inherit_or_listen, listen};
use crate::net::tls::{Tls, TlsWatch};
use crate::policy::Policy;
use crate::policy::current::Policies;
use crate::reload;
use crate::status::report::PixelReport;
use crate::status::sampler::Sampler;
use crate::wal::commit::Committer;
use crate::wal::space::SpaceWatch;

/// Runs until asked to stop, or until the WAL fails. `sources` and `log` are for reloads.
///
/// # Errors
/// What stopped it, for the operator; everything that was acknowledged is safe.
pub async fn run(config: Config, sources: Sources, log: LogLevel) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("listen for signals")?;
    let policy = Policy::new(&config).map_err(anyhow::Error::msg)?;
    let metrics = Arc::new(Metrics::new());
    let (failure, on_failure) = watch_failures(&metrics);
    let allowed = Allowed::new(config.status.allow.clone());
    let status_listener = listen(config.status.listen, "status.listen")?;
    let listening = inherit_or_listen(config.pixel.listen, config.workers(), "pixel.listen")?;
    let tls = config.pixel.tls.as_ref().map(Tls::load).transpose()?;
    let live = Arc::new(Live::new(config.clone()));
    let report = Arc::new(PixelReport::new(Arc::clone(&metrics), Arc::clone(&live)));
    let proxies = Allowed::new(config.pixel.trusted_proxies.clone());
    let status = StatusServer::start(
        status_listener,
        metrics.registry(),
        report.clone(),
        allowed.clone(),
        config.pixel.proxy_protocol.then(|| proxies.clone()),
    )
    .context("start the status port")?;

    let (layout, options) = (Layout::new(&config.wal.dir), config.wal_options());
    let (wal, recovery) = spawn_blocking(move || Wal::open(layout, options)).await??;
    log_recovery(&recovery);

    let layout = wal.layout().clone();
    let space = SpaceWatch::start(layout.clone(), Arc::clone(&live), Arc::clone(&metrics))
        .context("start the thread that watches the free space")?;
    let sampler = Sampler::start(layout, config.history_file(), Arc::clone(&metrics))
        .context("start the thread that samples the node")?;
    let queue_bytes = usize::try_from(config.pixel.queue_bytes.as_u64())?;
    let committer = Committer::start(wal, queue_bytes, Arc::clone(&metrics), on_failure)
        .context("start the committer")?;
    report.attach(sampler.seen(), committer.lanes());
    let tls_watch =
        tls.clone().map(TlsWatch::start).transpose().context("watch the certificate")?;
    let policies = Policies::new(policy);
    let shared = Shared {
        lanes: committer.lanes(),
        metrics: Arc::clone(&metrics),
        tls,
        policies: Arc::clone(&policies),
        refusals: Arc::default(),
    };
    let connections_max = connections(&config)?;
    let pixel = PixelServer::start(listening, connections_max, &config, &shared)
        .context("start the pixel port")?;
    let reloader = reload::reloader(sources, &live, &policies, [&allowed, &proxies], log);
    metrics.set_state(State::Serving);
    log_start(&config);
    notify(&[NotifyState::Ready]);
    let supervisor = Supervisor::start(report).context("start the thread that tells systemd")?;

    serve(&mut signals, reloader, &failure).await?;
    notify(&[NotifyState::Stopping]);
    metrics.set_state(State::Draining);
    drain(&mut signals, &live.get(), &failure, pixel).await;
    drop(tls_watch);
    let result = spawn_blocking(move || committer.stop()).await?;
    drop((space, sampler, supervisor));
    status.stop();
    result.map_err(|error| match error {
        WalError::Removed { .. } => anyhow::Error::from(error),
        _ => anyhow::Error::from(error)
            .context("the WAL failed; restart to recover it, nothing acknowledged is lost"),
    })?;
    if failure.is_set() {
        bail!("a thread panicked; restart, nothing acknowledged is lost");
    }
    tracing::info!("stopped, the segment is sealed");
    Ok(())
}

/// How many connections each worker may have, with as many open files as can be had.
fn connections(config: &Config) -> anyhow::Result<usize> {
    let files_max = descriptors::raise().map_err(anyhow::Error::msg)?;
    let connections_max = connections_max(config, files_max);
    if connections_max < config.pixel.max_connections {
        tracing::warn!(
            files_max,
            connections_max,
            max_connections = config.pixel.max_connections,
            "the limit of open files allows each worker fewer connections than \
             pixel.max_connections; raise it (LimitNOFILE=, ulimit -n)"
        );
    }
    Ok(connections_max)
}

/// Ends the daemon for a panic in any thread; the function ends it for another reason.
fn watch_failures(metrics: &Arc<Metrics>) -> (Failure, impl FnOnce() + Send + 'static) {
    let (failure, failed) = (Failure::default(), Arc::clone(metrics));
    failure.watch_panics(move || failed.set_state(State::Failed));
    let (on_failure, failed) = (failure.clone(), Arc::clone(metrics));
    let fail = move || {
        failed.set_state(State::Failed);
        on_failure.set();
    };
    (failure, fail)
}

/// Returns when it is time to end.
async fn serve(
    signals: &mut Signals,
    reloader: Reloader<Config>,
    failure: &Failure,
) -> anyhow::Result<()> {
    tokio::select! {
        signal = signals.reload_until_stop(reloader) => {
            tracing::info!(signal = signal?, "draining");
        }
        () = failure.wait() => {
            tracing::error!("the pixel has failed, and ends; start it again to recover");
        }
    }
    Ok(())
}

/// Serves on while load balancers notice that the status is 503, then takes no more connections and
/// waits for those that are open. A further signal hurries: what is not answered then never is, and
/// its event may be recorded or not.
async fn drain(signals: &mut Signals, config: &Config, failure: &Failure, pixel: PixelServer) {
    let gently = async {
        tokio::select! {
            () = tokio::time::sleep(config.pixel.drain_delay) => {}
            () = failure.wait() => {}
        }
        // When this is dropped, the port and every connection are closed: no event comes after
        // that, so that the committer finds an end.
        pixel.stop().await;
    };
    tokio::select! {
        () = gently => {}
        signal = signals.stop() => {
            tracing::warn!(signal, "asked again to stop; not waiting for open connections");
        }
    }
}

fn log_start(config: &Config) {
    tracing::info!(
        pixel = %config.pixel.listen,
        status = %config.status.listen,
        wal = %config.wal.dir.display(),
        workers = config.workers(),
        "serving"
    );
}

fn log_recovery(report: &RecoveryReport) {
    for note in &report.notes {
        tracing::error!("{note}");
    }
    for log in &report.logs {
        tracing::info!(
            lsns = %log.range, torn_bytes = log.torn_bytes,
            "sealed what an earlier process left"
        );
        for damage in &log.damage {
            tracing::error!(
                wal_id = %log.wal_id, lsns = %log.range,
                offset = damage.offset, lost = %damage.lost, reason = damage.reason,
                "a segment is damaged; it is sealed as it is and will be quarantined"
            );
        }
    }
    let next_lsn = report.next_lsn.unwrap_or_default().0;
    let (wal_id, created, engine) = (report.wal_id, report.created, report.engine);
    tracing::info!(%wal_id, next_lsn, created, ?engine, "WAL open");
}
