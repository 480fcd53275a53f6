//! The pixel port: the workers, and the layers between a connection and the handler.
//!
//! It is built on actix-http, the layer below actix-web: there is one handler and nothing to route.
//! A connection first says whom it stands for (PROXY protocol) and becomes encrypted (TLS), if
//! either is configured. Then simple requests are answered at once ([`crate::http::direct`]); when another
//! one comes, the HTTP dispatcher has the connection until it is idle, through a stream that keeps
//! the limits.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::{DispatchError, ParseError};
use actix_http::{HttpService, KeepAlive, Request, ServiceConfig, StatusCode};
use actix_server::{Server, ServerHandle};
use actix_service::{Service, ServiceFactory as _, fn_factory, fn_service};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::http::connection::Connection;
use crate::http::connections::{Connections, Open};
use crate::http::direct::{Direct, Left};
use crate::http::guarded::{Guarded, Stream};
use crate::http::handler::Handler;
use crate::metrics::Metrics;
use crate::net::proxy;
use crate::net::tls::Tls;
use crate::policy::current::{Current, Policies};
use crate::wal::lane::Lanes;
use crate::wal::submit::Submitter;

/// How long a client may take to close a connection that was closed here.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long connections that were just accepted take to reach their worker.
const HAND_OVER: Duration = Duration::from_millis(50);

/// How often a stop looks whether all connections are closed.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// What the workers share.
#[derive(Clone)]
pub struct Shared {
    /// What makes their lanes to the committer.
    pub lanes: Lanes,
    /// What they count in.
    pub metrics: Arc<Metrics>,
    /// What is answered and what is recorded.
    pub policies: Arc<Policies>,
    /// Certificate and key, if connections are encrypted.
    pub tls: Option<Arc<Tls>>,
}

/// The running pixel port.
#[derive(Debug)]
pub struct PixelServer {
    handle: ServerHandle,
    server: actix_web::rt::task::JoinHandle<std::io::Result<()>>,
    /// The listening socket, if it is ours and not the service manager's.
    listener: Option<TcpListener>,
    metrics: Arc<Metrics>,
    stopping: watch::Sender<bool>,
    drain_timeout: Duration,
}

impl PixelServer {
    /// Starts the workers on the listener. It is shut down at a stop unless somebody else holds it
    /// (`is_inherited`): then new connections wait in its queue for the next pixel.
    ///
    /// # Errors
    /// If they cannot be started.
    pub fn start(
        listener: TcpListener,
        is_inherited: bool,
        config: &Config,
        shared: Shared,
    ) -> std::io::Result<Self> {
        let (stopping, stopping_seen) = watch::channel(false);
        let own = if is_inherited { None } else { Some(listener.try_clone()?) };
        let metrics = Arc::clone(&shared.metrics);
        let worker_config = Arc::new(config.clone());
        let server = Server::build()
            .workers(config.workers())
            .max_concurrent_connections(config.pixel.max_connections)
            .disable_signals()
            .listen("pixel", listener, move || {
                let (config, shared) = (Arc::clone(&worker_config), shared.clone());
                let stopping = stopping_seen.clone();
                fn_factory(move || worker(Arc::clone(&config), shared.clone(), stopping.clone()))
            })?
            .run();
        let handle = server.handle();
        let server = actix_web::rt::spawn(server);
        let drain_timeout = config.pixel.drain_timeout;
        Ok(Self { handle, server, listener: own, metrics, stopping, drain_timeout })
    }

    /// Ends all at once, also during a stop: the port and every connection are closed.
    pub fn abort_handle(&self) -> AbortHandle {
        self.server.abort_handle()
    }

    /// Stops: no new connections, answers for the requests that have come, then the end. Idle
    /// connections are closed; those in use are told to close by their next answer. The state in
    /// the metrics must say before that the pixel drains.
    ///
    /// # Errors
    /// What ended the server before.
    pub async fn stop(self) -> std::io::Result<()> {
        self.handle.pause().await;
        tokio::time::sleep(HAND_OVER.min(self.drain_timeout)).await;
        if let Some(listener) = self.listener {
            // So that clients are refused at once, and do not wait in a queue that ends with us.
            if let Err(error) = socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Read)
            {
                tracing::debug!(%error, "the listening socket is closed later");
            }
        }
        self.stopping.send_replace(true);
        let drained = async {
            while self.metrics.connections() > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        };
        let is_drained = tokio::time::timeout(self.drain_timeout, drained).await.is_ok();
        self.handle.stop(is_drained).await;
        self.server.await.map_err(std::io::Error::other)?
    }
}

