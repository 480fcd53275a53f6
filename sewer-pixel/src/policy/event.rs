//! From a request to an event. Bytes stay as received; nothing is decoded.
//!
//! The rules are the older server's, mended: `ip` is what a trusted proxy says, else the peer;
//! `host` likewise, else Host, without its port; of Referer, User-Agent and Cookie the first header
//! counts.

use actix_http::header::{COOKIE, HOST, REFERER, USER_AGENT};
use sewer_wal::Event;

use crate::request::forwarded::Forwarded;
use crate::request::head::Head;
use crate::request::peer::Peer;

/// The event that a request is; `forwarded` is what a trusted proxy says.
pub fn event<'a>(
    head: &Head<'a>,
    peer: &'a Peer,
    forwarded: &Forwarded<'a>,
    timestamp_ms: i64,
) -> Event<'a> {
    let headers = head.headers;
    let host = forwarded.host.or_else(|| headers.get(&HOST));
    Event {
        timestamp_ms,
        ip: forwarded.client.or(peer.address()),
        host: host.map(without_port),
        request_path: Some(head.path.as_bytes()),
        query_string: head.query.map(str::as_bytes),
        referer: headers.get(&REFERER),
        user_agent: headers.get(&USER_AGENT),
        cookies: headers.get(&COOKIE),
        extra: Vec::new(),
    }
}

/// A host without `:port`; the brackets of an IPv6 address stay.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => {
            let name = &host[..colon];
            // An IPv6 address without brackets is no host and port.
            if name.contains(&b':') && !name.ends_with(b"]") { host } else { name }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ForwardedHeaders;
    use actix_http::Request;
    use actix_http::test::TestRequest;

    const PROXIES: &str = "10.0.0.0/8";

    fn request(headers: &[(&'static str, &'static str)], uri: &str) -> Request {
        let mut request = TestRequest::with_uri(uri);
        for header in headers {
            request.append_header(*header);
        }
        request.finish()
    }

    fn event<'a>(request: &'a Request, peer: &'a Peer, timestamp_ms: i64) -> Event<'a> {
        let head = Head::of(request, false);
        let forwarded = Forwarded::from(head.headers, ForwardedHeaders::Any);
        let forwarded = if peer.is_trusted() { forwarded } else { Forwarded::default() };
        super::event(&head, peer, &forwarded, timestamp_ms)
    }

    fn peer(address: &str) -> Peer {
        Peer::new(Some(address.parse().unwrap()), &[PROXIES.parse().unwrap()])
    }

    #[test]
    fn fields_are_raw_and_absent_is_not_empty() {
        let request = request(&[("user-agent", ""), ("cookie", "a=1")], "/a%20b?x=%41&");
        let from = peer("192.0.2.7:1");
        let event = event(&request, &from, 5);
        assert_eq!(event.timestamp_ms, 5);
        assert_eq!(event.ip, Some(&b"192.0.2.7"[..]));
        assert_eq!(event.request_path, Some(&b"/a%20b"[..]));
        assert_eq!(event.query_string, Some(&b"x=%41&"[..]));
        assert_eq!(event.user_agent, Some(&b""[..]));
        assert_eq!(event.cookies, Some(&b"a=1"[..]));
        assert_eq!((event.host, event.referer), (None, None));
    }

    #[test]
    fn the_first_header_of_a_name_counts() {
        let request = request(&[("referer", "one"), ("referer", "two")], "/");
        assert_eq!(event(&request, &peer("192.0.2.7:1"), 0).referer, Some(&b"one"[..]));
    }

    #[test]
    fn forwarded_headers_count_only_from_a_trusted_proxy() {
        let headers = [
            ("x-forwarded-for", " 2001:db8::1 , 10.1.1.1"),
            ("x-forwarded-host", "example.org:8443"),
            ("host", "inner:80"),
        ];
        let request = request(&headers, "/");
        let proxy = peer("10.0.0.1:1");
        let trusted = event(&request, &proxy, 0);
        assert_eq!(trusted.ip, Some(&b"2001:db8::1"[..]));
        assert_eq!(trusted.host, Some(&b"example.org"[..]));
        let stranger = peer("192.0.2.7:1");
        let untrusted = event(&request, &stranger, 0);
        assert_eq!(untrusted.ip, Some(&b"192.0.2.7"[..]));
        assert_eq!(untrusted.host, Some(&b"inner"[..]));
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_is_an_ipv4_address() {
        let from = peer("[::ffff:10.0.0.1]:1");
        assert!(from.is_trusted());
        assert_eq!(event(&request(&[], "/"), &from, 0).ip, Some(&b"10.0.0.1"[..]));
    }

    #[test]
    fn a_port_is_no_part_of_a_host() {
        for (host, bare) in [
            ("example.org:8080", "example.org"),
            ("example.org", "example.org"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("2001:db8::1", "2001:db8::1"),
            ("example.org:", "example.org"),
            ("", ""),
        ] {
            assert_eq!(without_port(host.as_bytes()), bare.as_bytes(), "{host}");
        }
    }
}
