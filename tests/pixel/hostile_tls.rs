//! A thousand hostile connections of each kind to an encrypted port: what the pixel holds for one
//! is bounded as without encryption.

use std::io::Write as _;
use std::net::TcpStream;

use sewer_test_support::http;
use sewer_test_support::pixel::Pixel;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::client::{identity, session, sets, write};
use super::{BINARY, KIB, MANY, MIB, PATIENCE, PER_CONNECTION, SLACK, connect, growth, push};

/// A name, what is sent in a session, if there is one, what outside of it, and what of that is the
/// body of a request.
type Kind<'a> = (&'a str, Option<&'a [u8]>, &'a [u8], u64);

/// The content of the longest record.
const RECORD_BYTES: usize = 16 << 10;

/// The beginning of a handshake that says that it is the longest there may be.
fn half_a_hello() -> Vec<u8> {
    let mut hello = b"\x01\x00\xff\xfb".to_vec();
    hello.resize(64_000, 0);
    let records = hello.chunks(RECORD_BYTES).map(|part| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&b"\x16\x03\x01"[..], &length, part].concat()
    });
    records.collect::<Vec<_>>().concat()
}

/// A record without its end.
fn half_a_record() -> Vec<u8> {
    let mut record = b"\x17\x03\x03\x40\x00".to_vec();
    record.resize(RECORD_BYTES, 0xa5);
    record
}

/// A connection whose client has sent these bytes in the session and those outside of it.
fn encrypted(
    address: &str,
    trusted: &CertificateDer<'static>,
    inside: &[u8],
    outside: &[u8],
) -> TcpStream {
    let mut tcp = connect(address);
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut session = session(trusted, &[&TLS13, &TLS12]);
    session.complete_io(&mut tcp).unwrap();
    session.set_buffer_limit(None);
    session.writer().write_all(inside).unwrap();
    let mut sent = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut sent).unwrap();
    }
    push(&mut tcp, &[&sent[..], outside].concat());
    tcp
}

#[test]
fn a_thousand_hostile_tls_connections_of_each_kind_take_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let identity = identity();
    write(directory.path(), &identity);
    let tls = sets(directory.path());
    let sets = [
        &tls[0],
        &tls[1],
        "pixel.header_timeout=5m",
        "pixel.body_timeout=5m",
        "pixel.keep_alive=5m",
        "pixel.route=[{prefix=\"/body\",body=true}]",
    ];
    let (hello, record) = (half_a_hello(), half_a_record());
    let pipeline = b"GET / HTTP/1.1\r\nHost:h\r\n\r\n".repeat(60_000 / 27);
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(30 << 10)).into_bytes();
    let body = "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
    let body = format!("{body}{}", "b".repeat(59_000)).into_bytes();
    let kinds: [Kind<'_>; 6] = [
        ("half a handshake", None, &hello, 0),
        ("nothing", Some(b""), b"", 0),
        ("half a record", Some(b""), &record, 0),
        ("half a head and half a record", Some(&head), &record, 0),
        ("a pipeline of requests that wait for the disk", Some(&pipeline), b"", 0),
        ("half a body and half a record", Some(&body), &record, 60_000),
    ];
    for (kind, inside, outside, beyond) in kinds {
        let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
        let address = pixel.address();
        let grown = growth(&mut pixel, b"", || {
            let open = |_| {
                if let Some(inside) = inside {
                    return encrypted(&address, identity.cert.der(), inside, outside);
                }
                let mut tcp = connect(&address);
                push(&mut tcp, outside);
                tcp
            };
            (0..MANY).map(open).collect()
        });
        println!("{kind}: {} KiB for {MANY} connections", grown / KIB);
        let bound = MANY * (PER_CONNECTION + beyond) + SLACK;
        assert!(grown < bound, "{kind}: {} MiB of {}", grown / MIB, bound / MIB);
        assert_eq!(http::get(&pixel.status_address(), "/").unwrap().status, 200, "{kind}");
        drop(encrypted(&address, identity.cert.der(), b"", b""));
        pixel.kill();
    }
}
