//! Limits of a connection and of its requests.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytesize::ByteSize;

use crate::config::{Config, PixelConfig};
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

/// Descriptors that are kept for the WAL, the status port and everything else, and further ones for
/// each worker's event loop.
const FILES_KEPT: u64 = 96;
const FILES_PER_WORKER: u64 = 8;

/// The connections that a worker may have if the process may have so many files.
pub(crate) fn connections_max(config: &Config, files_max: u64) -> usize {
    let workers = config.workers() as u64;
    let left = files_max.saturating_sub(FILES_KEPT + FILES_PER_WORKER * workers) / workers;
    // With less than that it could not serve at all.
    config.pixel.max_connections.min(usize::try_from(left.max(1)).unwrap_or(usize::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_wal_and_the_status_port() {
        let mut config = Config::default();
        config.pixel.workers = 2;
        for (files_max, connections) in
            [(0, 1), (100, 1), (256, 72), (1024, 456), (1 << 20, 25_000), (u64::MAX, 25_000)]
        {
            assert_eq!(connections_max(&config, files_max), connections, "{files_max}");
        }
    }
}
