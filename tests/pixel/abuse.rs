//! Hostile clients beside honest ones, against the real pixel: what strangers send breaks nothing,
//! is recorded only where it is a request, and costs a bounded amount of memory.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sewer_test_support::http::Connection;
use sewer_test_support::load::{Load, LoadOptions, Record};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::random::Random;
use socket2::{Domain, Socket, Type};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);

const MIB: u64 = 1 << 20;

fn honest(pixel: &Pixel, connections: usize) -> Load {
    Load::start(LoadOptions {
        address: pixel.address(),
        run: "h".into(),
        connections,
        pause: Duration::from_millis(2),
        limit: PATIENCE,
    })
}

/// Every honest request was answered 204 and is recorded once; returns the other events' paths.
fn check(pixel: &Pixel, record: &Record) -> Vec<String> {
    assert!(record.unanswered.is_empty(), "{:?}", record.unanswered);
    assert!(record.refused.is_empty(), "{:?}", record.refused);
    assert_eq!(record.unconnected, 0);
    let events = pixel.dump();
    let query = |event: &serde_json::Value| event["query_string"].as_str().map(str::to_owned);
    let queries: Vec<_> = events.iter().map(|event| query(event).unwrap_or_default()).collect();
    let is_honest = |query: &&str| query.starts_with("n=h-");
    record.check(queries.iter().map(String::as_str).filter(is_honest)).unwrap();
    let others = events.iter().zip(&queries).filter(|(_, query)| !is_honest(&query.as_str()));
    others.map(|(event, _)| event["request_path"].as_str().unwrap_or("").to_owned()).collect()
}

#[test]
fn what_strangers_send_breaks_nothing_and_honest_clients_get_their_204() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.header_timeout=1s", "pixel.body_timeout=1s", "pixel.workers=2"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    let load = honest(&pixel, 4);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (address, stop) = (pixel.address(), &stop);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    // It may be cut off at any point; what counts is what the pixel does.
                    let _ = strange(&address, &mut random);
                }
            });
        }
        std::thread::sleep(Duration::from_secs(8));
        stop.store(true, Ordering::Relaxed);
    });
    let record = load.stop();
    assert!(record.acknowledged.len() > 100, "{} honest requests", record.acknowledged.len());
    let paths = check(&pixel, &record);
    println!("{} honest and {} hostile events", record.acknowledged.len(), paths.len());
    assert!(paths.iter().all(|path| path == "/hostile"), "{paths:?}");
    assert!(pixel.process().is_running());
    let log = pixel.process().log_tail();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    let metrics = pixel.metrics();
    assert!(metrics["sewer_pixel_responses_total{code=\"400\"}"] > 0.0);
    assert_eq!(metrics["sewer_pixel_requests_in_flight"].to_string(), "0");
}

