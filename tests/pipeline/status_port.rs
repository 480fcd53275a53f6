//! The status ports of both daemons: health for everyone, figures for the networks of
//! `status.allow`, and metrics that Prometheus' own linter has nothing to say about.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sewer_test_support::command;
use sewer_test_support::http::{self, Connection, Response};
use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::tools;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

const PATIENCE: Duration = Duration::from_secs(30);

/// A range that no peer of a test is in (RFC 5737).
const NOBODY: &str = "status.allow=[\"192.0.2.0/24\"]";

/// A pixel and a shipper that deliver to a directory.
struct Node {
    pixel: Pixel,
    shipper: Shipper,
    directory: tempfile::TempDir,
}

impl Node {
    fn start(sets: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pixel = Pixel::started(BINARY, directory.path(), sets);
        let out = format!("file://{}/out", directory.path().display());
        let mut shipper = Shipper::new(BINARY, directory.path(), &out, sets);
        shipper.start();
        shipper.wait_until_ready();
        Self { pixel, shipper, directory }
    }

    fn addresses(&self) -> [String; 2] {
        [self.pixel.status_address(), self.shipper.status_address()]
    }

    /// Sends some pixels, so that no metric is left without a value.
    fn work(&self) {
        let load = Load::start(LoadOptions {
            address: self.pixel.address(),
            run: "x".into(),
            connections: 4,
            pause: Duration::from_millis(1),
            limit: PATIENCE,
        });
        let shipped = || self.shipper.metrics()["sewer_shipper_events_total"] > 0.0;
        assert!(eventually(PATIENCE, shipped), "something is delivered");
        load.stop();
    }
}

fn get(address: &str, path: &str) -> Response {
    http::get(address, path).unwrap_or_else(|e| panic!("{address}{path}: {e}"))
}

#[test]
fn figures_are_for_the_networks_of_status_allow_and_health_is_for_everyone() {
    let node = Node::start(&[NOBODY]);
    for address in node.addresses() {
        for path in ["/metrics", "/stats", "/metrics?x=1"] {
            let response = get(&address, path);
            assert_eq!(response.status, 403, "{path}");
            assert!(response.body.contains("status.allow has no 127.0.0.1"), "{}", response.body);
        }
        for path in ["/", "/healthz", "/livez"] {
            let response = get(&address, path);
            assert_eq!((response.status, response.body.as_str()), (200, ""), "{path}");
        }
    }
    for path in ["/health", "/metrics/", "/stats/x", "/dashboards"] {
        assert_eq!(node.pixel.status(path).status, 200, "{path}, by status.any_path");
        assert_eq!(get(&node.shipper.status_address(), path).status, 404, "{path}");
    }
    for path in ["/dashboard", "/dashboard/data"] {
        assert_eq!(node.pixel.status(path).status, 403, "{path}");
        assert_eq!(get(&node.shipper.status_address(), path).status, 404, "it has no such page");
    }
}

#[test]
fn loopback_and_private_networks_may_see_figures_by_default() {
    let node = Node::start(&[]);
    for address in node.addresses() {
        for path in ["/metrics", "/stats"] {
            assert_eq!(get(&address, path).status, 200, "{path}");
        }
        for (request, status) in [
            ("POST /stats HTTP/1.0\r\nContent-Length: 0\r\n\r\n", 405),
            ("DELETE /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n", 405),
            ("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", 200),
        ] {
            let mut connection = Connection::open(&address).unwrap();
            let response = connection.request(request.as_bytes()).unwrap();
            assert_eq!(response.status, status, "{request}");
        }
    }
}

#[test]
fn the_shipper_takes_a_new_status_allow_with_a_reload() {
    let mut node = Node::start(&[]);
    let file = node.directory.path().join("shipper.toml");
    let text = fs::read_to_string(&file).unwrap();
    let address = node.shipper.status_address();
    let narrower = text.replace("[status]\n", "[status]\nallow = [\"192.0.2.0/24\"]\n");
    for (text, status) in [(&narrower, 403), (&text, 200)] {
        fs::write(&file, text).unwrap();
        node.shipper.process().hang_up();
        assert!(eventually(PATIENCE, || get(&address, "/stats").status == status), "{status}");
    }
    fs::write(&file, text.replace("[status]\n", "[status]\nmax_lag = \"1h\"\n")).unwrap();
    node.shipper.process().hang_up();
    let named = || {
        let line = "key `status.max_lag` changed; takes effect after a restart";
        node.shipper.process().log().contains(line)
    };
    assert!(eventually(PATIENCE, named), "{}", node.shipper.process().log_tail());
}

