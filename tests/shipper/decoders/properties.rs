//! What holds for every decoder on any bytes, as functions that the property tests and the fuzz
//! targets share. Each panics where a promise is broken.
//!
//! All of them: no panic, and an end after as many steps as there are bytes. Memory is bounded by
//! the formats: a length is believed only once as many bytes are there, a slot of the segment
//! reader stands for nine bytes or more, and a codec's output is limited by the lengths that came
//! before it. The fuzz targets check that for real, with libFuzzer's limits on single allocations.

use std::fs;
use std::io::Write;
use std::path::Path;

use sewer_shipper::hadoop::codec::{CodecError, Compression};
use sewer_shipper::hadoop::sequence_file::Reader;
use sewer_shipper::plan::Plan;
use sewer_shipper::record::rows::cat;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Event, Footer, Identity, Layout, LsnRange, SegmentReader, WalError, WalId};
use tempfile::NamedTempFile;

/// The most records of a file that are looked at.
const RECORDS_MAX: usize = 100_000;

/// Bytes are an event only if the encoder would have written exactly these.
pub fn event(bytes: &[u8]) {
    let Ok(event) = Event::decode(bytes) else { return };
    let fields: usize = event.fields().iter().flatten().map(|field| field.len()).sum();
    let extra: usize = event.extra.iter().map(|(name, value)| 5 + name.len() + value.len()).sum();
    assert!(fields + extra <= bytes.len(), "{event:?} is larger than its bytes");
    let mut again = Vec::new();
    event.encode(&mut again).expect("it was decoded from its format");
    assert_eq!(again, bytes, "{event:?}");
    serde_json::to_string(&event).expect("text in JSON");
}

/// A file of these bytes, in memory where that can be.
fn file(bytes: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new_in(Path::new("/dev/shm")).or_else(|_| NamedTempFile::new());
    let mut file = file.expect("a temporary file");
    file.write_all(bytes).expect("write a temporary file");
    file
}

