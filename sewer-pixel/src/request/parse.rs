//! The head of a request, read where it lies.
//!
//! Taken is what nginx takes and logs: any byte but a control character in the target, any but NUL
//! and line breaks in the value of a header. A header whose name is no token is left out. What two
//! servers could frame differently is refused: blanks before a colon, folded lines, a bare CR, NUL,
//! two lengths, a length and chunks, an encoding that is not `chunked`.
//!
//! (httparse refuses, or drops, values with control characters. A second parser behind it would be
//! a second way for a request; so this is the only one, and a test holds it to what httparse
//! reads.)

use memchr::memchr3;
use thiserror::Error;

use super::head::{Head, Headers};

/// Why a head is refused: status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Headers that decide where a request ends, or whom it is for.
const FRAMING: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// A header: where name and value begin and end.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    name: [usize; 2],
    value: [usize; 2],
}

impl Line {
    pub(super) fn name(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.name[0]..self.name[1]]
    }

    pub(super) fn value(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.value[0]..self.value[1]]
    }

    /// Its places if the line begins at `place`.
    fn behind(self, place: usize) -> Self {
        Self { name: self.name.map(|at| place + at), value: self.value.map(|at| place + at) }
    }
}

/// A head that is complete.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<'a> {
    /// What it says.
    pub head: Head<'a>,
    /// How it is to be read on and answered.
    pub framing: Framing,
    /// Its length, with line breaks before it.
    pub bytes: usize,
}

/// What follows a head, and how it is answered.
#[allow(clippy::struct_excessive_bools)] // Each is one thing that the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Whether the answer is without its body.
    pub is_head: bool,
    /// Whether the version is 1.0, in which keeping the connection has to be said.
    pub is_old: bool,
    /// Whether the client wants to keep the connection.
    pub keeps: bool,
    /// Whether the client waits for 100 Continue before it sends its body.
    pub expects: bool,
    /// The body.
    pub body: BodyLength,
}

/// The body of a request, as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes, perhaps none.
    Bytes(u64),
    /// Chunks, of which the last is empty.
    Chunked,
}

/// Reads the head that bytes begin with; `None` if more of it has to come. `lines` is memory for
/// its headers.
///
/// # Errors
/// [`Malformed`]
pub fn parse<'a>(
    bytes: &'a [u8],
    lines: &'a mut Vec<Line>,
) -> Result<Option<Parsed<'a>>, Malformed> {
    lines.clear();
    let mut place = blank_lines(bytes);
    let Some((line, next)) = line(bytes, place)? else { return Ok(None) };
    let request_line = RequestLine::parse(line)?;
    place = next;
    let mut said = Said::default();
    loop {
        let Some((line, next)) = self::line(bytes, place)? else { return Ok(None) };
        if line.is_empty() {
            place = next;
            break;
        }
        if let Some(header) = said.header(line)? {
            lines.push(header.behind(place));
        }
        place = next;
    }
    let framing = said.framing(&request_line)?;
    let RequestLine { method, authority, path, query, .. } = request_line;
    let headers = Headers { bytes, lines };
    Ok(Some(Parsed {
        head: Head { method, authority, path, query, headers },
        framing,
        bytes: place,
    }))
}

/// The length of the line breaks before a request, which are no part of it.
pub fn blank_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Whether a request line is complete; bytes begin with it, perhaps behind line breaks.
pub fn has_request_line(bytes: &[u8]) -> bool {
    memchr::memchr(b'\n', &bytes[blank_lines(bytes)..]).is_some()
}

/// The line that begins at a place, without its end, and where the next one begins.
fn line(bytes: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, Malformed> {
    let rest = &bytes[from..];
    let Some(end) = memchr3(b'\r', b'\n', 0, rest) else { return Ok(None) };
    match (rest[end], rest.get(end + 1)) {
        (b'\n', _) => Ok(Some((&rest[..end], from + end + 1))),
        (b'\r', Some(b'\n')) => Ok(Some((&rest[..end], from + end + 2))),
        (b'\r', None) => Ok(None),
        (b'\r', Some(_)) => Err(Malformed("a carriage return without a line feed")),
        _ => Err(Malformed("a NUL in the head")),
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    authority: Option<&'a [u8]>,
    path: &'a [u8],
    query: Option<&'a [u8]>,
    is_old: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let short = Malformed("a request line without method, target and version");
        let (method, rest) = word(line).ok_or(short)?;
        let (target, version) = word(rest).ok_or(short)?;
        if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
            return Err(Malformed("a method that is no token"));
        }
        if method == b"CONNECT" {
            return Err(Malformed("CONNECT, which is for proxies"));
        }
        let is_old = version_is_old(version)?;
        let (authority, path) = split_target(method, target)?;
        // A fragment is not for servers.
        let end = memchr::memchr(b'#', path).unwrap_or(path.len());
        let path = &path[..end];
        let (path, query) = match memchr::memchr(b'?', path) {
            Some(mark) => (&path[..mark], Some(&path[mark + 1..])),
            None => (path, None),
        };
        // `http://host` and `http://host?query` are for the root.
        let path: &[u8] = if path.is_empty() { b"/" } else { path };
        Ok(Self { method, authority, path, query, is_old })
    }
}

