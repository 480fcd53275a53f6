//! The head of a request, borrowed: what an event is made from and what rules look at.

use std::net::SocketAddr;

use actix_http::header::HeaderMap;
use actix_http::{Method, Request, Uri};

/// A request without its body. Bytes stay as received.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, in whichever form it came.
    pub uri: &'a Uri,
    /// The headers; those of one name in the order in which they came.
    pub headers: &'a HeaderMap,
    /// Who is at the other end of the connection, as far as it tells.
    pub peer: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

impl<'a> Head<'a> {
    /// The head of a request on a connection that is encrypted or not.
    pub fn of(request: &'a Request, is_tls: bool) -> Self {
        let head = request.head();
        Self {
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            peer: head.peer_addr,
            is_tls,
        }
    }
}
