//! From a request to its answer: the event is submitted, the request let go, the ack awaited.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::StatusCode;
use sewer_wal::Event;

use super::limits;
use super::refusals::Refusals;
use super::reply::Reply;
use crate::config::{Ack, OnFull};
use crate::metrics::{InFlight, Metrics, State};
use crate::policy::answer::{Answer, Unrecorded};
use crate::policy::current::{Current, Held};
use crate::policy::{Policy, Verdict};
use crate::request::head::{Head, Origin};
use crate::wal::submit::{Durable, SubmitError, Submitter};

/// What one worker needs for a request.
#[derive(Debug)]
pub(super) struct Handler {
    /// Its lane to the committer.
    pub(super) submitter: Submitter,
    /// The counters.
    pub(super) metrics: Arc<Metrics>,
    /// The policy in force.
    pub(super) policy: Current,
    /// What the operator sees of refused requests.
    pub(super) refusals: Arc<Refusals>,
}

/// A request that waits for its answer.
pub(super) struct Pending<'a> {
    outcome: Result<(Answer, Option<Durable<'a>>), Refused>,
    _in_flight: InFlight<'a>,
}

/// Why a request is not recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    /// It is over a limit, or malformed; the text says how.
    Limit(StatusCode, &'static str),
    /// The disk is full.
    Full,
    /// The committer did not take the event.
    Submit(SubmitError),
}

impl Handler {
    /// The policy for a request that comes now.
    pub(super) fn policy(&self) -> Rc<Held> {
        self.policy.get()
    }

    /// Takes a request that is complete.
    pub(super) fn begin(
        &self,
        policy: &Policy,
        head: &Head<'_>,
        origin: &Origin,
        body: Option<&[u8]>,
    ) -> Pending<'_> {
        let in_flight = self.metrics.request();
        Pending { outcome: self.record(policy, head, origin, body), _in_flight: in_flight }
    }

    /// Takes a request that was refused; `bytes` are those that it began with.
    pub(super) fn refuse(&self, refused: Refused, peer: SocketAddr, bytes: &[u8]) -> Pending<'_> {
        let in_flight = self.metrics.request();
        self.tell(refused, peer, bytes);
        Pending { outcome: Err(refused), _in_flight: in_flight }
    }

    /// The answer to a request, when it has its ack, and whether another may follow it.
    pub(super) async fn finish(&self, pending: Pending<'_>) -> (Reply, bool) {
        let outcome = match pending.outcome {
            Ok((answer, Some(durable))) => durable.await.map(|()| answer).map_err(Refused::Submit),
            Ok((answer, None)) => Ok(answer),
            Err(refused) => Err(refused),
        };
        match outcome {
            Ok(answer) => {
                let reply = Reply::new(answer);
                self.metrics.answered(reply.status);
                (reply, self.metrics.state() == State::Serving)
            }
            Err(refused) => {
                let status = refused.status();
                self.metrics.refused(status);
                self.metrics.rejected(refused.reason());
                // What is left of a request over a limit is not worth reading.
                let goes_on = !matches!(refused, Refused::Limit(..));
                (Reply::refusal(status), goes_on && self.metrics.state() == State::Serving)
            }
        }
    }

    fn record(
        &self,
        policy: &Policy,
        head: &Head<'_>,
        origin: &Origin,
        body: Option<&[u8]>,
    ) -> Result<(Answer, Option<Durable<'_>>), Refused> {
        let refuse = |refused: Refused| {
            self.tell(refused, origin.peer, head.headers.bytes());
            Err(refused)
        };
        let recording = match policy.judge(head) {
            Verdict::Record(recording) => recording,
            Verdict::Answer(answer, why) => {
                self.metrics.unrecorded(why);
                return Ok((answer, None));
            }
        };
        if self.metrics.is_full() {
            if policy.on_full() == OnFull::Reject {
                return refuse(Refused::Full);
            }
            self.metrics.dropped();
            return Ok((recording.answer, None));
        }
        let mut decoded = Vec::new();
        let body = match body.map(|body| recording.body(head, body, &mut decoded)).transpose() {
            Ok(body) => body.flatten(),
            Err(_) => return refuse(Refused::Limit(StatusCode::PAYLOAD_TOO_LARGE, "decoded body")),
        };
        let submit = |event: &Event<'_>| self.submitter.submit(event);
        match recording.with_event(head, origin, body.as_ref(), now_ms(), submit) {
            Some(Ok(durable)) => {
                let waits = recording.ack() == Ack::Durable;
                Ok((recording.answer, waits.then_some(durable)))
            }
            Some(Err(error)) => refuse(Refused::Submit(error)),
            None => {
                self.metrics.unrecorded(Unrecorded::DropRule);
                Ok((recording.answer, None))
            }
        }
    }

    fn tell(&self, refused: Refused, peer: SocketAddr, bytes: &[u8]) {
        self.refusals.tell(refused.reason(), refused.detail(), peer, bytes);
    }
}

impl Refused {
    /// Its name in the metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::Limit(status, _) => limits::reason(status),
            Self::Full => "disk_full",
            Self::Submit(SubmitError::Overloaded) => "overloaded",
            Self::Submit(SubmitError::TooLarge) => "too_large",
            Self::Submit(SubmitError::Closed) => "wal_failed",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Limit(_, detail) => detail,
            Self::Full => "the disk is full",
            Self::Submit(SubmitError::Overloaded) => "too many events wait for the disk",
            Self::Submit(SubmitError::TooLarge) => "the event does not fit the log",
            Self::Submit(SubmitError::Closed) => "the WAL takes no more events",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Limit(status, _) => status,
            Self::Submit(SubmitError::TooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Full | Self::Submit(SubmitError::Overloaded | SubmitError::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// Milliseconds since the Unix epoch; 0 while the clock stands before it.
fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
