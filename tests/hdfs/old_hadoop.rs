//! An old cluster: the shipper delivers to servers of Hadoop 2.7, and the reader of that release
//! gives the rows back.
//!
//! Without native libraries, that reader knows no snappy, lz4 and zstd; the others are tried.

use std::time::Duration;

use sewer_test_support::hadoop;
use sewer_test_support::hdfs::{Hdfs, HdfsOptions};
use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::rows::ListedFile;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than shipping takes.
const PATIENCE: Duration = Duration::from_secs(90);

fn delivered(shipper: &Shipper) -> f64 {
    shipper.metrics()["sewer_shipper_events_total"]
}

/// Ships under load, on request with the `NameNode` killed in between, and reads back.
fn through(hdfs: &Hdfs, compression: &str, restart: bool) {
    let root = format!("/{compression}");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    let sets = [
        format!("destination.path={root}/%Y-%m-%d/%H"),
        format!("destination.compression={compression}"),
        format!("destination.hadoop_conf_dir={}", hdfs.conf_dir().display()),
        "hdfs.rpc_timeout=5s".to_owned(),
        "hdfs.data_timeout=10s".to_owned(),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let mut shipper = Shipper::new(BINARY, directory.path(), &hdfs.uri(), &sets);
    shipper.start();
    shipper.wait_until_ready();
    let load = Load::start(LoadOptions {
        address: pixel.address(),
        run: "old".into(),
        connections: 4,
        pause: Duration::from_millis(5),
        limit: Duration::from_mins(5),
    });
    assert!(eventually(PATIENCE, || delivered(&shipper) > 0.0), "{}", shipper.process().log_tail());
    if restart {
        hdfs.namenode().restart();
    }
    let before = delivered(&shipper);
    let more = eventually(PATIENCE, || delivered(&shipper) > before);
    assert!(more, "{}", shipper.process().log_tail());
    let record = load.stop();
    pixel.stop();
    let all = eventually(PATIENCE, || shipper.left().is_empty());
    assert!(all, "{:?}\n{}", shipper.left(), shipper.process().log_tail());
    shipper.stop();

    let odd = |file: &ListedFile| file.is_hidden() || file.open_for_write;
    let listed = hdfs.list_files(&root);
    assert!(!listed.iter().any(odd), "temporary or open files are left: {listed:?}");
    let rows = hdfs.read_rows(&root);
    println!("{compression}: {} files, {} rows", listed.len(), rows.len());
    record
        .check(rows.iter().map(|row| row.key["query_string"].as_str().unwrap_or("(none)")))
        .unwrap_or_else(|why| panic!("{compression}: {why}"));
}

#[test]
fn hadoop_2_7_takes_and_reads_what_is_shipped() {
    let environment = hadoop::old_environment();
    if !hadoop::is_there_or_skip("old_hadoop", environment.as_ref().map(drop).map_err(Clone::clone))
    {
        return;
    }
    let environment = environment.expect("just looked");
    let hdfs = Hdfs::start(&HdfsOptions { environment, ..HdfsOptions::default() });
    through(&hdfs, "none", true);
    for compression in ["deflate", "gzip", "bzip2"] {
        through(&hdfs, compression, false);
    }
}