/// The part before the first space, and the part behind it and those that follow.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', text)?;
    let rest = &text[end..];
    Some((&text[..end], &rest[rest.iter().take_while(|&&byte| byte == b' ').count()..]))
}

/// Whether it is HTTP/1.0; a later minor version is answered as 1.1.
fn version_is_old(version: &[u8]) -> Result<bool, Malformed> {
    let trailing = version.iter().rev().take_while(|&&byte| byte == b' ').count();
    let version = &version[..version.len() - trailing];
    match version.strip_prefix(b"HTTP/1.") {
        Some(b"0") => Ok(true),
        Some(minor) if (1..=2).contains(&minor.len()) && minor.iter().all(u8::is_ascii_digit) => {
            Ok(minor.iter().all(|&digit| digit == b'0'))
        }
        _ => Err(Malformed("another protocol than HTTP/1")),
    }
}

/// The authority of a target in absolute form, and what follows it.
fn split_target<'a>(
    method: &[u8],
    target: &'a [u8],
) -> Result<(Option<&'a [u8]>, &'a [u8]), Malformed> {
    if target.iter().any(u8::is_ascii_control) {
        return Err(Malformed("a control character in the target"));
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
        return Ok((None, target));
    }
    let neither = Malformed("a target that is neither a path nor a URI");
    let colon = memchr::memchr(b':', target).ok_or(neither)?;
    let (scheme, rest) = (&target[..colon], &target[colon + 1..]);
    let rest = rest.strip_prefix(b"//").ok_or(neither)?;
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    let end = memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(byte);
    if !is_scheme || authority.is_empty() || !authority.iter().all(is_host) {
        return Err(neither);
    }
    Ok((Some(authority), path))
}

/// What the headers say of the framing.
#[allow(clippy::struct_excessive_bools)] // Each is one thing that a header says.
#[derive(Default)]
struct Said {
    hosts: usize,
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps: bool,
    expects: bool,
}

impl Said {
    /// The places of name and value in a line; `None` if it is to be left out.
    fn header(&mut self, line: &[u8]) -> Result<Option<Line>, Malformed> {
        let colon = memchr::memchr(b':', line);
        let name = &line[..colon.unwrap_or(line.len())];
        if !name.iter().all(|&byte| is_token(byte)) {
            return if name.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
                Err(Malformed("a blank or control character in the name of a header"))
            } else {
                Ok(None)
            };
        }
        let Some(colon) = colon else {
            let is_framing = FRAMING.iter().any(|of| name.eq_ignore_ascii_case(of.as_bytes()));
            let problem = Malformed("a header that frames the request and has no value");
            return if is_framing { Err(problem) } else { Ok(None) };
        };
        if name.is_empty() {
            return Err(Malformed("a header without a name"));
        }
        let from = line.len() - trim_start(&line[colon + 1..]).len();
        let value = trim(&line[from..]);
        self.note(name, value)?;
        Ok(Some(Line { name: [0, colon], value: [from, from + value.len()] }))
    }

    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let is = |of: &str| name.eq_ignore_ascii_case(of.as_bytes());
        match name.len() {
            4 if is("host") => self.hosts += 1,
            6 if is("expect") => self.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            10 if is("connection") => {
                for option in value.split(|&byte| byte == b',').map(trim) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is("content-length") => match self.length {
                None => self.length = Some(length(value)?),
                Some(_) => return Err(Malformed("two Content-Length headers")),
            },
            17 if is("transfer-encoding") => {
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("a Transfer-Encoding that is not \"chunked\""));
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, line: &RequestLine<'_>) -> Result<Framing, Malformed> {
        let is_old = line.is_old;
        if self.hosts > 1 || (self.hosts == 0 && !is_old) {
            return Err(Malformed("no Host header, or more than one"));
        }
        if self.is_chunked && (self.length.is_some() || is_old) {
            return Err(Malformed("Transfer-Encoding with Content-Length, or in HTTP/1.0"));
        }
        let body = match (self.is_chunked, self.length) {
            (true, _) => BodyLength::Chunked,
            (false, length) => BodyLength::Bytes(length.unwrap_or(0)),
        };
        Ok(Framing {
            is_head: line.method == b"HEAD",
            is_old,
            keeps: !self.closes && (!is_old || self.keeps),
            expects: self.expects && !is_old,
            body,
        })
    }
}

fn length(value: &[u8]) -> Result<u64, Malformed> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok()).ok_or(Malformed("a Content-Length that is no number"))
}

/// A value without the spaces and tabs around it.
fn trim(value: &[u8]) -> &[u8] {
    let value = trim_start(value);
    &value[..value.len() - value.iter().rev().take_while(|&&byte| is_blank(byte)).count()]
}

fn trim_start(value: &[u8]) -> &[u8] {
    &value[value.iter().take_while(|&&byte| is_blank(byte)).count()..]
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests;
