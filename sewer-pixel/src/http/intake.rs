//! What a request may be: limits that are looked at before anything else, and its body.

use actix_http::header::{CONTENT_LENGTH, UPGRADE};
use actix_http::{HttpMessage as _, Method, Payload, Request, StatusCode};
use futures_util::StreamExt as _;

use crate::http::connection::Limits;
use crate::request::head::Head;

/// Whether a request is within the limits.
///
/// # Errors
/// With what it is answered if it is not.
pub fn check(head: &Head<'_>, limits: &Limits, body_bytes_max: usize) -> Result<(), StatusCode> {
    if head.target_bytes() > limits.uri_bytes_max {
        return Err(StatusCode::URI_TOO_LONG);
    }
    if head.bytes() > limits.head_bytes_max {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    if announced_bytes(head).is_some_and(|bytes| bytes > body_bytes_max as u64) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    Ok(())
}

/// Why a request was refused that is over a limit, or malformed, in the metrics.
pub fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::URI_TOO_LONG => "uri_too_long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "head_too_large",
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        _ => "malformed",
    }
}

fn announced_bytes(head: &Head<'_>) -> Option<u64> {
    let text = std::str::from_utf8(head.headers.get(&CONTENT_LENGTH)?);
    text.ok()?.parse().ok()
}

/// What follows the head of a request.
pub enum Body {
    /// Nothing: the next request.
    None,
    /// A body that comes to an end.
    Ends(Payload),
    /// What belongs to a CONNECT or a change to WebSocket. It is never read, and the connection ends
    /// with the answer.
    Endless,
}

/// Takes the body out of a request.
pub fn take_body(request: &mut Request) -> Body {
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return Body::None;
    }
    let headers = request.headers();
    let is_chunked = request.chunked().unwrap_or(false);
    let is_upgrade = headers.contains_key(UPGRADE) || request.method() == Method::CONNECT;
    let ends = is_chunked || (headers.contains_key(CONTENT_LENGTH) && !is_upgrade);
    if ends { Body::Ends(payload) } else { Body::Endless }
}

/// Reads a body to its end, so that the connection can be used again; it is kept, or dropped as it
/// comes.
///
/// # Errors
/// With what the request is answered if the body is malformed or too long.
pub async fn read(mut body: Payload, bytes_max: usize, keep: bool) -> Result<Vec<u8>, StatusCode> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| StatusCode::BAD_REQUEST)?;
        bytes += chunk.len();
        if bytes > bytes_max {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if keep {
            kept.extend_from_slice(&chunk);
        }
    }
    Ok(kept)
}
