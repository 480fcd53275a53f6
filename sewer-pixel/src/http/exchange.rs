//! The one loop that serves a connection: a request is read, recorded and answered, then the next.
//!
//! A head is read where it lies, in memory that all connections of a worker share, because none of
//! them keeps it beyond one look. Only what cannot be used yet is kept with the connection
//! ([`Unread`]): a part of a head, or what came behind the request that is being answered. Nothing
//! is read meanwhile, so a connection holds one head or one read at most, and what the client may
//! send beside is in the kernel.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::http::StatusCode;

use super::body::Body;
use super::connection::{End, Phase};
use super::connections::Open;
use super::handler::{Pending, Refused};
use super::reply::{Manner, Reply};
use super::unread::Unread;
use super::worker::Worker;
use crate::net::stream::Stream;
use crate::policy::current::Held;
use crate::request::head::Origin;
use crate::request::parse::{BodyLength, Framing, blank_lines, has_request_line, parse};

/// What is read and thrown away after a last answer, so that the client gets to read the answer:
/// closing with bytes unread resets the connection.
const LINGER_BYTES: usize = 256 << 10;

/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(1);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The manner of an answer to what is no whole request.
const LAST: Manner = Manner { is_head: false, is_old: false, keeps: false };

/// A connection and the bytes that have come on it.
pub(super) struct Link {
    stream: Stream,
    state: Open,
    origin: Origin,
    unread: Unread,
    requests: u64,
    /// Whether the client wants the connection closed after its last request.
    client_closes: bool,
}

/// What the bytes that have come are.
enum Came<'w> {
    /// A request, which waits for its ack.
    Request(Pending<'w>, Manner),
    /// The head of a request whose body has to be read, in [`Unread`].
    Head(Box<Whole>),
    /// The end of the connection.
    End,
}

/// A head whose body is still to come.
struct Whole {
    /// Its length.
    bytes: usize,
    framing: Framing,
    manner: Manner,
    policy: Rc<Held>,
}

impl Link {
    pub(super) fn new(stream: Stream, state: Open, peer: SocketAddr, is_proxied: bool) -> Self {
        let origin = Origin { peer, is_proxied, is_tls: stream.is_tls() };
        Self { stream, state, origin, unread: Unread::default(), requests: 0, client_closes: false }
    }
}

impl Worker {
    /// Serves a connection to its end.
    pub(super) async fn serve(&self, mut link: Link) {
        loop {
            let (pending, manner) = match poll_fn(|cx| self.poll_request(&mut link, cx)).await {
                Came::Request(pending, manner) => (pending, manner),
                Came::Head(whole) => {
                    let Some(pending) = Box::pin(self.read_body(&mut link, *whole)).await else {
                        break;
                    };
                    pending
                }
                Came::End => break,
            };
            let (reply, goes_on) = self.handler.finish(pending).await;
            let manner = Manner { keeps: manner.keeps && goes_on, ..manner };
            if self.send(&mut link, &reply, manner).await.is_err() {
                return;
            }
            if !manner.keeps {
                return self.leave(link).await;
            }
            let next = if link.unread.is_empty() { Phase::Idle } else { Phase::Head };
            link.state.enter(next, self.connections.now());
        }
        if let Some(status) = link.state.end().and_then(End::status) {
            let refused = Refused::Limit(status, "it did not come in time");
            let pending = self.handler.refuse(refused, link.origin.peer, link.unread.bytes());
            let (reply, _) = self.handler.finish(pending).await;
            self.dismiss(link, Some(&reply)).await;
        }
    }

