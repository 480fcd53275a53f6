//! A pixel whose listening socket the service manager holds is restarted under load, and no client
//! sees anything of it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::pixel::{Pixel, STOP_WAIT};
use sewer_test_support::process::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

const RESTARTS: u64 = 10;

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn ten_restarts_under_load_refuse_reset_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::new(BINARY, directory.path(), &["pixel.drain_timeout=10s"]);
    let socket = TcpListener::bind(pixel.address()).unwrap();
    pixel.start_with_socket(&socket);
    pixel.wait_until_ready();
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "u".into(),
        connections: 16,
        pause: Duration::from_millis(1),
        limit: PATIENCE * 3,
    });
    for restart in 1..=RESTARTS {
        let goal = load.acknowledged() + 100;
        assert!(eventually(PATIENCE, || load.acknowledged() >= goal), "restart {restart}");
        pixel.process().terminate();
        let code = pixel.process().wait(STOP_WAIT);
        assert_eq!(code, Some(0), "{}", pixel.process().log_tail());
        pixel.start_with_socket(&socket);
        pixel.wait_until_ready();
    }
    let goal = load.acknowledged() + 100;
    assert!(eventually(PATIENCE, || load.acknowledged() >= goal), "after the last restart");
    let record = load.stop();
    println!("{} requests, the slowest took {:?}", record.acknowledged.len(), record.slowest);
    assert_eq!(record.unconnected, 0, "connections were refused");
    assert_eq!(record.unanswered, BTreeMap::new(), "connections were cut");
    assert_eq!(record.refused, BTreeMap::new(), "requests were refused");
    let events = pixel.dump();
    record.check(events.iter().map(|event| event["query_string"].as_str().unwrap())).unwrap();
}

#[test]
fn a_socket_that_is_no_listener_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::new(BINARY, directory.path(), &[]);
    let file = tempfile::tempfile().unwrap();
    pixel.start_with(file.into());
    assert_eq!(pixel.process().wait(STOP_WAIT), Some(1));
    let log = pixel.process().log_tail();
    assert!(log.contains("it must be a TCP ListenStream="), "{log}");
}
