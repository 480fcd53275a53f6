//! A thousand hostile connections of each kind, and hostile and honest clients together for a
//! while: the honest ones get their answers, field by field, and the pixel's memory stays bounded
//! and flat.
//!
//! `SEWERTEST_SOAK=600` makes the while ten minutes instead of some seconds.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sewer_test_support::http::{self, Connection};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::random::Random;
use sewer_test_support::varied::{self, FIELD_NAMES};
use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::{ALL_VERSIONS, StreamOwned};

use self::client::{identity, session, sets, write};

#[path = "tls/client.rs"]
mod client;
mod hostile_tls;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// How many connections of a kind there are.
const MANY: u64 = 1000;

/// What the pixel may hold for a connection, beyond the body that it sends.
const PER_CONNECTION: u64 = 64 * KIB;

/// What allocator and page cache make of the same load from one time to the next.
const SLACK: u64 = 16 * MIB;

/// Which port of a pixel.
type Of = fn(&Pixel) -> String;

/// A connection whose kernel keeps few answers, so that those who do not read are noticed soon.
fn connect(address: &str) -> TcpStream {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// Sends as much as is taken without waiting.
fn push(tcp: &mut TcpStream, bytes: &[u8]) {
    tcp.set_nonblocking(true).unwrap();
    let mut left = bytes;
    while let Ok(count @ 1..) = tcp.write(left) {
        left = &left[count..];
    }
}

/// The most that the pixel has in memory within some seconds of a load, above what it had before.
/// Now and then some connections of the load send `more`.
fn growth(pixel: &mut Pixel, more: &[u8], load: impl FnOnce() -> Vec<TcpStream>) -> u64 {
    let before = pixel.process().resident_bytes();
    let mut connections = load();
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        most = most.max(pixel.process().resident_bytes());
        for connection in connections.iter_mut().step_by(10) {
            push(connection, more);
        }
    }
    most.saturating_sub(before)
}

#[test]
fn a_thousand_hostile_connections_of_each_kind_take_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let sets = [
        "pixel.header_timeout=60s",
        "pixel.body_timeout=60s",
        "pixel.route=[{prefix=\"/body\",body=true}]",
    ];
    let (address, status): (Of, Of) = (Pixel::address, Pixel::status_address);
    let pipeline = b"GET / HTTP/1.1\r\nHost:h\r\n\r\n".repeat(100_000 / 27);
    let quick = b"GET /robots.txt HTTP/1.1\r\nHost:h\r\n\r\n".repeat(100_000 / 37);
    let half = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(30 << 10)).into_bytes();
    let lines = format!("GET / HTTP/1.1\r\nHost: h\r\n{}", "a:\r\n".repeat(7000)).into_bytes();
    let head = "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
    let body = format!("{head}{}", "b".repeat(59_000)).into_bytes();
    let chunks = "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let chunks = (chunks + &"1\r\nx\r\n".repeat(6000)).into_bytes();
    let metrics = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    let kinds: [(&str, Of, &[u8], u64); 8] = [
        ("a pipeline of requests that wait for the disk", address, &pipeline, 0),
        ("a pipeline of requests that do not", address, &quick, 0),
        ("half a head", address, &half, 0),
        ("half a head of many lines", address, &lines, 0),
        ("half a body", address, &body, 60_000),
        ("a body in small chunks", address, &chunks, 6_000),
        ("a pipeline on the status port", status, &pipeline, 0),
        ("unread metrics", status, &metrics, 0),
    ];
    for (kind, port, bytes, beyond) in kinds {
        let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
        let port = port(&pixel);
        // Those who pipeline go on.
        let more = b"GET /hostile HTTP/1.1\r\nHost:h\r\n\r\n";
        let grown = growth(&mut pixel, more, || {
            let open = |_| {
                let mut tcp = connect(&port);
                push(&mut tcp, bytes);
                tcp
            };
            (0..MANY).map(open).collect()
        });
        println!("{kind}: {} KiB for {MANY} connections", grown / KIB);
        let bound = MANY * (PER_CONNECTION + beyond) + SLACK;
        assert!(grown < bound, "{kind}: {} MiB of {}", grown / MIB, bound / MIB);
        // The connections are gone now, and honest clients never were.
        assert_eq!(http::get(&pixel.status_address(), "/").unwrap().status, 200, "{kind}");
        let one = b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(Connection::open(&pixel.address()).unwrap().request(one).unwrap().status, 204);
        pixel.kill();
    }
}

#[test]
fn the_status_port_answers_a_check_however_many_others_hold_it_up() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut held = Vec::new();
    for number in 0..500 {
        let mut tcp = connect(&pixel.status_address());
        push(&mut tcp, b"GET /metrics HTTP/1.1\r\nHost: h\r\n");
        if number % 2 == 0 {
            push(&mut tcp, b"\r\n");
        }
        held.push(tcp);
        if number % 50 == 0 {
            let response = http::get(&pixel.status_address(), "/").unwrap();
            assert_eq!(response.status, 200);
            assert_eq!(response.header("connection"), Some("close"), "{}", response.head);
        }
    }
    for tcp in &held {
        tcp.set_nonblocking(true).unwrap();
    }
    let mut open = || {
        let is_open = |tcp: &mut TcpStream| match tcp.read(&mut [0; 8 << 10]) {
            Err(e) => e.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        held.iter_mut().map(|tcp| usize::from(is_open(tcp))).sum::<usize>()
    };
    // Sooner than their time is over.
    let few = eventually(Duration::from_secs(5), || open() <= 64);
    assert!(few, "{} connections are still open", open());
}

