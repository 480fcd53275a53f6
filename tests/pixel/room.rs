//! As many connections as there may be, and more that wait: who holds many and uses none keeps
//! nobody out, and a stop takes none beyond the limit.

use std::net::TcpStream;
use std::time::Duration;

use sewer_test_support::http::{self, Connection};
use sewer_test_support::metrics;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(30);

const GET: &[u8] = b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n";

const LIMITS: [&str; 4] = [
    "pixel.workers=1",
    "pixel.max_connections=20",
    "pixel.header_timeout=1m",
    "pixel.body_timeout=1m",
];

const CONNECTIONS: &str = "sewer_pixel_connections";

/// A connection that was used once.
fn used(pixel: &Pixel) -> Connection {
    let mut connection = Connection::open(&pixel.address()).unwrap();
    assert_eq!(connection.request(GET).unwrap().status, 204);
    connection
}

/// Has all of a pixel's connections taken but one, by a request that is being sent, and sees that
/// others get in.
fn others_get_in(hoard: impl Fn(&Pixel) -> Connection) {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &LIMITS);
    let mut busy = Connection::open(&pixel.address()).unwrap();
    busy.send(b"POST /busy HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo").unwrap();
    let hoarded: Vec<_> = (0..19).map(|_| hoard(&pixel)).collect();
    assert!(eventually(PATIENCE, || pixel.metrics()[CONNECTIONS] >= 20.0));
    // Each of these would wait for as long as the others may.
    for _ in 0..5 {
        used(&pixel);
    }
    let log = pixel.process().log();
    assert!(log.contains("WARN") && log.contains("for a request give way"), "{log}");
    let gone = pixel.metrics()["sewer_pixel_connections_closed_total{reason=\"no_room\"}"];
    assert!((1.0..=5.0).contains(&gone), "{gone} have given way");
    assert_eq!(busy.request(b"dy").unwrap().status, 204, "one that is used never does");
    drop(hoarded);
}

#[test]
fn with_no_room_left_those_that_are_idle_for_longest_give_way() {
    others_get_in(used);
}

#[test]
fn with_no_room_left_those_that_have_sent_half_a_head_give_way() {
    others_get_in(|pixel| {
        let mut half = Connection::open(&pixel.address()).unwrap();
        half.send(b"GET /half HTTP/1.1\r\n").unwrap();
        half
    });
}

#[test]
fn none_gives_way_while_nobody_waits() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &LIMITS);
    let mut all: Vec<_> = (0..20).map(|_| used(&pixel)).collect();
    // Longer than those that give way are idle.
    std::thread::sleep(Duration::from_secs(3));
    for connection in &mut all {
        assert_eq!(connection.request(GET).unwrap().status, 204);
    }
    assert!(!pixel.metrics().keys().any(|name| name.contains("no_room")));
}

#[test]
fn a_stop_takes_no_connection_beyond_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &LIMITS);
    let busy: Vec<_> = (0..20)
        .map(|_| {
            let mut busy = Connection::open(&pixel.address()).unwrap();
            busy.send(b"POST /busy HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo").unwrap();
            busy
        })
        .collect();
    assert!(eventually(PATIENCE, || pixel.metrics()[CONNECTIONS] >= 20.0));
    let waiting: Vec<_> = (0..100).map(|_| TcpStream::connect(pixel.address()).unwrap()).collect();
    let status = pixel.status_address();
    pixel.process().terminate();
    let mut most = 0.0_f64;
    while pixel.process().is_running() {
        // It is closed at the end.
        if http::get(&status, "/").is_ok_and(|answer| answer.status == 503)
            && let Ok(answer) = http::get(&status, "/metrics")
        {
            most = most.max(metrics::parse(&answer.body).unwrap()[CONNECTIONS]);
        }
    }
    assert!((1.0..=20.0).contains(&most), "{most} connections");
    assert_eq!(pixel.process().wait(PATIENCE), Some(0), "{}", pixel.process().log_tail());
    drop((busy, waiting));
}
