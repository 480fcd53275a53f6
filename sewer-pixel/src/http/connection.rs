//! What is known of a connection, and the limits that it is held to.
//!
//! A connection is in one [`Phase`] at a time; how long it may stay there is a limit of the
//! configuration. Times are kept by the clock of [`crate::http::connections`], which moves in ticks, so that a
//! request costs no timer and no look at a clock: a limit is kept to within a tick or two.
//!
//! What a connection may send before its request is complete is limited as well. Only the stream
//! sees bytes ([`crate::http::guarded`]), and only the handler sees requests; both tell it here.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use actix_http::StatusCode;
use bytesize::ByteSize;
use memchr::memmem;

use crate::config::PixelConfig;
use crate::http::guarded::Stream;
use crate::http::intake;
use crate::metrics::Metrics;

/// How many requests are read ahead, about. A decoded one takes seven kilobytes, however small it was.
const READ_AHEAD: usize = 64;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is new: no request has come, nor a part of one.
    Opening,
    /// Its last request is answered, and no byte of the next has come.
    Idle,
    /// A part of a head has come.
    Head,
    /// A head has come, its body is being read.
    Body,
    /// The request is complete and waits for its answer; for that there is no limit here.
    Answering,
    /// The last answer is given; what still comes is thrown away.
    Closing,
}

/// Why a connection is closed from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was not used for long enough.
    Idle,
    /// The head, or a header that goes before all requests, did not come in time.
    HeadTimeout,
    /// The body did not come in time.
    BodyTimeout,
    /// The request line is longer than a head may be.
    UriTooLong,
    /// The head is longer than it may be.
    HeadTooLarge,
}

impl End {
    /// The answer that the client gets before.
    pub const fn status(self) -> Option<StatusCode> {
        match self {
            Self::Idle => None,
            Self::HeadTimeout | Self::BodyTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            Self::UriTooLong => Some(StatusCode::URI_TOO_LONG),
            Self::HeadTooLarge => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        }
    }

    /// Its name in the metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::UriTooLong => "uri_too_long",
            Self::HeadTooLarge => "head_too_large",
        }
    }
}

/// What connections are held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long one may be idle.
    pub keep_alive: Duration,
    /// How long a head may take.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// The bytes of a head.
    pub head_bytes_max: usize,
    /// The bytes of a request's target.
    pub uri_bytes_max: usize,
    /// The requests of one connection; 0 is no limit.
    pub requests_max: u64,
}

impl From<&PixelConfig> for Limits {
    fn from(config: &PixelConfig) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        Self {
            keep_alive: config.keep_alive,
            header_timeout: config.header_timeout,
            body_timeout: config.body_timeout,
            head_bytes_max: bytes(config.max_head_bytes),
            uri_bytes_max: bytes(config.max_uri_bytes),
            // Without keep-alive, the first request of a connection is its last.
            requests_max: match config.keep_alive {
                Duration::ZERO => 1,
                _ => config.max_requests_per_connection,
            },
        }
    }
}

/// A connection, shared by its stream, its requests and the sweep.
#[derive(Debug)]
pub struct Connection {
    /// The bytes in both directions.
    pub stream: RefCell<Stream>,
    /// Who is at the other end.
    pub peer: Cell<Option<SocketAddr>>,
    limits: Limits,
    metrics: Arc<Metrics>,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    requests: Cell<u64>,
    /// The bytes that may still come before the next step of a request.
    allowance: Cell<usize>,
    /// About how many requests the dispatcher has that have not begun.
    queued: Cell<usize>,
    /// The dispatcher was made to take these first, and none has begun since.
    has_skipped: Cell<bool>,
    /// The dispatcher has looked at everything that the allowance let through.
    has_yielded: Cell<bool>,
    /// The line break after the request line has come.
    has_line: Cell<bool>,
    /// What came last was the end of a head: no part of a request waits in a buffer.
    is_clean: Cell<bool>,
    /// The peer does not take its answers, so no request is read.
    is_clogged: Cell<bool>,
    /// Reading has stopped until the waker is called.
    is_parked: Cell<bool>,
    is_ending: Cell<bool>,
    /// It gives up its buffers until bytes come.
    is_asleep: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    end: Cell<Option<End>>,
    pub(crate) slot: Cell<usize>,
}

impl Connection {
    /// A new connection.
    pub fn new(
        stream: Stream,
        peer: Option<SocketAddr>,
        limits: Limits,
        metrics: Arc<Metrics>,
        now: Instant,
    ) -> Self {
        Self {
            stream: RefCell::new(stream),
            peer: Cell::new(peer),
            limits,
            metrics,
            phase: Cell::new(Phase::Opening),
            since: Cell::new(now),
            requests: Cell::new(0),
            allowance: Cell::new(limits.head_bytes_max),
            queued: Cell::new(0),
            has_skipped: Cell::new(false),
            has_yielded: Cell::new(false),
            has_line: Cell::new(false),
            is_clean: Cell::new(true),
            is_clogged: Cell::new(false),
            is_parked: Cell::new(false),
            is_ending: Cell::new(false),
            is_asleep: Cell::new(true),
            waker: RefCell::new(None),
            end: Cell::new(None),
            slot: Cell::new(0),
        }
    }

