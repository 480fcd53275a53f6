//! The pixel as a process, seen from outside: what it answers, what is then in its WAL, how it
//! shares fsyncs, how it stops, and what `sewer-wal` says of the WAL while it runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sewer_test_support::http::Connection;
use sewer_test_support::load::{Load, LoadOptions, Record};
use sewer_test_support::pixel::{Pixel, STOP_WAIT, dump, sewer_wal};
use sewer_test_support::process::{eventually, sibling};
use sewer_test_support::varied::{self, FIELD_NAMES, Varied};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(elapsed.as_millis()).expect("the year is below 292 million")
}

/// The text fields of a dumped event, in the order of their names.
fn fields(event: &Value) -> [Option<String>; 7] {
    FIELD_NAMES.map(|name| event[name].as_str().map(str::to_owned))
}

fn send(pixel: &Pixel, connections: usize, count: u64, pause: Duration) -> Record {
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "x".into(),
        connections,
        pause,
        limit: PATIENCE,
    });
    assert!(eventually(PATIENCE, || load.acknowledged() >= count), "{}", load.acknowledged());
    load.stop()
}

fn queries(events: &[Value]) -> impl Iterator<Item = &str> {
    events.iter().map(|event| event["query_string"].as_str().unwrap_or("(none)"))
}

#[test]
fn every_request_answered_204_is_in_the_wal_of_the_running_pixel_field_by_field() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let begun = now_ms();
    let sent: Vec<Varied> = (0..1000).map(|number| varied::pixel(1, number)).collect();
    for varied in &sent {
        let response = connection.request(&varied.request).unwrap();
        let request = String::from_utf8_lossy(&varied.request);
        assert_eq!(response.status, 204, "{request}");
        assert_eq!(response.body, "", "{request}");
    }
    let ended = now_ms();
    let events = pixel.dump();
    assert_eq!(events.len(), sent.len());
    for (lsn, (event, varied)) in events.iter().zip(&sent).enumerate() {
        assert_eq!(event["lsn"], lsn);
        assert_eq!(fields(event), varied::decoded(&varied.fields), "LSN {lsn}");
        let timestamp = event["timestamp"].as_i64().unwrap();
        assert!((begun..=ended).contains(&timestamp), "{begun} <= {timestamp} <= {ended}");
    }
}

#[test]
fn every_method_and_every_path_is_a_pixel() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut paths = Vec::new();
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
        for path in ["/", "/metrics", "/stats", "/p.gif", "//a", "/../x", "/%2e%2e"] {
            let body = if matches!(method, "POST" | "PUT" | "PATCH") { "body" } else { "" };
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let mut connection = Connection::open(&pixel.address()).unwrap();
            let response = connection.request(request.as_bytes()).unwrap();
            assert_eq!(response.status, 204, "{method} {path}");
            paths.push(path);
        }
    }
    for (target, path) in [("*", "*"), ("http://other.example/absolute", "/absolute")] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut connection = Connection::open(&pixel.address()).unwrap();
        assert_eq!(connection.request(request.as_bytes()).unwrap().status, 204, "{target}");
        paths.push(path);
    }
    let events = pixel.dump();
    let found: Vec<_> = events.iter().map(|e| e["request_path"].as_str().unwrap()).collect();
    assert_eq!(found, paths);
}

#[test]
fn concurrent_requests_share_fsyncs_and_lose_none() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let record = send(&pixel, 64, 4000, Duration::ZERO);
    let metrics = pixel.metrics();
    let commits = metrics["sewer_pixel_commit_seconds_count"];
    let events = metrics["sewer_pixel_events_total"];
    println!("{events} events in {commits} commits");
    assert_eq!((&record.unanswered, &record.refused), (&BTreeMap::new(), &BTreeMap::new()));
    assert_eq!(events.to_string(), record.acknowledged.len().to_string());
    assert!(commits * 2.0 <= events, "{events} events took {commits} commits");
    let events = pixel.dump();
    record.check(queries(&events)).unwrap();
}

#[test]
fn a_request_alone_waits_for_its_own_fsync_and_for_no_timer() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let record = send(&pixel, 1, 100, Duration::ZERO);
    let commits = pixel.metrics()["sewer_pixel_commit_seconds_count"];
    assert_eq!(commits.to_string(), record.acknowledged.len().to_string());
}

#[test]
fn the_status_port_says_200_without_a_body_on_any_path() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    for path in ["/", "/health", "/a/b?c=d"] {
        let response = pixel.status(path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-length"), Some("0"), "{}", response.head);
    }
    assert_eq!(pixel.dump().len(), 0, "a health check is no pixel");
}

