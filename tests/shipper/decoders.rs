//! Every decoder on arbitrary bytes and on what was written and then damaged: it ends, it does not
//! panic, it gives back what was written and nothing else. The fuzz targets in `tests/fuzz` look
//! for longer, by the same functions.

mod formats;
mod properties;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};
use sewer_shipper::hadoop::codec::Compression;
use sewer_shipper::hadoop::sequence_file::{Header, Writer};
use sewer_shipper::plan::Plan;
use sewer_shipper::record::format::Format;
use sewer_shipper::record::rows::cat;
use sewer_wal::Event;
use sewer_wal::event::FIELD_NAMES;
use sewer_wal::reader::Kind;

use self::formats::{batches, file, forms, numbered};

/// What is done to valid bytes. Places are fractions, so that they fit whatever they are done to.
#[derive(Clone, Debug)]
enum Damage {
    Flip(f64, u8),
    Overwrite(f64, Vec<u8>),
    Cut(f64),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0.0..1.0;
    prop_oneof![
        (at.clone(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at.clone(), vec(any::<u8>(), 1..40)).prop_map(|(at, noise)| Damage::Overwrite(at, noise)),
        at.clone().prop_map(Damage::Cut),
        (at.clone(), vec(any::<u8>(), 1..40)).prop_map(|(at, noise)| Damage::Insert(at, noise)),
        (at, 1..40_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &[Damage]) {
    for damage in damage {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let place = |at: &f64| (at * bytes.len() as f64) as usize;
        match damage {
            Damage::Flip(at, bit) if !bytes.is_empty() => {
                let at = place(at);
                bytes[at] ^= 1 << bit;
            }
            Damage::Flip(..) => {}
            Damage::Overwrite(at, noise) => {
                let at = place(at);
                let end = bytes.len().min(at + noise.len());
                bytes[at..end].copy_from_slice(&noise[..end - at]);
            }
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Insert(at, noise) => {
                let at = place(at);
                drop(bytes.splice(at..at, noise.iter().copied()));
            }
            Damage::Remove(at, count) => {
                let at = place(at);
                drop(bytes.drain(at..bytes.len().min(at + count)));
            }
        }
    }
}

fn sequence_file(compression: Compression, pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(&Header {
        key_class: "org.apache.hadoop.io.LongWritable".into(),
        value_class: "org.apache.hadoop.io.Text".into(),
        compression,
        metadata: [("sewer.records".into(), pairs.len().to_string())].into(),
        sync: *b"0123456789abcdef",
    });
    for (index, (key, value)) in pairs.iter().enumerate() {
        writer.append(key, value).unwrap();
        if index % 5 == 4 {
            writer.finish(); // several blocks
        }
    }
    writer.finish();
    writer.take()
}

fn pairs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..300)), 0..12)
}

fn compression() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

/// The row that `--cat` must print of an event. `access-log` has neither absent fields nor extra
/// ones, and a hash that is its own matter; `tsv` has no extra ones.
fn row(format: Format, event: &Event<'_>) -> Map<String, Value> {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    let absent = if format == Format::AccessLog { Value::from("") } else { Value::Null };
    let mut row = Map::from_iter([("timestamp".to_owned(), Value::from(event.timestamp_ms))]);
    for (name, field) in FIELD_NAMES.iter().zip(event.fields()) {
        row.insert((*name).to_owned(), field.map_or(absent.clone(), text));
    }
    if matches!(format, Format::Json | Format::Bytes) {
        row.extend(event.extra.iter().map(|(name, bytes)| ((*name).to_owned(), text(bytes))));
    }
    row
}

const PLAN: &str = r#"{"version":2,"wal_id":"0000000000000001","first_lsn":0,"last_lsn":9,"host":"h",
"destination":"file:///o","path":"/%Y","timezone":"UTC","format":"json","compression":"snappy",
"access_log_class":"C","segments":[0,5],"damaged":[{"base":5,"events":4,"damage":[{"offset":99,
"reason":"CRC","first_lost_lsn":7,"last_lost_lsn":7}]}],"outputs":[{"directory":"/1970","name":"n.seq",
"records":9,"last_timestamp_ms":0,"attempts":{"first":1,"last":2},"confirmed":{"bytes":5,
"crc32c":"0123abcd"},"published":false}],"published":false}"#;

