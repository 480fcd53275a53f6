//! A pixel in the hands of its operator: stops that drain, reloads that take what they can and name
//! the rest, and a watchdog that hears of a hung disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sewer_test_support::http::Connection;
use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::lossyfs::{
    Effect, Fault, Image, LossyFs, Op, Rules, available_or_skip as fuse_or_skip,
};
use sewer_test_support::pixel::{Pixel, STOP_WAIT};
use sewer_test_support::process::{eventually, sibling};
use sewer_test_support::supervised::Supervised;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const REQUEST: &[u8] =
    b"GET /p HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n";

/// The status code that a pixel gets on a connection of its own.
fn send(pixel: &Pixel) -> u16 {
    Connection::open(&pixel.address()).unwrap().request(REQUEST).unwrap().status
}

/// Starts a pixel whose configuration file can be changed.
struct Configured {
    pixel: Pixel,
    directory: tempfile::TempDir,
    first: String,
}

impl Configured {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pixel = Pixel::started(BINARY, directory.path(), &[]);
        let first = fs::read_to_string(directory.path().join("pixel.toml")).unwrap();
        Self { pixel, directory, first }
    }

    /// Writes the file with further keys, each `section.key = value`, and asks for a reload.
    fn reload(&mut self, keys: &[(&str, &str, &str)]) -> String {
        let mut text = self.first.clone();
        for (section, key, value) in keys {
            let head = format!("[{section}]\n");
            let line = format!("{key} = {value}\n");
            if text.contains(&head) {
                text = text.replace(&head, &(head.clone() + &line));
            } else {
                text = text + &head + &line;
            }
        }
        self.reload_text(&text)
    }

    /// Writes the file and asks for a reload; returns what the log says of it.
    fn reload_text(&mut self, text: &str) -> String {
        fs::write(self.directory.path().join("pixel.toml"), text).unwrap();
        let before = self.pixel.process().log().len();
        self.pixel.process().hang_up();
        let said = || log_in(&self.directory)[before..].to_owned();
        let outcomes = ["configuration reloaded", "configuration not reloaded"];
        let is_said = || outcomes.iter().any(|outcome| said().contains(outcome));
        self.pixel.process().wait_until("reloaded", PATIENCE, is_said);
        said()
    }
}

fn log_in(directory: &tempfile::TempDir) -> String {
    fs::read_to_string(directory.path().join("pixel.log")).unwrap()
}

#[test]
fn a_stop_serves_on_for_drain_delay_with_health_503_and_a_second_signal_ends_the_wait() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &["pixel.drain_delay=1h"]);
    pixel.process().terminate();
    assert!(eventually(PATIENCE, || pixel.status("/").status == 503), "status says 503");
    for _ in 0..20 {
        assert_eq!(send(&pixel), 204, "a new connection is served during the delay");
    }
    let stats: Value = serde_json::from_str(&pixel.status("/stats").body).unwrap();
    assert_eq!(stats["state"], "draining");
    pixel.process().terminate();
    assert_eq!(pixel.process().wait(STOP_WAIT), Some(0), "{}", pixel.process().log_tail());
    assert_eq!(pixel.dump().len(), 20);
    assert_eq!(fs::read_dir(pixel.wal_dir().join("active")).unwrap().count(), 1, "it has sealed");
}

#[test]
fn after_drain_delay_the_stop_goes_on_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &["pixel.drain_delay=1s"]);
    let begun = Instant::now();
    pixel.stop();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn a_second_signal_under_load_ends_every_wait_and_loses_nothing_acknowledged() {
    for wait in ["pixel.drain_delay=1h", "pixel.drain_timeout=1h"] {
        let directory = tempfile::tempdir().unwrap();
        let sets = [wait, "pixel.keep_alive=1h", "pixel.header_timeout=1h", "wal.roll_interval=1h"];
        let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
        let load = Load::start(LoadOptions {
            address: pixel.address(),
            run: "x".into(),
            connections: 16,
            pause: Duration::ZERO,
            limit: 2 * PATIENCE,
        });
        assert!(eventually(PATIENCE, || load.acknowledged() > 200));
        // A request whose end never comes holds up a stop that waits.
        let mut slow = Connection::open(&pixel.address()).unwrap();
        slow.send(b"GET /p HTTP/1.1\r\nHost:").unwrap();
        pixel.process().terminate();
        assert!(eventually(PATIENCE, || pixel.status("/").status == 503), "status says 503");
        pixel.process().terminate();
        let code = pixel.process().wait(STOP_WAIT);
        assert_eq!(code, Some(0), "{wait}: {}", pixel.process().log_tail());
        let record = load.stop();
        let events = pixel.dump();
        let queries = events.iter().map(|event| event["query_string"].as_str().unwrap());
        record.check(queries).unwrap();
        assert!(slow.is_closed(), "{wait}");
    }
}

