//! The scenarios that the older server was tested by. Who replaces it by this one relies on them.

use serde_json::Value;
use sewer_test_support::http::{self, Connection};
use sewer_test_support::pixel::Pixel;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

const REQUEST: &[u8] = b"GET /foobar?q=1 HTTP/1.1\r\nHost: h\r\n\r\n";

fn events(pixel: &Pixel) -> usize {
    pixel.dump().len()
}

#[test]
fn one_request_then_30_on_one_connection_then_15_on_their_own_get_204_and_are_all_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    assert_eq!(http::get(&pixel.address(), "/foobar").unwrap().status, 204);
    assert_eq!(events(&pixel), 1);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    for _ in 0..30 {
        let response = connection.request(REQUEST).unwrap();
        assert_eq!((response.status, response.body.as_str()), (204, ""));
    }
    assert_eq!(events(&pixel), 31);
    for _ in 0..15 {
        assert_eq!(http::get(&pixel.address(), "/foobar").unwrap().status, 204);
    }
    assert_eq!(events(&pixel), 46);
}

#[test]
fn the_status_port_answers_200_and_records_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    for _ in 0..15 {
        let response = pixel.status("/");
        assert_eq!((response.status, response.body.as_str()), (200, ""));
    }
    assert_eq!(events(&pixel), 0);
}

#[test]
fn without_keep_alive_each_answer_says_close_and_the_connection_ends() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.keep_alive=0s"]);
    for _ in 0..3 {
        let mut connection = Connection::open(&pixel.address()).unwrap();
        let response = connection.request(REQUEST).unwrap();
        assert_eq!(response.status, 204);
        let connection_header = response.header("connection").unwrap_or_default();
        assert!(connection_header.eq_ignore_ascii_case("close"), "{}", response.head);
        assert!(connection.is_closed());
    }
    assert_eq!(events(&pixel), 3);
}

#[test]
fn a_client_that_asks_for_close_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let response = connection.request(request).unwrap();
    let connection_header = response.header("connection").unwrap_or_default();
    assert!(connection_header.eq_ignore_ascii_case("close"), "{}", response.head);
    assert!(connection.is_closed());
}

/// The address, host and scheme of an event behind a proxy that sends these headers.
fn seen(pixel: &Pixel, headers: &str) -> [Value; 3] {
    let request = format!("GET /p HTTP/1.1\r\nHost: own.example:80\r\n{headers}\r\n");
    let mut connection = Connection::open(&pixel.address()).unwrap();
    assert_eq!(connection.request(request.as_bytes()).unwrap().status, 204);
    let last = pixel.dump().pop().unwrap();
    ["ip", "host", "scheme"].map(|name| last[name].clone())
}

const LEGACY: &str = "X-Forwarded-For: 192.0.2.10, 10.0.0.1\r\nX-Forwarded-Host: front.example:443\r\n\
    X-Forwarded-Proto: https\r\n";

const STANDARD: &str = "Forwarded: for=\"[2001:db8::17]:4711\";host=\"rfc.example:8443\";proto=https, for=10.0.0.1\r\n";

#[test]
fn a_trusted_proxy_tells_the_address_the_host_and_the_scheme_by_either_kind_of_header() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["event.scheme=true"]);
    assert_eq!(seen(&pixel, ""), ["127.0.0.1", "own.example", "http"]);
    assert_eq!(seen(&pixel, LEGACY), ["192.0.2.10", "front.example", "https"]);
    assert_eq!(seen(&pixel, STANDARD), ["2001:db8::17", "rfc.example", "https"]);
    let both = format!("{STANDARD}{LEGACY}");
    assert_eq!(seen(&pixel, &both), ["192.0.2.10", "front.example", "https"]);
    let mixed = format!("{STANDARD}X-Forwarded-For: 192.0.2.10\r\n");
    assert_eq!(seen(&pixel, &mixed), ["192.0.2.10", "own.example", "http"]);
    assert_eq!(seen(&pixel, "Forwarded: for=\"\r\n"), ["127.0.0.1", "own.example", "http"]);
}

#[test]
fn only_the_configured_kind_of_header_counts_and_none_of_a_stranger() {
    let both = format!("{STANDARD}{LEGACY}");
    for (set, expected) in [
        ("pixel.forwarded_headers=forwarded", ["2001:db8::17", "rfc.example", "https"]),
        ("pixel.forwarded_headers=x-forwarded", ["192.0.2.10", "front.example", "https"]),
        ("pixel.trusted_proxies=[]", ["127.0.0.1", "own.example", "http"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let pixel = Pixel::started(BINARY, directory.path(), &["event.scheme=true", set]);
        assert_eq!(seen(&pixel, &both), expected, "{set}");
    }
}