const PLAN_NAME: &str = "00000000000000000000-00000000000000000009.json";

#[test]
fn the_plan_that_is_damaged_below_is_sound() {
    properties::plan(PLAN.as_bytes());
    let written = written_plan();
    properties::journal(&written, PLAN_NAME);
    Plan::decode(&written).unwrap();
}

/// The plan as it is written, with its checksum.
fn written_plan() -> Vec<u8> {
    serde_json::from_str::<Plan>(PLAN).unwrap().encode()
}

#[test]
fn a_plan_whose_figures_overflow_does_not_panic() {
    let most = u64::MAX.to_string();
    let (before, outputs) = PLAN.split_once("\"outputs\":[").unwrap();
    let (output, behind) = outputs.split_once(']').unwrap();
    let output = output.replace("\"records\":9", &format!("\"records\":{most}"));
    let outputs = format!("{before}\"outputs\":[{output},{output}]{behind}");
    assert_eq!(outputs.matches(&most).count(), 2);
    properties::plan(outputs.as_bytes());
    let loss = format!(r#"{{"offset":1,"reason":"r","first_lost_lsn":0,"last_lost_lsn":{most}}}"#);
    let losses = PLAN.replace("\"damage\":[", &format!("\"damage\":[{loss},{loss},"));
    properties::plan(losses.as_bytes());
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        properties::event(&bytes);
        properties::event(&[&[1][..], &bytes].concat());
    }

    #[test]
    fn an_event_is_read_as_written_and_its_damage_is_no_panic(
        timestamp_ms in any::<i64>(),
        fields in vec(proptest::option::of(vec(any::<u8>(), 0..50)), 7),
        extra in vec(("\\PC{0,20}", vec(any::<u8>(), 0..50)), 0..4),
        damage in vec(damage(), 1..4),
    ) {
        let field = |index: usize| fields[index].as_deref();
        let event = Event {
            timestamp_ms, ip: field(0), host: field(1), request_path: field(2),
            query_string: field(3), referer: field(4), user_agent: field(5), cookies: field(6),
            extra: extra.iter().map(|(name, value)| (name.as_str(), &value[..])).collect(),
        };
        let mut bytes = Vec::new();
        event.encode(&mut bytes).unwrap();
        prop_assert_eq!(Event::decode(&bytes), Ok(event));
        apply(&mut bytes, &damage);
        properties::event(&bytes);
    }

    #[test]
    fn any_bytes_are_a_footer_or_none(
        bytes in vec(any::<u8>(), 0..200), version in 0..4_u8, crc_is_right in any::<bool>(),
    ) {
        properties::footer(&bytes);
        let length = if version == 1 { 64 } else { 88 };
        if let Some(at) = bytes.len().checked_sub(length) {
            let mut bytes = bytes;
            bytes[at..at + 12].copy_from_slice(&[&b"SEWERSEG"[..], &[version, 0, 0, 0]].concat());
            bytes[at + 52..at + 60].copy_from_slice(&(at as u64).to_le_bytes());
            if version == 2 && crc_is_right {
                bytes[at + 76] = 1 + bytes[at + 76] % 2;
                let crc = crc32c::crc32c(&bytes[at..at + 80]);
                bytes[at + 80..at + 84].copy_from_slice(&crc.to_le_bytes());
            }
            properties::footer(&bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_as_a_segment_without_an_event(
        bytes in vec(any::<u8>(), 0..2000), sealed in any::<bool>(),
    ) {
        let kind = if sealed { Kind::Sealed } else { Kind::Active };
        prop_assert_eq!(properties::segment(&bytes, kind), []);
    }

    #[test]
    fn a_file_of_every_format_gives_back_what_was_written(
        base in 0..1_u64 << 60, batches in batches(), form in forms(),
    ) {
        let bytes = file(form, base, &batches);
        prop_assert_eq!(properties::segment(&bytes, form.1), numbered(base, &batches));
    }

    #[test]
    fn a_damaged_file_of_every_format_gives_back_nothing_but_what_was_written(
        base in 0..1_u64 << 60, batches in batches(), form in forms(),
        damage in vec(damage(), 1..5),
    ) {
        let mut bytes = file(form, base, &batches);
        apply(&mut bytes, &damage);
        let written = numbered(base, &batches);
        for event in properties::segment(&bytes, form.1) {
            prop_assert!(written.contains(&event), "{:?} was never written", event);
        }
    }

    #[test]
    fn any_bytes_are_a_plan_or_an_error(
        bytes in vec(any::<u8>(), 0..300), damage in vec(damage(), 1..4),
    ) {
        properties::plan(&bytes);
        let mut plan = PLAN.as_bytes().to_vec();
        apply(&mut plan, &damage);
        properties::plan(&plan);
        let mut plan = written_plan();
        apply(&mut plan, &damage);
        properties::journal(&plan, PLAN_NAME);
        prop_assert!(Plan::decode(&plan).is_err() || plan == written_plan());
    }

    #[test]
    fn any_bytes_are_a_stream_of_a_codec_or_an_error(
        bytes in vec(any::<u8>(), 0..300), compression in compression(),
        damage in vec(damage(), 1..4),
    ) {
        properties::codecs(&bytes);
        if let Some(mut compressor) = compression.compressor() {
            let mut stream = Vec::new();
            compressor.compress(&bytes, &mut stream);
            properties::codecs(&stream);
            apply(&mut stream, &damage);
            properties::codecs(&stream);
        }
    }

    #[test]
    fn an_event_in_every_format_is_the_row_that_cat_prints(
        timestamp_ms in any::<i64>(),
        fields in vec(proptest::option::of(vec(any::<u8>(), 0..30)), 7),
        texts in vec("[\\\\Ntnr\t\n\r\u{0}\u{1f600}\u{2028}\"{]{0,8}", 7),
        extra in vec(any::<u8>(), 0..20), compression in compression(),
        format in proptest::sample::select(&Format::ALL[..]),
    ) {
        // Half of the fields are made of what is escaped.
        let field = |index: usize| match &fields[index] {
            Some(bytes) if bytes.len() % 2 == 1 => Some(texts[index].as_bytes()),
            field => field.as_deref(),
        };
        let event = Event {
            timestamp_ms, ip: field(0), host: field(1), request_path: field(2),
            query_string: field(3), referer: field(4), user_agent: field(5), cookies: field(6),
            extra: vec![("method", &extra)],
        };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        format.encode(&event, &mut key, &mut value);
        let mut writer = Writer::new(&Header {
            key_class: format.key_class("com.example.Hit").into(),
            value_class: format.value_class().into(),
            compression,
            metadata: [].into(),
            sync: *b"0123456789abcdef",
        });
        writer.append(&key, &value).unwrap();
        writer.finish();
        let mut line = Vec::new();
        prop_assert_eq!(cat(&writer.take()[..], &mut line).unwrap(), 1);
        let mut found: Map<String, Value> = serde_json::from_slice(&line).unwrap();
        let hash = found.remove("sort_hash");
        prop_assert_eq!(hash.is_some(), format == Format::AccessLog);
        prop_assert_eq!(found, row(format, &event));
    }

    #[test]
    fn any_bytes_are_a_sequence_file_or_an_error(
        bytes in vec(any::<u8>(), 0..500), compression in compression(),
    ) {
        properties::sequence_file(&bytes);
        properties::sequence_file(&[sequence_file(compression, &[]), bytes].concat());
    }

    #[test]
    fn a_sequence_file_is_read_as_written_and_its_damage_is_no_panic(
        pairs in pairs(), compression in compression(), damage in vec(damage(), 1..4),
    ) {
        let mut bytes = sequence_file(compression, &pairs);
        prop_assert_eq!(properties::sequence_file(&bytes), pairs);
        apply(&mut bytes, &damage);
        properties::sequence_file(&bytes);
    }
}
