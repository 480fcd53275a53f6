//! The status port of a daemon: `/metrics` for Prometheus, `/stats` as JSON, and health on every
//! other path: 200 with `Content-Length: 0`, or 503 while the daemon cannot do its work.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{App, HttpResponse, HttpServer, web};
use prometheus::{Encoder, Registry, TextEncoder};

/// What a daemon tells about itself. Called from the status server's own thread; must not block.
pub trait Report: Send + Sync + 'static {
    /// Whether the daemon can do its work now.
    fn is_healthy(&self) -> bool;

    /// The figures of `/stats`.
    fn stats(&self) -> serde_json::Value;

    /// Brings the metrics that are sampled, not counted, up to date.
    fn sample(&self) {}
}

/// Serves the status port on a thread of its own until the handle stops it.
///
/// # Errors
/// If the server cannot be started on the listener.
pub fn serve(
    listener: TcpListener,
    registry: Registry,
    report: Arc<dyn Report>,
) -> std::io::Result<(Server, ServerHandle)> {
    let state = web::Data::new(State { registry, report });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .route("/metrics", web::get().to(metrics))
            .route("/stats", web::get().to(stats))
            .default_service(web::to(health))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle))
}

struct State {
    registry: Registry,
    report: Arc<dyn Report>,
}

async fn health(state: web::Data<State>) -> HttpResponse {
    let mut response = if state.report.is_healthy() {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    response.insert_header((CACHE_CONTROL, "no-store")).finish()
}

async fn metrics(state: web::Data<State>) -> HttpResponse {
    state.report.sample();
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&state.registry.gather(), &mut text) {
        Ok(()) => HttpResponse::Ok().content_type(encoder.format_type()).body(text),
        Err(e) => HttpResponse::InternalServerError().body(e.to_string()),
    }
}

async fn stats(state: web::Data<State>) -> HttpResponse {
    let text = format!("{:#}\n", state.report.stats());
    HttpResponse::Ok().content_type(ContentType::json()).body(text)
}