    /// The limits that it is held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(*self.stream.borrow(), Stream::Tls(_))
    }

    /// Why it is being closed.
    pub fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// Whether it has given up its buffers.
    pub fn is_asleep(&self) -> bool {
        self.is_asleep.get()
    }

    pub(crate) fn wake_up(&self) {
        self.is_asleep.set(false);
    }

    /// A request begins; it has a body or not.
    pub fn begin(&self, has_body: bool, now: Instant) {
        self.requests.set(self.requests.get() + 1);
        self.queued.set(self.queued.get().saturating_sub(1));
        self.has_skipped.set(false);
        self.phase.set(if has_body { Phase::Body } else { Phase::Answering });
        if has_body {
            self.is_clean.set(false);
        }
        self.since.set(now);
        self.renew_allowance();
    }

    /// The body of the request has been read.
    pub fn has_body(&self) {
        self.phase.set(Phase::Answering);
    }

    /// The answer that is about to be given is the last.
    pub fn end_with_answer(&self) {
        self.is_ending.set(true);
    }

    /// The request is answered.
    pub fn finish(&self, now: Instant) {
        self.phase.set(if self.is_ending.get() { Phase::Closing } else { Phase::Idle });
        self.since.set(now);
        self.renew_allowance();
        self.unpark();
    }

    /// Whether the answer to the present request is the connection's last.
    pub fn is_ending(&self) -> bool {
        let requests_max = self.limits.requests_max;
        self.is_ending.get() || (requests_max > 0 && self.requests.get() >= requests_max)
    }

    fn renew_allowance(&self) {
        self.allowance.set(self.limits.head_bytes_max);
        self.has_yielded.set(false);
        self.has_line.set(false);
    }

    /// Counts an answer that no request gets as a whole.
    pub(crate) fn refused(&self, status: StatusCode) {
        self.metrics.refused(status);
        self.metrics.rejected(intake::reason(status));
    }

    /// Closes it, for a reason that is counted.
    pub fn close(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
            self.metrics.closed(end.reason());
            self.unpark_always();
        }
    }

    /// Holds it to the limits in time.
    pub(crate) fn check(&self, now: Instant, tick: Duration) {
        let (limit, end) = match self.phase.get() {
            Phase::Opening | Phase::Closing => (self.limits.header_timeout, End::Idle),
            Phase::Idle => (self.limits.keep_alive, End::Idle),
            Phase::Head => (self.limits.header_timeout, End::HeadTimeout),
            Phase::Body => (self.limits.body_timeout, End::BodyTimeout),
            Phase::Answering => return,
        };
        if self.quiet_for(now) >= limit + tick {
            self.close(end);
        } else if self.phase.get() == Phase::Idle
            && self.is_clean.get()
            && !self.is_clogged.get()
            && !self.is_asleep.get()
            && self.quiet_for(now) >= tick
        {
            self.is_asleep.set(true);
            self.unpark_always();
        }
    }

    /// Closes it if it does nothing and has done nothing for that long.
    pub(crate) fn close_if_quiet(&self, now: Instant, grace: Duration) {
        let is_idle = matches!(self.phase.get(), Phase::Opening | Phase::Idle);
        if is_idle && self.quiet_for(now) >= grace {
            self.close(End::Idle);
        }
    }

    fn quiet_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since.get())
    }

    /// Whether more may be read now; if not, the task is woken when that changes.
    pub(crate) fn may_read(&self, cx: &Context<'_>) -> bool {
        self.remember(cx);
        if self.is_clogged.get() {
            self.is_parked.set(true);
            return false;
        }
        if self.queued.get() >= READ_AHEAD {
            if !self.has_skipped.replace(true) {
                cx.waker().wake_by_ref();
                return false;
            }
            // None begins: it was no request that looked like one, or the first one waits.
            self.queued.set(0);
        }
        if self.allowance.get() > 0 {
            return true;
        }
        match self.phase.get() {
            // The dispatcher limits what it holds of a body by itself.
            Phase::Body | Phase::Closing => return true,
            Phase::Answering => self.is_parked.set(true),
            Phase::Opening | Phase::Idle | Phase::Head => {
                if self.has_yielded.replace(true) {
                    self.close(if self.has_line.get() {
                        End::HeadTooLarge
                    } else {
                        End::UriTooLong
                    });
                }
                // The dispatcher looks for a request only after it has read.
                cx.waker().wake_by_ref();
            }
        }
        false
    }

    /// Bytes have come.
    pub(crate) fn has_read(&self, bytes: &[u8], now: impl FnOnce() -> Instant) {
        self.is_clean.set(bytes.ends_with(b"\r\n\r\n"));
        self.allowance.set(self.allowance.get().saturating_sub(bytes.len()));
        if matches!(self.phase.get(), Phase::Opening | Phase::Idle) && !bytes.is_empty() {
            self.phase.set(Phase::Head);
            self.since.set(now());
        }
        if self.phase.get() == Phase::Head && !self.has_line.get() {
            // Line breaks before a request are no part of it.
            let text = bytes.trim_ascii_start();
            self.has_line.set(text.contains(&b'\n'));
        }
    }

    /// These bytes have come to the dispatcher, which decodes all that it has at once.
    pub(crate) fn has_queued(&self, bytes: &[u8]) {
        let heads = memmem::find_iter(bytes, b"\r\n\r\n").count();
        self.queued.set(self.queued.get() + heads);
    }

    /// The peer takes what is written, or not.
    pub(crate) fn set_clogged(&self, is_clogged: bool) {
        if self.is_clogged.replace(is_clogged) && !is_clogged {
            self.unpark();
        }
    }

    /// Remembers whom to wake.
    pub(crate) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn unpark(&self) {
        if self.is_parked.replace(false) {
            self.unpark_always();
        }
    }

    fn unpark_always(&self) {
        self.is_parked.set(false);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
