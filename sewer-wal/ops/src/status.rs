//! The status port of a daemon: `/metrics` for Prometheus, `/stats` as JSON, and health on every
//! other path: 200 with `Content-Length: 0`, or 503 while the daemon cannot do its work.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::rt::System;
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

/// The status port, served on a thread of its own: it answers however busy the daemon is.
#[derive(Debug)]
pub struct StatusServer {
    handle: ServerHandle,
    thread: JoinHandle<std::io::Result<()>>,
}

impl StatusServer {
    /// Starts serving.
    ///
    /// # Errors
    /// If the server cannot be started on the listener.
    pub fn start(
        listener: TcpListener,
        registry: Registry,
        report: Arc<dyn Report>,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (sender, receiver) = sync_channel(1);
        let run = move || {
            System::new().block_on(async move {
                let server = match server(listener, registry, report) {
                    Ok(server) => server,
                    Err(error) => {
                        // Whoever started the thread waits for this.
                        let _ = sender.send(Err(error));
                        return Ok(());
                    }
                };
                let _ = sender.send(Ok(server.handle()));
                server.await
            })
        };
        let thread = std::thread::Builder::new().name("status".into()).spawn(run)?;
        let handle = receiver.recv().map_err(std::io::Error::other)??;
        Ok(Self { handle, thread })
    }

    /// Stops serving and closes the port.
    pub fn stop(self) {
        // The command is sent by the call; only the answer has to be awaited.
        drop(self.handle.stop(false));
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the status port ended early"),
            Err(_) => tracing::warn!("the thread of the status port panicked"),
        }
    }
}

fn server(
    listener: TcpListener,
    registry: Registry,
    report: Arc<dyn Report>,
) -> std::io::Result<Server> {
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
    Ok(server)
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
