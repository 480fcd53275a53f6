//! One event as a line of tab-separated text, escaped as the text format of Postgres' `COPY` has
//! it; `\N` for an absent field is Hive's, too.
//!
//! ```text
//! line  = timestamp, (TAB field) * 7     the fields in their order: ip … cookies
//! field = \N                             absent
//!       | text                           with tab, line feed, carriage return and backslash
//!                                        written as \t \n \r \\; empty is no characters
//! ```
//! So a line has exactly seven tabs and is one line, and a field that is the text `\N` is not an
//! absent one: it is written `\\N`. Bytes that are no UTF-8 become U+FFFD. Extra fields have no
//! place in a line.

use crate::hadoop::writable::lossy;
use serde::Serialize;
use sewer_wal::event::Event;
use std::borrow::Cow;
use std::io::Write as _;
use thiserror::Error;

/// What stands for an absent field.
const ABSENT: &str = "\\N";

/// The characters that are escaped, and what follows the backslash then.
const ESCAPES: [(u8, u8); 4] = [(b'\t', b't'), (b'\n', b'n'), (b'\r', b'r'), (b'\\', b'\\')];

/// Appends an event's line to `out`, without an end of line.
pub fn put_tsv(out: &mut Vec<u8>, event: &Event<'_>) {
    write!(out, "{}", event.timestamp_ms).expect("a Vec takes every write");
    for field in event.fields() {
        out.push(b'\t');
        match field {
            Some(bytes) => put_escaped(out, lossy(bytes).as_bytes()),
            None => out.extend_from_slice(ABSENT.as_bytes()),
        }
    }
}

fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let escape = |byte: u8| ESCAPES.iter().find(|(plain, _)| *plain == byte);
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| escape(*byte).is_some()) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (_, letter) = escape(after[0]).expect("it was found by this");
        out.extend_from_slice(&[b'\\', *letter]);
        rest = &after[1..];
    }
    out.extend_from_slice(rest);
}

/// Why text is not the line of an event. No retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TsvError {
    /// The first field is not a number of milliseconds.
    #[error("its first field is no timestamp")]
    Timestamp,
    /// Too few fields or too many.
    #[error("{0} fields instead of 8")]
    Fields(usize),
    /// A backslash before something else than it may stand before, or a bare end of line.
    #[error("a field that is not escaped as it should be")]
    Escape,
}

/// A line as read, in the order and by the names of its JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TsvRow<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The client's address.
    pub ip: Option<Cow<'a, str>>,
    /// The host asked for.
    pub host: Option<Cow<'a, str>>,
    /// The path, not decoded.
    pub request_path: Option<Cow<'a, str>>,
    /// The query without `?`, not decoded.
    pub query_string: Option<Cow<'a, str>>,
    /// The Referer header.
    pub referer: Option<Cow<'a, str>>,
    /// The User-Agent header.
    pub user_agent: Option<Cow<'a, str>>,
    /// The Cookie header.
    pub cookies: Option<Cow<'a, str>>,
}

impl<'a> TsvRow<'a> {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// [`TsvError`] for anything that [`put_tsv`] does not write.
    pub fn decode(line: &'a str) -> Result<Self, TsvError> {
        let count = 1 + line.bytes().filter(|byte| *byte == b'\t').count();
        if count != 8 {
            return Err(TsvError::Fields(count));
        }
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default();
        let number = next();
        let timestamp: i64 = number.parse().map_err(|_| TsvError::Timestamp)?;
        if number.starts_with('+') {
            return Err(TsvError::Timestamp);
        }
        Ok(Self {
            timestamp,
            ip: field(next())?,
            host: field(next())?,
            request_path: field(next())?,
            query_string: field(next())?,
            referer: field(next())?,
            user_agent: field(next())?,
            cookies: field(next())?,
        })
    }
}

fn field(text: &str) -> Result<Option<Cow<'_, str>>, TsvError> {
    if text == ABSENT {
        return Ok(None);
    }
    if text.contains(['\n', '\r']) {
        return Err(TsvError::Escape);
    }
    let Some((plain, mut rest)) = text.split_once('\\') else {
        return Ok(Some(text.into()));
    };
    let mut out = plain.to_owned();
    loop {
        let letter = rest.bytes().next().ok_or(TsvError::Escape)?;
        let escape = ESCAPES.iter().find(|(_, after)| *after == letter);
        out.push(char::from(escape.ok_or(TsvError::Escape)?.0));
        rest = &rest[1..];
        let Some((plain, after)) = rest.split_once('\\') else { break };
        out.push_str(plain);
        rest = after;
    }
    out.push_str(rest);
    Ok(Some(out.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(event: &Event<'_>) -> String {
        let mut out = vec![b'>'];
        put_tsv(&mut out, event);
        assert_eq!(out.remove(0), b'>', "what was there stays");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_pinned_by_golden_bytes() {
        let event = Event {
            timestamp_ms: -258,
            host: Some(b""),
            request_path: Some(b"\\N"),
            query_string: Some(b"\ta\n\rb\\"),
            referer: Some("\u{2028}\u{e9}\0".as_bytes()),
            user_agent: Some(b"h\xff"),
            extra: vec![("method", b"GET")],
            ..Event::default()
        };
        let golden = "-258\t\\N\t\t\\\\N\t\\ta\\n\\rb\\\\\t\u{2028}\u{e9}\0\th\u{fffd}\t\\N";
        assert_eq!(encode(&event), golden);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let texts = ["", "N", "\\", "\\\\", "\\N", "\\n", "\n", "\t\r\n\\", "a\\b\tc", "\u{1f600}"];
        for (i, text) in texts.iter().enumerate() {
            let other = texts[(i + 1) % texts.len()];
            let event = Event {
                timestamp_ms: i64::MIN,
                ip: Some(text.as_bytes()),
                request_path: Some(other.as_bytes()),
                cookies: Some(text.as_bytes()),
                ..Event::default()
            };
            let line = encode(&event);
            let row = TsvRow::decode(&line).unwrap();
            assert_eq!(row.timestamp, i64::MIN);
            assert_eq!(row.ip.as_deref(), Some(*text));
            assert_eq!(row.request_path.as_deref(), Some(other));
            assert_eq!(row.cookies.as_deref(), Some(*text));
            assert_eq!((row.host, row.query_string, row.referer), (None, None, None));
        }
    }

    #[test]
    fn what_is_no_line_is_named() {
        let rest = "\ta".repeat(6);
        assert_eq!(TsvRow::decode(""), Err(TsvError::Fields(1)));
        assert_eq!(TsvRow::decode(&format!("1{rest}")), Err(TsvError::Fields(7)));
        assert_eq!(TsvRow::decode(&format!("1{rest}\t\t")), Err(TsvError::Fields(9)));
        for number in ["", "x", "+1", " 1", "9223372036854775808"] {
            assert_eq!(TsvRow::decode(&format!("{number}{rest}\t")), Err(TsvError::Timestamp));
        }
        for field in ["\\", "\\x", "a\\Nb", "\\N\\", "\\\u{e9}", "\n", "a\rb"] {
            let line = format!("1{rest}\t{field}");
            assert_eq!(TsvRow::decode(&line), Err(TsvError::Escape), "{field:?}");
        }
    }
}
