//! The pixel port: every request becomes an event, and is answered when that is durable.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::KeepAlive;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use ipnet::IpNet;

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
    lanes: Lanes,
    metrics: Arc<Metrics>,
) -> std::io::Result<(Server, ServerHandle)> {
    let trusted: Arc<[IpNet]> = config.pixel.trusted_proxies.clone().into();
    let on_full = config.wal.on_full;
    let server = HttpServer::new(move || {
        let worker = Worker {
            submitter: lanes.attach(),
            metrics: Arc::clone(&metrics),
            trusted_proxies: Arc::clone(&trusted),
            on_full,
        };
        App::new().app_data(web::Data::new(worker)).default_service(web::to(pixel))
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
    trusted_proxies: Arc<[IpNet]>,
    on_full: OnFull,
}

async fn pixel(request: HttpRequest, worker: web::Data<Worker>) -> HttpResponse {
    let _in_flight = worker.metrics.request();
    let mut response = match record(&request, &worker).await {
        Err(Refused::Full) if worker.on_full == OnFull::Drop => {
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

async fn record(request: &HttpRequest, worker: &Worker) -> Result<(), Refused> {
    if worker.metrics.is_full() {
        return Err(Refused::Full);
    }
    let peer = Peer::new(request.peer_addr(), &worker.trusted_proxies);
    let event = event(request, &peer, now_ms());
    worker.submitter.submit(&event).map_err(Refused::Submit)?.await.map_err(Refused::Submit)
}

/// Milliseconds since the Unix epoch; 0 while the clock stands before it.
fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
