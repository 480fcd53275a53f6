//! From a request to its answer: the event is submitted, the request let go, the ack awaited.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::body::BoxBody;
use actix_http::header::{HeaderValue, RETRY_AFTER};
use actix_http::{ConnectionType, Request, Response, StatusCode};
use sewer_wal::Event;

use crate::config::{Ack, OnFull};
use crate::http::connection::Connection;
use crate::http::connections::Connections;
use crate::http::intake::{self, Body};
use crate::metrics::{InFlight, Metrics, State};
use crate::policy::Plan;
use crate::policy::answer::{Answer, Unrecorded};
use crate::policy::current::Current;
use crate::request::head::Head;
use crate::wal::submit::{Durable, SubmitError, Submitter};

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
    /// Answers a request that came with its connection.
    pub async fn answer(&self, request: Request) -> Response<BoxBody> {
        let connection = connection_of(&request);
        let guards = self.guards(&connection);
        let outcome = self.submit(request, &connection).await;
        self.finish(Begun { outcome, guards }).await
    }

    /// Takes a request that has no body.
    pub fn begin<'a>(&'a self, connection: &'a Connection, head: &Head<'_>) -> Begun<'a> {
        let guards = self.guards(connection);
        let timestamp_ms = now_ms();
        connection.begin(false, self.connections.now());
        let policy = self.policy.get();
        let outcome = intake::check(head, connection.limits(), policy.body_bytes_max())
            .map_err(Refused::Limit)
            .and_then(|()| self.record(policy.plan(head), head, None, timestamp_ms));
        Begun { outcome, guards }
    }

    /// The answer to a request, when it has its ack.
    pub async fn finish(&self, begun: Begun<'_>) -> Response<BoxBody> {
        let Begun { outcome, guards } = begun;
        let connection = guards.busy.connection;
        let outcome = match outcome {
            Ok((answer, Some(durable))) => durable.await.map(|()| answer).map_err(Refused::Submit),
            Ok((answer, None)) => Ok(answer),
            Err(refused) => Err(refused),
        };
        let mut response = match outcome {
            Ok(answer) => {
                self.metrics.answered(answer.status());
                answer.into_response()
            }
            Err(refused) => self.refuse(refused, connection),
        };
        if connection.is_ending() || self.metrics.state() != State::Serving {
            connection.end_with_answer();
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    fn guards<'a>(&'a self, connection: &'a Connection) -> Guards<'a> {
        let busy = Busy { connection, connections: &self.connections };
        Guards { busy, _in_flight: self.metrics.request() }
    }

    /// Says to a client that asks before it sends its body whether that will be read.
    ///
    /// # Errors
    /// The answer to the request, if it will not.
    pub fn expect(&self, request: Request) -> Result<Request, Response<BoxBody>> {
        let connection = connection_of(&request);
        let body_bytes_max = self.policy.get().body_bytes_max();
        let head = Head::of(&request, connection.is_tls());
        match intake::check(&head, connection.limits(), body_bytes_max) {
            Ok(()) => Ok(request),
            Err(status) => {
                let response = self.refuse(Refused::Limit(status), &connection);
                connection.finish(self.connections.now());
                Err(response)
            }
        }
    }

    /// The answer, and what it waits for. The request is gone then: so it is at hand for the next
    /// one of any connection while this one waits.
    async fn submit(&self, mut request: Request, connection: &Connection) -> Outcome<'_> {
        let policy = self.policy.get();
        let timestamp_ms = now_ms();
        let payload = intake::take_body(&mut request);
        connection.begin(matches!(payload, Body::Ends(_)), self.connections.now());
        let head = Head::of(&request, connection.is_tls());
        intake::check(&head, connection.limits(), policy.body_bytes_max())
            .map_err(Refused::Limit)?;
        let plan = policy.plan(&head);
        let body = match payload {
            Body::None => None,
            Body::Endless => {
                connection.end_with_answer();
                None
            }
            Body::Ends(payload) => {
                let keep = matches!(&plan, Plan::Record(recording) if recording.has_body());
                let body = intake::read(payload, policy.body_bytes_max(), keep).await;
                connection.has_body();
                let body = body.map_err(Refused::Limit)?;
                keep.then_some(body)
            }
        };
        self.record(plan, &head, body.as_deref(), timestamp_ms)
    }

    /// Carries out what is planned.
    fn record(
        &self,
        plan: Plan<'_>,
        head: &Head<'_>,
        body: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Outcome<'_> {
        let recording = match plan {
            Plan::Record(recording) => recording,
            Plan::Answer(answer, why) => {
                self.metrics.unrecorded(why);
                return Ok((answer, None));
            }
        };
        if self.metrics.is_full() {
            if recording.policy.on_full() == OnFull::Reject {
                return Err(Refused::Full);
            }
            self.metrics.dropped();
            return Ok((recording.answer, None));
        }
        let submit = |event: &Event<'_>| self.submitter.submit(event);
        let submitted = recording.with_event(head, body, timestamp_ms, submit);
        let Some(submitted) = submitted else {
            self.metrics.unrecorded(Unrecorded::DropRule);
            return Ok((recording.answer, None));
        };
        let durable = submitted.map_err(Refused::Submit)?;
        let waits = recording.ack() == Ack::Durable;
        Ok((recording.answer, waits.then_some(durable)))
    }

    fn refuse(&self, refused: Refused, connection: &Connection) -> Response<BoxBody> {
        let status = refused.status();
        // What is malformed is counted where the connection ends.
        if status != StatusCode::BAD_REQUEST {
            self.metrics.refused(status);
            self.metrics.rejected(refused.reason());
        }
        let mut response = Response::new(status);
        match refused {
            // What is left of the request is not worth reading.
            Refused::Limit(_) => {
                connection.end_with_answer();
                response.head_mut().set_connection_type(ConnectionType::Close);
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

fn connection_of(request: &Request) -> Rc<Connection> {
    let connection = request.conn_data::<Rc<Connection>>();
    Rc::clone(connection.expect("the server gives each of its requests its connection"))
}

/// The answer, and what it waits for.
type Outcome<'a> = Result<(Answer, Option<Durable<'a>>), Refused>;

/// A request that waits for its answer.
pub struct Begun<'a> {
    outcome: Outcome<'a>,
    guards: Guards<'a>,
}

/// What holds until a request is answered.
struct Guards<'a> {
    busy: Busy<'a>,
    _in_flight: InFlight<'a>,
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
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// It is over a limit, or malformed.
    Limit(StatusCode),
    /// The disk is full.
    Full,
    /// The committer did not take the event.
    Submit(SubmitError),
}

impl Refused {
    /// Its name in the metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::Limit(status) => intake::reason(status),
            Self::Full => "disk_full",
            Self::Submit(SubmitError::Overloaded) => "overloaded",
            Self::Submit(SubmitError::TooLarge) => "too_large",
            Self::Submit(SubmitError::Closed) => "wal_failed",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Limit(status) => status,
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
