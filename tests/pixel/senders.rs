//! Who sent a request: behind proxies that append, set a header of their own, or speak the PROXY
//! protocol. No client decides what is recorded of it, nor of another.

use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// The address that a request with these header lines is recorded with, behind another header.
fn ip(pixel: &Pixel, before: &str, lines: &str) -> String {
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let request = format!("{before}GET /p HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    assert_eq!(connection.request(request.as_bytes()).unwrap().status, 204, "{request}");
    pixel.dump().last().unwrap()["ip"].as_str().unwrap().to_owned()
}

#[test]
fn the_address_is_the_one_that_the_nearest_proxy_has_seen() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    for (lines, expected) in [
        ("X-Forwarded-For: anything at all, 203.0.113.7\r\n", "203.0.113.7"),
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.3\r\n", "203.0.113.7"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.7:51234\r\n", "203.0.113.7"),
        ("X-Forwarded-For: [2001:db8::7]:443\r\n", "2001:db8::7"),
        ("X-Forwarded-For: anything at all\r\n", "127.0.0.1"),
        ("X-Forwarded-For: <script>\r\nForwarded: for=6.6.6.6\r\n", "127.0.0.1"),
        ("Forwarded: for=6.6.6.6, for=\"203.0.113.7:80\", for=10.0.0.1\r\n", "203.0.113.7"),
        ("X-Real-IP: 6.6.6.6\r\n", "127.0.0.1"),
    ] {
        assert_eq!(ip(&pixel, "", lines), expected, "{lines}");
    }
}

#[test]
fn the_older_rule_or_a_header_can_be_chosen() {
    let lines = "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nCF-Connecting-IP: 192.0.2.3\r\n";
    for (client_ip, expected) in
        [("nearest", "192.0.2.2"), ("first", "192.0.2.1"), ("cf-connecting-ip", "192.0.2.3")]
    {
        let directory = tempfile::tempdir().unwrap();
        let set = format!("pixel.client_ip={client_ip}");
        let pixel = Pixel::started(BINARY, directory.path(), &[&set]);
        assert_eq!(ip(&pixel, "", lines), expected, "{client_ip}");
        let garbled = lines.replace("192.0.2", "me");
        assert_eq!(ip(&pixel, "", &garbled), "127.0.0.1", "{client_ip}: no address is no ip");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::new(BINARY, directory.path(), &["pixel.client_ip=nearst"]);
    pixel.start();
    assert_eq!(pixel.process().wait(std::time::Duration::from_secs(30)), Some(2));
    let log = pixel.process().log_tail();
    assert!(log.contains("key `pixel.client_ip`: \"nearst\" is none of"), "{log}");
}

#[test]
fn a_private_source_behind_a_balancer_is_no_proxy_unless_the_operator_says_so() {
    let lines = "X-Forwarded-For: 6.6.6.6\r\n";
    let v1 = "PROXY TCP4 10.1.1.1 10.0.0.1 8080 80\r\n";
    let unknown = "PROXY UNKNOWN\r\n";
    for (trusted, from_source, from_balancer) in [
        (None, "10.1.1.1", "127.0.0.1"),
        (Some("[\"127.0.0.0/8\"]"), "10.1.1.1", "6.6.6.6"),
        (Some("[\"127.0.0.0/8\",\"10.0.0.0/8\"]"), "6.6.6.6", "6.6.6.6"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let set = trusted.map(|list| format!("pixel.trusted_proxies={list}"));
        let mut sets = vec!["pixel.proxy_protocol=true"];
        sets.extend(set.as_deref());
        let pixel = Pixel::started(BINARY, directory.path(), &sets);
        assert_eq!(ip(&pixel, v1, lines), from_source, "{trusted:?}");
        assert_eq!(ip(&pixel, unknown, lines), from_balancer, "{trusted:?}");
    }
}
