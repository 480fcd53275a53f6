//! From a request to an event. Bytes stay as received; nothing is decoded.
//!
//! The rules are the older server's, mended: `ip` is what a trusted proxy says, else the peer;
//! `host` likewise, else the target's, else Host, without its port; of Referer, User-Agent and
//! Cookie the first header counts.

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
    // RFC 9112, 3.2.2: the authority of the target counts, and Host does not.
    let host = forwarded.host.or(head.authority).or_else(|| headers.get("host"));
    Event {
        timestamp_ms,
        ip: Some(forwarded.client.unwrap_or(peer.address())),
        host: host.map(without_port),
        request_path: Some(head.path),
        query_string: head.query,
        referer: headers.get("referer"),
        user_agent: headers.get("user-agent"),
        cookies: headers.get("cookie"),
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
    use crate::config::{ClientIp, ForwardedHeaders};
    use crate::request::forwarded::Rules;
    use crate::request::head::with_head;

    /// Looks at the event of a head from a peer.
    fn event(text: &str, peer: &str, look: impl FnOnce(&Event<'_>)) {
        let proxies: Box<[_]> = Box::new(["10.0.0.0/8".parse().unwrap()]);
        let peer = Peer::new(peer.parse().unwrap(), &proxies);
        let headers = ForwardedHeaders::Any;
        let rules = Rules { headers, client_ip: ClientIp::Nearest, proxies };
        with_head(text, |head| {
            let forwarded = Forwarded::from(head.headers, &rules);
            let forwarded = if peer.is_trusted() { forwarded } else { Forwarded::default() };
            look(&super::event(head, &peer, &forwarded, 5));
        });
    }

    #[test]
    fn fields_are_raw_and_absent_is_not_empty() {
        let text = "GET /a%20b?x=%41& HTTP/1.0\r\nUser-Agent:\r\nCookie: a=1\r\n";
        event(text, "192.0.2.7:1", |event| {
            assert_eq!(event.timestamp_ms, 5);
            assert_eq!(event.ip, Some(&b"192.0.2.7"[..]));
            assert_eq!(event.request_path, Some(&b"/a%20b"[..]));
            assert_eq!(event.query_string, Some(&b"x=%41&"[..]));
            assert_eq!(event.user_agent, Some(&b""[..]));
            assert_eq!(event.cookies, Some(&b"a=1"[..]));
            assert_eq!((event.host, event.referer), (None, None));
        });
    }

    #[test]
    fn the_first_header_of_a_name_counts() {
        let text = "GET / HTTP/1.0\r\nReferer: one\r\nReferer: two\r\n";
        event(text, "192.0.2.7:1", |event| assert_eq!(event.referer, Some(&b"one"[..])));
    }

    #[test]
    fn the_target_says_the_host_before_the_host_header_does() {
        let text = "GET http://a.example:81/p HTTP/1.1\r\nHost: b.example\r\n";
        event(text, "192.0.2.7:1", |event| {
            assert_eq!(event.host, Some(&b"a.example"[..]));
            assert_eq!(event.request_path, Some(&b"/p"[..]));
        });
    }

    #[test]
    fn forwarded_headers_count_only_from_a_trusted_proxy() {
        let text = "GET http://target.example/ HTTP/1.1\r\n\
            X-Forwarded-For: 2001:db8::1 , 10.1.1.1\r\nX-Forwarded-Host: example.org:8443\r\nHost: inner:80\r\n";
        event(text, "10.0.0.1:1", |event| {
            assert_eq!(event.ip, Some(&b"2001:db8::1"[..]));
            assert_eq!(event.host, Some(&b"example.org"[..]));
        });
        event(text, "192.0.2.7:1", |event| {
            assert_eq!(event.ip, Some(&b"192.0.2.7"[..]));
            assert_eq!(event.host, Some(&b"target.example"[..]));
        });
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_is_an_ipv4_address() {
        let text = "GET / HTTP/1.0\r\nX-Forwarded-Host: h\r\n";
        event(text, "[::ffff:10.0.0.1]:1", |event| {
            assert_eq!(event.ip, Some(&b"10.0.0.1"[..]));
            assert_eq!(event.host, Some(&b"h"[..]), "and it is trusted as one");
        });
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
