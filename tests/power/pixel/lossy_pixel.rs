//! An unmodified pixel on the lossy file system: one life of it under a fixed workload, the next
//! life on what is left, and what reaches the destination in the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sewer_test_support::http::{self, Connection};
use sewer_test_support::load::Record;
use sewer_test_support::lossyfs::{Image, LossyFs, Rules};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::shipper::Shipper;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// How long a start, a stop or an end after a fault may take. A pixel that hangs is not mended by
/// its supervisor.
const PATIENCE: Duration = Duration::from_secs(30);

/// What writes the WAL, as `wal.engine` names it.
pub const ENGINES: [&str; 2] = ["direct", "okaywal"];

/// The smallest that the pixel takes, so that a few dozen requests end several segments.
const SETS: [&str; 5] = [
    "wal.segment_bytes=64KiB",
    "wal.roll_interval=100ms",
    "pixel.workers=2",
    "pixel.drain_timeout=1s",
    "pixel.keep_alive=1s",
];

/// Longer than `wal.roll_interval`.
const AGE: Duration = Duration::from_millis(120);

const CONNECTIONS: u64 = 3;

/// Bytes of each request, so that the first wave ends two segments by size.
const PADDING_BYTES: usize = 6000;

/// How one life of a pixel ended.
#[derive(Debug)]
pub struct Life {
    /// What was sent and answered.
    pub record: Record,
    /// The exit code, if it was not killed.
    pub code: Option<i32>,
    /// The end of its log.
    pub log: String,
}

/// A pixel on a lossy file system, with a directory of its own elsewhere for the rest.
pub struct Scene {
    pub fs: LossyFs,
    engine: &'static str,
    dir: TempDir,
    numbers: AtomicU64,
}

impl Scene {
    /// A file system that holds `image`, and a pixel with this engine. Numbers of requests begin
    /// with
    /// `first`.
    pub fn new(engine: &'static str, image: &Image, rules: Rules, first: u64) -> Self {
        let fs = LossyFs::mount(image, rules).expect("mount");
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { fs, engine, dir, numbers: AtomicU64::new(first) }
    }

    fn wal_dir(&self) -> PathBuf {
        self.fs.path().join("wal")
    }

    fn pixel(&self) -> Pixel {
        let wal_dir = format!("wal.dir={}", self.wal_dir().display());
        let engine = format!("wal.engine={}", self.engine);
        let sets: Vec<&str> = SETS.into_iter().chain([wal_dir.as_str(), &engine]).collect();
        Pixel::new(BINARY, self.dir.path(), &sets)
    }

    /// Runs a pixel through the workload to a clean stop, unless it ends before or the power is
    /// cut, at which it is killed.
    pub fn live(&self, waves: &[u64]) -> Life {
        let mut pixel = self.pixel();
        let (address, status) = (pixel.address(), pixel.status_address());
        pixel.start();
        let deadline = Instant::now() + PATIENCE;
        let mut record = Record::default();
        let mut killed = false;
        let is_ready = || http::get(&status, "/").is_ok_and(|response| response.status == 200);
        while !is_ready() && pixel.process().is_running() && !killed {
            assert!(Instant::now() < deadline, "not ready\n{}", pixel.process().log_tail());
            killed = self.fs.wait_for_cut(Duration::from_millis(2));
        }
        if !killed && pixel.process().is_running() {
            std::thread::scope(|scope| {
                let load = scope.spawn(|| self.send(&address, waves));
                while !load.is_finished() && !killed {
                    killed = self.fs.wait_for_cut(Duration::from_millis(2));
                }
                if killed {
                    pixel.kill();
                }
                record = load.join().expect("the load does not panic");
            });
        }
        if !killed && pixel.process().is_running() {
            pixel.process().terminate();
            while pixel.process().is_running() && !killed {
                assert!(Instant::now() < deadline, "does not end\n{}", pixel.process().log_tail());
                killed = self.fs.wait_for_cut(Duration::from_millis(2));
            }
        }
        let log = pixel.process().log_tail();
        let code = if killed {
            pixel.kill();
            None
        } else {
            pixel.process().wait(PATIENCE)
        };
        Life { record, code, log }
    }

