//! Faults on the shipper's own machine: it is killed at each step of a shipment, another one is
//! started beside it, and the clock jumps. The rows and their checks:
//! `sewer_test_support::faults`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sewer_test_support::faults::{Matrix, Rig, RigOptions, Row, Step};
use sewer_test_support::hadoop;
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::process::eventually;
use sewer_test_support::proxy::Proxy;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Far more than a shipment takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn rows_of_kills(matrix: &mut Matrix, hdfs: &Hdfs) {
    let proxy = Proxy::start(hdfs.namenode().address());
    for step in Step::ALL {
        let row = Row::new("shipper killed by SIGKILL and restarted", step.name());
        let is_in_slice = matches!(step, Step::MidWrite | Step::RenameUnanswered);
        let row = if is_in_slice { row.in_slice() } else { row };
        matrix.row(hdfs, &row, &step.options(&proxy), |rig| {
            let held = step.reach(&proxy);
            rig.kill_shipper();
            drop(held);
            rig.start_shipper();
        });
    }
}

/// A second one is told apart from the first by its lock on the WAL, wherever its own directory is.
fn start_another(rig: &mut Rig<'_>) {
    let elsewhere = format!("shipper.dir={}/other", rig.directory().display());
    let elsewhere = ["--set", elsewhere.as_str(), "--set", "status.listen=127.0.0.1:0"];
    for args in [&elsewhere[..], &["--replay"]] {
        let other = rig.shipper().run(args);
        assert_eq!(other.code, Some(1), "{args:?}: {}{}", other.stdout, other.stderr);
        let told = "another shipper is shipping the WAL in";
        assert!(other.stderr.contains(told), "{args:?}: {}", other.stderr);
    }
    let same = rig.shipper().run(&[]);
    assert_eq!(same.code, Some(1), "{}{}", same.stdout, same.stderr);
    assert!(same.stderr.contains("another shipper") || same.stderr.contains("`status.listen`"));
}

/// Debian's libfaketime, which `tests/run` installs where it can.
fn libfaketime_or_skip() -> Option<PathBuf> {
    let found = libfaketime();
    if found.is_none() {
        let why = "there is no libfaketime (Debian: apt-get install libfaketime)";
        let required = std::env::var_os("SEWERTEST_REQUIRE_TOOLS").is_some_and(|v| v == "1");
        assert!(!required, "the clock must jump (SEWERTEST_REQUIRE_TOOLS=1): {why}");
        hadoop::skip("faults::shipper: the clock", why);
    }
    found
}

fn libfaketime() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    directories
        .chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")])
        .map(|directory| directory.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.is_file())
}

/// Sets the clock of both daemons so many seconds off.
fn set_clock(file: &Path, seconds: i64) {
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{seconds:+}\n")).expect("write the clock's offset");
    fs::rename(&fresh, file).expect("replace the clock's offset");
}

fn row_of_the_clock(matrix: &mut Matrix, hdfs: &Hdfs) {
    let row = Row::new("clock of both daemons jumps back an hour, later forward again", "whenever")
        .in_slice();
    if !matrix.wants(&[&row]) {
        return;
    }
    let Some(library) = libfaketime_or_skip() else { return };
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    set_clock(&clock, 0);
    let environment = [
        ("LD_PRELOAD", library.as_path()),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", Path::new("1")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
    ];
    let text = |(name, value): (&str, &Path)| (name.to_owned(), value.display().to_string());
    let options =
        RigOptions { environment: environment.map(text).to_vec(), ..RigOptions::default() };
    matrix.row(hdfs, &row, &options, |rig| {
        let files = || rig.metrics()["sewer_shipper_files_total"];
        let hours = || hours_of(&fs::read_to_string(rig.directory().join("shipper.log")).unwrap());
        set_clock(&clock, -3600);
        let before = files();
        assert!(eventually(PATIENCE, || files() > before + 5.0), "shipping goes on");
        // Both daemons must have seen the jump, or nothing is shown.
        let paths = rig.hdfs().list_files(rig.root()).into_iter().map(|file| file.path);
        let partitions: BTreeSet<_> =
            paths.filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned())).collect();
        assert!(partitions.len() >= 2, "events of the earlier hour have theirs: {partitions:?}");
        assert!(hours().len() >= 2, "the shipper's clock went back: {:?}", hours());
        set_clock(&clock, 0);
    });
}

/// The hours in which a log has lines: `2030-01-01T00`.
fn hours_of(log: &str) -> BTreeSet<String> {
    let is_time = |line: &&str| line.starts_with("20");
    log.lines().filter(is_time).filter_map(|line| Some(line.get(..13)?.to_owned())).collect()
}

#[test]
fn events_arrive_exactly_once_whatever_happens_to_the_shipper() {
    if !hdfs::available_or_skip("faults::shipper") {
        return;
    }
    let mut matrix = Matrix::new(BINARY);
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let another = Row::new("another shipper started on the same WAL", "whenever").in_slice();
    matrix.row(&hdfs, &another, &RigOptions::default(), start_another);
    row_of_the_clock(&mut matrix, &hdfs);
    rows_of_kills(&mut matrix, &hdfs);
    matrix.finish();
}
