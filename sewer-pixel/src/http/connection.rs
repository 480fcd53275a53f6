//! The state of one connection and the limits in time enforced on it.
//!
//! A connection is in one [`Phase`] at a time; how long it may stay there is a limit of the
//! configuration. Times are kept by the clock of [`super::connections`], which moves in ticks, so
//! that a request costs no timer and no look at a clock: a limit is kept to within a tick or two.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;

use super::limits::Limits;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is new: no request has come, nor a part of one.
    Opening,
    /// Its last request is answered, and no byte of the next has come.
    Idle,
    /// A part of a head has come.
    Head,
    /// A head has come, its body is being read.
    Body,
    /// The request is complete and waits for its ack; for that there is no limit here.
    Answering,
    /// The answer is being sent.
    Sending,
}

/// Why a connection is closed from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was not used for long enough.
    Idle,
    /// The head did not come in time.
    HeadTimeout,
    /// The body did not come in time.
    BodyTimeout,
}

impl End {
    /// The answer that the client gets before.
    pub(super) const fn status(self) -> Option<StatusCode> {
        match self {
            Self::Idle => None,
            Self::HeadTimeout | Self::BodyTimeout => Some(StatusCode::REQUEST_TIMEOUT),
        }
    }

    /// Its name in the metrics.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
        }
    }
}

/// A connection, shared by the task that serves it and the sweep.
#[derive(Debug)]
pub(super) struct Connection {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    end: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
    /// Its place among the connections of its worker.
    pub(super) slot: Cell<usize>,
}

