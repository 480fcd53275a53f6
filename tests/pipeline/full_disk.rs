//! A full disk, on a real small file system: requests are refused in time, nothing acknowledged is
//! lost, the shipper works without a free byte, and the pixel takes events again by itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sewer_test_support::hadoop::skip;
use sewer_test_support::http::{self, Connection};
use sewer_test_support::load::{Load, LoadOptions, Record};
use sewer_test_support::pixel::{Pixel, sewer_wal};
use sewer_test_support::process::eventually;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::small_disk::SmallDisk;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// How long the daemons may take to notice that the disk is full, or that it no longer is.
const PATIENCE: Duration = Duration::from_mins(1);

/// A node whose WAL and shipper state are on a small disk of their own.
struct Node {
    directory: tempfile::TempDir,
    disk: SmallDisk,
}

impl Node {
    fn new(test: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match SmallDisk::mount(&directory.path().join("wal"), 48 << 20) {
            Ok(disk) => Some(Self { directory, disk }),
            Err(why) => {
                skip(test, &why);
                None
            }
        }
    }

    fn pixel(&self, sets: &[&str]) -> Pixel {
        let common = ["wal.segment_bytes=1MiB", "wal.min_free_bytes=8MiB"];
        let sets: Vec<_> = common.iter().chain(sets).copied().collect();
        Pixel::started(BINARY, self.directory.path(), &sets)
    }

    fn shipper(&self) -> Shipper {
        let out = format!("file://{}", self.out().display());
        Shipper::new(BINARY, self.directory.path(), &out, &[])
    }

    fn out(&self) -> std::path::PathBuf {
        self.directory.path().join("out")
    }

    /// The queries of all rows in finished files.
    fn delivered(&self, shipper: &Shipper) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.out(), &mut files);
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        let rows = shipper.run(&[&["--cat"], &files[..]].concat()).expect_success();
        rows.lines()
            .map(|row| {
                let row: serde_json::Value = serde_json::from_str(row).unwrap();
                row["query_string"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

fn collect(dir: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            assert!(!hidden, "left behind: {}", path.display());
            files.push(path.display().to_string());
        }
    }
}

fn load(pixel: &Pixel, run: &str) -> Load {
    Load::start(LoadOptions {
        address: pixel.address(),
        // Long enough to fill the disk in seconds.
        run: format!("{run}{}", "x".repeat(6000)),
        connections: 8,
        pause: Duration::ZERO,
        limit: Duration::from_mins(2),
    })
}

fn wait_for_status(pixel: &Pixel, code: u16) {
    let address = pixel.status_address();
    let became = eventually(PATIENCE, || http::get(&address, "/").is_ok_and(|r| r.status == code));
    assert!(became, "the status port did not come to answer {code}; {:?}", pixel.status("/stats"));
}

/// Sends until the pixel calls itself full, and a little longer.
fn fill_by_load(pixel: &Pixel, run: &str) -> Record {
    let load = load(pixel, run);
    wait_for_status(pixel, 503);
    std::thread::sleep(Duration::from_millis(200));
    load.stop()
}

#[test]
fn a_full_disk_refuses_in_time_and_recovers_by_itself_when_shipped() {
    let Some(node) = Node::new("full_disk: reject") else { return };
    let mut pixel = node.pixel(&[]);
    let mut shipper = node.shipper();
    // It has been there before, so that its directories are.
    shipper.run(&["--replay"]).expect_success();
    let record = fill_by_load(&pixel, "reject");
    assert!(!record.acknowledged.is_empty() && !record.refused.is_empty());
    assert!(record.refused.values().all(|&code| code == 503), "{:?}", record.refused.values());

    // Somebody takes the last byte as well: shipping is what frees the disk.
    let ballast = node.disk.fill();
    wait_for_status(&pixel, 503);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let answer = connection.request(b"GET /full HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));

    shipper.start();
    shipper.wait_until_ready();
    let drained = eventually(PATIENCE, || {
        shipper.metrics().iter().any(|sample| is(sample, "sewer_shipper_backlog_segments", 0.0))
    });
    assert!(drained, "{}", shipper.process().log_tail());
    wait_for_status(&pixel, 200);
    let after = load(&pixel, "after");
    assert!(eventually(PATIENCE, || after.acknowledged() > 100), "it takes events again");
    let after = after.stop();
    fs::remove_file(ballast).unwrap();
    pixel.stop();
    shipper.stop();
    shipper.run(&["--replay"]).expect_success();
    let (first, second): (Vec<_>, Vec<_>) =
        node.delivered(&shipper).into_iter().partition(|query| query.contains("reject"));
    record.check(first.iter().map(String::as_str)).unwrap();
    after.check(second.iter().map(String::as_str)).unwrap();
}

#[test]
fn a_pixel_killed_on_a_full_disk_starts_again_and_a_clean_stop_can_seal() {
    let Some(node) = Node::new("full_disk: kill and stop") else { return };
    let mut pixel = node.pixel(&["wal.roll_interval=1h"]);
    let record = fill_by_load(&pixel, "kill");
    let ballast = node.disk.fill();
    pixel.kill();
    pixel.start();
    let status = pixel.status_address();
    pixel.process().wait_until("serving", PATIENCE, || {
        http::get(&status, "/stats").is_ok_and(|answer| answer.body.contains("serving"))
    });
    assert_eq!(pixel.status("/").status, 503);
    // Not even recovery's own log may have found space that a stop then lacks.
    pixel.stop();
    sewer_wal(BINARY, &[Path::new("verify"), &pixel.wal_dir()]).expect_success();
    let events = pixel.dump();
    let queries = events.iter().map(|event| event["query_string"].as_str().unwrap_or("(none)"));
    record.check(queries).unwrap();
    fs::remove_file(ballast).unwrap();
}

#[test]
fn with_on_full_drop_browsers_see_204_and_balancers_503() {
    let Some(node) = Node::new("full_disk: drop") else { return };
    let mut pixel = node.pixel(&["wal.on_full=drop"]);
    let load = load(&pixel, "drop");
    wait_for_status(&pixel, 503);
    let enough = eventually(PATIENCE, || dropped(&pixel) > 0.0);
    let record = load.stop();
    assert!(enough, "nothing was dropped");
    assert_eq!(record.refused.len(), 0, "{:?}", record.refused.values());
    let recorded = pixel.dump().len() as u64;
    let answered = record.acknowledged.len() as u64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A small count.
    let dropped = dropped(&pixel) as u64;
    assert_eq!(answered, recorded + dropped, "each 204 was recorded or counted as dropped");
    pixel.stop();
}

#[test]
fn a_wal_of_its_largest_size_refuses_until_it_is_shipped() {
    let Some(node) = Node::new("full_disk: max_bytes") else { return };
    let mut pixel = node.pixel(&["wal.max_bytes=12MiB"]);
    let record = fill_by_load(&pixel, "max");
    assert!(record.refused.values().all(|&code| code == 503));
    let shipper = node.shipper();
    shipper.run(&["--replay"]).expect_success();
    wait_for_status(&pixel, 200);
    pixel.stop();
    shipper.run(&["--replay"]).expect_success();
    record.check(node.delivered(&shipper).iter().map(String::as_str)).unwrap();
}

fn dropped(pixel: &Pixel) -> f64 {
    let samples = pixel.metrics();
    samples
        .iter()
        .find(|(name, _)| *name == "sewer_pixel_dropped_events_total")
        .map_or(0.0, |s| *s.1)
}

fn is(sample: (&String, &f64), name: &str, value: f64) -> bool {
    sample.0 == name && (sample.1 - value).abs() < 0.5
}