#[test]
fn metrics_count_what_was_answered_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    for _ in 0..7 {
        connection.request(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    }
    let metrics = pixel.metrics();
    for (name, expected) in [
        ("sewer_pixel_responses_total{code=\"204\"}", "7"),
        ("sewer_pixel_events_total", "7"),
        ("sewer_pixel_wal_next_lsn", "7"),
        ("sewer_pixel_batch_events_sum", "7"),
        ("sewer_pixel_requests_in_flight", "0"),
    ] {
        let value = metrics.get(name).unwrap_or_else(|| panic!("{name} is not there"));
        assert_eq!(value.to_string(), expected, "{name}");
    }
    assert!(metrics["sewer_pixel_wal_bytes_total"] > 0.0);
    let stats: Value = serde_json::from_str(&pixel.status("/stats").body).unwrap();
    assert_eq!((&stats["events"], &stats["state"]), (&json!(7), &json!("serving")));
}

#[test]
fn sigterm_answers_what_is_in_flight_turns_health_to_503_seals_and_exits_0() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["wal.roll_interval=1h", "pixel.drain_timeout=10s", "pixel.body_timeout=2s"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "x".into(),
        connections: 64,
        pause: Duration::ZERO,
        limit: PATIENCE,
    });
    assert!(eventually(PATIENCE, || load.acknowledged() > 500));
    // A client that is slow with its body holds up the end for a moment.
    let mut slow = Connection::open(&pixel.address()).unwrap();
    let request = b"POST /p?slow HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbody";
    slow.send(request).unwrap();
    let taken = || pixel.metrics()["sewer_pixel_connections"] >= 65.0;
    assert!(eventually(PATIENCE, taken), "the slow client is connected");

    pixel.process().terminate();
    assert!(eventually(PATIENCE, || pixel.status("/").status == 503), "status says 503");
    let refuses = || Connection::open(&pixel.address()).is_err();
    assert!(eventually(PATIENCE, refuses), "the listener closes");
    let code = pixel.process().wait(STOP_WAIT);
    assert_eq!(code, Some(0), "{}", pixel.process().log_tail());

    let record = load.stop();
    assert_eq!(slow.receive().unwrap().status, 408, "it is told");
    let events = pixel.dump();
    record.check(queries(&events)).unwrap();
    // With the line above: nothing that was taken on remained without its answer.
    assert_eq!(events.len(), record.acknowledged.len(), "refused: {:?}", record.refused);
    assert_eq!(events_in_active(&pixel.wal_dir()), 0, "every event is in a sealed segment");
    pixel.start();
    pixel.wait_until_ready();
    let next = || pixel.metrics()["sewer_pixel_wal_next_lsn"].to_string();
    let goes_on = eventually(PATIENCE, || next() == events.len().to_string());
    assert!(goes_on, "LSNs go on after a clean stop: {} after {}", next(), events.len());
}

fn events_in_active(wal: &Path) -> usize {
    let logs = fs::read_dir(wal.join("active")).unwrap();
    logs.map(|log| dump(BINARY, &log.unwrap().path().join("wal-1")).len()).sum()
}

#[test]
fn idle_connections_do_not_hold_up_a_stop_for_longer_than_drain_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &["pixel.drain_timeout=1s"]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    connection.request(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    pixel.stop();
    assert!(connection.is_closed());
}

#[test]
fn http_1_0_clients_that_ask_for_keep_alive_are_told_that_they_have_it() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    for _ in 0..3 {
        let request = b"GET /p HTTP/1.0\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n";
        let response = connection.request(request).expect("the connection stays open");
        assert_eq!(response.status, 204);
        let connection = response.header("connection").unwrap_or_default();
        assert!(connection.eq_ignore_ascii_case("keep-alive"), "{}", response.head);
    }
    assert_eq!(connection.request(b"GET /p HTTP/1.0\r\n\r\n").unwrap().status, 204);
    assert!(connection.is_closed(), "without the header it ends");
    assert_eq!(pixel.dump().len(), 4);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_all_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    connection.send("GET /p HTTP/1.1\r\nHost: h\r\n\r\n".repeat(50).as_bytes()).unwrap();
    for _ in 0..50 {
        assert_eq!(connection.receive().unwrap().status, 204);
    }
    assert_eq!(pixel.dump().len(), 50);
}

#[test]
fn a_malformed_request_gets_400_and_is_not_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    for malformed in [
        &b"nonsense\r\n\r\n"[..],
        b"GET /p\r\n\r\n",
        b"GET /p HTTP/9.9\r\n\r\n",
        b"GET p HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /p HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /p HTTP/1.1\r\nUser-Agent: a\0b\r\n\r\n",
        b"GET /p HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(&pixel.address()).unwrap();
        let response = connection.request(malformed).unwrap();
        assert_eq!(response.status, 400, "{}", String::from_utf8_lossy(malformed));
        assert!(connection.is_closed());
    }
    assert_eq!(pixel.dump().len(), 0);
    let log = pixel.process().log_tail();
    assert!(!log.contains("ERROR"), "a stranger cannot fill the log: {log}");
}

