//! The PROXY protocol in front of HTTP, against the running pixel.

use std::time::Duration;

use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

const GET: &[u8] = b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n";

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n";

const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x08\x0a\0\0\x01\x1f\x90\0\x50\x04\0\0";

const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn an_event_has_the_address_that_the_header_tells() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.proxy_protocol=true"]);
    let mut expected = Vec::new();
    for (header, ip) in [(V1, "192.0.2.7"), (V2, "192.0.2.8"), (V2_LOCAL, "127.0.0.1")] {
        // At once with the request, by itself, and byte by byte.
        for pieces in [vec![[header, GET].concat()], vec![header.to_vec(), GET.to_vec()], {
            header.iter().chain(GET).map(|byte| vec![*byte]).collect()
        }] {
            let mut connection = Connection::open(&pixel.address()).unwrap();
            for piece in &pieces {
                connection.send(piece).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(connection.receive().unwrap().status, 204);
            assert_eq!(connection.request(GET).unwrap().status, 204, "one header per connection");
            expected.extend([ip, ip]);
        }
    }
    let events = pixel.dump();
    let found: Vec<_> = events.iter().map(|event| event["ip"].as_str().unwrap()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_connection_without_a_sound_header_is_closed_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.proxy_protocol=true", "pixel.header_timeout=300ms"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    for garbled in [GET, b"PROXY TCP4 nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\xff\xff\0\0", b"\0"] {
        let mut connection = Connection::open(&pixel.address()).unwrap();
        connection.send(garbled).unwrap();
        assert_eq!(connection.rest().unwrap(), b"", "{}", garbled.escape_ascii());
    }
    let closed = |reason| format!("sewer_pixel_connections_closed_total{{reason=\"{reason}\"}}");
    let counted = || pixel.metrics()[&closed("proxy_header")] >= 4.0;
    assert!(eventually(PATIENCE, counted), "{:?}", pixel.metrics());
    // Half a header, and then nothing.
    let mut connection = Connection::open(&pixel.address()).unwrap();
    connection.send(&V1[..12]).unwrap();
    assert_eq!(connection.rest().unwrap(), b"");
    assert_eq!(pixel.dump().len(), 0);
}

#[test]
fn a_stranger_cannot_claim_an_address() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.proxy_protocol=true", "pixel.trusted_proxies=[\"192.0.2.0/24\"]"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    connection.send(&[V1, GET].concat()).unwrap();
    assert_eq!(connection.rest().unwrap(), b"");
    assert_eq!(pixel.dump().len(), 0);
    let name = "sewer_pixel_connections_closed_total{reason=\"proxy_stranger\"}";
    assert!(eventually(PATIENCE, || pixel.metrics().get(name) == Some(&1.0)));
}
