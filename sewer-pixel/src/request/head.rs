//! The head of a request, borrowed: what an event is made from and what rules look at.

use std::net::SocketAddr;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_http::{Method, Request};

/// A request without its body. Bytes stay as received.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path of the target, in whichever form that came.
    pub path: &'a str,
    /// What follows `?` in the target.
    pub query: Option<&'a str>,
    /// The headers; those of one name in the order in which they came.
    pub headers: Headers<'a>,
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
            path: head.uri.path(),
            query: head.uri.query(),
            headers: Headers::Map(&head.headers),
            peer: head.peer_addr,
            is_tls,
        }
    }

    /// The size of path and query.
    pub fn target_bytes(&self) -> usize {
        self.path.len() + self.query.map_or(0, |query| 1 + query.len())
    }

    /// Its size, as it would be written without spare white space.
    pub fn bytes(&self) -> usize {
        let line = self.method.as_str().len() + self.target_bytes() + "  HTTP/1.1\r\n".len();
        line + self.headers.bytes() + 2
    }
}

/// The headers of a request.
#[derive(Clone, Copy, Debug)]
pub enum Headers<'a> {
    /// In the map that the dispatcher makes.
    Map(&'a HeaderMap),
    /// In the bytes that came.
    Lines(&'a [httparse::Header<'a>]),
}

impl<'a> Headers<'a> {
    /// The first header of a name.
    pub fn get(self, name: &HeaderName) -> Option<&'a [u8]> {
        match self {
            Self::Map(map) => map.get(name).map(HeaderValue::as_bytes),
            Self::Lines(lines) => lines.iter().find(|line| is(line, name)).map(|line| line.value),
        }
    }

    /// All headers of a name, in order.
    pub fn all(self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let (map, lines) = match self {
            Self::Map(map) => (Some(map), None),
            Self::Lines(lines) => (None, Some(lines)),
        };
        let of_map = map.into_iter().flat_map(move |map| map.get_all(name));
        let of_lines = lines.into_iter().flatten().filter(move |line| is(line, name));
        of_map.map(HeaderValue::as_bytes).chain(of_lines.map(|line| line.value))
    }

    fn bytes(self) -> usize {
        let line = |name: &str, value: &[u8]| name.len() + value.len() + ": \r\n".len();
        match self {
            Self::Map(map) => map.iter().map(|(n, value)| line(n.as_str(), value.as_bytes())).sum(),
            Self::Lines(lines) => lines.iter().map(|header| line(header.name, header.value)).sum(),
        }
    }
}

/// Whether a header has this name, which is in lower case.
fn is(header: &httparse::Header<'_>, name: &HeaderName) -> bool {
    header.name.eq_ignore_ascii_case(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::header::{COOKIE, HOST};

    #[test]
    fn both_kinds_of_headers_say_the_same() {
        let lines = [("Host", &b"h"[..]), ("COOKIE", b"a=1"), ("cookie", b"b=\xff")];
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let lines = lines.map(|(name, value)| httparse::Header { name, value });
        for headers in [Headers::Map(&map), Headers::Lines(&lines)] {
            assert_eq!(headers.get(&HOST), Some(&b"h"[..]));
            assert_eq!(headers.get(&COOKIE), Some(&b"a=1"[..]));
            assert_eq!(headers.all(&COOKIE).collect::<Vec<_>>(), [&b"a=1"[..], b"b=\xff"]);
            assert_eq!(headers.get(&HeaderName::from_static("cooki")), None);
            // "Host: h" and its line break, and so on.
            assert_eq!(headers.bytes(), 9 + 13 + 13);
        }
    }
}
