//! HDFS away for a minute under load, first silent and then gone: the pixel does not notice, the
//! shipper's lag tells it, and afterwards everything arrives, exactly once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::rows::ListedFile;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// How long the `NameNode` is silent, and then as long again not there at all.
const HALF_OUTAGE: Duration = Duration::from_secs(30);

/// Far more than the shipper takes to notice that HDFS is back.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the disk of a crowded machine may take for a sync. A pixel that waits for HDFS waits for
/// longer.
const PAUSE_MAX: Duration = Duration::from_secs(15);

fn lag(shipper: &Shipper) -> Duration {
    Duration::from_secs_f64(shipper.metrics()["sewer_shipper_lag_seconds"])
}

fn delivered(shipper: &Shipper) -> f64 {
    shipper.metrics()["sewer_shipper_events_total"]
}

/// Watches the pixel for a while: it is healthy at every look, and never pauses for long.
fn watch(pixel: &Pixel, load: &Load, duration: Duration) {
    let begun = Instant::now();
    let (mut before, mut progress) = (load.acknowledged(), Instant::now());
    while begun.elapsed() < duration {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(pixel.status("/").status, 200, "after {:?}", begun.elapsed());
        let now = load.acknowledged();
        if now > before {
            (before, progress) = (now, Instant::now());
        }
        let pause = progress.elapsed();
        assert!(pause < PAUSE_MAX, "no answer for {pause:?}: {:#?}", pixel.metrics());
    }
}

#[test]
fn an_outage_of_hdfs_delays_rows_and_nothing_else() {
    if !hdfs::available_or_skip("pipeline::outage") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    // As an operator would have it who wants to hear of a silent NameNode soon.
    let sets = ["hdfs.rpc_timeout=5s", "hdfs.data_timeout=10s"];
    let mut shipper = Shipper::new(BINARY, directory.path(), &hdfs.uri(), &sets);
    shipper.start();
    shipper.wait_until_ready();
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "outage".into(),
        connections: 4,
        pause: Duration::from_millis(20),
        limit: Duration::from_mins(5),
    });
    assert!(eventually(PATIENCE, || delivered(&shipper) > 0.0), "rows arrive before the outage");

    hdfs.namenode().freeze();
    watch(&pixel, &load, HALF_OUTAGE);
    let silent = lag(&shipper);
    hdfs.namenode().kill();
    watch(&pixel, &load, HALF_OUTAGE);
    let (gone, before) = (lag(&shipper), delivered(&shipper));
    println!(
        "lag after {HALF_OUTAGE:?} of silence: {silent:?}, after another {HALF_OUTAGE:?}: {gone:?}"
    );
    assert!(silent > HALF_OUTAGE / 2, "{silent:?}");
    assert!(gone > silent + HALF_OUTAGE / 2, "{gone:?} after {silent:?}");
    let retries: f64 = shipper
        .metrics()
        .iter()
        .filter(|(name, _)| name.starts_with("sewer_shipper_retries_total"))
        .map(|(_, count)| count)
        .sum();
    assert!(retries >= 1.0, "failures are counted");

    hdfs.namenode().restart();
    let back = Instant::now();
    assert!(eventually(PATIENCE, || lag(&shipper) < silent / 2), "lag falls: {:?}", lag(&shipper));
    println!("lag was down {:?} after HDFS was back", back.elapsed());
    assert!(delivered(&shipper) > before, "rows arrive after the outage");
    watch(&pixel, &load, Duration::from_secs(2));
    let record = load.stop();
    println!("{} acknowledged, the slowest in {:?}", record.acknowledged.len(), record.slowest);
    assert!(record.unanswered.is_empty() && record.refused.is_empty(), "{record:?}");
    assert!(record.slowest < PAUSE_MAX, "no request waits for HDFS: {:?}", record.slowest);

    pixel.stop();
    assert!(eventually(PATIENCE, || shipper.left().is_empty()), "{:?}", shipper.left());
    assert!(eventually(PATIENCE, || lag(&shipper).is_zero()), "lag falls to nothing");
    shipper.stop();
    assert_eq!(shipper.left(), Vec::<PathBuf>::new());
    let odd: Vec<_> = hdfs.list_files("/").into_iter().filter(ListedFile::is_hidden).collect();
    assert!(odd.is_empty(), "temporary files are left: {odd:?}");
    let rows = hdfs.read_rows("/");
    record
        .check(rows.iter().map(|row| row.key["query_string"].as_str().unwrap_or("(none)")))
        .unwrap();
}
