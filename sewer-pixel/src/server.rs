//! The pixel port: the workers, and the layers between a connection and the handler.
//!
//! It is built on actix-http, the layer below actix-web: there is one handler and nothing to route.

use std::convert::Infallible;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Request};
use actix_server::{Server, ServerHandle};
use actix_service::fn_service;

use crate::commit::Lanes;
use crate::config::Config;
use crate::handler::Handler;
use crate::metrics::Metrics;
use crate::policy::current::Policies;

/// The connections that the kernel queues while the workers are busy.
pub const BACKLOG: u32 = 4096;

/// How long a client may take to close a connection that was closed here.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the workers on the listener.
///
/// # Errors
/// If they cannot be started.
pub fn serve(
    listener: TcpListener,
    config: &Config,
    lanes: Lanes,
    metrics: Arc<Metrics>,
    policies: Arc<Policies>,
) -> std::io::Result<(Server, ServerHandle)> {
    let on_full = config.wal.on_full;
    let (keep_alive, header_timeout) = (config.pixel.keep_alive, config.pixel.header_timeout);
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder
        .workers(config.workers())
        .max_concurrent_connections(config.pixel.max_connections)
        .shutdown_timeout(config.pixel.drain_timeout.as_secs())
        .disable_signals()
        .listen("pixel", listener, move || {
            let handler = Rc::new(Handler {
                submitter: lanes.attach(),
                metrics: Arc::clone(&metrics),
                policy: policies.follow(),
                on_full,
            });
            let answer = move |request: Request| {
                let handler = Rc::clone(&handler);
                async move { Ok::<_, Infallible>(handler.answer(request).await) }
            };
            let stopping = stopping.clone();
            HttpService::build()
                .keep_alive(KeepAlive::from(keep_alive))
                .client_request_timeout(header_timeout)
                .client_disconnect_timeout(DISCONNECT_TIMEOUT)
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .h1(fn_service(answer))
                .tcp()
        })?
        .run();
    let handle = server.handle();
    Ok((server, handle))
}