/// One act of a hostile client.
fn strange(address: &str, random: &mut Random) -> std::io::Result<()> {
    let whole = b"GET /hostile HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\n\r\n";
    let mut connection = Connection::open(address)?;
    match random.below(7) {
        // Bytes without sense.
        0 => {
            let length = random.below(5000);
            let bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
            connection.send(&bytes)?;
        }
        // Half a request, then silence until the pixel has enough, or the end at once.
        1 => {
            let length = usize::try_from(random.below(whole.len() as u64)).unwrap();
            connection.send(&whole[..length])?;
            if random.below(4) == 0 {
                connection.rest()?;
            }
        }
        // A request with one byte of it changed: it may still be one.
        2 => {
            let mut bytes =
                b"GET /hostile HTTP/1.1\r\nHost: h\r\nUser-Agent: xxxxxxxx\r\n\r\n".to_vec();
            // Behind the path, which must stay as it is for the count.
            let place = bytes.len() - 1 - usize::try_from(random.below(20)).unwrap();
            bytes[place] = random.byte();
            connection.send(&bytes)?;
            connection.receive()?;
        }
        // A head without an end.
        3 => {
            connection.send(b"GET /hostile HTTP/1.1\r\nHost: h\r\nX: ")?;
            for _ in 0..200 {
                connection.send(&[b'x'; 4096])?;
            }
        }
        // A body without an end.
        4 => {
            let head = "POST /hostile HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            connection.send(head.as_bytes())?;
            for _ in 0..200 {
                connection.send(&[&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n"].concat())?;
            }
        }
        // A reset in the middle of the request, or while it waits for its answer.
        5 => {
            let length = usize::try_from(random.below(whole.len() as u64 + 1)).unwrap();
            connection.send(&whole[..length])?;
            connection.reset()?;
        }
        // Many requests, and no look at the answers.
        _ => {
            for _ in 0..50 {
                connection.send(&whole.repeat(20))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_request_that_two_servers_could_read_differently_is_refused_or_is_one_request() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.body_timeout=1s"]);
    // What would be a request of its own to a server that reads the first one as shorter.
    let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = inner.len();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for head in [
        format!("Content-Length: {length}\r\n{chunked}"),
        format!("{chunked}Content-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}, {length}\r\n"),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: -{length}\r\n"),
        format!("Content-Length: 0x{length:x}\r\n"),
        format!("Content-Length : {length}\r\n"),
        format!("Content-Length:\x0b{length}\r\n"),
        "Content-Length: 99999999999999999999999\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        format!("{chunked}{chunked}"),
        "X: a\r\n Content-Length: 5\r\n".to_owned(),
        "X: a\r\n\tb\r\n".to_owned(),
        "Host: other\r\n".to_owned(),
        "X: a\0b\r\n".to_owned(),
        "X: a\rb\r\n".to_owned(),
    ] {
        let request = format!("POST /outer HTTP/1.1\r\nHost: h\r\n{head}\r\n{inner}");
        let mut connection = Connection::open(&pixel.address()).unwrap();
        connection.send(request.as_bytes()).unwrap();
        assert_eq!(connection.receive().unwrap().status, 400, "{head:?}");
        assert!(connection.is_closed(), "{head:?}");
    }
    assert_eq!(pixel.dump().len(), 0);
    for (request, status, answers) in [
        // Chunks that are none: no part of them becomes a request.
        (format!("POST /outer HTTP/1.1\r\nHost: h\r\n{chunked}\r\n0x5\r\n{inner}"), 400, 1),
        (format!("POST /outer HTTP/1.1\r\nHost: h\r\n{chunked}\r\n5\r\n{inner}"), 400, 1),
        (format!("POST /outer HTTP/1.1\r\nHost: h\r\n{chunked}\r\nffffffffffffffffff\r\n"), 400, 1),
        // A bare line feed ends no line between chunks, nor is it a part of one.
        (format!("POST /outer HTTP/1.1\r\nHost: h\r\n{chunked}\r\n0;\n\r\n\r\n{inner}"), 400, 1),
        (format!("POST /outer HTTP/1.1\r\nHost: h\r\n{chunked}\r\n0\r\nX: y\n\n{inner}"), 400, 1),
        // HTTP/1.0 knows no chunks.
        (format!("POST /outer HTTP/1.0\r\n{chunked}\r\n0\r\n\r\n{inner}"), 400, 1),
        // Line feeds alone end lines (RFC 9112, 2.2), here as in nginx: it is one request.
        ("GET /lines HTTP/1.1\nHost: h\n\n".to_owned(), 204, 1),
    ] {
        let mut connection = Connection::open(&pixel.address()).unwrap();
        connection.send(request.as_bytes()).unwrap();
        for _ in 0..answers {
            assert_eq!(connection.receive().unwrap().status, status, "{request:?}");
        }
    }
    let events = pixel.dump();
    let paths: Vec<_> = events.iter().map(|event| event["request_path"].as_str()).collect();
    assert_eq!(paths, [Some("/lines")]);
}

/// As many connections as this process may open, at most 10,000.
fn many() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft = line.split_whitespace().next().unwrap();
    let count = soft.parse().unwrap_or(usize::MAX).saturating_sub(500).min(10_000);
    println!("{count} connections");
    assert!(count > 100, "raise the limit of open files: ulimit -n");
    count
}

#[test]
fn ten_thousand_idle_connections_take_little_memory_and_hold_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.header_timeout=60s", "pixel.keep_alive=60s"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    let count = many();
    let before = pixel.process().resident_bytes();
    let mut silent = Vec::new();
    for _ in 0..count / 2 {
        silent.push(TcpStream::connect(pixel.address()).unwrap());
    }
    // The other half has spoken, and keeps its connection for the next time.
    let mut spoken = Vec::new();
    for _ in 0..count / 2 {
        let mut connection = Connection::open(&pixel.address()).unwrap();
        let request = b"GET /kept HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\n\r\n";
        assert_eq!(connection.request(request).unwrap().status, 204);
        spoken.push(connection);
    }
    let open = pixel.metrics()["sewer_pixel_connections"];
    assert_eq!(open.to_string(), (count / 2 * 2).to_string());
    let after = pixel.process().resident_bytes();
    println!("{} KiB before, {} KiB after", before >> 10, after >> 10);
    assert!(after < 100 * MIB, "{} MiB", after / MIB);

    let load = honest(&pixel, 4);
    assert!(eventually(PATIENCE, || load.acknowledged() > 200));
    let record = load.stop();
    let paths = check(&pixel, &record);
    assert_eq!(paths.len(), count / 2);
    for connection in spoken.iter_mut().step_by(100) {
        let request = b"GET /kept HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(connection.request(request).unwrap().status, 204, "it is still good");
    }
}

#[test]
fn a_client_that_never_reads_its_answers_fills_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &["pixel.keep_alive=2s"]);
    let before = pixel.process().resident_bytes();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let address: SocketAddr = pixel.address().parse().unwrap();
            scope.spawn(move || {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                // So that the kernel keeps few answers for it.
                socket.set_recv_buffer_size(4 << 10).unwrap();
                socket.connect(&address.into()).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                // Answered with a body, and without the disk.
                let requests = b"GET /robots.txt HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
                let begun = Instant::now();
                // Until the pixel takes no more, and then closes.
                while (&socket).write_all(&requests).is_ok() {
                    assert!(begun.elapsed() < PATIENCE, "it is never stopped");
                }
            });
        }
    });
    let after = pixel.process().resident_bytes();
    println!("{} KiB before, {} KiB after", before >> 10, after >> 10);
    assert!(after < before + 16 * MIB, "{} MiB", after / MIB);
    let closed = "sewer_pixel_connections_closed_total{reason=\"idle\"}";
    assert!(eventually(PATIENCE, || pixel.metrics().get(closed) == Some(&4.0)));
    assert_eq!(pixel.metrics()["sewer_pixel_requests_in_flight"].to_string(), "0");
}
