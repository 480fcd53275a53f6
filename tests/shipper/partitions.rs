//! Each event is in the directory of its own time, exactly once, whatever the segments and
//! shipments that it came in: across hours, midnight, leap days, and the days on which clocks are
//! changed.
//!
//! The tables say which directory each stretch of time belongs to. They were made by another
//! implementation of the time zone database than the shipper's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sewer_shipper::hadoop::sequence_file::Reader;
use sewer_shipper::record::rows::cat;
use sewer_test_support::random::Random;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::wal;
use sewer_wal::Event;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// The first millisecond of a stretch of time, its last, and its directory.
type Stretch = (i64, i64, &'static str);

const HOURS_IN_UTC: &[Stretch] = &[
    (-3_600_000, -1, "1969-12-31/23"),
    (0, 3_599_999, "1970-01-01/00"),
    (1_704_063_600_000, 1_704_067_199_999, "2023-12-31/23"),
    (1_704_067_200_000, 1_704_070_799_999, "2024-01-01/00"),
    (1_709_161_200_000, 1_709_164_799_999, "2024-02-28/23"),
    (1_709_164_800_000, 1_709_168_399_999, "2024-02-29/00"),
    (1_709_247_600_000, 1_709_251_199_999, "2024-02-29/23"),
    (1_709_251_200_000, 1_709_254_799_999, "2024-03-01/00"),
];

/// Summer time begins: there is no hour 2. It ends: there are two of them, in one directory.
const HOURS_IN_BERLIN: &[Stretch] = &[
    (1_711_839_600_000, 1_711_843_199_999, "2024-03-31/00"),
    (1_711_843_200_000, 1_711_846_799_999, "2024-03-31/01"),
    (1_711_846_800_000, 1_711_850_399_999, "2024-03-31/03"),
    (1_729_983_600_000, 1_729_987_199_999, "2024-10-27/01"),
    (1_729_987_200_000, 1_729_994_399_999, "2024-10-27/02"),
    (1_729_994_400_000, 1_729_997_999_999, "2024-10-27/03"),
];

/// The same in autumn, with the offset in the template: the two hours are apart.
const HOURS_IN_BERLIN_BY_OFFSET: &[Stretch] = &[
    (1_729_983_600_000, 1_729_987_199_999, "2024-10-27/01+0200"),
    (1_729_987_200_000, 1_729_990_799_999, "2024-10-27/02+0200"),
    (1_729_990_800_000, 1_729_994_399_999, "2024-10-27/02+0100"),
    (1_729_994_400_000, 1_729_997_999_999, "2024-10-27/03+0100"),
];

const HOURS_IN_NEW_YORK: &[Stretch] = &[
    (1_710_046_800_000, 1_710_050_399_999, "2024-03-10/00"),
    (1_710_050_400_000, 1_710_053_999_999, "2024-03-10/01"),
    (1_710_054_000_000, 1_710_057_599_999, "2024-03-10/03"),
];

/// The clock goes back by half an hour: hour 1 has ninety minutes.
const HOURS_ON_LORD_HOWE_ISLAND: &[Stretch] = &[
    (1_712_412_000_000, 1_712_417_399_999, "2024-04-07/01"),
    (1_712_417_400_000, 1_712_420_999_999, "2024-04-07/02"),
];

/// Midnight is what is left out: the day begins at 1.
const HOURS_IN_BEIRUT: &[Stretch] = &[
    (1_648_328_400_000, 1_648_331_999_999, "2022-03-26/23"),
    (1_648_332_000_000, 1_648_335_599_999, "2022-03-27/01"),
];

const SEGMENTS: usize = 5;
const SEGMENT_EVENTS: usize = 60;

/// A WAL and a destination, and what must be where.
struct Node {
    dir: tempfile::TempDir,
    /// The directory of each event, by LSN.
    due: Vec<&'static str>,
}

impl Node {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), due: Vec::new() }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Appends a segment of events of these times.
    fn append(&mut self, events: &[(i64, &'static str)]) {
        let first = self.due.len();
        let paths: Vec<String> = (0..events.len()).map(|n| format!("/{}", first + n)).collect();
        let events_of_times = events.iter().zip(&paths).map(|((timestamp_ms, _), path)| Event {
            timestamp_ms: *timestamp_ms,
            request_path: Some(path.as_bytes()),
            ..Event::default()
        });
        wal::append_segment(&self.dir.path().join("wal"), events_of_times);
        self.due.extend(events.iter().map(|(_, directory)| directory));
    }

    fn ship(&self, sets: &[&str]) {
        let uri = format!("file://{}", self.out().display());
        let shipper = Shipper::new(BINARY, self.dir.path(), &uri, sets);
        shipper.run(&["--replay"]).expect_success();
        assert_eq!(shipper.left(), Vec::<PathBuf>::new());
    }

    /// Holds every file at the destination to what is due, and returns how many there are.
    fn check(&self) -> usize {
        let mut seen = BTreeSet::new();
        let mut shipments = BTreeMap::<(u64, u64), u64>::new();
        let files = files(&self.out());
        for path in &files {
            let (directory, range, lsns) = read(&self.out(), path);
            for lsn in &lsns {
                let place = usize::try_from(*lsn).unwrap();
                assert_eq!(directory, self.due[place], "LSN {lsn} in {}", path.display());
                assert!((range.0..=range.1).contains(lsn), "LSN {lsn} in {}", path.display());
                assert!(seen.insert(*lsn), "LSN {lsn} is there twice");
            }
            *shipments.entry(range).or_default() += lsns.len() as u64;
        }
        assert_eq!(seen.len(), self.due.len(), "every event is there");
        let mut next = 0;
        for ((first, last), records) in shipments {
            assert_eq!((first, records), (next, last + 1 - first), "shipments join, complete");
            next = last + 1;
        }
        assert_eq!(next, self.due.len() as u64);
        files.len()
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A file's directory, the range of its shipment, and the LSNs of its rows; its name and its header
/// must agree.
fn read(root: &Path, path: &Path) -> (String, (u64, u64), Vec<u64>) {
    let bytes = fs::read(path).unwrap();
    let mut rows = Vec::new();
    let count = cat(&bytes[..], &mut rows).unwrap();
    let rows = String::from_utf8(rows).unwrap();
    let lsns: Vec<u64> = rows
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            row["request_path"].as_str().unwrap()[1..].parse().unwrap()
        })
        .collect();
    assert!(lsns.is_sorted(), "{}: the order of the log", path.display());
    let header = Reader::new(&bytes[..]).unwrap().header().clone();
    let number = |name: &str| header.metadata[name].parse::<u64>().unwrap();
    let (first, last) = (number("sewer.first_lsn"), number("sewer.last_lsn"));
    assert_eq!(number("sewer.records"), count, "{}", path.display());
    assert!(count > 0, "{}: no file without events", path.display());
    let name = path.file_name().unwrap().to_str().unwrap();
    let range = format!("-{}-{first:020}-{last:020}.seq", header.metadata["sewer.wal_id"]);
    assert!(name.ends_with(&range), "{name} names {range}");
    let directory = path.parent().unwrap().strip_prefix(root).unwrap();
    (directory.to_str().unwrap().to_owned(), (first, last), lsns)
}

/// Events of all stretches: their edges, and times in between by chance, in the order of time but
/// for the few that every log has out of order.
fn events(random: &mut Random, stretches: &[Stretch]) -> Vec<(i64, &'static str)> {
    let mut events = Vec::new();
    for (first, last, directory) in stretches {
        events.extend([(*first, *directory), (*last, *directory)]);
    }
    while events.len() < SEGMENTS * SEGMENT_EVENTS {
        let (first, last, directory) = random.pick(stretches);
        let within = random.below((last - first).unsigned_abs() + 1);
        events.push((first + within.cast_signed(), *directory));
    }
    events.sort_unstable();
    for _ in 0..events.len() / 4 {
        let at = usize::try_from(random.below(events.len() as u64 - 7)).unwrap();
        events.swap(at, at + 7);
    }
    events
}

/// In one shipment, and in one per segment.
fn straddle(random: &mut Random, path: &str, timezone: &str, stretches: &[Stretch]) {
    for max_bytes in ["1GiB", "1B"] {
        let mut node = Node::new();
        for segment in events(random, stretches).chunks(SEGMENT_EVENTS) {
            node.append(segment);
        }
        let path = format!("destination.path={path}");
        let timezone = format!("destination.timezone={timezone}");
        let max_bytes_set = format!("roll.max_bytes={max_bytes}");
        node.ship(&["destination.format=json", &path, &timezone, &max_bytes_set]);
        let files = node.check();
        let directories: BTreeSet<_> = stretches.iter().map(|(_, _, name)| *name).collect();
        if max_bytes == "1GiB" {
            assert_eq!(files, directories.len(), "one shipment has a file per directory");
        } else {
            assert!(files > directories.len(), "segments straddle directories: {files} files");
        }
    }
}

#[test]
fn segments_that_straddle_hours_and_midnights_are_divided_by_the_time_of_each_event() {
    straddle(&mut Random::announced("hours"), "/%Y-%m-%d/%H", "UTC", HOURS_IN_UTC);
}

#[test]
fn segments_that_straddle_a_change_of_clocks_are_divided_by_what_the_clock_showed() {
    let mut random = Random::announced("clocks");
    for (timezone, stretches) in [
        ("Europe/Berlin", HOURS_IN_BERLIN),
        ("America/New_York", HOURS_IN_NEW_YORK),
        ("Australia/Lord_Howe", HOURS_ON_LORD_HOWE_ISLAND),
        ("Asia/Beirut", HOURS_IN_BEIRUT),
    ] {
        straddle(&mut random, "/%Y-%m-%d/%H", timezone, stretches);
    }
    straddle(&mut random, "/%Y-%m-%d/%H%z", "Europe/Berlin", HOURS_IN_BERLIN_BY_OFFSET);
}

/// What waited on a disk while others were shipped, or was stamped by a clock that had gone back.
#[test]
fn old_events_after_an_outage_go_to_their_own_hour_beside_what_is_there() {
    const HOUR: i64 = 3_600_000;
    let ten = 1_700_042_400_000;
    let at = |hour: i64, minute: i64| ten + hour * HOUR + minute * 60_000;
    let names = ["2023-11-15/10", "2023-11-15/11", "2023-11-15/12"];
    let mut node = Node::new();
    let sets = ["destination.path=/%Y-%m-%d/%H", "destination.format=json"];
    node.append(&[(at(2, 0), names[2]), (at(2, 30), names[2])]);
    node.ship(&sets);
    assert_eq!(node.check(), 1);
    let before = files(&node.out());
    let bytes = fs::read(&before[0]).unwrap();

    node.append(&[(at(0, 5), names[0]), (at(0, 59), names[0]), (at(1, 0), names[1])]);
    node.append(&[(at(1, 1), names[1]), (at(2, 31), names[2]), (at(0, 6), names[0])]);
    node.ship(&sets);
    assert_eq!(node.check(), 4, "a file in each of three hours, beside the first one");
    assert_eq!(fs::read(&before[0]).unwrap(), bytes, "what was there is as it was");
}