#[test]
fn a_request_that_breaks_off_is_not_recorded_and_hurts_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    for cut in ["", "GET", "GET /p HTTP/1.1\r\n", "GET /p HTTP/1.1\r\nHost: h\r\n"] {
        Connection::open(&pixel.address()).unwrap().send(cut.as_bytes()).unwrap();
    }
    let record = send(&pixel, 2, 20, Duration::ZERO);
    let events = pixel.dump();
    record.check(queries(&events)).unwrap();
}

#[test]
fn dump_ends_quietly_when_its_reader_has_read_enough() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    // More than a pipe holds.
    send(&pixel, 32, 2000, Duration::ZERO);
    for command in [&["dump", "--format", "json"][..], &["dump"]] {
        let mut dump = Command::new(sibling(BINARY, "sewer-wal"))
            .args(command)
            .arg(pixel.wal_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(dump.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{line}");
        let ended = eventually(PATIENCE, || dump.try_wait().unwrap().is_some());
        if !ended {
            dump.kill().unwrap();
        }
        let output = dump.wait_with_output().unwrap();
        assert!(ended, "sewer-wal goes on without a reader");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn verify_finds_a_live_wal_sound_while_it_grows_and_rolls() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["wal.segment_bytes=64KiB", "wal.roll_interval=100ms"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "x".into(),
        connections: 8,
        pause: Duration::from_millis(2),
        limit: PATIENCE,
    });
    for _ in 0..12 {
        let verify = sewer_wal(BINARY, &[Path::new("verify"), &pixel.wal_dir()]);
        let printed = verify.stdout.clone() + &verify.stderr;
        verify.expect_success();
        assert!(!printed.contains("damaged"), "{printed}");
        let events = pixel.dump();
        let gap = events.iter().enumerate().find(|(lsn, event)| event["lsn"] != *lsn);
        assert_eq!(gap, None, "LSNs of a live WAL are gapless; {} events", events.len());
    }
    let record = load.stop();
    let events = pixel.dump();
    record.check(queries(&events)).unwrap();
    let stat = sewer_wal(BINARY, &[Path::new("stat"), &pixel.wal_dir()]).expect_success();
    let sealed = stat.lines().filter(|line| line.starts_with("sealed")).count();
    assert!(sealed > 3, "it has rolled:\n{stat}");
}

#[test]
fn verify_names_the_offset_of_damage_and_exits_1() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &["wal.roll_interval=1h"]);
    send(&pixel, 1, 100, Duration::ZERO);
    pixel.stop();
    let segment = only_segment(&pixel.wal_dir());
    let sound = fs::read(&segment).unwrap();
    let middle = sound.len() / 2;
    let mut damaged = sound.clone();
    damaged[middle] ^= 1;
    fs::write(&segment, damaged).unwrap();
    for path in [&pixel.wal_dir(), &segment] {
        let verify = sewer_wal(BINARY, &[Path::new("verify"), path]);
        assert_eq!(verify.code, Some(1), "{}{}", verify.stdout, verify.stderr);
        let named = verify.stdout.lines().find_map(|line| {
            let (_, rest) = line.split_once(&format!("{}: damaged at byte ", segment.display()))?;
            rest.split(':').next()?.parse::<usize>().ok()
        });
        let offset = named.unwrap_or_else(|| panic!("no offset in: {}", verify.stdout));
        // The batch that holds the byte begins there; a batch of one small request is short.
        assert!(offset <= middle && middle - offset < 1000, "{offset} for damage at {middle}");
    }
    fs::write(&segment, sound).unwrap();
    sewer_wal(BINARY, &[Path::new("verify"), &pixel.wal_dir()]).expect_success();
}

fn only_segment(wal: &Path) -> PathBuf {
    let segments: Vec<_> =
        fs::read_dir(wal.join("sealed")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.into_iter().next().unwrap()
}

#[test]
fn fields_of_untrusted_peers_are_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.trusted_proxies=[\"192.0.2.0/24\"]"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let request = b"GET /p HTTP/1.1\r\nHost: own.example:1\r\nX-Forwarded-For: 203.0.113.7\r\n\
        X-Forwarded-Host: other.example\r\n\r\n";
    assert_eq!(connection.request(request).unwrap().status, 204);
    let events = pixel.dump();
    let seen: BTreeMap<_, _> = ["ip", "host"].map(|name| (name, events[0][name].clone())).into();
    assert_eq!(seen, [("ip", json!("127.0.0.1")), ("host", json!("own.example"))].into());
}
