//! Spark reads what the shipper wrote, by the program that the documentation shows: every format,
//! and `access-log` by the class in `packaging/hadoop`. Each row is what was recorded, and the
//! query of the README gives what it must.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};
use sewer_test_support::random::Random;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::varied::{self, FIELD_NAMES, decoded};
use sewer_test_support::{spark, wal};
use sewer_wal::Event;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// The program of the documentation.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/hadoop/pixels.py");

/// What runs it on all tables.
const ALL_TABLES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/spark/pixels_of_every_format.py");

const ALL_ROWS: &str = "SELECT * FROM pixels ORDER BY timestamp";

/// The formats, in compressions that Spark reads without native libraries.
const TABLES: [(&str, &str); 4] =
    [("json", "snappy"), ("access-log", "gzip"), ("tsv", "lz4"), ("bytes", "bzip2")];

/// Two segments of it, in two hours.
const EVENTS: u64 = 400;

type Fields = [Option<Vec<u8>>; 7];

fn timestamp_ms(number: u64) -> i64 {
    1_700_000_000_000 + number.cast_signed() * 20_000
}

fn ship(dir: &Path, events: &[Fields], format: &str, compression: &str) -> String {
    for (segment, half) in events.chunks(events.len() / 2).enumerate() {
        let first = segment * (events.len() / 2);
        let events = half.iter().enumerate().map(|(i, fields)| {
            let field = |index: usize| fields[index].as_deref();
            Event {
                timestamp_ms: timestamp_ms((first + i) as u64),
                ip: field(0),
                host: field(1),
                request_path: field(2),
                query_string: field(3),
                referer: field(4),
                user_agent: field(5),
                cookies: field(6),
                extra: Vec::new(),
            }
        });
        wal::append_segment(&dir.join("wal"), events);
    }
    let sets = [
        format!("destination.format={format}"),
        format!("destination.compression={compression}"),
        "destination.path=/%Y-%m-%d/%H".to_owned(),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let uri = format!("file://{}/out", dir.display());
    Shipper::new(BINARY, dir, &uri, &sets).run(&["--replay"]).expect_success();
    format!("{uri}/*/*")
}

/// A row as Spark has it.
fn row(number: u64, fields: &Fields, format: &str) -> Value {
    let mut row = Map::from_iter([("timestamp".to_owned(), json!(timestamp_ms(number)))]);
    for (name, text) in FIELD_NAMES.iter().zip(decoded(fields)) {
        let absent = if format == "access-log" { json!("") } else { Value::Null };
        row.insert((*name).to_owned(), text.map_or(absent, Value::from));
    }
    row.into()
}

/// The pixels and clients of each host, most pixels first, as the query of the program has them.
fn by_host(rows: &[Value]) -> Vec<Value> {
    let mut clients_of = BTreeMap::<Option<&str>, Vec<&str>>::new();
    for row in rows {
        clients_of.entry(row["host"].as_str()).or_default().push(row["ip"].as_str().unwrap());
    }
    let mut hosts: Vec<_> = clients_of.into_iter().collect();
    hosts.sort_by_key(|(host, clients)| (Reverse(clients.len()), *host));
    let line = |(host, clients): (Option<&str>, Vec<&str>)| {
        let distinct: BTreeSet<&str> = clients.iter().copied().collect();
        json!({"host": host, "pixels": clients.len(), "clients": distinct.len()})
    };
    hosts.into_iter().map(line).collect()
}

#[test]
fn spark_reads_every_row_of_every_format_and_answers_the_query_of_the_documentation() {
    let Some(spark) = spark::available_or_skip("spark") else { return };
    let mut random = Random::announced("spark");
    let seed = random.next();
    let events: Vec<Fields> =
        (0..EVENTS).map(|number| varied::pixel(seed, number).fields).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec![ALL_ROWS.to_owned()];
    for (format, compression) in TABLES {
        let node = dir.path().join(format);
        std::fs::create_dir(&node).unwrap();
        arguments.extend([format.to_owned(), ship(&node, &events, format, compression)]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let printed = spark.submit(ALL_TABLES, PROGRAM, &arguments);
    let tables: Vec<&str> = printed.split("{\"table\": ").skip(1).collect();
    assert_eq!(tables.len(), TABLES.len(), "{printed}");
    for ((format, _), table) in TABLES.iter().zip(tables) {
        let (name, table) = table.split_once('\n').unwrap();
        assert_eq!(name, format!("\"{format}\"}}"));
        check(format, table, &events);
    }
}

/// Every line that is shown is one of the program.
#[test]
fn the_readme_shows_what_is_run() {
    let program = std::fs::read_to_string(PROGRAM).unwrap();
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, shown) = readme.split_once("The table is made like this:").unwrap();
    let (shown, _) = shown.split_once("    $ spark-submit").unwrap();
    let lines: Vec<&str> =
        shown.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim).collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    for line in lines {
        assert!(program.lines().any(|one| one.trim() == line), "{line:?} is not in the program");
    }
}

/// Holds what was printed of a table to what was recorded.
fn check(format: &str, printed: &str, events: &[Fields]) {
    let printed: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let rows: Vec<_> = (0_u64..).zip(events).map(|(n, fields)| row(n, fields, format)).collect();
    let by_host = by_host(&rows);
    assert!(by_host.len() > 5, "{by_host:?}");
    let (first, second) = printed.split_at(by_host.len().min(printed.len()));
    assert_eq!(first, by_host, "{format}: the query of the documentation");
    assert_eq!(second.len(), rows.len(), "{format}: rows");
    for (number, (found, row)) in second.iter().zip(&rows).enumerate() {
        assert_eq!(found, row, "{format}, row {number}");
    }
}
