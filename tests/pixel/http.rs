//! HTTP as the pixel speaks it: what it answers beyond the plain request, where its limits are and
//! what it says there, and that a connection can be used again wherever that is safe.

use std::time::Duration;

use sewer_test_support::http::{Connection, Response};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

const GET: &[u8] = b"GET /p?x HTTP/1.1\r\nHost: h\r\n\r\n";

fn open(pixel: &Pixel) -> Connection {
    Connection::open(&pixel.address()).unwrap()
}

/// The answer to a request, and whether the connection still serves another one afterwards.
fn ask(pixel: &Pixel, request: &[u8]) -> (Response, bool) {
    let mut connection = open(pixel);
    let response = connection.request(request).unwrap();
    let goes_on = connection.request(GET).is_ok_and(|response| response.status == 204);
    (response, goes_on)
}

fn queries(pixel: &Pixel) -> Vec<String> {
    let query = |event: &serde_json::Value| event["query_string"].as_str().unwrap().to_owned();
    pixel.dump().iter().map(query).collect()
}

#[test]
fn a_204_has_the_fewest_headers() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let response = open(&pixel).request(GET).unwrap();
    let lines: Vec<&str> = response.head.trim_end().lines().collect();
    // RFC 9110, 6.6.1: whoever has a clock says what it shows.
    assert_eq!(lines[0], "HTTP/1.1 204 No Content");
    assert_eq!(lines.len(), 2, "{}", response.head);
    assert!(lines[1].starts_with("date: "), "{}", response.head);
}

#[test]
fn a_body_that_nobody_wants_is_read_and_the_connection_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let long = "b".repeat(60_000);
    let mut requests = vec![
        b"POST /p?a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody".to_vec(),
        b"POST /p?a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nbody\r\n0\r\n\r\n"
            .to_vec(),
        b"GET /p?a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".to_vec(),
        format!("PUT /p?a HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n{long}").into(),
    ];
    requests.push(requests.concat());
    for request in &requests {
        let mut connection = open(&pixel);
        let answers = if request == requests.last().unwrap() { 4 } else { 1 };
        connection.send(request).unwrap();
        for _ in 0..answers {
            assert_eq!(connection.receive().unwrap().status, 204);
        }
        assert_eq!(connection.request(GET).unwrap().status, 204, "{}", request.escape_ascii());
    }
    let queries = queries(&pixel);
    assert_eq!(queries.iter().filter(|query| *query == "a").count(), 8);
    assert_eq!(queries.len(), 8 + requests.len());
}

#[test]
fn a_client_that_asks_is_told_to_send_its_body_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.max_body_bytes=10B"]);
    let mut connection = open(&pixel);
    let head =
        b"POST /p?x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(connection.request(head).unwrap().status, 100);
    assert_eq!(connection.request(b"body").unwrap().status, 204);
    assert_eq!(connection.request(GET).unwrap().status, 204, "the connection goes on");
    let head =
        b"POST /p?x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n";
    let mut connection = open(&pixel);
    assert_eq!(connection.request(head).unwrap().status, 413);
    assert!(connection.is_closed());
    assert_eq!(pixel.dump().len(), 2);
}

