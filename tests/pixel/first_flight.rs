//! TLS clients that send their first request with the last message of the handshake, as TLS 1.3
//! lets them: curl and browsers do. Nothing comes after it, so nothing else wakes the pixel.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use sewer_test_support::command;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::tools;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::dashboard::browse;
use crate::tls::client::{identity, session, sets, write};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes, and less than `pixel.header_timeout` here.
const PATIENCE: Duration = Duration::from_mins(1);

const GET: &[u8] = b"GET /flight?x HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A pixel that speaks TLS and would let a request hang for longer than any test waits.
fn start(directory: &std::path::Path, further: &[&str]) -> Pixel {
    let tls = sets(directory);
    let sets = [&[tls[0].as_str(), &tls[1], "pixel.header_timeout=10m"], further].concat();
    Pixel::started(BINARY, directory, &sets)
}

#[test]
fn a_request_in_one_write_with_the_end_of_the_handshake_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let identity = identity();
    write(directory.path(), &identity);
    let pixel = start(directory.path(), &[]);
    for version in [&TLS13, &TLS12] {
        for _ in 0..20 {
            let mut client = session(identity.cert.der(), &[version]);
            let mut tcp = TcpStream::connect(pixel.address()).unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            while client.is_handshaking() {
                if client.wants_write() {
                    client.write_tls(&mut tcp).unwrap();
                } else {
                    client.read_tls(&mut tcp).unwrap();
                    client.process_new_packets().unwrap();
                }
            }
            // Of TLS 1.3 the client's Finished has not been sent yet.
            client.writer().write_all(GET).unwrap();
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            tcp.write_all(&flight).unwrap();
            let mut answer = vec![0; 22];
            client.complete_io(&mut tcp).unwrap();
            while client.reader().read_exact(&mut answer).is_err() {
                client.read_tls(&mut tcp).unwrap();
                client.process_new_packets().unwrap();
            }
            assert_eq!(answer, b"HTTP/1.1 204 No Conten", "{version:?}");
        }
    }
    assert_eq!(pixel.dump().len(), 40);
}

#[test]
fn a_hundred_calls_of_curl_are_a_hundred_events() {
    let Some(curl) = tools::find_or_skip("curl", "curl", "first_flight") else { return };
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &identity());
    let pixel = start(directory.path(), &[]);
    let url = format!("https://{}/curl", pixel.address());
    let call = || {
        let mut command = Command::new(&curl);
        let limit = PATIENCE.as_secs().to_string();
        command.args(["-sk", "--tlsv1.3", "--max-time", &limit, "-w", "%{http_code}", &url]);
        let finished = command::run(&mut command, PATIENCE).unwrap();
        assert_eq!(finished.stdout, "204", "{}", finished.stderr);
    };
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| (0..10).for_each(|_| call()));
        }
    });
    assert_eq!(pixel.dump().len(), 100);
}

#[test]
fn a_browser_loads_its_image_every_time() {
    let Some(chromium) = tools::find_or_skip("chromium", "chromium", "first_flight") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &identity());
    let pixel = start(directory.path(), &["pixel.response=gif"]);
    for number in 0..6 {
        let page = directory.path().join("page.html");
        let image = format!("https://{}/image?n={number}", pixel.address());
        let text = format!(
            "<body><img src=\"{image}\" onload=\"document.title='loaded'\" \
             onerror=\"document.title='failed'\"></body>"
        );
        fs::write(&page, text).unwrap();
        let url = format!("file://{}", page.display());
        let dom = browse(&chromium, &["--ignore-certificate-errors", "--dump-dom"], &url);
        assert!(dom.contains("<title>loaded</title>"), "{number}: {dom}");
    }
    let loaded = || {
        let events = pixel.dump();
        let of = |number: u32| {
            let query = format!("n={number}");
            events.iter().any(|event| event["query_string"] == query.as_str())
        };
        (0..6).all(of)
    };
    assert!(eventually(PATIENCE, loaded), "{:?}", pixel.dump());
}
