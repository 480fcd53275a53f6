//! How many instructions a request and a replayed event take, on the way that each takes in
//! production, counted by valgrind: the same on a busy machine as on an idle one. What makes the
//! hot path a tenth longer fails here.
//!
//! It counts what `cargo build --release` built, in the directory that `SEWERTEST_RELEASE` names,
//! and skips itself without (`tests/run` sets it). The counts are those of one compiler; a new one
//! may shift them by a few per cent, and is a reason to write down new ones.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sewer_test_support::backlog;
use sewer_test_support::command::{self, without_own_variables};
use sewer_test_support::hadoop::skip;
use sewer_test_support::http::{self, Connection};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::Process;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::tools;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ALL_VERSIONS, StreamOwned};

use self::client::{identity, session, sets, write};

#[path = "../pixel/tls/client.rs"]
mod client;

/// Instructions per request: one connection, one event of 900 bytes and one commit for each.
const PER_REQUEST: f64 = 15_200.0;

/// The same where sixteen come together, and share a commit.
const PER_REQUEST_TOGETHER: f64 = 8_100.0;

/// The same on an encrypted connection.
const PER_REQUEST_ENCRYPTED: f64 = 22_100.0;

/// The same on a connection of its own, with what a connection takes.
const PER_REQUEST_CLOSED: f64 = 22_100.0;

/// Instructions per event of 1 KB from a WAL to `file://`: `access-log`, snappy.
const PER_EVENT: f64 = 30_300.0;

/// How much more fails.
const TOLERANCE: f64 = 0.08;

/// A program under valgrind is fifty times slower, and the machine may be busy besides.
const PATIENCE: Duration = Duration::from_mins(5);

/// Without it, a fill by the processor's own string instruction counts as one instruction per byte.
const NO_STRING_INSTRUCTIONS: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000",
);

/// Where valgrind and the binaries are; `None` if there is nothing to count with.
fn tools_or_skip() -> Option<(PathBuf, PathBuf)> {
    let Some(release) = std::env::var_os("SEWERTEST_RELEASE") else {
        skip("instructions", "SEWERTEST_RELEASE does not name a directory with release builds");
        return None;
    };
    let valgrind = tools::find_or_skip("valgrind", "valgrind", "instructions")?;
    Some((valgrind, PathBuf::from(release)))
}

/// Valgrind's arguments for a program and its own.
fn counting(out: &Path, program: &Path, args: Vec<String>) -> Vec<String> {
    let out = format!("--callgrind-out-file={}", out.display());
    let valgrind = ["--tool=callgrind".to_owned(), out, program.display().to_string()];
    valgrind.into_iter().chain(args).collect()
}

fn counted(out: &Path) -> f64 {
    let text = fs::read_to_string(out).expect("valgrind has written its counts");
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
    line.and_then(|count| count.trim().parse().ok()).expect("its counts have a summary")
}

/// The instructions of each of what there is more of in the second run: what a start and a stop
/// take is in both.
#[allow(clippy::cast_precision_loss)] // Far below 2^52.
fn each(count: impl Fn(u64) -> (u64, f64), few: u64, many: u64) -> f64 {
    let ((few, of_few), (many, of_many)) = (count(few), count(many));
    (of_many - of_few) / (many - few) as f64
}

fn holds(what: &str, found: f64, known: f64) {
    println!("{found:.0} instructions per {what}; known: {known:.0}");
    assert!(
        found < known * (1.0 + TOLERANCE),
        "{found:.0} instructions per {what} instead of {known:.0}: if that is worth it, or due to \
         a new compiler, write the new count into tests/alone/instructions.rs"
    );
    if found < known * (1.0 - TOLERANCE) {
        println!("write it into tests/alone/instructions.rs, so that it stays so");
    }
}

/// How the requests of a run come.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// One after the other, on one connection.
    Alone,
    /// One on each of so many connections, then the next on each: they share commits.
    Together(u64),
    /// One after the other, on one encrypted connection.
    Encrypted,
    /// Each on a connection of its own, which is closed with the answer.
    Closed,
}

const AGENT_REPEATS: usize = 25;