#[test]
fn a_reload_takes_what_can_change() {
    let mut node = Configured::new();
    assert_eq!(send(&node.pixel), 204);
    let said = node.reload(&[
        ("pixel", "trusted_proxies", "[]"),
        ("status", "allow", "[\"192.0.2.0/24\"]"),
        ("log", "level", "\"debug\""),
    ]);
    for key in ["pixel.trusted_proxies", "status.allow", "log.level"] {
        assert!(said.contains(key), "{key}: {said}");
    }
    assert!(!said.contains("after a restart"), "{said}");
    assert_eq!(send(&node.pixel), 204);
    assert_eq!(ips(&node.pixel), ["203.0.113.7", "127.0.0.1"], "believed, then no longer");
    assert_eq!(node.pixel.status("/metrics").status, 403);
    assert_eq!(node.pixel.status("/").status, 200);
    // What was sealed is logged with what comes after it.
    let debugs = || send(&node.pixel) == 204 && log_in(&node.directory).contains("DEBUG");
    assert!(eventually(PATIENCE, debugs), "sealing is logged at debug");

    let said = node.reload(&[]);
    assert!(said.contains("log.level"), "back again: {said}");
    assert_eq!(node.pixel.status("/metrics").status, 200);
    assert_eq!(send(&node.pixel), 204);
    assert_eq!(ips(&node.pixel).last().unwrap(), "203.0.113.7");
}

#[test]
fn a_reload_changes_what_is_answered_and_recorded_and_keeps_the_key_of_hashes() {
    let mut node = Configured::new();
    // No period of the key ends in the test.
    let hash = [("privacy", "ip", "\"hash\""), ("privacy", "ip_key_rotation", "\"100000days\"")];
    node.reload(&hash);
    assert_eq!(send(&node.pixel), 204);
    let route = "[{ prefix = \"/p\", response = \"gif\", fields = { kind = \"image\" } }]";
    let further = [("pixel", "route", route), ("event", "method", "true")];
    let said = node.reload(&[&hash[..], &further].concat());
    assert!(said.contains("pixel.route") && said.contains("event.method"), "{said}");
    assert!(!said.contains("after a restart"), "{said}");
    assert_eq!(send(&node.pixel), 200);
    node.reload(&[]);
    assert_eq!(send(&node.pixel), 204);

    let events = node.pixel.dump();
    let fields = |name: &str| events.iter().map(|event| event[name].clone()).collect::<Vec<_>>();
    assert_eq!(fields("kind"), [Value::Null, "image".into(), Value::Null]);
    assert_eq!(fields("method"), [Value::Null, "GET".into(), Value::Null]);
    let ips = fields("ip");
    assert!(ips[0] == ips[1] && ips[0].as_str().unwrap().len() == 32, "{ips:?}");
    assert_eq!(ips[2], "203.0.113.7");
}

fn ips(pixel: &Pixel) -> Vec<Value> {
    pixel.dump().iter().map(|event| event["ip"].clone()).collect()
}

#[test]
fn a_reload_changes_when_the_disk_is_full_and_what_happens_then() {
    let mut node = Configured::new();
    node.reload(&[("wal", "min_free_bytes", "\"1000TiB\"")]);
    assert!(
        eventually(PATIENCE, || node.pixel.status("/").status == 503),
        "the disk counts as full"
    );
    assert_eq!(send(&node.pixel), 503);
    node.reload(&[("wal", "min_free_bytes", "\"1000TiB\""), ("wal", "on_full", "\"drop\"")]);
    assert_eq!(send(&node.pixel), 204);
    let metrics = node.pixel.metrics();
    for (name, expected) in [
        ("sewer_pixel_rejected_requests_total{reason=\"disk_full\"}", "1"),
        ("sewer_pixel_responses_total{code=\"503\"}", "1"),
        ("sewer_pixel_dropped_events_total", "1"),
    ] {
        assert_eq!(metrics.get(name).map(ToString::to_string).as_deref(), Some(expected), "{name}");
    }
    node.reload(&[("wal", "max_bytes", "\"1B\"")]);
    let refuses = || send(&node.pixel) == 503;
    assert!(eventually(PATIENCE, refuses), "the WAL is larger than max_bytes, and not dropped");
    node.reload(&[]);
    assert!(eventually(PATIENCE, || node.pixel.status("/").status == 200), "there is space again");
    assert_eq!(send(&node.pixel), 204);
}

#[test]
fn a_reload_names_each_key_that_waits_for_a_restart() {
    let mut node = Configured::new();
    let keys = [("pixel", "workers", "3"), ("wal", "segment_bytes", "\"1MiB\"")];
    for round in ["the first", "another"] {
        let said = node.reload(&keys);
        for key in ["pixel.workers", "wal.segment_bytes"] {
            let line = format!("key `{key}` changed; takes effect after a restart");
            assert!(said.contains(&line), "{round} reload says that {key} waits: {said}");
        }
        assert!(!said.contains("pixel.listen"), "{said}");
    }
    let said = node.reload(&[]);
    assert!(!said.contains("after a restart"), "what runs is what the file says: {said}");
}

