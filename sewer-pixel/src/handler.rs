//! From a request to its answer: the event is submitted, the request let go, the ack awaited.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::body::BoxBody;
use actix_http::header::{HeaderValue, RETRY_AFTER};
use actix_http::{Request, Response, StatusCode};
use ipnet::IpNet;

use crate::commit::{Durable, SubmitError, Submitter};
use crate::config::OnFull;
use crate::head::Head;
use crate::metrics::{Metrics, State};
use crate::request::{Peer, event};

/// What one worker needs for a request.
#[derive(Debug)]
pub struct Handler {
    /// Its lane to the committer.
    pub submitter: Submitter,
    /// What it counts in.
    pub metrics: Arc<Metrics>,
    /// Whose forwarded headers are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// What a request gets while the disk is full.
    pub on_full: OnFull,
}

impl Handler {
    /// Answers a request.
    pub async fn answer(&self, request: Request) -> Response<BoxBody> {
        let _in_flight = self.metrics.request();
        let submitted = self.submit(&Head::of(&request, false));
        // Before the wait: so it is at hand for the next request of any connection.
        drop(request);
        let outcome = match submitted {
            Ok(durable) => durable.await.map_err(Refused::Submit),
            Err(refused) => Err(refused),
        };
        let mut response = self.response(outcome);
        if self.metrics.state() != State::Serving {
            response.head_mut().set_connection_type(actix_http::ConnectionType::Close);
        }
        response
    }

    fn submit(&self, head: &Head<'_>) -> Result<Durable<'_>, Refused> {
        if self.metrics.is_full() {
            return Err(Refused::Full);
        }
        let peer = Peer::new(head.peer, &self.trusted_proxies);
        self.submitter.submit(&event(head, &peer, now_ms())).map_err(Refused::Submit)
    }

    fn response(&self, outcome: Result<(), Refused>) -> Response<BoxBody> {
        match outcome {
            Err(Refused::Full) if self.on_full == OnFull::Drop => {
                self.metrics.dropped();
                Response::new(StatusCode::NO_CONTENT)
            }
            Ok(()) => {
                self.metrics.answered();
                Response::new(StatusCode::NO_CONTENT)
            }
            Err(Refused::Submit(SubmitError::TooLarge)) => {
                self.metrics.refused("431");
                Response::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            }
            Err(Refused::Full | Refused::Submit(SubmitError::Overloaded | SubmitError::Closed)) => {
                self.metrics.refused("503");
                let mut response = Response::new(StatusCode::SERVICE_UNAVAILABLE);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
        }
    }
}

/// Why a request was not recorded.
enum Refused {
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
