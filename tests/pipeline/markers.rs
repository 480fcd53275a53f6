//! A marker says that a node has delivered all of a partition: it stays true when a request takes
//! longer than the partition, and its marker, do. That takes a minute, for so long a marker waits.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than a marker waits.
const PATIENCE: Duration = Duration::from_mins(4);

/// The files in the partitions of a destination: those of rows, and markers.
fn files(out: &Path) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let list = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = list(out).flat_map(|partition| list(&partition.path())).map(|file| file.path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let whole = paths.filter(|path| !name(path).starts_with('.'));
    whole.partition(|path| !name(path).starts_with("_SUCCESS-"))
}

fn partitions(files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    files.iter().map(|path| path.parent().unwrap().to_owned()).collect()
}

#[test]
fn no_event_comes_for_a_partition_that_is_marked_however_long_its_body_takes() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.body_timeout=10m", "pixel.route=[{prefix=\"/slow\",body=true}]"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    let out = directory.path().join("out");
    // A partition for each second.
    let sets = ["destination.done_marker=true", "destination.path=/%Y-%m-%dT%H-%M-%S"];
    let uri = format!("file://{}", out.display());
    let mut shipper = Shipper::new(BINARY, directory.path(), &uri, &sets);
    shipper.start();
    shipper.wait_until_ready();
    let quick = || {
        let mut connection = Connection::open(&pixel.address()).unwrap();
        let get = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(connection.request(get).unwrap().status, 204);
    };
    // So the partition in which the head has come is one of those that are marked.
    quick();
    let mut slow = Connection::open(&pixel.address()).unwrap();
    slow.send(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo").unwrap();
    quick();
    let is_marked = || {
        let (rows, markers) = files(&out);
        shipper.metrics()["sewer_shipper_events_total"] >= 2.0
            && partitions(&rows) == partitions(&markers)
    };
    assert!(eventually(PATIENCE, is_marked), "{:?}", files(&out));
    let (before, markers) = files(&out);

    assert_eq!(slow.request(b"dy").unwrap().status, 204);
    let is_shipped = || files(&out).0.len() > before.len();
    assert!(eventually(PATIENCE, is_shipped), "{:?}", files(&out));
    let (after, _) = files(&out);
    let late: BTreeSet<_> = after.difference(&before).cloned().collect();
    let (late, marked) = (partitions(&late), partitions(&markers));
    assert!(late.is_disjoint(&marked), "{late:?} in {marked:?}");
    pixel.stop();
    shipper.stop();
}