/// What a worker makes of connections.
async fn worker(
    config: Arc<Config>,
    shared: Shared,
    stopping: watch::Receiver<bool>,
) -> Result<impl Service<TcpStream, Response = (), Error = ()>, ()> {
    let metrics = Arc::clone(&shared.metrics);
    let connections = Connections::start((&config.pixel).into(), metrics, stopping);
    let handler = Rc::new(Handler {
        submitter: Submitter::attach(&shared.lanes),
        metrics: Arc::clone(&shared.metrics),
        connections: Rc::clone(&connections),
        policy: shared.policies.follow(),
    });
    // The limits in time are kept by the sweep, for which the dispatcher needs no timers.
    let (no_timer, keep_alive) = (Duration::ZERO, KeepAlive::Os);
    let http_config = ServiceConfig::new(keep_alive, no_timer, DISCONNECT_TIMEOUT, false, None);
    let direct = Direct::new(Rc::clone(&handler), http_config);
    let asked = Rc::clone(&handler);
    let expect = move |request: Request| std::future::ready(asked.expect(request));
    let answer = move |request: Request| {
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    };
    let http = HttpService::build()
        .keep_alive(keep_alive)
        .client_request_timeout(no_timer)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .expect(fn_service(expect))
        .on_connect_ext(|io: &Guarded, data| {
            data.insert(Rc::clone(io.connection()));
        })
        .h1(fn_service(answer));
    let opener = Opener {
        policy: config.pixel.proxy_protocol.then(|| shared.policies.follow()),
        tls: shared.tls,
        metrics: shared.metrics,
    };
    let http = http.new_service(()).await?;
    let worker = Rc::new((connections, opener, direct, http));
    Ok(fn_service(move |tcp: TcpStream| {
        let worker = Rc::clone(&worker);
        async move {
            let (connections, opener, direct, http) = &*worker;
            let peer = tcp.peer_addr().ok();
            // A small answer waits for nothing. It is no harm if that cannot be had.
            let _ = tcp.set_nodelay(true);
            let connection = connections.open(Stream::Plain(tcp), peer);
            if opener.open(&connection).await {
                serve(&connection, connections, direct, http).await;
            }
            Ok(())
        }
    }))
}

/// What happens to a connection before HTTP.
struct Opener {
    /// Who may speak the PROXY protocol, and must.
    policy: Option<Current>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
}

impl Opener {
    /// Makes a connection ready; `false` if that fails, which is counted.
    async fn open(&self, connection: &Connection) -> bool {
        if let Some(policy) = self.policy.as_ref().map(Current::get) {
            let header = proxy::receive(connection, policy.trusted_proxies());
            let Some(header) = connection.within(header).await else {
                return false;
            };
            match header {
                Ok(Some(source)) => connection.peer.set(Some(source)),
                Ok(None) => {}
                Err(error) => {
                    self.metrics.closed(error.reason());
                    return false;
                }
            }
        }
        if let Some(tls) = &self.tls {
            let Stream::Plain(tcp) = connection.take_stream() else { return false };
            let Some(accepted) = connection.within(tls.acceptor().accept(tcp)).await else {
                return false;
            };
            let Ok(stream) = accepted else {
                self.metrics.closed("tls_handshake");
                return false;
            };
            connection.stream.replace(Stream::Tls(Box::new(stream)));
        }
        true
    }
}

/// Serves the requests of a connection to its end. While it is idle it has no dispatcher, whose
/// buffers are most of what a connection costs.
async fn serve<H>(connection: &Open, connections: &Rc<Connections>, direct: &Direct, http: &H)
where
    H: Service<(Guarded, Option<SocketAddr>), Response = (), Error = DispatchError>,
{
    let mut has_answered = false;
    let result = loop {
        let unread = if connection.is_tls() {
            match connection.readable().await {
                Ok(()) => Bytes::new(),
                Err(_) => break Ok(()),
            }
        } else {
            match direct.serve(connection).await {
                Left::Unread(bytes) => bytes,
                Left::Closed => break Ok(()),
                Left::Answered => {
                    has_answered = true;
                    break Ok(());
                }
            }
        };
        connection.wake_up();
        let guarded = Guarded::new(Rc::clone(connection), Rc::clone(connections), unread);
        let result = Box::pin(http.call((guarded, connection.peer.get()))).await;
        if result.is_err() || !connection.is_asleep() {
            break result;
        }
    };
    if let Some(end) = connection.end() {
        let status = end.status();
        status.inspect(|status| connection.refused(*status));
        connection.dismiss(status).await;
    } else if let Err(DispatchError::Parse(error)) = result {
        // The dispatcher has given its answer already.
        connection.refused(match error {
            ParseError::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        });
        connection.dismiss(None).await;
    } else if result.is_ok() && (has_answered || connection.is_ending()) {
        // It may have sent more requests than it gets answers.
        connection.dismiss(None).await;
    }
}
