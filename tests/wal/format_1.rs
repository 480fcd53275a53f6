//! WALs of format 1, made by the last build that wrote it: all their events are read, recovered and
//! sealed as that build showed them, and the WAL goes on in format 2. And logs of format 1 with an
//! enemy's events, which nothing but plausibility holds back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Event, Footer, Layout, Lsn, LsnRange, SegmentReader, Wal, sealed};
use tempfile::TempDir;

use crate::adversary::enemy::{entry_v1, forged_event, header};
use crate::common::{batch_of, copy_tree, engines, logs, options, wal_in_memory, wal_of_log};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/wal/fixtures/format-1");

/// A copy of a fixture, and what the build that made it has shown of it.
fn fixture(name: &str) -> (TempDir, Layout, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    copy_tree(&Path::new(FIXTURES).join(name), layout.root());
    let lines = fs::read_to_string(format!("{FIXTURES}/{name}.jsonl")).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (dir, layout, rows)
}

/// The events of some files as rows, and the LSNs that are said to be lost.
fn rows(files: &[(PathBuf, Kind)]) -> (Vec<Value>, Vec<LsnRange>) {
    let (mut rows, mut lost) = (Vec::new(), Vec::new());
    for (path, kind) in files {
        let mut reader = SegmentReader::open(path, *kind).unwrap();
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Damage(damage) => lost.push(damage.lost),
                Item::Batch(batch) => rows.extend(batch.events().map(|(lsn, bytes)| {
                    let mut row = serde_json::to_value(Event::decode(bytes).unwrap()).unwrap();
                    row["lsn"] = lsn.0.into();
                    row
                })),
            }
        }
    }
    (rows, lost)
}

fn sealed_files(layout: &Layout) -> Vec<(PathBuf, Kind)> {
    let segments = sealed::list(layout).unwrap().into_iter();
    segments.map(|segment| (segment.path, Kind::Sealed)).collect()
}

#[test]
fn a_wal_of_format_1_is_read_recovered_and_goes_on_in_format_2() {
    for engine in engines() {
        for (name, next, lost) in
            [("clean", 12, None), ("torn", 14, None), ("damaged", 12, Some(6))]
        {
            let (_dir, layout, expected) = fixture(name);
            let lost: Vec<_> = lost.map(|lsn| LsnRange::new(Lsn(lsn), 1)).into_iter().collect();
            let old_id = fs::read_to_string(layout.id_file()).unwrap();
            assert_eq!(old_id.len(), 17, "the fixture has a file ID of format 1");
            let mut files = sealed_files(&layout);
            files.extend(logs(&layout).into_iter().map(|log| (log, Kind::Active)));
            assert_eq!(rows(&files), (expected.clone(), lost.clone()), "{name}, before recovery");

            let (mut wal, report) = Wal::open(layout.clone(), options(engine)).unwrap();
            assert_eq!(report.wal_id.to_string(), old_id.trim_end(), "{name}");
            assert_eq!((report.next_lsn, report.created), (Some(Lsn(next)), false), "{name}");
            assert_eq!(report.notes, [""; 0], "{name}");
            let torn: u64 = report.logs.iter().map(|log| log.torn_bytes).sum();
            assert_eq!(torn > 0, name == "torn", "{:?}", report.logs);
            assert!(report.logs.iter().all(|log| log.damage.is_empty()), "{:?}", report.logs);
            let new_id = fs::read_to_string(layout.id_file()).unwrap();
            assert!(new_id.starts_with(&old_id) && new_id.contains("crc32c "), "{new_id}");

            assert_eq!(wal.append(&batch_of(next, 3, 10)).unwrap().first, Lsn(next));
            wal.close().unwrap();
            let (mut all, found_lost) = rows(&sealed_files(&layout));
            let newest = all.split_off(expected.len());
            assert_eq!((all, found_lost), (expected, lost), "{name}, sealed");
            assert_eq!(newest.len(), 3);
            let footer = |path: &PathBuf| Footer::load(path).unwrap().unwrap().version;
            let versions: Vec<_> =
                sealed_files(&layout).iter().map(|(path, _)| footer(path)).collect();
            assert_eq!(versions, [1, 1, 1, 2], "{name}: a segment keeps its format");
            let (_, again) = Wal::open(layout, options(engine)).unwrap();
            assert_eq!((again.next_lsn, again.notes.len()), (Some(Lsn(next + 3)), 0), "{name}");
        }
    }
}

#[test]
fn a_flipped_digit_of_the_old_file_id_is_corrected_by_the_logs() {
    let (_dir, layout, expected) = fixture("torn");
    let old = fs::read_to_string(layout.id_file()).unwrap();
    for at in 0..16 {
        let (_dir, layout, _) = fixture("torn");
        let mut id = old.clone().into_bytes();
        id[at] = if id[at] == b'0' { b'1' } else { b'0' };
        fs::write(layout.id_file(), &id).unwrap();
        let (wal, report) = Wal::open(layout.clone(), options(engines()[0])).unwrap();
        assert_eq!(report.wal_id.to_string(), old.trim_end());
        assert_eq!((report.next_lsn, report.notes.len()), (Some(Lsn(14)), 1), "{:?}", report.notes);
        wal.close().unwrap();
        assert_eq!(rows(&sealed_files(&layout)).0, expected);
    }
}