impl Connection {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Cell::new(Phase::Opening),
            since: Cell::new(now),
            end: Cell::new(None),
            waker: RefCell::new(None),
            slot: Cell::new(0),
        }
    }

    /// Begins a phase.
    pub(super) fn enter(&self, phase: Phase, now: Instant) {
        self.phase.set(phase);
        self.since.set(now);
    }

    /// Begins the head of a request, if no byte of it had come before.
    pub(super) fn enter_head(&self, now: Instant) {
        if matches!(self.phase.get(), Phase::Opening | Phase::Idle) {
            self.enter(Phase::Head, now);
        }
    }

    /// Why it is being closed.
    pub(super) fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// The same; if it is not, the task is woken when it is.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Option<End> {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.end.get()
    }

    /// Ends it if it has been in its phase for too long; returns why, the first time.
    pub(super) fn check(&self, now: Instant, tick: Duration, limits: &Limits) -> Option<End> {
        let (limit, end) = match self.phase.get() {
            Phase::Opening => (limits.header_timeout, End::Idle),
            // Without keep-alive the answer is the last, and may take a while nevertheless.
            Phase::Sending if limits.keep_alive.is_zero() => (limits.header_timeout, End::Idle),
            Phase::Idle | Phase::Sending => (limits.keep_alive, End::Idle),
            Phase::Head => (limits.header_timeout, End::HeadTimeout),
            Phase::Body => (limits.body_timeout, End::BodyTimeout),
            Phase::Answering => return None,
        };
        self.close_after(limit + tick, now, end)
    }

    /// Ends it if it waits for a request and has done so for that long; returns why, the first
    /// time.
    pub(super) fn check_quiet(&self, now: Instant, grace: Duration) -> Option<End> {
        let is_idle = matches!(self.phase.get(), Phase::Opening | Phase::Idle);
        if is_idle { self.close_after(grace, now, End::Idle) } else { None }
    }

    /// Since when it has waited for a request or for the rest of its head; `None` if it does not,
    /// or is being closed.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let waits = matches!(self.phase.get(), Phase::Opening | Phase::Idle | Phase::Head);
        (waits && self.end.get().is_none()).then(|| self.since.get())
    }

    /// Ends it, so that another can have its place, if it has waited for that long; returns why,
    /// the first time.
    pub(super) fn give_way(&self, now: Instant, grace: Duration) -> Option<End> {
        self.waits_since()?;
        self.close_after(grace, now, End::Idle)
    }

    fn close_after(&self, time: Duration, now: Instant, end: End) -> Option<End> {
        if self.end.get().is_some() || now.saturating_duration_since(self.since.get()) < time {
            return None;
        }
        self.end.set(Some(end));
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PixelConfig;

    const TICK: Duration = Duration::from_millis(10);

    /// When a connection in this phase is closed, in seconds from its begin, and why.
    fn closed(phase: Phase, config: &PixelConfig) -> Option<(u64, End)> {
        let (limits, start) = (Limits::from(config), Instant::now());
        let connection = Connection::new(start);
        connection.enter(phase, start);
        for second in 0..100 {
            let now = start + Duration::from_secs(second) + TICK;
            if let Some(end) = connection.check(now, TICK, &limits) {
                assert_eq!(connection.end(), Some(end));
                assert_eq!(connection.check(now, TICK, &limits), None, "told once");
                return Some((second, end));
            }
        }
        None
    }

    #[test]
    fn each_phase_has_its_limit_and_its_end() {
        let config = PixelConfig {
            keep_alive: Duration::from_secs(75),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            ..PixelConfig::default()
        };
        for (phase, expected) in [
            (Phase::Opening, Some((10, End::Idle))),
            (Phase::Idle, Some((75, End::Idle))),
            (Phase::Head, Some((10, End::HeadTimeout))),
            (Phase::Body, Some((20, End::BodyTimeout))),
            (Phase::Answering, None),
            (Phase::Sending, Some((75, End::Idle))),
        ] {
            assert_eq!(closed(phase, &config), expected, "{phase:?}");
        }
        let config = PixelConfig { keep_alive: Duration::ZERO, ..config };
        assert_eq!(closed(Phase::Sending, &config), Some((10, End::Idle)));
    }

    #[test]
    fn a_head_counts_from_its_first_byte() {
        let (start, later) = (Instant::now(), Instant::now() + Duration::from_secs(5));
        let connection = Connection::new(start);
        connection.enter_head(start);
        connection.enter_head(later);
        assert_eq!(connection.since.get(), start);
        connection.enter(Phase::Body, start);
        connection.enter_head(later);
        assert_eq!(connection.phase.get(), Phase::Body);
    }

    #[test]
    fn only_what_waits_for_a_request_is_quiet() {
        let (start, grace) = (Instant::now(), Duration::from_secs(1));
        for (phase, is_quiet) in [
            (Phase::Opening, true),
            (Phase::Idle, true),
            (Phase::Head, false),
            (Phase::Body, false),
            (Phase::Answering, false),
            (Phase::Sending, false),
        ] {
            let connection = Connection::new(start);
            connection.enter(phase, start);
            assert_eq!(connection.check_quiet(start, grace), None, "{phase:?}");
            let end = connection.check_quiet(start + grace, grace);
            assert_eq!(end.is_some(), is_quiet, "{phase:?}");
        }
    }

    #[test]
    fn whatever_has_not_sent_a_whole_head_gives_way() {
        let (start, grace) = (Instant::now(), Duration::from_secs(1));
        for (phase, waits) in [
            (Phase::Opening, true),
            (Phase::Idle, true),
            (Phase::Head, true),
            (Phase::Body, false),
            (Phase::Answering, false),
            (Phase::Sending, false),
        ] {
            let connection = Connection::new(start);
            connection.enter(phase, start);
            assert_eq!(connection.waits_since(), waits.then_some(start), "{phase:?}");
            assert_eq!(connection.give_way(start, grace), None, "{phase:?}");
            let end = connection.give_way(start + grace, grace);
            assert_eq!(end, waits.then_some(End::Idle), "{phase:?}, and without an answer");
            assert_eq!(connection.give_way(start + grace, grace), None, "{phase:?}: told once");
        }
    }
}