    /// The next request, as far as it has come in one piece.
    fn poll_request<'w>(&'w self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Came<'w>> {
        loop {
            if link.state.poll_end(cx).is_some() {
                return Poll::Ready(Came::End);
            }
            let limits = self.connections.limits();
            let is_full = link.unread.bytes().len() >= limits.head_bytes_max;
            if !link.unread.is_empty() && (link.unread.is_worth_parsing() || is_full) {
                let unread = std::mem::take(&mut link.unread);
                let (came, used) = self.look(link, unread.bytes());
                link.unread = unread;
                link.unread.consume(used);
                if let Some(came) = came {
                    return Poll::Ready(came);
                }
            }
            // Nearly always nothing is unread, and a whole request comes.
            let mut memory = self.memory.borrow_mut();
            let room = match link.unread.bytes().len() {
                0 => memory.len(),
                some => limits.head_bytes_max - some,
            };
            let room = room.min(memory.len());
            let Ok(count @ 1..) = ready!(link.stream.poll_read(cx, &mut memory[..room])) else {
                return Poll::Ready(Came::End);
            };
            if !link.unread.is_empty() {
                link.unread.keep(&memory[..count]);
                continue;
            }
            let (came, used) = self.look(link, &memory[..count]);
            link.unread.keep(&memory[used..count]);
            if !link.unread.is_empty() {
                link.state.enter_head(self.connections.now());
            }
            if let Some(came) = came {
                return Poll::Ready(came);
            }
        }
    }

    /// The request that bytes begin with, if its head is complete, and how many of them are used.
    fn look<'w>(&'w self, link: &mut Link, bytes: &[u8]) -> (Option<Came<'w>>, usize) {
        let limits = self.connections.limits();
        let refuse = |status, detail| {
            let refused = Refused::Limit(status, detail);
            let pending = self.handler.refuse(refused, link.origin.peer, bytes);
            Some(Came::Request(pending, LAST))
        };
        let mut lines = self.lines.borrow_mut();
        let parsed = match parse(bytes, &mut lines) {
            Ok(Some(parsed)) => parsed,
            Ok(None) if bytes.len() < limits.head_bytes_max => return (None, blank_lines(bytes)),
            Ok(None) if has_request_line(bytes) => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return (refuse(status, "a head over pixel.max_head_bytes"), bytes.len());
            }
            Ok(None) => {
                let detail = "a request line over pixel.max_head_bytes";
                return (refuse(StatusCode::URI_TOO_LONG, detail), bytes.len());
            }
            Err(malformed) => {
                return (refuse(StatusCode::BAD_REQUEST, malformed.0), bytes.len());
            }
        };
        let policy = self.handler.policy();
        if let Err(status) = limits.check(&parsed, policy.body_bytes_max()) {
            return (refuse(status, "over a limit of the configuration"), bytes.len());
        }
        link.requests += 1;
        let Framing { is_head, is_old, keeps, .. } = parsed.framing;
        let is_last = limits.requests_max > 0 && link.requests >= limits.requests_max;
        let manner = Manner { is_head, is_old, keeps: keeps && !is_last };
        link.client_closes = !keeps;
        let body = match parsed.framing.body {
            BodyLength::Bytes(0) => Some(None),
            BodyLength::Bytes(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                bytes[parsed.bytes..].get(..length).map(Some)
            }
            BodyLength::Chunked => None,
        };
        link.state.enter(Phase::Answering, self.connections.now());
        let Some(body) = body else {
            let (bytes, framing) = (parsed.bytes, parsed.framing);
            let whole = Whole { bytes, framing, manner, policy };
            return (Some(Came::Head(Box::new(whole))), 0);
        };
        let used = parsed.bytes + body.map_or(0, <[u8]>::len);
        let pending = self.handler.begin(&policy, &parsed.head, &link.origin, body);
        (Some(Came::Request(pending, manner)), used)
    }

    /// Reads the body of a request and takes the request; `None` at the end of the connection.
    async fn read_body(&self, link: &mut Link, whole: Whole) -> Option<(Pending<'_>, Manner)> {
        let Whole { bytes, framing, manner, policy } = whole;
        let head = link.unread.take(bytes);
        link.state.enter(Phase::Body, self.connections.now());
        if framing.expects && link.unread.is_empty() {
            self.send_bytes(link, CONTINUE, false).await.ok()?;
        }
        // What the head is, is seen again when the body is there: nothing is borrowed meanwhile.
        let keeps = {
            let mut lines = self.lines.borrow_mut();
            let parsed = parse(&head, &mut lines).ok().flatten()?;
            policy.keeps_body(&parsed.head)
        };
        let mut body = Body::new(framing.body, policy.body_bytes_max(), keeps);
        let fed = poll_fn(|cx| self.poll_body(link, &mut body, cx)).await;
        if let Err(status) = fed.ok()? {
            let refused = Refused::Limit(status, "its body is malformed or over a limit");
            return Some((self.handler.refuse(refused, link.origin.peer, &head), LAST));
        }
        link.state.enter(Phase::Answering, self.connections.now());
        let body = body.into_kept();
        let mut lines = self.lines.borrow_mut();
        let parsed = parse(&head, &mut lines).ok().flatten()?;
        let pending = self.handler.begin(&policy, &parsed.head, &link.origin, body.as_deref());
        Some((pending, manner))
    }

    /// Reads until a body is whole.
    fn poll_body(
        &self,
        link: &mut Link,
        body: &mut Body,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Result<(), StatusCode>>> {
        loop {
            match body.feed(link.unread.bytes()) {
                Ok(used) => link.unread.consume(used),
                Err(status) => return Poll::Ready(Ok(Err(status))),
            }
            if body.is_whole() {
                return Poll::Ready(Ok(Ok(())));
            }
            if link.state.poll_end(cx).is_some() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let mut memory = self.memory.borrow_mut();
            match ready!(link.stream.poll_read(cx, &mut memory))? {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                count => link.unread.keep(&memory[..count]),
            }
        }
    }

    /// Sends an answer, in memory that all connections of the worker share.
    async fn send(&self, link: &mut Link, reply: &Reply, manner: Manner) -> io::Result<()> {
        link.state.enter(Phase::Sending, self.connections.now());
        let mut bytes = self.written.take();
        reply.encode(manner, &self.connections.date(), &mut bytes);
        let sent = self.send_bytes(link, &bytes, !manner.keeps).await;
        bytes.clear();
        self.written.set(bytes);
        sent
    }

    async fn send_bytes(&self, link: &mut Link, bytes: &[u8], are_last: bool) -> io::Result<()> {
        let mut left = bytes;
        poll_fn(|cx| {
            if link.state.poll_end(cx).is_some() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            link.stream.poll_send(cx, &mut left, are_last)
        })
        .await
    }

    /// Ends a connection whose last answer is sent.
    async fn leave(&self, link: Link) {
        // A client that wanted it so has sent all it has; there is nothing to wait for.
        if !(link.client_closes && link.unread.is_empty()) {
            self.dismiss(link, None).await;
        }
    }

    /// Gives a last answer, if there is one, and closes so that the client can read it.
    async fn dismiss(&self, mut link: Link, reply: Option<&Reply>) {
        let mut bytes = Vec::new();
        if let Some(reply) = reply {
            reply.encode(LAST, &self.connections.date(), &mut bytes);
        }
        let stream = &mut link.stream;
        let goodbye = async {
            let mut left = &bytes[..];
            poll_fn(|cx| stream.poll_send(cx, &mut left, true)).await?;
            poll_fn(|cx| stream.poll_shutdown(cx)).await?;
            let mut unread = 0;
            while unread < LINGER_BYTES {
                let read = |cx: &mut Context<'_>| {
                    let mut memory = self.memory.borrow_mut();
                    stream.poll_read(cx, &mut memory)
                };
                match poll_fn(read).await? {
                    0 => break,
                    count => unread += count,
                }
            }
            Ok::<_, io::Error>(())
        };
        // The client may well be gone.
        let _ = tokio::time::timeout(LINGER_TIME, Box::pin(goodbye)).await;
    }
}