/// A log of format 1 with one event a batch, of which batch `hostile` has an event with this body.
/// Returns where each batch begins as well.
fn log_v1(wal_id: sewer_wal::WalId, hostile: usize, body: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = header(1, wal_id, 1);
    let mut starts = Vec::new();
    for index in 0..52_u64 {
        let path = index.to_string();
        let body: &[u8] = if index == hostile as u64 { body } else { b"as usual" };
        let mut event = Vec::new();
        let fields = Event {
            timestamp_ms: 1_700_000_000_000,
            request_path: Some(path.as_bytes()),
            extra: vec![("body", body)],
            ..Event::default()
        };
        fields.encode(&mut event).unwrap();
        starts.push(bytes.len());
        bytes.extend(entry_v1(index + 1, index, 1, &[event]));
    }
    starts.push(bytes.len());
    bytes.resize(bytes.len() + 4096, 0);
    (bytes, starts)
}

/// What recovery makes of a log of format 1: the paths with their LSNs, what is lost, what comes
/// next.
fn recover(bytes: &[u8], id: sewer_wal::WalId) -> (Vec<(u64, String)>, u64, u64) {
    let (_dir, layout) = wal_in_memory();
    wal_of_log(&layout, format!("{id}\n").as_bytes(), bytes);
    let report = seal_leftovers(&layout).unwrap();
    let (rows, lost) = rows(&sealed_files(&layout));
    let path = |row: &Value| {
        let path = row["request_path"].as_str().unwrap_or_default().to_owned();
        (row["lsn"].as_u64().unwrap(), path)
    };
    let lost = lost.iter().map(|range| range.count()).sum();
    (rows.iter().map(path).collect(), lost, report.next_lsn.map_or(0, |lsn| lsn.0))
}

/// Bodies with an entry each that is no part of any log: far ahead, at the end of all LSNs, of an
/// event that cannot be decoded, of a time that no calendar has.
fn forgeries() -> Vec<(&'static str, Vec<u8>)> {
    let event = forged_event(1_700_000_000_000);
    let ahead = [10_u64.pow(15), u64::MAX - 1, u64::MAX, (1 << 63) - 2];
    let mut found: Vec<_> =
        ahead.map(|lsn| ("ahead", entry_v1(60, lsn, 1, std::slice::from_ref(&event)))).into();
    found.push(("undecodable", entry_v1(52, 51, 1, &[b"rubbish".to_vec()])));
    found.push(("time", entry_v1(52, 51, 1, &[forged_event(1 << 62)])));
    found
}

#[test]
fn a_forged_entry_of_a_torn_batch_stops_nothing_and_is_not_believed_far_ahead() {
    let id = sewer_wal::WalId(7);
    for (kind, body) in forgeries() {
        let body = [&b"x".repeat(600)[..], &body, &b"y".repeat(1200)].concat();
        let (mut bytes, starts) = log_v1(id, 51, &body);
        // The tail of the last batch is lost, as a power cut or a full disk leaves it.
        let tail = starts[51] + 600 + body.len() / 2;
        bytes[tail..].fill(0);
        let (rows, _, next) = recover(&bytes, id);
        let sound: Vec<_> = (0..51).map(|lsn| (lsn, lsn.to_string())).collect();
        assert_eq!(rows[..51], sound, "{kind}");
        assert!(rows.len() == 51 && next <= 52, "{kind}: {} rows, next LSN {next}", rows.len());
    }
}

#[test]
fn one_flipped_bit_of_a_hostile_event_costs_that_event() {
    let id = sewer_wal::WalId(7);
    for (kind, body) in forgeries() {
        let body = [&body[..], &b"y".repeat(100)].concat();
        let (sound, starts) = log_v1(id, 25, &body);
        // Every bit of the event's own bytes, one of each.
        let event = starts[25] + 30 + 5..starts[26] - 5;
        for byte in event {
            let mut bytes = sound.clone();
            bytes[byte] ^= 1 << (byte % 8);
            let (rows, lost, next) = recover(&bytes, id);
            let expected: Vec<_> =
                (0..52).filter(|lsn| *lsn != 25).map(|lsn| (lsn, lsn.to_string())).collect();
            assert_eq!((rows, lost, next), (expected, 1, 52), "{kind}, byte {byte}");
        }
    }
}

#[test]
fn a_flipped_bit_of_the_framing_costs_its_batch_and_no_forged_entry_far_ahead_is_read() {
    let id = sewer_wal::WalId(7);
    for (kind, body) in forgeries() {
        let (sound, starts) = log_v1(id, 25, &body);
        for byte in starts[25]..starts[25] + 35 {
            // The entry's id is under no CRC; what is plausible of it is believed.
            if (1..9).contains(&(byte - starts[25])) {
                continue;
            }
            let mut bytes = sound.clone();
            bytes[byte] ^= 0x10;
            let (rows, lost, next) = recover(&bytes, id);
            let expected: Vec<_> =
                (0..52).filter(|lsn| *lsn != 25).map(|lsn| (lsn, lsn.to_string())).collect();
            assert_eq!((rows, lost, next), (expected, 1, 52), "{kind}, byte {byte}");
        }
    }
}