#[test]
fn what_is_over_a_limit_is_told_so_and_not_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let sets =
        ["pixel.max_head_bytes=4KiB", "pixel.max_uri_bytes=1000B", "pixel.max_body_bytes=100B"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let get = |target_bytes: usize, header_bytes: usize| {
        let target = "t".repeat(target_bytes - "/?".len());
        let header = "h".repeat(header_bytes);
        format!("GET /?{target} HTTP/1.1\r\nHost: h\r\nX: {header}\r\n\r\n").into_bytes()
    };
    let post = |length: usize| {
        let body = "b".repeat(length);
        format!("POST /?b HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}").into()
    };
    let chunked = |length: usize| {
        let body = "b".repeat(length);
        let head = "POST /?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{length:x}\r\n{body}\r\n0\r\n\r\n").into_bytes()
    };
    let headers = |count: usize| {
        format!("GET /?m HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(count)).into()
    };
    for (request, status) in [
        (get(1000, 10), 204),
        (get(1001, 10), 414),
        (get(60_000, 10), 414),
        (get(1_000_000, 10), 414),
        (get(10, 4000), 204),
        (get(10, 4096), 431),
        (get(10, 60_000), 431),
        (get(10, 1_000_000), 431),
        (headers(600), 204),
        (headers(800), 431),
        (post(100), 204),
        (post(101), 413),
        (post(1_000_000), 413),
        (chunked(100), 204),
        (chunked(101), 413),
        (chunked(100_000), 413),
    ] {
        let what = request[..request.len().min(100)].escape_ascii().to_string();
        let mut connection = open(&pixel);
        // It may close before it has read everything.
        let _ = connection.send(&request);
        let response = connection.receive().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(response.status, status, "{what}");
        if status == 204 {
            assert_eq!(connection.request(GET).unwrap().status, 204, "{what}");
        } else {
            assert!(connection.is_closed(), "{what}");
        }
    }
    assert_eq!(pixel.dump().len(), 10, "what was answered 204, and nothing else");
    let metrics = pixel.metrics();
    for (code, count) in [("414", "3"), ("431", "4"), ("413", "4")] {
        let name = format!("sewer_pixel_responses_total{{code=\"{code}\"}}");
        assert_eq!(metrics[&name].to_string(), count, "{name}");
    }
}

#[test]
fn a_slow_head_or_body_gets_408_on_a_new_connection_and_on_an_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.header_timeout=300ms", "pixel.body_timeout=300ms"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let head = &b"GET /p HTTP/1.1\r\nHost: h\r\nX-Slow: "[..];
    let body = &b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nb"[..];
    let chunks = &b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nb"[..];
    for partial in [head, body, chunks] {
        for requests_before in [0, 2] {
            let mut connection = open(&pixel);
            for _ in 0..requests_before {
                assert_eq!(connection.request(GET).unwrap().status, 204);
            }
            connection.send(partial).unwrap();
            // Slow, not silent: a byte now and then does not put it off.
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(50));
                if connection.send(b"x").is_err() {
                    break;
                }
            }
            let response = connection.receive().unwrap();
            assert_eq!(response.status, 408, "{}", partial.escape_ascii());
            assert!(connection.is_closed());
        }
    }
    assert_eq!(pixel.dump().len(), 6);
    let metrics = pixel.metrics();
    assert_eq!(metrics["sewer_pixel_responses_total{code=\"408\"}"].to_string(), "6");
    let closed = |reason| format!("sewer_pixel_connections_closed_total{{reason=\"{reason}\"}}");
    assert_eq!(metrics[&closed("head_timeout")].to_string(), "2");
    assert_eq!(metrics[&closed("body_timeout")].to_string(), "4");
}

#[test]
fn a_silent_connection_is_closed_without_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.header_timeout=200ms", "pixel.keep_alive=1s"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    assert!(open(&pixel).is_closed(), "after header_timeout, if it never spoke");
    let mut connection = open(&pixel);
    for _ in 0..3 {
        assert_eq!(connection.request(GET).unwrap().status, 204);
        // Longer than header_timeout, shorter than keep_alive; the dispatcher is gone by then.
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(connection.is_closed(), "after keep_alive, if it did");
    let gone = || pixel.metrics()["sewer_pixel_connections"] == 0.0;
    assert!(eventually(PATIENCE, gone));
}

#[test]
fn a_connection_serves_so_many_requests_and_says_which_is_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.max_requests_per_connection=3"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let mut connection = open(&pixel);
    for number in 1..=3 {
        let response = connection.request(GET).unwrap();
        let last = response.header("connection") == Some("close");
        assert_eq!((response.status, last), (204, number == 3), "{}", response.head);
    }
    assert!(connection.is_closed());
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = open(&pixel);
    let request = b"\r\nPOST http://example.org:80/abs?x HTTP/1.1\r\nHost: h\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for byte in request {
        connection.send(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(connection.receive().unwrap().status, 204);
    // After a rest, in which the connection has given up its buffers.
    std::thread::sleep(Duration::from_secs(1));
    for half in [&GET[..10], &GET[10..]] {
        connection.send(half).unwrap();
        std::thread::sleep(Duration::from_millis(600));
    }
    assert_eq!(connection.receive().unwrap().status, 204);
    let events = pixel.dump();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["request_path"], "/abs");
}

