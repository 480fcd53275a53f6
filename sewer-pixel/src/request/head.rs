//! The head of a request, borrowed: what an event is made from and what rules look at.

use std::net::SocketAddr;

use super::parse::Line;

/// A request without its body. Bytes stay as received.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The host and port of a target in absolute form.
    pub authority: Option<&'a [u8]>,
    /// The path of the target, in whichever form that came.
    pub path: &'a [u8],
    /// The target behind `?`, without a fragment.
    pub query: Option<&'a [u8]>,
    /// The headers, in the order in which they came.
    pub headers: Headers<'a>,
}

impl Head<'_> {
    /// The size of path and query.
    pub fn target_bytes(&self) -> usize {
        self.path.len() + self.query.map_or(0, |query| 1 + query.len())
    }
}

/// The headers of a request.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// The bytes that the lines are places in.
    pub(super) bytes: &'a [u8],
    pub(super) lines: &'a [Line],
}

impl<'a> Headers<'a> {
    /// The first header of a name, which is in lower case.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// All headers of a name, in order.
    pub fn all(self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let is_it = move |(of, _): &(&[u8], &[u8])| of.eq_ignore_ascii_case(name.as_bytes());
        self.iter().filter(is_it).map(|(_, value)| value)
    }

    /// The bytes that they are in, from the begin of the request.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Names and values.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        self.lines.iter().map(move |line| (line.name(self.bytes), line.value(self.bytes)))
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Who is at the other end of the connection, or whom a PROXY header names.
    pub peer: SocketAddr,
    /// Whether the connection began with a PROXY header.
    pub is_proxied: bool,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

/// Reads a head without its last line break, for tests of what looks at one.
#[cfg(test)]
pub(crate) fn with_head<R>(text: &str, then: impl FnOnce(&Head<'_>) -> R) -> R {
    let (text, mut lines) = (format!("{text}\r\n"), Vec::new());
    let parsed = super::parse::parse(text.as_bytes(), &mut lines);
    then(&parsed.expect("a sound head").expect("a whole head").head)
}
