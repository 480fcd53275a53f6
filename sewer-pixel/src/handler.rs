//! From a request to its answer: the event is submitted, the request let go, the ack awaited.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::body::BoxBody;
use actix_http::header::{HeaderValue, RETRY_AFTER};
use actix_http::{ConnectionType, Request, Response, StatusCode};
use ipnet::IpNet;

use crate::commit::{Durable, SubmitError, Submitter};
use crate::config::{Ack, OnFull};
use crate::connection::Connection;
use crate::head::Head;
use crate::intake;
use crate::metrics::{Metrics, State};
use crate::request::{Peer, event};
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
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// What a request gets while the disk is full.
    pub on_full: OnFull,
    /// When a request is answered.
    pub ack: Ack,
}

impl Handler {
    /// Answers a request.
    pub async fn answer(&self, request: Request) -> Response<BoxBody> {
        let _in_flight = self.metrics.request();
        let connection = request.conn_data::<Rc<Connection>>().map(Rc::clone);
        let connection = connection.expect("the server gives each of its requests its connection");
        let _busy = Busy { connection: &connection, connections: &self.connections };
        let outcome = match self.submit(request, &connection).await {
            Ok(_) if self.ack == Ack::Received => Ok(()),
            Ok(durable) => durable.await.map_err(Refused::Submit),
            Err(refused) => Err(refused),
        };
        let is_last = matches!(outcome, Err(Refused::Limit(_)))
            || connection.is_worn_out()
            || self.metrics.state() != State::Serving;
        let mut response = self.response(&outcome);
        if is_last {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    /// Hands the event over, and lets go of the request before anybody waits for the disk: so it
    /// is at hand for the next request of any connection.
    async fn submit(
        &self,
        mut request: Request,
        connection: &Connection,
    ) -> Result<Durable<'_>, Refused> {
        let body = intake::take_body(&mut request);
        connection.begin(body.is_some(), self.connections.now());
        intake::check(&request, connection.limits()).map_err(Refused::Limit)?;
        if let Some(body) = body {
            intake::discard(body, connection.limits()).await.map_err(Refused::Limit)?;
            connection.has_body();
        }
        if self.metrics.is_full() {
            return Err(Refused::Full);
        }
        let head = Head::of(&request, connection.is_tls());
        let peer = Peer::new(head.peer, &self.trusted_proxies);
        self.submitter.submit(&event(&head, &peer, now_ms())).map_err(Refused::Submit)
    }

    fn response(&self, outcome: &Result<(), Refused>) -> Response<BoxBody> {
        let status = match outcome {
            Err(Refused::Full) if self.on_full == OnFull::Drop => {
                self.metrics.dropped();
                return Response::new(StatusCode::NO_CONTENT);
            }
            Ok(()) => {
                self.metrics.answered();
                return Response::new(StatusCode::NO_CONTENT);
            }
            Err(Refused::Limit(status)) => *status,
            Err(Refused::Submit(SubmitError::TooLarge)) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Err(Refused::Full | Refused::Submit(SubmitError::Overloaded | SubmitError::Closed)) => {
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
