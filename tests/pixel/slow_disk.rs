//! A disk whose syncs are slow: it slows acknowledgements and nothing else, and when it cannot keep
//! up, what it cannot do is refused at once.
//!
//! Nothing here compares with the speed of a machine: everything is measured against the slow sync.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sewer_test_support::http::{self, Connection};
use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::lossyfs::{Effect, Fault, Image, LossyFs, Op, Rules, available_or_skip};
use sewer_test_support::pixel::{Pixel, dump};
use sewer_test_support::process::eventually;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_mins(1);

const GET: &[u8] = b"GET /p?x HTTP/1.1\r\nHost: h\r\n\r\n";

struct Scene {
    pixel: Pixel,
    fs: LossyFs,
    _directory: TempDir,
}

/// A pixel on a disk whose syncs will take that long from now on.
fn on_slow_disk(sync: Duration, sets: &[&str]) -> Option<Scene> {
    if !available_or_skip("the pixel on a slow disk") {
        return None;
    }
    let fs = LossyFs::mount(&Image::default(), Rules::Strict).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let wal_dir = format!("wal.dir={}", fs.path().join("wal").display());
    let sets: Vec<&str> =
        sets.iter().copied().chain(["wal.roll_interval=1h", wal_dir.as_str()]).collect();
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    // The first batch and the spare segment are out of the way.
    assert_eq!(Connection::open(&pixel.address()).unwrap().request(GET).unwrap().status, 204);
    fs.add_fault(Fault { op: Op::Sync, nth: 1, times: u64::MAX, effect: Effect::Slow(sync) });
    Some(Scene { pixel, fs, _directory: directory })
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.fs.clear_faults();
    }
}

#[test]
fn a_slow_disk_slows_acks_and_nothing_else() {
    let sync = Duration::from_secs(1);
    let Some(scene) = on_slow_disk(sync, &["pixel.workers=1"]) else { return };
    let pixel = &scene.pixel;
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "s".into(),
        connections: 8,
        pause: Duration::ZERO,
        limit: PATIENCE,
    });
    let mut slowest = BTreeMap::new();
    let mut time = |what: &'static str, action: &dyn Fn()| {
        let begun = Instant::now();
        action();
        let slowest = slowest.entry(what).or_insert(Duration::ZERO);
        *slowest = begun.elapsed().max(*slowest);
    };
    for _ in 0..30 {
        time("status", &|| assert_eq!(pixel.status("/").status, 200));
        time("metrics", &|| assert!(pixel.metrics().contains_key("sewer_pixel_events_total")));
        // The worker that waits for the disk takes a new connection and answers on it what needs
        // no disk.
        time("a new connection", &|| {
            let response = http::get(&pixel.address(), "/favicon.ico").unwrap();
            assert_eq!(response.status, 204);
            let mut connection = Connection::open(&pixel.address()).unwrap();
            assert_eq!(connection.request(b"nonsense\r\n\r\n").unwrap().status, 400);
        });
        std::thread::sleep(sync / 10);
    }
    let record = load.stop();
    println!("slowest ack {:?}, others {slowest:?}", record.slowest);
    assert!(record.slowest >= sync, "{:?}: the disk is slow", record.slowest);
    assert!(record.acknowledged.len() >= 16, "{} acks", record.acknowledged.len());
    for (what, took) in slowest {
        assert!(took < sync / 2, "{what} took {took:?}");
    }
}

#[test]
fn ack_received_waits_for_no_disk_and_says_what_is_not_yet_on_it() {
    let sync = Duration::from_secs(1);
    let Some(scene) = on_slow_disk(sync, &["pixel.ack=received"]) else { return };
    let pixel = &scene.pixel;
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(connection.request(GET).unwrap().status, 204);
    }
    assert!(begun.elapsed() < sync * 10, "50 requests in {:?}", begun.elapsed());
    let metrics = pixel.metrics();
    assert!(metrics["sewer_pixel_unsynced_events"] > 0.0, "{metrics:?}");
    let synced = || pixel.metrics()["sewer_pixel_unsynced_events"] == 0.0;
    assert!(eventually(PATIENCE, synced));
    assert_eq!(pixel.metrics()["sewer_pixel_events_total"].to_string(), "51");
    assert_eq!(dump(BINARY, &scene.fs.path().join("wal")).len(), 51);
}

/// What clients got: how long each 204 and each 503 took.
#[derive(Debug, Default)]
struct Answers {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
}

/// Sends requests of 24 KB from many connections for a time, each as soon as the last is answered,
/// or at a pace.
fn send(address: &str, connections: u32, pace: Option<Duration>, time: Duration) -> Answers {
    let padding = "c".repeat(24_000);
    let request = format!("GET /p?o HTTP/1.1\r\nHost: h\r\nCookie: {padding}\r\n\r\n");
    let answers = Mutex::new(Answers::default());
    let begun = Instant::now();
    let talk = |number: u32| {
        let mut connection = Connection::open(address).unwrap();
        let mut next = begun + pace.unwrap_or_default() * number / connections;
        while Instant::now() < begun + time {
            if let Some(pace) = pace {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                // What could not be sent in time is not made up for.
                next = (next + pace).max(Instant::now());
            }
            let sent = Instant::now();
            let response = connection.request(request.as_bytes()).unwrap();
            let took = sent.elapsed();
            let mut answers = answers.lock().unwrap();
            match response.status {
                204 => answers.accepted.push(took),
                503 => {
                    assert_eq!(response.header("retry-after"), Some("1"));
                    answers.refused.push(took);
                }
                other => panic!("{other}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for number in 0..connections {
            let talk = &talk;
            scope.spawn(move || talk(number));
        }
    });
    let mut answers = answers.into_inner().unwrap();
    answers.accepted.sort_unstable();
    answers.refused.sort_unstable();
    answers
}

/// The value below which `percent` of the sorted values are.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[test]
fn at_twice_its_capacity_a_pixel_does_what_it_can_and_refuses_the_rest_at_once() {
    let sync = Duration::from_millis(200);
    let sets = ["pixel.workers=1", "pixel.queue_bytes=1MiB"];
    let Some(scene) = on_slow_disk(sync, &sets) else { return };
    let address = scene.pixel.address();
    let time = sync * 30;
    // As many at once as keep the disk busy without being refused.
    let calm = send(&address, 36, None, time);
    assert!(calm.refused.is_empty(), "no overload yet: {:?}", calm.refused);
    let capacity = calm.accepted.len();
    // Twice as many in the same time.
    let connections = 120;
    let pace = time * connections / u32::try_from(2 * capacity).unwrap();
    let busy = send(&address, connections, Some(pace), time);
    let (goodput, refused) = (busy.accepted.len(), busy.refused.len());
    let [calm_p50, busy_p99] = [percentile(&calm.accepted, 50), percentile(&busy.accepted, 99)];
    println!(
        "capacity {capacity}, then {goodput} accepted and {refused} refused; accepted p50 \
         {calm_p50:?}, then p99 {busy_p99:?}; refused p50 {:?}",
        busy.refused.get(refused / 2)
    );
    assert!(refused > 0, "twice the capacity is too much");
    assert!(goodput * 10 >= capacity * 7, "{goodput} of {capacity}");
    // What was accepted waited for the queue, which is bounded, and not for all who came.
    assert!(busy_p99 <= calm_p50 * 4, "{busy_p99:?} and before {calm_p50:?}");
    let [accepted, refused] = [&busy.accepted, &busy.refused].map(|took| percentile(took, 50));
    assert!(refused < accepted / 2, "refused after {refused:?}, accepted after {accepted:?}");
}
