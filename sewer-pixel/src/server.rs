//! The pixel port: every request becomes an event, and is answered when that is durable.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::KeepAlive;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use sewer_ops::reload::Live;

use crate::commit::{Lanes, SubmitError, Submitter};
use crate::config::{Config, OnFull};
use crate::metrics::{Metrics, State};
use crate::request::{Peer, event};

/// The connections that the kernel queues while the workers are busy.
pub const BACKLOG: u32 = 4096;

/// Starts the workers on the listener.
///
/// # Errors
/// If they cannot be started.
pub fn serve(
    listener: TcpListener,
    config: &Config,
    live: Arc<Live<Config>>,
    lanes: Lanes,
    metrics: Arc<Metrics>,
) -> std::io::Result<(Server, ServerHandle)> {
    let connections = Arc::clone(&metrics);
    let server = HttpServer::new(move || {
        let worker = Worker {
            submitter: lanes.attach(),
            metrics: Arc::clone(&metrics),
            config: Arc::clone(&live),
        };
        App::new().app_data(web::Data::new(worker)).default_service(web::to(pixel))
    })
    .on_connect(move |_, data| {
        data.insert(connections.connection());
    })
    .workers(config.workers())
    .max_connections(config.pixel.max_connections)
    .keep_alive(KeepAlive::Timeout(config.pixel.keep_alive))
    .client_request_timeout(config.pixel.header_timeout)
    .shutdown_timeout(config.pixel.drain_timeout.as_secs())
    .backlog(BACKLOG)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle))
}

/// What one worker needs for a request.
struct Worker {
    submitter: Submitter,
    metrics: Arc<Metrics>,
    config: Arc<Live<Config>>,
}

async fn pixel(request: HttpRequest, worker: web::Data<Worker>) -> HttpResponse {
    let _in_flight = worker.metrics.request();
    let config = worker.config.get();
    let result = record(&request, &worker, &config).await;
    if let Err(refused) = &result
        && !(matches!(refused, Refused::Full) && config.wal.on_full == OnFull::Drop)
    {
        worker.metrics.rejected(refused.reason());
    }
    let mut response = match result {
        Err(Refused::Full) if config.wal.on_full == OnFull::Drop => {
            worker.metrics.dropped();
            HttpResponse::NoContent()
        }
        Ok(()) => {
            worker.metrics.answered();
            HttpResponse::NoContent()
        }
        Err(Refused::Submit(SubmitError::TooLarge)) => {
            worker.metrics.refused("431");
            HttpResponse::RequestHeaderFieldsTooLarge()
        }
        Err(Refused::Full | Refused::Submit(SubmitError::Overloaded | SubmitError::Closed)) => {
            worker.metrics.refused("503");
            let mut response = HttpResponse::ServiceUnavailable();
            response.insert_header((RETRY_AFTER, "1"));
            response
        }
    };
    if worker.metrics.state() != State::Serving {
        response.force_close();
    }
    response.finish()
}

/// Why a request was not recorded.
enum Refused {
    /// The disk is full.
    Full,
    /// The committer did not take the event.
    Submit(SubmitError),
}

impl Refused {
    /// Its name in the metrics.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Full => "disk_full",
            Self::Submit(SubmitError::Overloaded) => "overloaded",
            Self::Submit(SubmitError::TooLarge) => "too_large",
            Self::Submit(SubmitError::Closed) => "wal_failed",
        }
    }
}

async fn record(request: &HttpRequest, worker: &Worker, config: &Config) -> Result<(), Refused> {
    if worker.metrics.is_full() {
        return Err(Refused::Full);
    }
    let peer = Peer::new(request.peer_addr(), &config.pixel.trusted_proxies);
    let event = event(request, &peer, now_ms());
    worker.submitter.submit(&event).map_err(Refused::Submit)?.await.map_err(Refused::Submit)
}

/// Milliseconds since the Unix epoch; 0 while the clock stands before it.
fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
