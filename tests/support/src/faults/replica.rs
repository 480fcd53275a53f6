//! The replicas that DataNodes are receiving, seen on their disks, so that a DataNode is struck
//! while data flows to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::hdfs::Hdfs;

/// Under load, files are written all the time.
const WAIT: Duration = Duration::from_secs(40);
/// A file of some megabytes is written in a tenth of a second.
const POLL: Duration = Duration::from_micros(500);

/// Waits until one of the cluster's DataNodes has received so much of a block that is still being
/// written, and says which.
///
/// # Panics
/// If that does not happen.
pub fn wait_for_replica(hdfs: &Hdfs, datanodes: usize, bytes: u64) -> usize {
    let begun = Instant::now();
    let directories: Vec<_> =
        (0..datanodes).map(|i| being_written(&data_directory(hdfs, i))).collect();
    while begun.elapsed() < WAIT {
        let is_large = |directory: &PathBuf| largest(directory) >= bytes;
        if let Some(i) = directories.iter().position(is_large) {
            return i;
        }
        std::thread::sleep(POLL);
    }
    panic!("no DataNode has received {bytes} bytes of a block in {WAIT:?}");
}

fn data_directory(hdfs: &Hdfs, i: usize) -> PathBuf {
    hdfs.directory().join(format!("datanode-{i}/data/current"))
}

/// `<data>/current/BP-…/current/rbw`: replicas being written.
fn being_written(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data).expect("list a DataNode's directory").flatten();
    let pool = entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("BP-")))
        .expect("a DataNode that is registered has a block pool");
    pool.join("current/rbw")
}

/// The size of the largest block file; names come and go.
fn largest(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let blocks = entries.filter(|entry| !entry.file_name().to_string_lossy().ends_with(".meta"));
    blocks.filter_map(|entry| Some(entry.metadata().ok()?.len())).max().unwrap_or(0)
}