/// A footer that is read says what stands at the end of the file by its drawing; one without a CRC
/// of its own promises no more events than bytes.
pub fn footer(bytes: &[u8]) {
    let file = file(bytes);
    let footer = match Footer::load(file.path()) {
        Ok(Some(footer)) => footer,
        Ok(None) | Err(WalError::Version { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let data_bytes = usize::try_from(footer.data_bytes).expect("no more than the bytes");
    let found = &bytes[data_bytes..];
    assert_eq!(found.len(), if footer.version == 1 { 64 } else { 88 }, "{footer:?}");
    let u64_at = |at: usize| u64::from_le_bytes(*found[at..].first_chunk().expect("64 bytes"));
    let Footer { wal_id, base, count, .. } = footer;
    let numbers = [wal_id.0, base.0, count, footer.first_timestamp_ms.cast_unsigned()];
    assert_eq!(numbers, [12, 20, 28, 36].map(u64_at), "{footer:?}");
    assert_eq!(footer.last_timestamp_ms.cast_unsigned(), u64_at(44), "{footer:?}");
    assert!(count <= footer.data_bytes || footer.version > 1, "{footer:?}");
    assert!(footer.range().first <= footer.range().end, "{footer:?}");
}

/// The events, each once and in order, that a file of these bytes gives back, as sealed or active;
/// none of them, and nothing twice, is reported as lost.
pub fn segment(bytes: &[u8], kind: Kind) -> Vec<(u64, Vec<u8>)> {
    let file = file(bytes);
    let mut lost: Vec<LsnRange> = Vec::new();
    let mut events = Vec::new();
    let Ok(mut reader) = SegmentReader::open(file.path(), kind) else { return events };
    let (mut items, mut event_bytes, mut next) = (0, 0, 0);
    while let Some(item) = reader.next_item().expect("the file can be read") {
        items += 1;
        assert!(items <= bytes.len() + 3, "more items than bytes");
        match item {
            Item::Damage(damage) => {
                assert!(damage.offset <= bytes.len() as u64, "{damage:?} behind the end");
                assert!(damage.lost.first <= damage.lost.end, "{damage:?}");
                lost.extend(Some(damage.lost).filter(|lost| !lost.is_empty()));
            }
            Item::Batch(batch) => {
                assert!(batch.range.first.0 >= next, "{:?} after LSN {next}", batch.range);
                next = batch.range.end.0;
                for (lsn, event) in batch.events() {
                    assert!(Event::decode(event).is_ok(), "LSN {lsn} cannot be decoded");
                    event_bytes += event.len();
                    events.push((lsn.0, event.to_vec()));
                }
            }
        }
    }
    assert!(event_bytes <= bytes.len(), "more events than bytes");
    lost.sort_unstable_by_key(|lost| lost.first);
    assert!(lost.windows(2).all(|two| two[0].end <= two[1].first), "lost twice: {lost:?}");
    for (lsn, _) in &events {
        let is_lost = lost.iter().any(|lost| (lost.first.0..lost.end.0).contains(lsn));
        assert!(!is_lost, "LSN {lsn} is there and lost: {lost:?}");
    }
    assert!(reader.data_end() <= bytes.len() as u64);
    events
}

/// A plan that is read is written so that it reads the same, and its figures can be asked for.
pub fn plan(bytes: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<Plan>(bytes) else { return };
    let again = serde_json::to_vec_pretty(&plan).expect("a plan has only plain keys");
    assert_eq!(serde_json::from_slice::<Plan>(&again).expect("it was just written"), plan);
    let _ = (plan.file_name(), plan.records(), plan.losses(), plan.is_known());
    if let Ok(mut partitions) = plan.partitions() {
        let _ = partitions.directory(0);
    }
    for output in &plan.outputs {
        let attempt = output.temporary_path(7);
        let name = &attempt[output.directory.len() + 1..];
        assert_eq!(output.attempt_of(name), Some(7));
        let _ = plan.header(output);
    }
}

/// A `SequenceFile` gives its records, or an error, and never more than its header and lengths
/// allow; its rows are JSON lines.
pub fn sequence_file(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    if let Ok(count) = cat(bytes, &mut rows) {
        assert_eq!(rows.split_inclusive(|byte| *byte == b'\n').count() as u64, count);
    }
    let mut records = Vec::new();
    let Ok(mut reader) = Reader::new(bytes) else { return records };
    // A record may have no bytes of its own, but two lengths, and bzip2 holds a million bytes that
    // are the same in one or two of its own: so many are looked at, and no more.
    while records.len() < RECORDS_MAX
        && let Ok(Some(record)) = reader.next_record()
    {
        records.push((record.key.to_vec(), record.value.to_vec()));
        assert!(reader.position() <= bytes.len() as u64);
    }
    records
}

/// The bytes as a stream of every codec: never more than the limit, and memory for no more.
pub fn codecs(bytes: &[u8]) {
    for compression in Compression::ALL {
        for bytes_max in [0, 1, 1000, 1 << 20] {
            let mut out = Vec::new();
            match compression.decompress(bytes, bytes_max, &mut out) {
                Ok(()) => assert!(out.len() <= bytes_max, "{compression}"),
                Err(CodecError::TooLong(limit)) => assert_eq!(limit, bytes_max),
                Err(_) => {}
            }
            // Memory grows by doubling, and one byte more than allowed is looked at.
            let bound = 2 * bytes_max + 1024;
            assert!(out.capacity() <= bound, "{compression}: {} bytes", out.capacity());
        }
    }
}

/// The journal takes a file of these bytes as a plan or names it as damaged.
pub fn journal(bytes: &[u8], name: &str) {
    use sewer_shipper::plan::journal::Journal;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let layout = Layout::new(dir.path());
    let journal = Journal::open(&layout).expect("a new journal");
    let path = layout.shipments_dir().join(name);
    fs::write(&path, bytes).expect("write a plan");
    let found = journal.load(&Identity::new(WalId(1))).expect("list");
    assert_eq!(found.plans.len() + found.damaged.len(), 1);
    assert!(found.plans.iter().all(|plan| plan.file_name() == name));
    assert!(found.damaged.iter().all(|plan| plan.to_string().contains(name)));
    assert!(path.exists(), "looking deletes nothing");
}