    /// Waves of requests, each that many per connection, with a rest in between in which a segment
    /// grows too old.
    fn send(&self, address: &str, waves: &[u64]) -> Record {
        let mut record = Record::default();
        for (index, requests) in waves.iter().enumerate() {
            if index > 0 {
                std::thread::sleep(AGE);
            }
            std::thread::scope(|scope| {
                let connections: Vec<_> = (0..CONNECTIONS)
                    .map(|_| scope.spawn(|| self.talk(address, *requests)))
                    .collect();
                for connection in connections {
                    let part = connection.join().expect("a connection does not panic");
                    record.acknowledged.extend(part.acknowledged);
                    record.unanswered.extend(part.unanswered);
                    record.refused.extend(part.refused);
                }
            });
        }
        record
    }

    fn talk(&self, address: &str, requests: u64) -> Record {
        let mut record = Record::default();
        let padding = "x".repeat(PADDING_BYTES);
        let mut connection = None;
        for _ in 0..requests {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let request =
                format!("GET /p?n=-{number} HTTP/1.1\r\nHost: h\r\nCookie: {padding}\r\n\r\n");
            let open = connection.take().map_or_else(|| Connection::open(address), Ok);
            let Ok(mut open) = open else { continue };
            match open.request(request.as_bytes()) {
                Ok(response) if response.status == 204 => {
                    record.acknowledged.insert(number);
                    connection = Some(open);
                }
                Ok(response) => drop(record.refused.insert(number, response.status)),
                Err(e) => drop(record.unanswered.insert(number, e.kind())),
            }
        }
        record
    }

    /// The next life, which must begin by itself, take an event and stop cleanly; then everything
    /// is shipped and held to what was promised in this and the earlier life.
    pub fn go_on_and_check(&self, before: &Record) -> Result<(), String> {
        let life = self.live(&[1]);
        if life.code != Some(0) || life.record.acknowledged.len() as u64 != CONNECTIONS {
            return Err(format!(
                "the next pixel: {:?}, {:?}\n{}",
                life.code, life.record, life.log
            ));
        }
        let mut all = life.record;
        all.acknowledged.extend(&before.acknowledged);
        all.unanswered.extend(&before.unanswered);
        all.refused.extend(&before.refused);
        let queries = self.ship()?;
        all.check(queries.iter().map(String::as_str))
    }

    /// Ships everything to a directory on another file system and returns the queries of all rows.
    fn ship(&self) -> Result<Vec<String>, String> {
        let out = self.dir.path().join("out");
        std::fs::create_dir(&out).map_err(|e| format!("make {}: {e}", out.display()))?;
        let wal_dir = format!("wal.dir={}", self.wal_dir().display());
        let uri = format!("file://{}", out.display());
        let sets = [wal_dir.as_str(), "destination.format=json", "retry.replay_patience=2s"];
        let shipper = Shipper::new(BINARY, self.dir.path(), &uri, &sets);
        let replay = shipper.run(&["--replay"]);
        if replay.code != Some(0) {
            return Err(format!("the replay failed\n{}{}", replay.stdout, replay.stderr));
        }
        let files = files(&out);
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let arguments: Vec<&str> =
            ["--cat"].into_iter().chain(files.iter().map(String::as_str)).collect();
        let rows = shipper.run(&arguments).expect_success();
        let query = |line: &str| {
            let row: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
            let found = row["query_string"].as_str().map(str::to_owned);
            found.ok_or_else(|| format!("a row without its query: {line}"))
        };
        rows.lines().map(query).collect()
    }
}

/// The files below a directory that are not hidden.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("list the output") {
        let entry = entry.expect("list the output");
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(path.display().to_string());
        }
    }
    found
}
