//! Single heads, and what is made of them.

use super::*;

/// A head with these lines behind a sound Host.
fn with(lines: &[u8]) -> Vec<u8> {
    [b"GET /p HTTP/1.1\r\nHost: h\r\n", lines, b"\r\n"].concat()
}

fn is_taken(bytes: &[u8]) -> bool {
    let mut lines = Vec::new();
    matches!(parse(bytes, &mut lines), Ok(Some(_)))
}

fn framing(bytes: &[u8]) -> Framing {
    let mut lines = Vec::new();
    let parsed = parse(bytes, &mut lines).unwrap().unwrap();
    assert_eq!(parsed.bytes, bytes.len());
    parsed.framing
}

#[test]
fn at_every_cut_more_has_to_come() {
    for head in [
        &b"\r\n\r\nGET /p?q HTTP/1.1\r\nHost: h\r\nX: \x01\xff\r\n\r\n"[..],
        b"GET http://h:1/p HTTP/1.1\nHost: h\n\n",
    ] {
        for length in 0..head.len() {
            let mut lines = Vec::new();
            let parsed = parse(&head[..length], &mut lines).unwrap();
            assert!(parsed.is_none(), "{}", head[..length].escape_ascii());
        }
        let followed = [head, b"GET"].concat();
        let mut lines = Vec::new();
        assert_eq!(parse(&followed, &mut lines).unwrap().unwrap().bytes, head.len());
    }
}

#[test]
fn a_target_is_split_and_stays_as_it_came() {
    for (target, authority, path, query) in [
        ("/a%20b?x=%zz&", None, "/a%20b", Some("x=%zz&")),
        ("/??", None, "/", Some("?")),
        ("/a\u{e9}<>\"`?\u{e9}<>\"`", None, "/a\u{e9}<>\"`", Some("\u{e9}<>\"`")),
        ("/a#b?c", None, "/a", None),
        ("/a?b#c", None, "/a", Some("b")),
        ("//p/../..", None, "//p/../..", None),
        ("http://a.example:80/p?q", Some("a.example:80"), "/p", Some("q")),
        ("HTTPS://[::1]", Some("[::1]"), "/", None),
        ("http://h?q", Some("h"), "/", Some("q")),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut lines = Vec::new();
        let parsed = parse(head.as_bytes(), &mut lines).unwrap().unwrap();
        let found = (parsed.head.authority, parsed.head.path, parsed.head.query);
        let expected = (authority.map(str::as_bytes), path.as_bytes(), query.map(str::as_bytes));
        assert_eq!(found, expected, "{target}");
    }
}

#[test]
fn a_request_line_is_taken_or_refused() {
    for (line, taken) in [
        ("GET / HTTP/1.0", true),
        ("get / HTTP/1.00", true),
        ("GET  /  HTTP/1.0 ", true),
        ("OPTIONS * HTTP/1.0", true),
        ("GET * HTTP/1.0", false),
        ("GET p HTTP/1.0", false),
        ("GET ?x HTTP/1.0", false),
        ("GET h:80 HTTP/1.0", false),
        ("GET http:/p HTTP/1.0", false),
        ("GET http:///p HTTP/1.0", false),
        ("GET http://u@h/p HTTP/1.0", false),
        ("GET 1http://h/p HTTP/1.0", false),
        ("CONNECT h:80 HTTP/1.0", false),
        ("CONNECT / HTTP/1.0", false),
        ("GET / HTTP/2.0", false),
        ("PRI * HTTP/2.0", false),
        ("GET / http/1.0", false),
        ("GET / HTTP/1.", false),
        ("GET / HTTP/1.0x", false),
        ("GET / a HTTP/1.0", false),
        ("GET /", false),
        ("GET / ", false),
        (" GET / HTTP/1.0", false),
        ("G@T / HTTP/1.0", false),
        ("GET /\u{1} HTTP/1.0", false),
        ("GET /\u{7f} HTTP/1.0", false),
        ("GET /\t HTTP/1.0", false),
    ] {
        assert_eq!(is_taken(format!("{line}\r\n\r\n").as_bytes()), taken, "{line:?}");
    }
    assert!(!is_taken(b"GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 has a Host");
}

#[test]
fn a_header_is_recorded_left_out_or_a_reason_to_refuse() {
    let recorded = b"X-A:  \x01\x07\x7f\xe9 b\t \r\nEmpty:\r\n";
    let head = with(recorded);
    let mut lines = Vec::new();
    let headers = parse(&head, &mut lines).unwrap().unwrap().head.headers;
    assert_eq!(headers.get("x-a"), Some(&b"\x01\x07\x7f\xe9 b"[..]));
    assert_eq!((headers.get("empty"), headers.get("absent")), (Some(&b""[..]), None));
    for left_out in [&b"nocolon\r\n"[..], b"X[a]: 1\r\n", b"\xe9: 1\r\n", b"content-length-x\r\n"] {
        let head = with(left_out);
        let mut lines = Vec::new();
        let headers = parse(&head, &mut lines).unwrap().unwrap().head.headers;
        assert_eq!(headers.iter().count(), 1, "{}", left_out.escape_ascii());
    }
    for refused in [
        &b"X : a\r\n"[..],
        b" X: a\r\n",
        b"\tfolded\x00\r\n",
        b" folded: x\r\n",
        b"X\x01: a\r\n",
        b": a\r\n",
        b"no colon\r\n",
        b"X: a\rb\r\n",
        b"X: a\0\r\n",
        b"Host: i\r\n",
        b"host\r\n",
        b"Content-Length\r\n",
    ] {
        assert!(!is_taken(&with(refused)), "{}", refused.escape_ascii());
    }
}

#[test]
fn a_folded_line_is_refused_with_or_without_a_colon() {
    for folded in [&b"X: a\r\n b\r\n"[..], b"X: a\r\n\tb: c\r\n"] {
        assert!(!is_taken(&with(folded)), "{}", folded.escape_ascii());
    }
}

#[test]
fn the_framing_is_what_the_headers_say_and_never_two_things() {
    assert_eq!(framing(&with(b"Content-Length: 5\r\n")).body, BodyLength::Bytes(5));
    assert_eq!(framing(&with(b"transfer-encoding: Chunked\r\n")).body, BodyLength::Chunked);
    assert!(framing(&with(b"Expect: 100-Continue\r\n")).expects);
    for refused in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        assert!(!is_taken(&with(refused.as_bytes())), "{refused}");
    }
    assert!(!is_taken(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"));
}

#[test]
fn a_connection_is_kept_as_the_version_and_the_client_say() {
    for (version, line, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x\r\nCONNECTION: a , CLOSE\r\n", false),
        ("1.1", "Connection: upgrade\r\nUpgrade: h2c\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n");
        assert_eq!(framing(head.as_bytes()).keeps, keeps, "{version} {line:?}");
    }
}
