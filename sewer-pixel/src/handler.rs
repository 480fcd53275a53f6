//! From a request to its answer: the event is submitted, the request let go, the ack awaited.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::body::BoxBody;
use actix_http::header::{HeaderValue, RETRY_AFTER};
use actix_http::{ConnectionType, Payload, Request, Response, StatusCode};
use sewer_wal::Event;

use crate::body::{self, BodyError};
use crate::commit::{Durable, SubmitError, Submitter};
use crate::config::OnFull;
use crate::head::Head;
use crate::metrics::{Metrics, State};
use crate::policy::answer::Answer;
use crate::policy::current::Current;
use crate::policy::{Plan, Policy, Recording, Unrecorded};

/// What one worker needs for a request.
#[derive(Debug)]
pub struct Handler {
    /// Its lane to the committer.
    pub submitter: Submitter,
    /// What it counts in.
    pub metrics: Arc<Metrics>,
    /// What is answered and what is recorded.
    pub policy: Current,
    /// What a request gets while the disk is full.
    pub on_full: OnFull,
}

impl Handler {
    /// Answers a request.
    pub async fn answer(&self, request: Request) -> Response<BoxBody> {
        let _in_flight = self.metrics.request();
        let policy = self.policy.get();
        let submitted = self.submit(&policy, request).await;
        let outcome = match submitted {
            Ok((answer, Some(durable))) => durable.await.map(|()| answer).map_err(Refused::Submit),
            Ok((answer, None)) => Ok(answer),
            Err(refused) => Err(refused),
        };
        let mut response = match outcome {
            Ok(answer) => {
                self.metrics.answered(answer.status());
                answer.into_response()
            }
            Err(refused) => self.refuse(refused),
        };
        if self.metrics.state() != State::Serving {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    /// The answer, and what it waits for. The request is gone then: so it is at hand for the next
    /// one of any connection while this one waits.
    async fn submit(
        &self,
        policy: &Policy,
        mut request: Request,
    ) -> Result<(Answer, Option<Durable<'_>>), Refused> {
        let timestamp_ms = now_ms();
        let payload = request.take_payload();
        let head = Head::of(&request, false);
        let recording = match policy.plan(&head) {
            Plan::Record(recording) => recording,
            Plan::Answer(answer, why) => {
                self.metrics.unrecorded(why);
                return Ok((answer, None));
            }
        };
        if self.metrics.is_full() {
            if self.on_full == OnFull::Reject {
                return Err(Refused::Full);
            }
            self.metrics.dropped();
            return Ok((recording.answer, None));
        }
        let body = read_body(policy, &recording, &head, payload).await.map_err(Refused::Body)?;
        let submit = |event: &Event<'_>| self.submitter.submit(event);
        match recording.with_event(&head, body.as_deref(), timestamp_ms, submit) {
            Some(Ok(durable)) => Ok((recording.answer, Some(durable))),
            Some(Err(error)) => Err(Refused::Submit(error)),
            None => {
                self.metrics.unrecorded(Unrecorded::DropRule);
                Ok((recording.answer, None))
            }
        }
    }

    fn refuse(&self, refused: Refused) -> Response<BoxBody> {
        let status = refused.status();
        self.metrics.refused(status);
        let mut response = Response::new(status);
        match refused {
            // What is left of the body is not worth reading.
            Refused::Body(_) => response.head_mut().set_connection_type(ConnectionType::Close),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// The body, if the event has it.
async fn read_body(
    policy: &Policy,
    recording: &Recording<'_>,
    head: &Head<'_>,
    payload: Payload,
) -> Result<Option<Vec<u8>>, BodyError> {
    if !recording.has_body() || matches!(payload, Payload::None) {
        return Ok(None);
    }
    body::read(head.headers, payload, policy.body_bytes_max()).await.map(Some)
}

/// Why a request was not recorded.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// The disk is full.
    Full,
    /// The body was not to be had.
    Body(BodyError),
    /// The committer did not take the event.
    Submit(SubmitError),
}

impl Refused {
    const fn status(self) -> StatusCode {
        match self {
            Self::Body(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Broken) => StatusCode::BAD_REQUEST,
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
