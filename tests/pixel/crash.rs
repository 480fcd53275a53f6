//! `kill -9` of the pixel under load, again and again, whichever engine writes: every request that
//! got its 204 is in the WAL exactly once, no other twice, and LSNs have no gap.

use std::path::Path;
use std::time::Duration;

use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::pixel::{Pixel, sewer_wal};
use sewer_test_support::random::Random;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

const KILLS: u32 = 20;

#[test]
fn acknowledged_requests_survive_kill_9_of_the_pixel() {
    let mut random = Random::announced("pixel::crash");
    let directory = tempfile::tempdir().unwrap();
    // Small and short-lived segments, so that kills also hit rolling, sealing and preparing.
    let sets = ["wal.segment_bytes=64KiB", "wal.roll_interval=100ms"];
    let mut pixel = Pixel::new(BINARY, directory.path(), &sets);
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "crash".into(),
        connections: 16,
        pause: Duration::from_millis(1),
        limit: Duration::from_mins(3),
    });
    let mut acknowledged_before = Vec::new();
    for kill in 0..KILLS {
        // By turns, so that each recovers what the other has left.
        let engine = if kill % 2 == 0 { "auto" } else { "okaywal" };
        pixel.set_environment(&[("SEWER_WAL__ENGINE".into(), engine.into())]);
        pixel.start();
        // Every fourth may hit the start and its recovery, the others hit the work.
        if kill % 4 != 3 {
            pixel.wait_until_ready();
        }
        let most = Duration::from_millis(if kill % 4 == 3 { 40 } else { 400 });
        std::thread::sleep(random.duration(Duration::ZERO, most));
        acknowledged_before.push(load.acknowledged());
        pixel.kill();
    }
    pixel.start();
    pixel.wait_until_ready();
    let record = load.stop();
    pixel.stop();
    println!("acknowledged before each kill: {acknowledged_before:?}");

    let events = pixel.dump();
    let (acknowledged, unanswered) = (record.acknowledged.len(), record.unanswered.len());
    println!("{acknowledged} acknowledged, {unanswered} unanswered, {} recorded", events.len());
    assert!(acknowledged > 1000, "there was load to lose: {acknowledged}");
    let gap = events.iter().enumerate().find(|(lsn, event)| event["lsn"] != *lsn);
    assert_eq!(gap, None, "LSNs count without a gap");
    let queries = events.iter().map(|event| event["query_string"].as_str().unwrap_or("(none)"));
    record.check(queries).unwrap();
    assert_eq!(record.refused.len(), 0, "{:?}", record.refused);
    sewer_wal(BINARY, &[Path::new("verify"), &pixel.wal_dir()]).expect_success();
}
