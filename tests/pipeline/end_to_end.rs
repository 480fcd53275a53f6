//! The whole pipeline with a real HDFS behind it: what was requested is what Hadoop's own reader
//! gives back, row by row and field by field, in every format, and nothing else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};
use serde_json::Value;
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::http::Connection;
use sewer_test_support::metrics::Samples;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::random::Random;
use sewer_test_support::rows::{Row, SequenceFile};
use sewer_test_support::shipper::Shipper;
use sewer_test_support::varied::{self, FIELD_NAMES};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

const PIXELS: u64 = 10_000;

const CONNECTIONS: usize = 64;

/// What the clock in Kolkata is ahead of UTC, all year.
const KOLKATA_SECONDS: i64 = 5 * 3600 + 1800;

/// Far more than shipping takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Seven fields as text, as they are expected or found; absent is `None`.
type Fields = [Option<String>; 7];

fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(elapsed.as_millis()).expect("the year is below 292 million")
}

/// Sends all pixels of a seed over many connections and returns what each must become, by path.
fn send(pixel: &Pixel, seed: u64) -> BTreeMap<String, Fields> {
    let expected = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for first in 0..CONNECTIONS {
            let expected = &expected;
            scope.spawn(move || {
                let mut connection = Connection::open(&pixel.address()).unwrap();
                for number in (first as u64..PIXELS).step_by(CONNECTIONS) {
                    let varied = varied::pixel(seed, number);
                    let response = connection.request(&varied.request).unwrap();
                    assert_eq!(response.status, 204, "pixel {number}");
                    let fields = varied::decoded(&varied.fields);
                    let path = fields[2].clone().expect("every pixel has a path");
                    expected.lock().unwrap().insert(path, fields);
                }
            });
        }
    });
    expected.into_inner().unwrap()
}

/// Waits until the shipper says that it has delivered everything, and holds its figures to that.
fn wait_until_delivered(shipper: &Shipper) {
    let value = |samples: &Samples, name: &str| samples[name].to_string();
    let delivered =
        || value(&shipper.metrics(), "sewer_shipper_events_total") == PIXELS.to_string();
    assert!(eventually(PATIENCE, delivered), "{:#?}", shipper.metrics());
    let idle = || {
        let samples = shipper.metrics();
        ["backlog_segments", "backlog_bytes", "backlog_events", "lag_seconds"]
            .iter()
            .all(|name| value(&samples, &format!("sewer_shipper_{name}")) == "0")
    };
    assert!(eventually(PATIENCE, idle), "nothing waits any more: {:#?}", shipper.metrics());
    assert_eq!(value(&shipper.metrics(), "sewer_shipper_lost_events_total"), "0");
}

/// The files below a directory, once it is sure that nothing else is there.
fn finished_files(hdfs: &Hdfs, root: &str) -> Vec<SequenceFile> {
    let listed = hdfs.list_files(root);
    let odd: Vec<_> =
        listed.iter().filter(|file| file.is_hidden() || file.open_for_write).collect();
    assert!(odd.is_empty(), "temporary or open files are left: {odd:?}");
    let files = hdfs.read_files(root);
    assert_eq!(files.len(), listed.len());
    files
}

/// Metadata and name tell which LSNs of which WAL a file holds; together they tell all, once.
fn check_metadata(files: &[SequenceFile]) {
    let mut ranges = BTreeMap::<u64, (u64, u64)>::new();
    for file in files {
        let number = |key: &str| file.metadata[key].parse::<u64>().expect("a number");
        let (first, last) = (number("sewer.first_lsn"), number("sewer.last_lsn"));
        assert_eq!(number("sewer.records"), file.rows.len() as u64, "{}", file.file);
        let range = format!("-{}-{first:020}-{last:020}.seq", file.metadata["sewer.wal_id"]);
        assert!(file.file.ends_with(&range), "{} names {range}", file.file);
        // The files of one shipment share its range, one for each partition directory.
        let (shipment, records) = ranges.entry(first).or_insert((last, 0));
        assert_eq!(*shipment, last, "{}", file.file);
        *records += file.rows.len() as u64;
    }
    let mut next = 0;
    for (first, (last, records)) in ranges {
        assert_eq!((first, records), (next, last + 1 - first), "shipments join and are complete");
        next = last + 1;
    }
    assert_eq!(next, PIXELS);
}

/// The directory that an event of that time belongs into: a second of the clock in Kolkata.
fn partition(root: &str, timestamp_ms: i64) -> String {
    let seconds = timestamp_ms.div_euclid(1000) + KOLKATA_SECONDS;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // A calendar that begins on the first of March has its odd day at the end of the year.
    let (era, day) = ((days + 719_468).div_euclid(146_097), (days + 719_468).rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400 + month / 10, (month + 2) % 12 + 1);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{root}/{year}-{month:02}-{of_month:02}/{hour:02}/{minute:02}-{second:02}")
}

