//! `kill -9` of the pixel and of the shipper under load, twenty times each (or as often as
//! `SEWERTEST_KILLS` says), at moments by chance: after a restart and `--replay`, every request
//! that got its 204 is at the destination exactly once, no other more than once, and nothing
//! half-done is left anywhere. If `SEWERTEST_BEFORE` names the directory of an earlier build, it is
//! that one which begins, and after half of the kills this one goes on: an upgrade.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::load::{Load, LoadOptions, Record};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::random::Random;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// How often each of the two is killed.
fn kills() -> usize {
    std::env::var("SEWERTEST_KILLS")
        .map_or(20, |kills| kills.parse().expect("SEWERTEST_KILLS is a number"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Pixel,
    Shipper,
}

/// As many of each, in an order by chance.
fn victims(random: &mut Random) -> Vec<Victim> {
    let mut victims = [Victim::Pixel, Victim::Shipper].repeat(kills());
    for i in (1..victims.len()).rev() {
        let other = usize::try_from(random.below(i as u64 + 1)).expect("an index");
        victims.swap(i, other);
    }
    victims
}

/// Kills and restarts under load, then ends in order. Returns what was sent.
fn torment(pixel: &mut Pixel, shipper: &mut Shipper, random: &mut Random) -> Record {
    let before = std::env::var("SEWERTEST_BEFORE").ok().map(|dir| format!("{dir}/sewer-pixel"));
    if let Some(before) = &before {
        pixel.use_build_of(before);
        shipper.use_build_of(before);
    }
    pixel.start();
    pixel.wait_until_ready();
    shipper.start();
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "crash".into(),
        connections: 16,
        pause: Duration::from_millis(4),
        limit: Duration::from_mins(10),
    });
    let longest = Duration::from_millis(1200);
    for (index, victim) in victims(random).into_iter().enumerate() {
        std::thread::sleep(random.duration(Duration::ZERO, longest));
        if index == kills() && before.is_some() {
            upgrade(pixel, shipper);
            continue;
        }
        match victim {
            Victim::Pixel => {
                pixel.kill();
                pixel.start();
            }
            Victim::Shipper => {
                shipper.kill();
                shipper.start();
            }
        }
    }
    pixel.wait_until_ready();
    let record = load.stop();
    shipper.kill();
    pixel.stop();
    let (acknowledged, unanswered) = (record.acknowledged.len(), record.unanswered.len());
    let kills = kills();
    println!("{kills} kills of each: {acknowledged} acknowledged, {unanswered} unanswered");
    assert!(acknowledged > 1000, "there was load to lose: {acknowledged}");
    record
}

fn upgrade(pixel: &mut Pixel, shipper: &mut Shipper) {
    pixel.kill();
    shipper.kill();
    println!("left by the build before: {:#?}", shipper.left());
    pixel.use_build_of(BINARY);
    shipper.use_build_of(BINARY);
    pixel.start();
    shipper.start();
}

/// The journal's state before `--replay` is printed, so that a run tells what it has covered.
fn replay(shipper: &Shipper) {
    println!("left before the replay: {:#?}", shipper.left());
    let replay = shipper.run(&["--replay"]);
    println!("{}", replay.stdout);
    let stderr = replay.stderr.clone();
    let summary = replay.expect_success();
    assert!(summary.contains("the backlog is empty"), "{summary}{stderr}");
    assert_eq!(shipper.left(), Vec::<PathBuf>::new(), "nothing waits any more");
    let again = shipper.run(&["--replay"]).expect_success();
    assert!(again.contains("shipped 0 events"), "a second replay has nothing to do: {again}");
}

fn query(event: &Value) -> &str {
    event["query_string"].as_str().unwrap_or("(none)")
}

#[test]
fn acknowledged_requests_arrive_exactly_once_in_hdfs_whoever_is_killed_when() {
    if !hdfs::available_or_skip("pipeline::crash") {
        return;
    }
    let mut random = Random::announced("pipeline::crash, HDFS");
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::new(BINARY, directory.path(), &["wal.segment_bytes=256KiB"]);
    let mut shipper = Shipper::new(BINARY, directory.path(), &hdfs.uri(), &[]);
    let record = torment(&mut pixel, &mut shipper, &mut random);
    replay(&shipper);

    assert_eq!(pixel.dump().len(), 0, "the WAL is empty");
    let listed = hdfs.list_files("/");
    println!("{} files", listed.len());
    let odd: Vec<_> =
        listed.iter().filter(|file| file.is_hidden() || file.open_for_write).collect();
    assert!(odd.is_empty(), "temporary or open files are left: {odd:?}");
    let rows = hdfs.read_rows("/");
    record.check(rows.iter().map(|row| query(&row.key))).unwrap();
}

#[test]
fn acknowledged_requests_arrive_exactly_once_in_files_whoever_is_killed_when() {
    let mut random = Random::announced("pipeline::crash, files");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    let uri = format!("file://{}", out.display());
    let mut pixel = Pixel::new(BINARY, directory.path(), &["wal.segment_bytes=64KiB"]);
    let sets = ["destination.format=json", "roll.max_age=50ms", "roll.max_bytes=128KiB"];
    let mut shipper = Shipper::new(BINARY, directory.path(), &uri, &sets);
    let record = torment(&mut pixel, &mut shipper, &mut random);
    replay(&shipper);

    assert_eq!(pixel.dump().len(), 0, "the WAL is empty");
    let files = files_below(&out);
    println!("{} files", files.len());
    let odd: Vec<_> = files.iter().filter(|file| !is_finished(file)).collect();
    assert!(odd.is_empty(), "temporary files are left: {odd:?}");
    let paths: Vec<_> = files.iter().map(|file| file.to_str().expect("plain names")).collect();
    let rows = shipper.run(&[&["--cat"], &paths[..]].concat()).expect_success();
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    record.check(rows.iter().map(query)).unwrap();
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn is_finished(file: &Path) -> bool {
    let name = file.file_name().expect("a file has a name").to_string_lossy();
    !name.starts_with('.') && name.strip_suffix(".seq").is_some()
}
