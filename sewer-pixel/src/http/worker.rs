//! A worker: one thread that accepts connections, makes them ready and serves them.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream as StdStream};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use sewer_ops::proxy;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::connections::{Connections, Open};
use super::exchange::Link;
use super::handler::Handler;
use super::refusals::Refusals;
use crate::metrics::Metrics;
use crate::net::stream::Stream;
use crate::net::tls::Tls;
use crate::policy::current::Policies;
use crate::request::parse::Line;
use crate::wal::lane::Lanes;
use crate::wal::submit::Submitter;

/// What is read at once.
const READ_BYTES: usize = 16 << 10;

/// How many connections are accepted before those that are there have their turn.
const ACCEPT_MAX: usize = 64;

/// How long no connection is accepted after that has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Makes their lanes to the committer.
    pub(crate) lanes: Lanes,
    /// The counters.
    pub(crate) metrics: Arc<Metrics>,
    /// The policy, which can be replaced.
    pub(crate) policies: Arc<Policies>,
    /// Certificate and key, if connections are encrypted.
    pub(crate) tls: Option<Arc<Tls>>,
    /// What the operator sees of refused requests.
    pub(crate) refusals: Arc<Refusals>,
}

/// One worker, on its own thread.
pub(super) struct Worker {
    pub(super) handler: Handler,
    pub(super) connections: Rc<Connections>,
    /// What was read last. It is looked at once, so that all connections can share it.
    pub(super) memory: RefCell<Box<[u8]>>,
    /// Memory for the headers of the request that is looked at.
    pub(super) lines: RefCell<Vec<Line>>,
    /// Memory for an answer.
    pub(super) written: Cell<Vec<u8>>,
    tls: Option<Arc<Tls>>,
    is_behind_proxy: bool,
}

impl Worker {
    /// A worker of the calling thread's event loop.
    pub(super) fn new(shared: Shared, connections: Rc<Connections>, is_behind_proxy: bool) -> Self {
        let handler = Handler {
            submitter: Submitter::attach(&shared.lanes),
            metrics: shared.metrics,
            policy: shared.policies.follow(),
            refusals: shared.refusals,
        };
        Self {
            handler,
            connections,
            memory: RefCell::new(vec![0; READ_BYTES].into()),
            lines: RefCell::default(),
            written: Cell::default(),
            tls: shared.tls,
            is_behind_proxy,
        }
    }

    /// Accepts connections and serves each in a task of its own, until `stopping` is true. What has
    /// come on a socket that is ours alone is accepted before that; on another it waits for the
    /// next pixel.
    ///
    /// # Errors
    /// If the event loop does not take the socket.
    pub(super) async fn accept(
        self: &Rc<Self>,
        listener: TcpListener,
        is_inherited: bool,
        mut stopping: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let listener = registered(listener)?;
        loop {
            let mut ready = tokio::select! {
                biased;
                // An error only says that nobody will ask for a stop any more.
                Ok(_) = stopping.wait_for(|stops| *stops) => break,
                ready = listener.readable() => ready?,
            };
            let room = self.room();
            if room == 0 && !has_waiting(listener.get_ref()) {
                ready.clear_ready();
                continue;
            }
            if room == 0 {
                self.handler.refusals.no_room();
                tokio::select! {
                    biased;
                    Ok(_) = stopping.wait_for(|stops| *stops) => break,
                    () = self.connections.make_room() => continue,
                }
            }
            match self.accept_batch(listener.get_ref(), room) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => {
                    self.handler.refusals.not_accepted(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            tokio::task::yield_now().await;
        }
        while !is_inherited
            && self.room() > 0
            && self.accept_batch(listener.get_ref(), self.room()).is_ok()
        {}
        Ok(())
    }

    /// How many connections can be accepted together.
    fn room(&self) -> usize {
        self.connections.room().min(ACCEPT_MAX)
    }

    /// Accepts up to so many connections.
    fn accept_batch(self: &Rc<Self>, listener: &TcpListener, count: usize) -> io::Result<()> {
        for _ in 0..count {
            sewer_ops::failure::inject();
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (socket, peer) = match acceptfrom_with(listener, flags).map_err(io::Error::from) {
                Ok(accepted) => accepted,
                // It was gone before it was here.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            if let Some(peer) = peer {
                let (worker, state) = (Rc::clone(self), self.connections.open());
                actix_web::rt::spawn(async move {
                    worker.take(StdStream::from(socket), peer, state).await;
                });
            }
        }
        Ok(())
    }

    async fn take(&self, tcp: StdStream, peer: SocketAddr, state: Open) {
        let stream = Stream::new(tcp);
        let link = if self.is_behind_proxy || self.tls.is_some() {
            // It is done once for many requests, and its memory is given back afterwards.
            Box::pin(self.open(stream, peer, state)).await
        } else {
            Some(Link::new(stream, state, peer, false))
        };
        if let Some(link) = link {
            self.serve(link).await;
        }
    }

    /// What happens to a connection before HTTP; `None` if it ends there, which is counted.
    async fn open(&self, stream: Stream, mut peer: SocketAddr, state: Open) -> Option<Link> {
        let mut tcp = stream.into_tcp().ok()?;
        if self.is_behind_proxy {
            let policy = self.handler.policy();
            if !proxy::is_proxy(peer.ip(), policy.trusted_proxies()) {
                self.handler.metrics.closed("proxy_stranger");
                let detail = "a connection from a peer that is not in pixel.trusted_proxies";
                self.handler.refusals.tell("proxy_stranger", detail, peer, b"");
                return None;
            }
            match until_end(&state, proxy::receive(&mut tcp)).await? {
                Ok(source) => peer = source.unwrap_or(peer),
                Err(error) => {
                    self.handler.metrics.closed(error.reason());
                    if error == proxy::ProxyError::Malformed {
                        let detail = "a connection without a sound PROXY header";
                        self.handler.refusals.tell(error.reason(), detail, peer, b"");
                    }
                    return None;
                }
            }
        }
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(tls) => {
                let Ok(tls) = until_end(&state, tls.acceptor().accept(tcp)).await? else {
                    self.handler.metrics.closed("tls_handshake");
                    return None;
                };
                Stream::Tls(Box::new(tls))
            }
        };
        Some(Link::new(stream, state, peer, self.is_behind_proxy))
    }
}

/// A listening socket in the event loop.
#[expect(deprecated, reason = "the other way is unsafe; a listener's descriptor stays the same")]
fn registered(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

/// Whether a connection waits to be accepted. One that comes later makes the socket ready again.
fn has_waiting(listener: &TcpListener) -> bool {
    let mut listening = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut listening, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Awaits something, but not beyond the end of the connection.
async fn until_end<T>(state: &Open, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    std::future::poll_fn(|cx: &mut Context<'_>| match state.poll_end(cx) {
        Some(_) => Poll::Ready(None),
        None => future.as_mut().poll(cx).map(Some),
    })
    .await
}