/// Compares what was found, by path, with what was requested.
fn check_rows(found: Vec<(i64, Fields)>, expected: &BTreeMap<String, Fields>) {
    assert_eq!(found.len(), expected.len(), "rows");
    let mut paths = BTreeSet::new();
    for (_, fields) in found {
        let path = fields[2].clone().expect("every row has a path");
        assert_eq!(Some(&fields), expected.get(&path), "{path}");
        assert!(paths.insert(path), "{:?} is there twice", fields[2]);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// The older server's hash: an absent field counts as the text `null`.
fn sort_hash(timestamp_ms: i64, fields: &Fields) -> String {
    let mut hash = Md5::new();
    hash.update(timestamp_ms.to_string());
    for field in fields {
        hash.update(field.as_deref().unwrap_or("null"));
    }
    hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn access_log_row(row: &Row, expected: &BTreeMap<String, Fields>) -> (i64, Fields) {
    assert_eq!(row.key_class, "net.pixelcop.sewer.source.http.AccessLogEvent");
    assert_eq!(
        (row.value_class.as_str(), &row.value),
        ("org.apache.hadoop.io.VLongWritable", &Value::from(1))
    );
    let timestamp_ms = row.key["timestamp"].as_i64().expect("a timestamp");
    let fields = FIELD_NAMES.map(|name| Some(text(&row.key[name])));
    let path = fields[2].as_ref().expect("just made");
    let requested = expected.get(path).unwrap_or_else(|| panic!("{path} was never requested"));
    assert_eq!(text(&row.key["sort_hash"]), sort_hash(timestamp_ms, requested), "{path}");
    (timestamp_ms, fields)
}

fn json_row(row: &Row) -> (i64, Fields) {
    assert_eq!(row.key_class, "org.apache.hadoop.io.LongWritable");
    assert_eq!(row.value_class, "org.apache.hadoop.io.Text");
    let event: Value = serde_json::from_str(&text(&row.value)).expect("a JSON object");
    let timestamp_ms = row.key.as_i64().expect("a timestamp");
    assert_eq!(event["timestamp"], timestamp_ms);
    let names: BTreeSet<_> = event.as_object().expect("an object").keys().cloned().collect();
    let known: BTreeSet<_> =
        ["timestamp"].iter().chain(&FIELD_NAMES).map(ToString::to_string).collect();
    assert_eq!(names, known);
    (timestamp_ms, FIELD_NAMES.map(|name| (!event[name].is_null()).then(|| text(&event[name]))))
}

/// Sends, ships, reads back and compares.
fn through(hdfs: &Hdfs, root: &str, format: &str, compression: &str, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let begun = now_ms();
    let mut pixel = Pixel::started(BINARY, directory.path(), &["wal.segment_bytes=1MiB"]);
    let sets = [
        format!("destination.path={root}/%Y-%m-%d/%H/%M-%S"),
        "destination.timezone=Asia/Kolkata".to_owned(),
        format!("destination.format={format}"),
        format!("destination.compression={compression}"),
        format!("destination.hadoop_conf_dir={}", hdfs.conf_dir().display()),
        "roll.max_age=1s".to_owned(),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let mut shipper = Shipper::new(BINARY, directory.path(), &hdfs.uri(), &sets);
    shipper.start();
    shipper.wait_until_ready();
    let expected = send(&pixel, seed);
    let ended = now_ms();
    wait_until_delivered(&shipper);
    assert_eq!(pixel.metrics()["sewer_pixel_events_total"].to_string(), PIXELS.to_string());

    let files = finished_files(hdfs, root);
    check_metadata(&files);
    let mut found = Vec::new();
    for file in &files {
        assert!(file.block_compressed, "{}", file.file);
        for row in &file.rows {
            let (timestamp_ms, fields) =
                if format == "json" { json_row(row) } else { access_log_row(row, &expected) };
            assert!((begun..=ended).contains(&timestamp_ms), "{timestamp_ms}");
            let partition = partition(root, timestamp_ms);
            let inside = file.file.contains(&format!("{partition}/"));
            assert!(inside, "{timestamp_ms} belongs into {partition}, not {}", file.file);
            found.push((timestamp_ms, fields));
        }
    }
    let expected = if format == "json" { expected } else { without_absence(expected) };
    check_rows(found, &expected);
    shipper.stop();
    pixel.stop();
    assert_eq!(shipper.left(), Vec::<std::path::PathBuf>::new());
}

/// `access-log` has no null: absent and empty are both empty.
fn without_absence(expected: BTreeMap<String, Fields>) -> BTreeMap<String, Fields> {
    let with_text = |fields: Fields| fields.map(|field| Some(field.unwrap_or_default()));
    expected.into_iter().map(|(path, fields)| (path, with_text(fields))).collect()
}

#[test]
fn ten_thousand_varied_pixels_are_exactly_ten_thousand_rows_in_hdfs_in_both_formats() {
    if !hdfs::available_or_skip("pipeline") {
        return;
    }
    let mut random = Random::announced("pipeline");
    let hdfs = Hdfs::start(&HdfsOptions::default());
    through(&hdfs, "/access-log", "access-log", "snappy", random.next());
    through(&hdfs, "/json", "json", "deflate", random.next());
}