#[test]
fn a_reload_of_a_file_that_is_wrong_changes_nothing_and_says_what_is_wrong() {
    let mut node = Configured::new();
    let trusting_nobody = ("pixel", "trusted_proxies", "[]");
    for (wrong, words) in [
        (("pixel", "no_such_key", "1"), "unknown key `pixel.no_such_key`"),
        (("wal", "max_bytes", "\"lots\""), "`wal.max_bytes`"),
        (("wal", "segment_bytes", "\"1KiB\""), "`wal.segment_bytes`"),
        (("log", "level", "\"sewer=loud\""), "`log.level`"),
        (("pixel", "route", "[{ prefix = \"a\" }]"), "`pixel.route.prefix`"),
    ] {
        let said = node.reload(&[trusting_nobody, wrong]);
        assert!(said.contains("configuration not reloaded, nothing is changed"), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = node.reload_text("[pixel");
    assert!(said.contains("not reloaded") && said.contains("pixel.toml"), "{said}");
    assert_eq!(send(&node.pixel), 204);
    assert_eq!(node.pixel.dump()[0]["ip"], "203.0.113.7", "the proxy is still believed");
}

#[test]
fn open_connections_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let count = || pixel.metrics()["sewer_pixel_connections"].to_string();
    let open: Vec<_> = (0..5)
        .map(|_| {
            let mut connection = Connection::open(&pixel.address()).unwrap();
            connection.request(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            connection
        })
        .collect();
    assert!(eventually(PATIENCE, || count() == "5"), "{}", count());
    drop(open);
    assert!(eventually(PATIENCE, || count() == "0"), "{}", count());
}

fn supervised(directory: &Path, pixel: &Pixel, watchdog: Duration) -> Supervised {
    Supervised::start(directory, &sibling(BINARY, "sewer-pixel"), &pixel.args(), Some(watchdog))
}

#[test]
fn the_supervisor_hears_the_rate_and_that_the_watchdog_is_fed() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::new(BINARY, directory.path(), &[]);
    let daemon = supervised(directory.path(), &pixel, Duration::from_secs(4));
    daemon.await_line("READY=1");
    daemon.await_line("WATCHDOG=1");
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "x".into(),
        connections: 4,
        pause: Duration::from_millis(5),
        limit: PATIENCE,
    });
    let rate_is_shown = || {
        let heard = daemon.await_line("STATUS=");
        let status = heard.last().cloned().unwrap_or_default();
        let rate = status.strip_prefix("STATUS=serving: ").and_then(|rest| rest.split(' ').next());
        rate.is_some_and(|rate| rate.parse::<f64>().is_ok_and(|rate| rate > 0.0))
    };
    assert!(eventually(PATIENCE, rate_is_shown), "the rate under load");
    daemon.await_line("WATCHDOG=1");
    load.stop();
    assert!(daemon.terminate().success());
}

#[test]
fn a_hung_fsync_stops_the_feeding_of_the_watchdog_and_nothing_else() {
    const WATCHDOG: Duration = Duration::from_secs(2);
    const HANGS: Duration = Duration::from_secs(20);
    if !fuse_or_skip("pixel_operation") {
        return;
    }
    let fs = LossyFs::mount(&Image::default(), Rules::Strict).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let wal = format!("wal.dir={}", fs.path().join("wal").display());
    let pixel = Pixel::new(BINARY, directory.path(), &[&wal, "wal.roll_interval=1h"]);
    let daemon = supervised(directory.path(), &pixel, WATCHDOG);
    daemon.await_line("READY=1");
    assert_eq!(send(&pixel), 204);
    daemon.await_line("WATCHDOG=1");
    let nth = fs.calls(Op::Sync) + 1;
    fs.add_fault(Fault { op: Op::Sync, nth, times: 1, effect: Effect::Slow(HANGS) });
    let mut waiting = Connection::open(&pixel.address()).unwrap();
    waiting.send(REQUEST).unwrap();
    let hung = Instant::now();
    // Two looks after the fsync began at the latest.
    std::thread::sleep(WATCHDOG);
    let heard = daemon.listen(2 * WATCHDOG);
    assert!(!heard.iter().any(|line| line == "WATCHDOG=1"), "{heard:?}");
    assert!(heard.iter().any(|line| line.starts_with("STATUS=serving")), "{heard:?}");
    assert!(hung.elapsed() < HANGS, "the test took longer than the hang");
    assert_eq!(pixel.status("/").status, 200, "the status port answers meanwhile");
    assert_eq!(waiting.receive().unwrap().status, 204, "the fsync has ended at last");
    daemon.await_line("WATCHDOG=1");
    assert!(daemon.terminate().success());
}
