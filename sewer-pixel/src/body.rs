//! The body of a request whose route records it, up to a limit.

use actix_http::Payload;
use actix_http::header::{CONTENT_LENGTH, HeaderMap};
use futures_util::StreamExt;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is over the limit.
    TooLarge,
    /// It ended before its end, or is malformed.
    Broken,
}

/// Reads a body of at most `bytes_max`. A longer one is refused when that is known, and not read.
pub async fn read(
    headers: &HeaderMap,
    mut payload: Payload,
    bytes_max: usize,
) -> Result<Vec<u8>, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or(0);
    if announced > bytes_max {
        return Err(BodyError::TooLarge);
    }
    // What was announced costs memory only as it comes.
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if body.len() + chunk.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