#[test]
fn stats_tell_rates_over_a_minute_five_minutes_and_an_hour() {
    let node = Node::start(&[]);
    node.work();
    let stats = || -> Value { serde_json::from_str(&node.pixel.status("/stats").body).unwrap() };
    let rate = |window: &str, name: &str| stats()["rates"][window][name].as_f64().unwrap_or(0.0);
    for window in ["1m", "5m", "1h"] {
        for name in ["requests_per_second", "events_per_second", "bytes_per_second"] {
            assert!(
                eventually(PATIENCE, || rate(window, name) > 0.0),
                "{window} {name}: {}",
                stats()
            );
        }
        assert!(rate(window, "refused_per_second").abs() < f64::EPSILON, "{}", stats());
    }
    let stats = stats();
    assert_eq!(stats["responses"]["204"], stats["events"], "{stats}");
    assert!(
        stats["commit_p99_seconds"].as_f64() >= stats["commit_p50_seconds"].as_f64(),
        "{stats}"
    );
}

#[test]
fn the_pixel_tells_what_waits_for_the_shipper() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    connection.request(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let value = |name: &str| pixel.metrics()[name];
    assert!(eventually(PATIENCE, || value("sewer_pixel_backlog_segments") > 0.0), "it is sealed");
    assert!(value("sewer_pixel_backlog_bytes") > 0.0);
    let lag = value("sewer_pixel_lag_seconds");
    assert!(eventually(PATIENCE, || value("sewer_pixel_lag_seconds") > lag), "it gets older");
    let out = format!("file://{}/out", directory.path().display());
    let mut shipper = Shipper::new(BINARY, directory.path(), &out, &[]);
    shipper.start();
    let gone = || value("sewer_pixel_backlog_segments") + value("sewer_pixel_lag_seconds") == 0.0;
    assert!(eventually(PATIENCE, gone), "shipped");
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics_of_either_daemon() {
    let Some(promtool) = tools::find_or_skip("promtool", "prometheus", "status_port") else {
        return;
    };
    let node = Node::start(&[]);
    node.work();
    for address in node.addresses() {
        let text = get(&address, "/metrics").body;
        let file = node.directory.path().join("metrics");
        fs::write(&file, &text).unwrap();
        let mut check = Command::new("/bin/sh");
        check.arg("-c").arg("exec \"$0\" check metrics < \"$1\"").arg(&promtool).arg(&file);
        let finished = command::run(&mut check, PATIENCE).unwrap();
        let said = (finished.code, finished.stdout + &finished.stderr);
        assert_eq!(said, (Some(0), String::new()), "{text}");
    }
}

/// Headers of the PROXY protocol as balancers send them with health checks.
fn proxy_headers() -> Vec<Vec<u8>> {
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = |command: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[0x20 | command, 0x11], &length, rest].concat()
    };
    let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
    let additional = [&addresses[..], &[0xee; 84]].concat();
    vec![
        b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(1, &addresses),
        v2(1, &additional),
        v2(0, b""),
    ]
}

#[test]
fn a_balancer_may_check_with_a_proxy_header_and_anybody_without() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.proxy_protocol=true"]);
    let ask = |pieces: &[&[u8]]| {
        let mut connection = Connection::open(&pixel.status_address()).unwrap();
        for piece in pieces {
            connection.send(piece).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        connection.receive().unwrap().status
    };
    let health = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
    let figures = b"GET /stats HTTP/1.1\r\nHost: h\r\n\r\n";
    for header in proxy_headers() {
        let told = header.escape_ascii();
        assert_eq!(ask(&[&header, health]), 200, "{told}");
        assert_eq!(ask(&[&header[..3], &header[3..], health]), 200, "{told} in pieces");
    }
    assert_eq!(ask(&[health]), 200);
    assert_eq!(ask(&[b"P", b"OST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"]), 200);
    // Figures are for whom the header names.
    let [stranger, unknown, ..] = &proxy_headers()[..] else { panic!("there are five") };
    assert_eq!((ask(&[stranger, figures]), ask(&[unknown, figures])), (403, 200));
    // A probe that connects and goes is nobody strange.
    for _ in 0..20 {
        Connection::open(&pixel.address()).unwrap().reset().unwrap();
    }
    let metrics = pixel.metrics();
    let stranger = "sewer_pixel_connections_closed_total{reason=\"proxy_stranger\"}";
    assert!(!metrics.contains_key(stranger), "{metrics:?}");
}

#[test]
fn without_the_proxy_protocol_a_header_of_it_is_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    for header in proxy_headers() {
        let mut connection = Connection::open(&pixel.status_address()).unwrap();
        connection.send(&[&header[..], b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"].concat()).unwrap();
        assert_eq!(connection.receive().unwrap().status, 400, "{}", header.escape_ascii());
    }
}