/// A request that comes in one piece takes another way than one in two.
#[test]
fn a_request_gets_the_same_answer_and_event_in_one_piece_and_in_two() {
    let directory = tempfile::tempdir().unwrap();
    let sets = [
        "pixel.route=[{prefix=\"/gif\", response=\"gif\"}]",
        "pixel.trusted_proxies=[\"127.0.0.0/8\"]",
        "cors.allow_origin=reflect",
        "event.method=true",
        "event.extra_headers=[\"accept-language\"]",
    ];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let requests = [
        "GET /p?x=[1]|{2} HTTP/1.1\r\nHost: a.example:80\r\nUser-Agent: \tu \r\nCookie: a=1\r\n\
         cookie: b\r\nReferer: r\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
        "GET /gif?q HTTP/1.1\r\nHOST: h\r\nORIGIN: https://a.example\r\naccept-language: nl\r\n\r\n",
        "HEAD /gif HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
        "OPTIONS /o HTTP/1.1\r\nHost: h\r\nOrigin: null\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
        "GET /favicon.ico HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET //a/?? HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /last HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\n\r\n",
        "GET /first HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    let answers = |pieces: usize| -> Vec<String> {
        let mut connection = open(&pixel);
        let answer = |request: &&str| {
            for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                connection.send(piece).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
            let is_head = request.starts_with("HEAD");
            let response = if is_head { connection.receive_head() } else { connection.receive() };
            let response = response.unwrap();
            if request.contains("close") || request.starts_with("GET / HTTP/1.0") {
                assert!(connection.is_closed());
                connection = open(&pixel);
            }
            let mut head: Vec<_> = response.head.lines().collect();
            head.retain(|line| !line.starts_with("date:"));
            // They come in any order.
            head[1..].sort_unstable();
            format!("{head:?} {:?}", response.body)
        };
        requests.iter().map(answer).collect()
    };
    assert_eq!(answers(1), answers(2));
    let mut events = pixel.dump();
    for event in &mut events {
        event.as_object_mut().unwrap().retain(|name, _| name != "timestamp" && name != "lsn");
    }
    let (one, two) = events.split_at(events.len() / 2);
    assert_eq!(one.len(), requests.len() - 2, "a preflight and an icon are no events");
    assert_eq!(one, two);
    // Each request is looked at, also when the one before was good.
    let mut connection = open(&pixel);
    assert_eq!(connection.request(GET).unwrap().status, 204);
    assert_eq!(connection.request(b"GET / HTTP/1.1\r\n\r\n").unwrap().status, 400);
}

#[test]
fn a_limit_that_makes_no_sense_is_refused_by_its_key() {
    for (set, told) in [
        (
            "pixel.max_head_bytes=1B",
            "key `pixel.max_head_bytes`: 1 B is not between 1KiB and 56KiB",
        ),
        ("pixel.max_uri_bytes=1GiB", "key `pixel.max_uri_bytes`"),
        ("pixel.max_body_bytes=1GiB", "key `pixel.max_body_bytes`"),
        ("pixel.header_timeout=1ms", "key `pixel.header_timeout`: must be at least 100ms"),
        ("pixel.keep_alive=10000000000y", "key `pixel.keep_alive`: must be at most 100 years"),
        ("wal.roll_interval=10000000000y", "key `wal.roll_interval`: must be at most 100 years"),
        ("pixel.ack=maybe", "\"maybe\" is none of \"durable\", \"received\""),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut pixel = Pixel::new(BINARY, directory.path(), &[set]);
        pixel.start();
        assert_eq!(pixel.process().wait(PATIENCE), Some(2), "{set}");
        let log = pixel.process().log_tail();
        assert!(log.contains(told), "{set}: {log}");
    }
}

#[test]
fn a_connection_ends_when_its_client_wants_it_to() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let (response, goes_on) = ask(&pixel, b"GET /p?x HTTP/1.0\r\n\r\n");
    assert_eq!((response.status, goes_on), (204, false), "HTTP/1.0 closes");
    let close = b"GET /p?x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let (response, goes_on) = ask(&pixel, close);
    assert_eq!((response.status, goes_on), (204, false), "as it asked for");
    assert_eq!(response.header("connection"), Some("close"));
    let (response, goes_on) = ask(&pixel, GET);
    assert_eq!((response.status, goes_on), (204, true));
}
