//! Limits of a connection and of its requests.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytesize::ByteSize;

use crate::config::PixelConfig;
use crate::request::parse::{BodyLength, Parsed};

/// Limits that the configuration sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a connection may be idle.
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

impl Limits {
    /// Whether a request is within the limits.
    ///
    /// # Errors
    /// The status of its answer if it is not.
    pub fn check(&self, request: &Parsed<'_>, body_bytes_max: usize) -> Result<(), StatusCode> {
        if request.head.target_bytes() > self.uri_bytes_max {
            return Err(StatusCode::URI_TOO_LONG);
        }
        if request.bytes > self.head_bytes_max {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        match request.framing.body {
            BodyLength::Bytes(bytes) if bytes > body_bytes_max as u64 => {
                Err(StatusCode::PAYLOAD_TOO_LARGE)
            }
            _ => Ok(()),
        }
    }
}

/// The reason, in the metrics, of a refusal with this status by a limit or as malformed.
pub(super) fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::URI_TOO_LONG => "uri_too_long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "head_too_large",
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        _ => "malformed",
    }
}
