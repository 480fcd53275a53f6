//! Heads of simple requests, read where they lie: no body, no other protocol, one Host, and a target
//! that begins with a slash. The parser is the one that actix-http uses; what is saved is its map of
//! headers and its copies. Every other request is left to actix-http.

use std::mem::MaybeUninit;

use actix_http::Method;

/// More headers than nearly every request has.
const LINES_MAX: usize = 64;

/// Headers of which the dispatcher must know.
const DISPATCHED: [&str; 4] = ["content-length", "transfer-encoding", "expect", "upgrade"];

const HOST: &str = "host";
const CONNECTION: &str = "connection";

static GET: Method = Method::GET;
static HEAD: Method = Method::HEAD;
static OPTIONS: Method = Method::OPTIONS;

/// A simple request.
#[derive(Clone, Copy, Debug)]
pub struct Simple<'a> {
    /// The method.
    pub method: &'static Method,
    /// The target before `?`.
    pub path: &'a str,
    /// The target after it.
    pub query: Option<&'a str>,
    /// The headers.
    pub lines: &'a [httparse::Header<'a>],
    /// How it is to be answered.
    pub manner: Manner<&'a [u8]>,
}

/// What the encoder must know of a request. Requests that agree in it are answered in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner<B> {
    /// Whether the answer is without its body.
    is_head: bool,
    /// The minor version of HTTP/1.
    version: u8,
    /// The Connection header.
    connection: Option<B>,
}

impl Manner<&[u8]> {
    /// The same, kept.
    pub fn to_owned(self) -> Manner<Box<[u8]>> {
        let Self { is_head, version, connection } = self;
        Manner { is_head, version, connection: connection.map(Box::from) }
    }
}

impl Manner<Box<[u8]>> {
    /// The same, lent.
    pub fn borrowed(&self) -> Manner<&[u8]> {
        let Self { is_head, version, ref connection } = *self;
        Manner { is_head, version, connection: connection.as_deref() }
    }
}

/// Hands on the request that these bytes are; `None` if they are no simple one, or not one alone.
pub fn read<R>(bytes: &[u8], then: impl FnOnce(&Simple<'_>) -> R) -> Option<R> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut lines);
    if !parsed.is_ok_and(|status| status == httparse::Status::Complete(bytes.len())) {
        return None;
    }
    let method = match request.method? {
        "GET" => &GET,
        "HEAD" => &HEAD,
        "OPTIONS" => &OPTIONS,
        _ => return None,
    };
    let (path, query) = split(request.path?)?;
    let lines = &*request.headers;
    let version = request.version?;
    if !are_simple(lines, version) {
        return None;
    }
    let connection = lines.iter().find(|line| is(line, CONNECTION)).map(|line| line.value);
    let manner = Manner { is_head: *method == HEAD, version, connection };
    Some(then(&Simple { method, path, query, lines, manner }))
}

/// Whether the dispatcher need not know of any of these. HTTP/1.1 must have one Host, HTTP/1.0 may.
fn are_simple(lines: &[httparse::Header<'_>], version: u8) -> bool {
    let count = |name: &str| lines.iter().filter(|line| is(line, name)).count();
    let hosts = count(HOST);
    (hosts == 1 || (hosts == 0 && version == 0))
        && count(CONNECTION) <= 1
        && DISPATCHED.iter().all(|name| count(name) == 0)
}

fn is(line: &httparse::Header<'_>, name: &str) -> bool {
    line.name.eq_ignore_ascii_case(name)
}

/// Path and query of a target, if it is nothing but these.
fn split(target: &str) -> Option<(&str, Option<&str>)> {
    let bytes = target.as_bytes();
    let end = bytes.iter().position(|&byte| !is_path(byte)).unwrap_or(bytes.len());
    let (path, rest) = (target.get(..end)?, target.get(end..)?);
    let query = if rest.is_empty() { None } else { Some(rest.strip_prefix('?')?) };
    let is_plain = path.starts_with('/') && query.is_none_or(|query| query.bytes().all(is_query));
    is_plain.then_some((path, query))
}

/// As `http::Uri` has it, which is what the dispatcher reads a target with.
const fn is_path(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x24..=0x3B | 0x3D | 0x40..=0x5F | 0x61..=0x7E)
}

const fn is_query(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x24..=0x3B | 0x3D | 0x3F..=0x7E)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::Uri;

    fn is_simple(text: &str) -> bool {
        read(text.as_bytes(), |_| ()).is_some()
    }

    #[test]
    fn only_whole_requests_alone_and_without_a_body_are_simple() {
        for text in [
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "HEAD /a?b HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert!(is_simple(text), "{text}");
        }
        for text in [
            "",
            "GET / HTTP/1.1\r\nHost: h\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "nonsense\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nhost: i\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert!(!is_simple(text), "{text}");
        }
    }

    #[test]
    fn a_target_is_read_as_the_dispatcher_reads_it() {
        for byte in 0..=u8::MAX {
            for target in ["/a%", "/?%", "/a?b%", "//%", "/%?%"] {
                let target = target.replace('%', &char::from(byte).to_string());
                let uri = target.parse::<Uri>();
                let Some((path, query)) = split(&target) else { continue };
                let uri = uri.unwrap_or_else(|e| panic!("{target:?}: {e}"));
                assert_eq!((path, query), (uri.path(), uri.query()), "{target:?}");
            }
        }
        assert_eq!(split("/a%20b?x=[1]&y={|}"), Some(("/a%20b", Some("x=[1]&y={|}"))));
        for target in ["", "?", "a", "*", "http://h/a", "/a#b", "/a?b#c", "/\u{e9}", "/a b"] {
            assert_eq!(split(target), None, "{target}");
        }
    }

    #[test]
    fn the_manner_is_what_the_answer_depends_on() {
        let manner = |text: &str| read(text.as_bytes(), |simple| simple.manner.to_owned()).unwrap();
        let plain = manner("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(plain, manner("GET /b?c HTTP/1.1\r\nHost: i\r\nDNT: 1\r\n\r\n"));
        for other in [
            "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a HTTP/1.0\r\nHost: h\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        ] {
            assert_ne!(plain.borrowed(), manner(other).borrowed(), "{other}");
        }
    }
}
