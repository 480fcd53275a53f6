//! How fast a shipper ships: to a local directory, pinned to one core, and to a real HDFS beside
//! hdfs-native alone, which writes the same bytes in the same run.
//!
//!     cargo test --release -p sewer-shipper --test ship_speed -- --nocapture --test-threads 1
//!
//! prints the figures. What is asserted is only what no noise can change: everything arrived. In a
//! debug build it ships little, and the figures mean nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdfs_native::{Client, ClientBuilder, WriteOptions};
use sewer_test_support::backlog;
use sewer_test_support::command::{self, without_own_variables};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than a replay takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// What the kernel counts processor time in.
const TICKS_PER_SECOND: f64 = 100.0;

/// The shipper hands output on in pieces of this size, and so does the baseline.
const CHUNK_BYTES: usize = 1 << 20;

const MEGABYTES: u64 = if cfg!(debug_assertions) { 30 } else { 400 };

const ROUNDS: usize = if cfg!(debug_assertions) { 1 } else { 5 };

/// The processor time of the children that have ended, in seconds.
fn children_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |place: usize| fields.split_whitespace().nth(place).unwrap().parse::<f64>();
    // After the name: the 14th and 15th field, as proc(5) counts 16 and 17.
    (ticks(13).unwrap() + ticks(14).unwrap()) / TICKS_PER_SECOND
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(clippy::cast_precision_loss)] // For people.
fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Ships a new backlog and returns its events, the seconds it took, and those of processor time.
fn replay(dir: &Path, uri: &str, sets: &[&str], pinned: bool) -> (u64, f64, f64) {
    let events = backlog::write(&dir.join("wal"), MEGABYTES * 1_000_000);
    let shipper = Shipper::new(BINARY, dir, uri, sets);
    let mut command = if pinned { Command::new("taskset") } else { Command::new(BINARY) };
    if pinned {
        command.args(["-c", "0", BINARY]);
    }
    command.args(shipper.args()).arg("--replay");
    let (before, begun) = (children_seconds(), Instant::now());
    let said = command::run(without_own_variables(&mut command), PATIENCE).unwrap();
    let took = begun.elapsed().as_secs_f64();
    let said = said.expect_success();
    assert!(said.contains(&format!("shipped {events} events")), "{said}");
    assert_eq!(shipper.left(), Vec::<PathBuf>::new());
    (events, took, children_seconds() - before)
}

#[test]
fn to_a_local_directory_on_one_core() {
    if Command::new("taskset").arg("--version").output().is_err() {
        hdfs::skip("ship_speed", "there is no taskset");
        return;
    }
    for compression in ["snappy", "none", "lz4", "zstd", "deflate", "gzip"] {
        let (mut by_clock, mut by_processor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let dir = tempfile::tempdir().unwrap();
            let uri = format!("file://{}/out", dir.path().display());
            let set = format!("destination.compression={compression}");
            let (events, took, processor) = replay(dir.path(), &uri, &[&set], true);
            by_clock.push(as_f64(events) / took);
            by_processor.push(as_f64(events) / processor);
        }
        println!(
            "access-log, {compression}: {:.0} events/s of 1 KB by the clock, {:.0} per second of \
             processor time (medians of {ROUNDS})",
            median(by_clock),
            median(by_processor)
        );
        if cfg!(debug_assertions) {
            return;
        }
    }
}

/// Writes files as the shipper does, but for everything that is not hdfs-native.
async fn write_files(client: &Client, directory: &str, files: &[Bytes]) {
    for (number, bytes) in files.iter().enumerate() {
        let (temporary, path) =
            (format!("{directory}/.{number}.tmp"), format!("{directory}/{number}"));
        let options = WriteOptions::default();
        let mut writer = client.create(&temporary, options).await.unwrap();
        for at in (0..bytes.len()).step_by(CHUNK_BYTES) {
            let chunk = bytes.slice(at..bytes.len().min(at + CHUNK_BYTES));
            Box::pin(writer.write_bytes(chunk)).await.unwrap();
        }
        Box::pin(writer.close()).await.unwrap();
        client.rename(&temporary, &path, false).await.unwrap();
    }
}

#[test]
fn to_hdfs_beside_what_the_client_alone_writes() {
    if !hdfs::available_or_skip("ship_speed") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client = ClientBuilder::new()
        .with_url(hdfs.uri())
        .with_config_dir(hdfs.conf_dir().display().to_string())
        .build()
        .unwrap();
    let conf = format!("destination.hadoop_conf_dir={}", hdfs.conf_dir().display());
    let (mut shipped, mut alone) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let path = format!("destination.path=/shipped/{round}");
        let (_, took, _) = replay(dir.path(), &hdfs.uri(), &[&conf, &path], false);
        let files: Vec<Bytes> = runtime.block_on(async {
            let mut files = Vec::new();
            for status in client.list_status(&format!("/shipped/{round}"), false).await.unwrap() {
                let mut file = client.read(&status.path).await.unwrap();
                files.push(file.read_bytes(status.length).await.unwrap());
            }
            files
        });
        let megabytes = as_f64(files.iter().map(|file| file.len() as u64).sum()) / 1e6;
        let directory = format!("/alone/{round}");
        let begun = Instant::now();
        runtime.block_on(async {
            client.mkdirs(&directory, 0o755, true).await.unwrap();
            Box::pin(write_files(&client, &directory, &files)).await;
        });
        let alone_took = begun.elapsed().as_secs_f64();
        shipped.push(megabytes / took);
        alone.push(megabytes / alone_took);
        println!(
            "{} files, {megabytes:.0} MB: shipped in {took:.2} s, hdfs-native alone {alone_took:.2} s",
            files.len()
        );
        assert_eq!(hdfs.list_files(&directory).len(), files.len());
    }
    let ratios = shipped.iter().zip(&alone).map(|(shipped, alone)| shipped / alone).collect();
    println!(
        "to HDFS: {:.0} MB/s; hdfs-native alone: {:.0} MB/s; ratio {:.2} (medians of {ROUNDS})",
        median(shipped),
        median(alone),
        median(ratios)
    );
}
