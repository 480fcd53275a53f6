//! From a request to its answer: the event is submitted, the request let go, the ack awaited.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::body::BoxBody;
use actix_http::header::{HeaderValue, RETRY_AFTER};
use actix_http::{ConnectionType, Payload, Request, Response, StatusCode};
use sewer_wal::Event;

use crate::commit::{Durable, SubmitError, Submitter};
use crate::config::{Ack, OnFull};
use crate::connection::Connection;
use crate::head::Head;
use crate::intake;
use crate::metrics::{Metrics, State};
use crate::policy::answer::Answer;
use crate::policy::current::Current;
use crate::policy::{Plan, Policy, Unrecorded};
use crate::sweep::Connections;

/// What one worker needs for a request.
#[derive(Debug)]
pub struct Handler {
    /// Its lane to the committer.
    pub submitter: Submitter,
    /// What it counts in.
    pub metrics: Arc<Metrics>,
    /// Its connections.
    pub connections: Rc<Connections>,
    /// What is answered and what is recorded.
    pub policy: Current,
}

impl Handler {
    /// Answers a request.
    pub async fn answer(&self, request: Request) -> Response<BoxBody> {
        let _in_flight = self.metrics.request();
        let connection = request.conn_data::<Rc<Connection>>().map(Rc::clone);
        let connection = connection.expect("the server gives each of its requests its connection");
        let _busy = Busy { connection: &connection, connections: &self.connections };
        let policy = self.policy.get();
        let outcome = match self.submit(&policy, request, &connection).await {
            Ok((answer, Some(durable))) => durable.await.map(|()| answer).map_err(Refused::Submit),
            Ok((answer, None)) => Ok(answer),
            Err(refused) => Err(refused),
        };
        let is_last = matches!(outcome, Err(Refused::Limit(_)))
            || connection.is_worn_out()
            || self.metrics.state() != State::Serving;
        let mut response = match outcome {
            Ok(answer) => {
                self.metrics.answered(answer.status());
                answer.into_response()
            }
            Err(refused) => self.refuse(&refused),
        };
        if is_last {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    /// Hands the event over, and lets go of the request before anybody waits for the disk: so it
    /// is at hand for the next request of any connection. Returns the answer and what it waits for.
    async fn submit(
        &self,
        policy: &Policy,
        mut request: Request,
        connection: &Connection,
    ) -> Result<(Answer, Option<Durable<'_>>), Refused> {
        let timestamp_ms = now_ms();
        let body = intake::take_body(&mut request);
        connection.begin(body.is_some(), self.connections.now());
        intake::check(&request, connection.limits()).map_err(Refused::Limit)?;
        let head = Head::of(&request, connection.is_tls());
        let recording = match policy.plan(&head) {
            Plan::Record(recording) => recording,
            Plan::Answer(answer, why) => {
                read(body, connection, false).await?;
                self.metrics.unrecorded(why);
                return Ok((answer, None));
            }
        };
        let body = read(body, connection, recording.has_body()).await?;
        if self.metrics.is_full() {
            if policy.on_full() == OnFull::Reject {
                return Err(Refused::Full);
            }
            self.metrics.dropped();
            return Ok((recording.answer, None));
        }
        let submit = |event: &Event<'_>| self.submitter.submit(event);
        let submitted = recording.with_event(&head, body.as_deref(), timestamp_ms, submit);
        let Some(submitted) = submitted else {
            self.metrics.unrecorded(Unrecorded::DropRule);
            return Ok((recording.answer, None));
        };
        let durable = submitted.map_err(Refused::Submit)?;
        let waits = recording.ack() == Ack::Durable;
        Ok((recording.answer, waits.then_some(durable)))
    }

    fn refuse(&self, refused: &Refused) -> Response<BoxBody> {
        let status = match refused {
            Refused::Limit(status) => *status,
            Refused::Submit(SubmitError::TooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refused::Full | Refused::Submit(SubmitError::Overloaded | SubmitError::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        // What is malformed is counted where the connection ends.
        if status != StatusCode::BAD_REQUEST {
            self.metrics.refused(status.as_str());
        }
        let mut response = Response::new(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Reads a body to its end; it is returned if it is to be kept.
async fn read(
    body: Option<Payload>,
    connection: &Connection,
    keep: bool,
) -> Result<Option<Vec<u8>>, Refused> {
    let Some(body) = body else { return Ok(None) };
    let kept = intake::read(body, connection.limits(), keep).await.map_err(Refused::Limit)?;
    connection.has_body();
    Ok(keep.then_some(kept))
}

/// A request until it is answered, or until its connection is gone.
struct Busy<'a> {
    connection: &'a Connection,
    connections: &'a Connections,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.connection.finish(self.connections.now());
    }
}

/// Why a request was not recorded.
enum Refused {
    /// It is over a limit, or malformed.
    Limit(StatusCode),
    /// The disk is full.
    Full,
    /// The committer did not take the event.
    Submit(SubmitError),
}

/// Milliseconds since the Unix epoch; 0 while the clock stands before it.
fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
