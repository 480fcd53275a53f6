//! `AccessLogEvent`: one event as the older server's Java class writes and reads it.
//!
//! ```text
//! AccessLogEvent = timestamp VLong          milliseconds since the Unix epoch
//!                  ip, host, requestPath, queryString, referer, userAgent, cookies   Text each
//!                  sortHash Text            32 hex digits, lower case
//! sortHash = MD5(timestamp in decimal, then the seven strings, no separator)
//! ```
//! Absent and empty are both an empty Text; only the hash tells them apart, because an absent field
//! counts there as the text `null`. The hash is over the strings as written, after invalid UTF-8
//! became U+FFFD. Extra fields have no place in this class.

use crate::hadoop::writable::{Input, WritableError, lossy, put_length, put_text, put_vlong};
use md5::{Digest, Md5};
use serde::Serialize;
use sewer_wal::event::Event;
use std::borrow::Cow;
use std::io::Write as _;

/// The older server's class, which existing jobs load by this name.
pub const ACCESS_LOG_CLASS: &str = "net.pixelcop.sewer.source.http.AccessLogEvent";

/// Appends an event to `out`.
pub fn put_access_log(out: &mut Vec<u8>, event: &Event<'_>) {
    let mut hash = Md5::new();
    // The decimal digits borrow the end of `out` for a moment, which spares an allocation.
    let start = out.len();
    write!(out, "{}", event.timestamp_ms).expect("a Vec takes every write");
    hash.update(&out[start..]);
    out.truncate(start);

    put_vlong(out, event.timestamp_ms);
    for field in event.fields() {
        if let Some(bytes) = field {
            let text = lossy(bytes);
            hash.update(text.as_bytes());
            put_text(out, &text);
        } else {
            hash.update(b"null");
            put_length(out, 0);
        }
    }
    put_hex_text(out, &hash.finalize());
}

/// Appends bytes as a Text of lower-case hex digits.
fn put_hex_text(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    put_length(out, 2 * bytes.len());
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// An `AccessLogEvent` as read, in the order and by the names of its JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessLog<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The client's address.
    pub ip: Cow<'a, str>,
    /// The host asked for.
    pub host: Cow<'a, str>,
    /// The path, not decoded.
    pub request_path: Cow<'a, str>,
    /// The query without `?`, not decoded.
    pub query_string: Cow<'a, str>,
    /// The Referer header.
    pub referer: Cow<'a, str>,
    /// The User-Agent header.
    pub user_agent: Cow<'a, str>,
    /// The Cookie header.
    pub cookies: Cow<'a, str>,
    /// The hash of the other fields, as written; it is not checked.
    pub sort_hash: Cow<'a, str>,
}

impl<'a> AccessLog<'a> {
    /// Reads an event that fills `bytes`.
    ///
    /// # Errors
    /// [`WritableError`] for anything else.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WritableError> {
        let mut input = Input::new(bytes);
        let event = Self {
            timestamp: input.vlong()?,
            ip: input.text()?,
            host: input.text()?,
            request_path: input.text()?,
            query_string: input.text()?,
            referer: input.text()?,
            user_agent: input.text()?,
            cookies: input.text()?,
            sort_hash: input.text()?,
        };
        input.end()?;
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = b"\x8c\x07\x5b\xcd\x15\x071.2.3.4\x01h\x02/p\x00\x00\x02ua\x00\
        \x20fbc0e075060ccf4a92043d6944e58d84";

    fn sample() -> Event<'static> {
        Event {
            timestamp_ms: 123_456_789,
            ip: Some(b"1.2.3.4"),
            host: Some(b"h"),
            request_path: Some(b"/p"),
            user_agent: Some(b"ua"),
            ..Event::default()
        }
    }

    fn encode(event: &Event<'_>) -> Vec<u8> {
        let mut out = vec![0xee];
        put_access_log(&mut out, event);
        assert_eq!(out.remove(0), 0xee, "what was there stays");
        out
    }

    #[test]
    fn the_class_is_pinned_by_golden_bytes() {
        assert_eq!(encode(&sample()), GOLDEN);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let read = AccessLog::decode(GOLDEN).unwrap();
        assert_eq!((read.timestamp, &*read.ip, &*read.host), (123_456_789, "1.2.3.4", "h"));
        assert_eq!((&*read.request_path, &*read.query_string), ("/p", ""));
        assert_eq!((&*read.referer, &*read.user_agent, &*read.cookies), ("", "ua", ""));
        assert_eq!(read.sort_hash, "fbc0e075060ccf4a92043d6944e58d84");
    }

    #[test]
    fn absent_and_empty_differ_in_the_hash_alone() {
        let empty = encode(&Event { cookies: Some(b""), ..sample() });
        let hash_at = GOLDEN.len() - 32;
        assert_eq!(empty[..hash_at], GOLDEN[..hash_at]);
        assert_ne!(empty[hash_at..], GOLDEN[hash_at..]);
    }

    #[test]
    fn bytes_that_are_no_utf8_are_written_and_hashed_as_u_fffd() {
        let raw = encode(&Event { host: Some(b"a\xffb\xf0\x9f"), ..sample() });
        let decoded = encode(&Event { host: Some("a\u{fffd}b\u{fffd}".as_bytes()), ..sample() });
        assert_eq!(raw, decoded);
    }

    #[test]
    fn every_cut_and_every_surplus_is_an_error() {
        for length in 0..GOLDEN.len() {
            assert!(AccessLog::decode(&GOLDEN[..length]).is_err(), "cut at {length}");
        }
        let surplus = [GOLDEN, b"\0"].concat();
        assert_eq!(AccessLog::decode(&surplus), Err(WritableError::Trailing(1)));
    }
}