/// The request, of 900 bytes.
fn request(further: &str) -> Vec<u8> {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) ".repeat(AGENT_REPEATS);
    let lines = format!("Host: h\r\n{further}User-Agent: {agent}\r\n");
    format!("GET /p?x=1 HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

/// Has so many requests answered.
fn send(way: Way, pixel: &Pixel, trusted: &CertificateDer<'static>, requests: u64) {
    let open = || Connection::open(&pixel.address()).unwrap();
    match way {
        Way::Alone | Way::Together(_) => {
            let count = if let Way::Together(count) = way { count } else { 1 };
            let mut connections: Vec<_> = (0..count).map(|_| open()).collect();
            for _ in 0..requests / count {
                for connection in &mut connections {
                    connection.send(&request("")).unwrap();
                }
                for connection in &mut connections {
                    assert_eq!(connection.receive().unwrap().status, 204);
                }
            }
        }
        Way::Encrypted => {
            let tcp = TcpStream::connect(pixel.address()).unwrap();
            let mut stream = StreamOwned::new(session(trusted, ALL_VERSIONS), tcp);
            // Apart from the first request, which an older pixel would not see with it.
            stream.conn.complete_io(&mut stream.sock).unwrap();
            std::thread::sleep(Duration::from_secs(1));
            for _ in 0..requests {
                stream.write_all(&request("")).unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                assert!(head.starts_with(b"HTTP/1.1 204 "));
            }
        }
        Way::Closed => {
            for _ in 0..requests {
                let response = open().request(&request("Connection: close\r\n")).unwrap();
                assert_eq!(response.status, 204);
            }
        }
    }
}

/// The instructions of a release build's pixel, from its start to its end, with so many requests.
fn count(way: Way, (valgrind, release): (&Path, &Path), requests: u64) -> (u64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let binary = release.join("sewer-pixel");
    let identity = identity();
    write(dir.path(), &identity);
    let tls = sets(dir.path());
    // Nothing that goes by the clock: no sealing, and no clearing up of idle connections.
    let mut sets = vec!["pixel.workers=1", "wal.roll_interval=1h"];
    if let Way::Encrypted = way {
        sets.extend(tls.iter().map(String::as_str));
    }
    let pixel = Pixel::new(&binary.display().to_string(), dir.path(), &sets);
    let out = dir.path().join("counts");
    let args = counting(&out, &binary, pixel.args());
    let variable = (NO_STRING_INSTRUCTIONS.0.into(), NO_STRING_INSTRUCTIONS.1.into());
    let log = dir.path().join("pixel.log");
    let mut process = Process::start_with(valgrind, &args, &[variable], &log);
    let is_ready =
        || http::get(&pixel.status_address(), "/").is_ok_and(|ready| ready.status == 200);
    process.wait_until("ready", PATIENCE, is_ready);
    send(way, &pixel, identity.cert.der(), requests);
    process.terminate();
    assert_eq!(process.wait(PATIENCE), Some(0), "{}", process.log_tail());
    (requests, counted(&out))
}

#[test]
fn a_request_takes_no_more_instructions_than_it_did() {
    let Some((valgrind, release)) = tools_or_skip() else { return };
    for (way, what, known) in [
        (Way::Alone, "request", PER_REQUEST),
        (Way::Together(16), "request of sixteen together", PER_REQUEST_TOGETHER),
        (Way::Encrypted, "request over TLS", PER_REQUEST_ENCRYPTED),
        (Way::Closed, "request on a connection of its own", PER_REQUEST_CLOSED),
    ] {
        let count = |requests| count(way, (&valgrind, &release), requests);
        holds(what, each(count, 480, 2400), known);
    }
}

#[test]
fn a_replayed_event_takes_no_more_instructions_than_it_did() {
    let Some((valgrind, release)) = tools_or_skip() else { return };
    let binary = release.join("sewer-shipper");
    let count = |bytes: u64| {
        let dir = tempfile::tempdir().unwrap();
        let events = backlog::write(&dir.path().join("wal"), bytes);
        let uri = format!("file://{}/out", dir.path().display());
        let sets = ["destination.compression=snappy", "shipper.parallel=1"];
        let shipper = Shipper::new(&binary.display().to_string(), dir.path(), &uri, &sets);
        let out = dir.path().join("counts");
        let mut command = Command::new(&valgrind);
        command.args(counting(&out, &binary, shipper.args())).arg("--replay");
        command.env(NO_STRING_INSTRUCTIONS.0, NO_STRING_INSTRUCTIONS.1);
        let said = command::run(without_own_variables(&mut command), PATIENCE).unwrap();
        let said = said.expect_success();
        assert!(said.contains(&format!("shipped {events} events")), "{said}");
        (events, counted(&out))
    };
    holds("event", each(count, 10_000_000, 40_000_000), PER_EVENT);
}
