//! Every format in every compression, shipped by the real shipper and read back in full: by
//! Hadoop's own reader, in one JVM for all files, and by `sewer-shipper --cat`; row by row, field
//! by field, in the order of the log.
//!
//! Hadoop reads all codecs but Zstandard by its own classes. Its `ZStandardCodec` needs a native
//! library that its jars do not bring: there, aircompressor's decoder stands in Hadoop's reader, an
//! implementation in Java that shares no code with the one in the shipper.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use serde_json::{Map, Value, json};
use sewer_shipper::hadoop::codec::Compression;
use sewer_shipper::record::format::Format;
use sewer_test_support::random::Random;
use sewer_test_support::rows::{self, Row, SequenceFile};
use sewer_test_support::shipper::Shipper;
use sewer_test_support::varied::{self, FIELD_NAMES, decoded};
use sewer_test_support::{hadoop, wal};
use sewer_wal::Event;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Enough for several blocks, and for buffers longer than a chunk of Snappy or LZ4.
const EVENTS: u64 = 1_200;

/// What no request brings and a WAL may still hold.
const ODD: [&[u8]; 8] = [
    b"\\N",
    b"\\\\N",
    b"a\nb",
    b"\r\n\t\\t",
    b"nul \0 and \x1b",
    b"\\",
    "\u{2028}\u{85}\u{feff}\u{10ffff}".as_bytes(),
    b"\xff\xfe",
];

/// An event as it is written to the WAL.
struct Recorded {
    timestamp_ms: i64,
    fields: [Option<Vec<u8>>; 7],
    method: Option<&'static [u8]>,
}

fn recorded(random: &mut Random, seed: u64, number: u64) -> Recorded {
    let mut fields = varied::pixel(seed, number).fields;
    if random.below(4) == 0 {
        let place = usize::try_from(random.below(7)).unwrap();
        fields[place] = Some(random.pick(&ODD).to_vec());
    }
    let timestamp_ms = match number % 50 {
        0 => -random.next().cast_signed().rem_euclid(1 << 40),
        1 => i64::try_from(random.below(1 << 47)).unwrap(),
        _ => 1_700_000_000_000 + number.cast_signed() * 7,
    };
    let method = (random.below(3) == 0).then_some(&b"PO\xffST"[..]);
    Recorded { timestamp_ms, fields, method }
}