/// What honest clients have sent and got.
#[derive(Default)]
struct Honest {
    next: AtomicU64,
}

impl Honest {
    /// Sends numbered pixels one after the other by `exchange`, until told to stop; returns the
    /// numbers.
    fn send(&self, stop: &AtomicBool, mut exchange: impl FnMut(&[u8]) -> u16) -> Vec<u64> {
        let mut sent = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            assert_eq!(exchange(&varied::pixel(7, number).request), 204, "{number}");
            sent.push(number);
            std::thread::sleep(Duration::from_millis(4));
        }
        sent
    }
}

/// The status of an answer without a body on an encrypted connection.
fn over_tls(stream: &mut impl ReadWrite, request: &[u8]) -> u16 {
    stream.write_all(request).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().parse().unwrap()
}

trait ReadWrite: std::io::Read + std::io::Write {}

impl<T: std::io::Read + std::io::Write> ReadWrite for T {}

/// One act of a hostile client, on a plain or an encrypted port.
fn act(address: &str, random: &mut Random) {
    let mut tcp = connect(address);
    let whole = b"GET /hostile HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\n\r\n";
    match random.below(6) {
        0 => {
            let length = random.below(3000);
            let bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
            push(&mut tcp, &bytes);
        }
        1 => push(&mut tcp, &whole.repeat(200)),
        2 => push(&mut tcp, &whole[..usize::try_from(random.below(40)).unwrap()]),
        3 => push(&mut tcp, &b"GET /robots.txt HTTP/1.1\r\nHost: h\r\n\r\n".repeat(500)),
        4 => push(&mut tcp, &[&b"GET /hostile HTTP/1.1\r\nX: "[..], &vec![b'x'; 40_000]].concat()),
        // The beginning of a handshake of TLS.
        _ => push(&mut tcp, b"\x16\x03\x01\x00\xc0\x01\x00\x00\xbc\x03\x03"),
    }
    std::thread::sleep(random.duration(Duration::from_millis(1), Duration::from_millis(40)));
    if random.below(2) == 0 {
        let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
    }
}

/// How long hostile and honest clients are let loose together.
fn soak_time() -> Duration {
    let text = std::env::var("SEWERTEST_SOAK");
    Duration::from_secs(text.map_or(15, |text| text.parse().expect("SEWERTEST_SOAK is a number")))
}

/// Lets both loose on a pixel; `connect` makes an honest client's exchange.
fn soak<E: FnMut(&[u8]) -> u16>(pixel: &mut Pixel, connect: impl Fn() -> E + Sync) {
    let (honest, stop) = (Honest::default(), AtomicBool::new(false));
    let (address, time) = (pixel.address(), soak_time());
    let (mut sent, mut sizes) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (address, stop) = (&address, &stop);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    act(address, &mut random);
                }
            });
        }
        let clients: Vec<_> =
            (0..4).map(|_| scope.spawn(|| honest.send(&stop, connect()))).collect();
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::thread::sleep(time / 30);
            sizes.push(pixel.process().resident_bytes() / KIB);
        }
        stop.store(true, Ordering::Relaxed);
        sent.extend(clients.into_iter().flat_map(|client| client.join().expect("all were 204")));
    });
    let (early, late) = (sizes[sizes.len() / 3], sizes[sizes.len() - 1]);
    println!("{} honest requests; {early} KiB, then {late} KiB", sent.len());
    assert!(late < early + SLACK / KIB, "memory grows: {sizes:?}");
    let idle = || pixel.metrics()["sewer_pixel_connections"] == 0.0;
    assert!(eventually(PATIENCE, idle), "connections are left");
    pixel.stop();
    let events = pixel.dump();
    let number = |event: &Value| {
        let path = event["request_path"].as_str()?.strip_prefix("/v/")?;
        path.split('/').next()?.parse::<u64>().ok()
    };
    let mut recorded = BTreeMap::new();
    for event in &events {
        match number(event) {
            Some(number) => assert!(recorded.insert(number, event).is_none(), "{number} twice"),
            None => assert_eq!(event["request_path"], "/hostile"),
        }
    }
    for number in sent {
        let event = recorded[&number];
        let fields = FIELD_NAMES.map(|name| event[name].as_str().map(str::to_owned));
        assert_eq!(fields, varied::decoded(&varied::pixel(7, number).fields), "{number}");
    }
}

#[test]
fn honest_clients_are_served_among_hostile_ones() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.header_timeout=1s", "pixel.keep_alive=10s"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    let address = pixel.address();
    soak(&mut pixel, || {
        let mut connection = Connection::open(&address).unwrap();
        move |request: &[u8]| {
            connection.send(request).unwrap();
            connection.receive_head().unwrap().status
        }
    });
}

#[test]
fn honest_clients_are_served_among_hostile_ones_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let identity = identity();
    write(directory.path(), &identity);
    let tls = sets(Path::new(directory.path()));
    let sets = [&tls[0], &tls[1], "pixel.header_timeout=1s", "pixel.keep_alive=10s"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    let address = pixel.address();
    soak(&mut pixel, || {
        let connect = || {
            let tcp = TcpStream::connect(&address).unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            StreamOwned::new(session(identity.cert.der(), ALL_VERSIONS), tcp)
        };
        let (mut stream, mut count) = (connect(), 0);
        move |request: &[u8]| {
            // A new handshake now and then.
            count += 1;
            if count % 20 == 0 {
                stream = connect();
            }
            over_tls(&mut stream, request)
        }
    });
}
