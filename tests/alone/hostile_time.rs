//! Reading takes time linear in the bytes, whatever they are: twice the hostile bytes take about
//! twice the time, in logs of either format. Damaged batches full of what looks like the heads of
//! further ones are the worst that a client can leave for recovery.
//!
//! `cargo test --release -p sewer-wal --test hostile_time -- --nocapture` prints bytes and times.

#[allow(dead_code)] // Made for the suites of the adversary, which use all of it.
#[path = "../wal/adversary/enemy.rs"]
mod enemy;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use enemy::{batch_v2, entry_v1, header};
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Batch, Engine, Event, Layout, SegmentReader, Wal, WalId, WalOptions};

/// The smallest hostile part; the others have twice and four times as much.
const BYTES: usize = 256 << 10;

/// More than twice the time for twice the bytes is noise, or worse.
const RATIO_MAX: u32 = 3;
const RUNS: usize = 3;

/// Where nothing is to be seen of the bytes.
const NOISE: Duration = Duration::from_millis(20);

fn chunk_head(length: usize) -> Vec<u8> {
    [&[2], &u32::try_from(length).unwrap().to_le_bytes()[..]].concat()
}

/// The first 30 bytes of an entry of format 1.
fn head(id: u64, first: u64, count: u32) -> Vec<u8> {
    let mut entry = entry_v1(id, first, count, &[]);
    entry.pop();
    entry
}

/// Heads whose count never ends.
fn endless(bytes: usize) -> Vec<u8> {
    let one = head(3, 2, u32::MAX);
    one.repeat(bytes / one.len())
}

/// A chain of events, each with a head in it that leads into the same chain two events on, and with
/// the right count.
fn nested(bytes: usize, first: u64) -> Vec<u8> {
    const DATA: usize = 30 + 5;
    let count = bytes / (DATA + 9);
    let mut out = Vec::with_capacity(bytes);
    for index in 0..count {
        out.extend(chunk_head(DATA));
        out.extend(head(3, first, u32::try_from(count - index).unwrap()));
        out.extend(chunk_head(4 + 5 + DATA));
        out.extend([0; 4]);
    }
    out.extend(chunk_head(DATA));
    out.extend([0; DATA + 4]);
    out.push(3);
    out
}

/// Plausible heads, all of which lead to an event that is too large.
fn too_large(bytes: usize) -> Vec<u8> {
    let mut out = nested(bytes, 3);
    out.pop();
    out.extend(chunk_head(1 << 21));
    out
}

/// Small entries that are believed, each before a head that leads into one long chain.
fn gaps(bytes: usize) -> Vec<u8> {
    let (small, chain) = (bytes / 2, bytes / 2 / 9);
    let mut out = Vec::with_capacity(bytes);
    let mut id = 3;
    while out.len() < small {
        out.extend(entry_v1(id, 2, 0, &[]));
        id += 1;
        out.extend(head(id, 2, u32::MAX));
        let behind = small + 200 - out.len() % 9 - out.len();
        out.extend(chunk_head(behind));
        out.extend([0; 11]);
    }
    out.resize(small + 300, 0);
    for _ in 0..chain {
        out.extend([2, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    out
}

/// Whole batches of format 2, without the salt.
fn batches(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    while out.len() < bytes {
        let offset = 16384 + out.len() as u64;
        out.extend(batch_v2(4, ([7; 16], offset), (2, 2), &[vec![0; 10]], true));
    }
    out
}

/// The end of a log of format 1 behind which only hostile bytes are left of a batch.
fn log_v1(hostile: &[u8]) -> Vec<u8> {
    let event = enemy::forged_event(0);
    let mut bytes = header(1, WalId(7), 1);
    bytes.extend(entry_v1(1, 0, 1, std::slice::from_ref(&event)));
    bytes.extend(entry_v1(2, 1, 1, &[event]));
    // The head of the torn batch is damaged, too.
    bytes.extend([0xff; 30]);
    bytes.extend(hostile);
    bytes.extend([0; 4096]);
    bytes
}

/// The same of format 2.
fn log_v2(hostile: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    let options = WalOptions {
        segment_bytes: 1 << 20,
        roll_interval: Duration::from_hours(1),
        min_free_bytes: 0,
        engine: Engine::Auto,
    };
    let (mut wal, _) = Wal::open(layout.clone(), options).unwrap();
    let mut batch = Batch::default();
    batch.push(&Event::default()).unwrap();
    wal.append(&batch).unwrap();
    let mut bytes = fs::read(layout.log_file(wal.segment())).unwrap();
    bytes.truncate(5 * 4096);
    bytes.extend([0xff; 74]);
    bytes.extend(hostile);
    bytes.extend([0; 4096]);
    bytes
}

/// The time of one pass over a log, the best of several.
fn time(bytes: &[u8]) -> Duration {
    let memory = Path::new("/dev/shm");
    let file = tempfile::NamedTempFile::new_in(memory).or_else(|_| tempfile::NamedTempFile::new());
    let mut file = file.unwrap();
    file.write_all(bytes).unwrap();
    let pass = |_| {
        let begun = Instant::now();
        let mut reader = SegmentReader::open(file.path(), Kind::Active).unwrap();
        let mut events = 0;
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Batch(batch) = item {
                events += batch.events().count();
            }
        }
        assert!(events > 0, "the sound batches are read");
        begun.elapsed()
    };
    (0..RUNS).map(pass).min().unwrap()
}

#[test]
fn a_pass_over_hostile_bytes_takes_time_linear_in_them() {
    type Hostile = fn(usize) -> Vec<u8>;
    let kinds: [(&str, Hostile); 6] = [
        ("endless heads", endless),
        ("nested heads, far away", |bytes| nested(bytes, 1 << 40)),
        ("nested heads, plausible", |bytes| nested(bytes, 3)),
        ("heads of an event too large", too_large),
        ("entries and heads of one chain", gaps),
        ("batches of format 2", batches),
    ];
    println!("| hostile bytes | format | 256 KiB | 512 KiB | 1 MiB |\n|---|---|---|---|---|");
    let mut worst = Vec::new();
    for (name, hostile) in kinds {
        for (format, log) in [(1, log_v1 as fn(&[u8]) -> Vec<u8>), (2, log_v2)] {
            let times = [1, 2, 4].map(|times| time(&log(&hostile(times * BYTES))));
            let [a, b, c] = times.map(|time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
            println!("| {name} | {format} | {a} | {b} | {c} |");
            let is_slow = |pair: &[Duration]| pair[1] > RATIO_MAX * pair[0].max(NOISE);
            if times.windows(2).any(is_slow) {
                worst.push(format!("{name}, format {format}: {times:?}"));
            }
        }
    }
    assert!(worst.is_empty(), "more than {RATIO_MAX} times as long for twice the bytes: {worst:?}");
}