impl Recorded {
    fn event(&self) -> Event<'_> {
        let field = |index: usize| self.fields[index].as_deref();
        Event {
            timestamp_ms: self.timestamp_ms,
            ip: field(0),
            host: field(1),
            request_path: field(2),
            query_string: field(3),
            referer: field(4),
            user_agent: field(5),
            cookies: field(6),
            extra: self.method.iter().map(|method| ("method", *method)).collect(),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Ships a copy of the WAL and returns the one file that it becomes.
fn ship(wal: &Path, root: &Path, format: Format, compression: Compression) -> PathBuf {
    let node = tempfile::tempdir_in(root).unwrap();
    copy(wal, &node.path().join("wal"));
    let out = tempfile::tempdir_in(root).unwrap().keep();
    let sets = [
        format!("destination.path=/{format}/{compression}"),
        format!("destination.format={format}"),
        format!("destination.compression={compression}"),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let uri = format!("file://{}", out.display());
    let shipper = Shipper::new(BINARY, node.path(), &uri, &sets);
    let said = shipper.run(&["--replay"]).expect_success();
    assert!(said.contains(&format!("shipped {EVENTS} events in 1 files")), "{said}");
    assert_eq!(shipper.left(), Vec::<PathBuf>::new());
    let directory = out.join(format.name()).join(compression.name());
    let mut files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().expect("a file was shipped");
    assert_eq!(files.next(), None, "and nothing else");
    file
}

/// The fields as a JSON object of the format has them.
fn expected(format: Format, event: &Recorded) -> Value {
    let texts = decoded(&event.fields);
    let mut row = Map::from_iter([("timestamp".to_owned(), json!(event.timestamp_ms))]);
    for (name, text) in FIELD_NAMES.iter().zip(&texts) {
        let absent = if format == Format::AccessLog { json!("") } else { Value::Null };
        row.insert((*name).to_owned(), text.as_ref().map_or(absent, |text| json!(text)));
    }
    match format {
        Format::AccessLog => {
            let mut hash = Md5::new();
            hash.update(event.timestamp_ms.to_string());
            for text in &texts {
                hash.update(text.as_deref().unwrap_or("null"));
            }
            let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
            row.insert("sort_hash".into(), hash.finalize().iter().fold(String::new(), hex).into());
        }
        Format::Json | Format::Bytes => {
            let method = event.method.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            row.extend(method.map(|method| ("method".to_owned(), json!(method))));
        }
        Format::Tsv => {}
    }
    row.into()
}

/// A line taken apart as its readers do it: at the tabs first, then escapes are undone.
fn tsv(line: &str) -> Value {
    let unescape = |field: &str| {
        let mut text = String::new();
        let mut rest = field.chars();
        while let Some(character) = rest.next() {
            text.push(match character {
                '\\' => match rest.next().expect("nothing ends with a lone backslash") {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    '\\' => '\\',
                    other => panic!("{other:?} is not escaped: {line:?}"),
                },
                plain => plain,
            });
        }
        Value::from(text)
    };
    assert!(!line.contains(['\n', '\r']), "not one line: {line:?}");
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(fields.len(), 8, "{line:?}");
    let timestamp: i64 = fields[0].parse().unwrap();
    let mut row = Map::from_iter([("timestamp".to_owned(), json!(timestamp))]);
    for (name, field) in FIELD_NAMES.iter().zip(&fields[1..]) {
        let value = if *field == "\\N" { Value::Null } else { unescape(field) };
        row.insert((*name).to_owned(), value);
    }
    row.into()
}

/// The fields of a row as Hadoop's reader has them, once its classes and its key are right.
fn found(format: Format, row: &Row, event: &Recorded) -> Value {
    let text = || row.value.as_str().unwrap_or_else(|| panic!("no text: {}", row.value));
    let class = |name: &str| format!("org.apache.hadoop.io.{name}");
    let classes = [row.key_class.as_str(), &row.value_class];
    if format == Format::AccessLog {
        let key_class = "net.pixelcop.sewer.source.http.AccessLogEvent";
        assert_eq!(classes, [key_class, &class("VLongWritable")]);
        assert_eq!(row.value, json!(1));
        return row.key.clone();
    }
    assert_eq!(row.key, json!(event.timestamp_ms));
    let value_class = class(if format == Format::Bytes { "BytesWritable" } else { "Text" });
    assert_eq!(classes, [&class("LongWritable"), &value_class]);
    match format {
        Format::Tsv => tsv(text()),
        _ => serde_json::from_str(text()).unwrap(),
    }
}

fn check(file: &SequenceFile, format: Format, compression: Compression, events: &[Recorded]) {
    let what = format!("{format} {compression}");
    // Hadoop finds this one by the name in the header, and takes another in its place.
    let zstd = Some("io.airlift.compress.zstd.ZstdCodec");
    let class = compression.codec_class();
    let class = if compression == Compression::Zstd { zstd } else { class };
    assert_eq!(file.compression.as_deref(), class, "{what}");
    assert_eq!(file.block_compressed, compression != Compression::None, "{what}");
    assert_eq!(file.metadata["sewer.records"], EVENTS.to_string(), "{what}");
    assert_eq!(file.metadata["sewer.first_lsn"], "0", "{what}");
    assert_eq!(file.metadata["sewer.last_lsn"], (EVENTS - 1).to_string(), "{what}");
    assert_eq!(file.rows.len(), events.len(), "{what}");
    for (number, (row, event)) in file.rows.iter().zip(events).enumerate() {
        assert_eq!(found(format, row, event), expected(format, event), "{what}, row {number}");
    }
}

/// What `--cat` prints of a file, against what was recorded.
fn check_cat(shipper: &Shipper, file: &Path, format: Format, events: &[Recorded]) {
    let printed = shipper.run(&["--cat", &file.display().to_string()]).expect_success();
    assert_eq!(printed.lines().count(), events.len(), "{}", file.display());
    for (number, (line, event)) in printed.lines().zip(events).enumerate() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row, expected(format, event), "{}, row {number}", file.display());
    }
}

#[test]
fn every_format_in_every_compression_is_read_back_in_full_by_hadoop_and_by_cat() {
    let with_hadoop = hadoop::available_or_skip("formats (by Hadoop's reader)");
    let mut random = Random::announced("formats");
    let seed = random.next();
    let events: Vec<_> = (0..EVENTS).map(|number| recorded(&mut random, seed, number)).collect();
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("wal");
    for segment in events.chunks(events.len() / 3 + 1) {
        wal::append_segment(&template, segment.iter().map(Recorded::event));
    }
    let cat = Shipper::new(BINARY, dir.path(), "file:///nowhere", &[]);

    let mut files = BTreeMap::new();
    for format in Format::ALL {
        for compression in Compression::ALL {
            let file = ship(&template, dir.path(), format, compression);
            check_cat(&cat, &file, format, &events);
            // The plan decides every byte: a shipper that takes it up again relies on that.
            let again = ship(&template, dir.path(), format, compression);
            let same = fs::read(&file).unwrap() == fs::read(&again).unwrap();
            assert!(same, "{} and {} differ", file.display(), again.display());
            files.insert((format, compression), file);
        }
    }
    if !with_hadoop {
        return;
    }
    let uris: Vec<String> =
        files.values().map(|file| format!("file://{}", file.display())).collect();
    let read = rows::read_files(None, &uris).unwrap();
    assert_eq!(read.len(), Format::ALL.len() * Compression::ALL.len());
    for (((format, compression), path), file) in files.iter().zip(&read) {
        assert!(file.file.ends_with(&path.display().to_string()), "{}", file.file);
        check(file, *format, *compression, &events);
    }
}
