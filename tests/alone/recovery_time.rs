//! A start takes the time of what the last process left in `active/`, not that of the backlog: with
//! a thousand sealed segments waiting it opens no more of them than without.
//!
//! `cargo test --release -p sewer-wal --test recovery_time -- --nocapture` prints a table of times.

use std::fs;
use std::time::{Duration, Instant};

use sewer_wal::footer::Footer;
use sewer_wal::{Batch, Event, Layout, Lsn, Wal, WalOptions, sealed};

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 256 << 20,
    roll_interval: Duration::from_hours(1),
    min_free_bytes: 0,
};

/// A WAL with `segments` sealed segments, one event each, and `left_bytes` in a log that nobody
/// has sealed.
fn wal(segments: u64, left_bytes: u64) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    let (mut first, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    first.append(&batch(1)).unwrap();
    first.close().unwrap();
    multiply(&layout, segments);
    let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    assert_eq!(report.next_lsn, Lsn(segments));
    while wal.segment_bytes() < left_bytes {
        wal.append(&batch(500)).unwrap();
    }
    drop(wal);
    (dir, layout)
}

/// Makes more segments of the one that there is, so that a thousand take no thousand fsyncs.
fn multiply(layout: &Layout, segments: u64) {
    let bytes = fs::read(layout.sealed_file(Lsn(0))).unwrap();
    let footer = Footer::load(&layout.sealed_file(Lsn(0))).unwrap().unwrap();
    for base in 1..segments {
        let mut copy = bytes.clone();
        // The first chunk of the second entry is the header of the batch that holds the event.
        let data_end = usize::try_from(footer.data_bytes).unwrap();
        let header = find_last(&copy[..data_end], b"\x02\x0c\0\0\0") + 5;
        copy[header..header + 8].copy_from_slice(&base.to_le_bytes());
        let crc = crc32c::crc32c(&copy[header..header + 12]);
        copy[header + 12..header + 16].copy_from_slice(&crc.to_le_bytes());
        let mut data = crc32fast::Hasher::new();
        data.update(&copy[..data_end]);
        let footer = Footer { base: Lsn(base), ..footer }.encode(data);
        copy[data_end..].copy_from_slice(&footer);
        fs::write(layout.sealed_file(Lsn(base)), copy).unwrap();
    }
}

fn find_last(bytes: &[u8], pattern: &[u8]) -> usize {
    bytes.windows(pattern.len()).rposition(|window| window == pattern).unwrap()
}

fn batch(events: usize) -> Batch {
    let mut batch = Batch::default();
    let agent = [b'x'; 900];
    for _ in 0..events {
        let event = Event { user_agent: Some(&agent), ..Event::default() };
        batch.push(&event).unwrap();
    }
    batch
}

fn open(layout: &Layout) -> Duration {
    let begun = Instant::now();
    let (wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    let took = begun.elapsed();
    drop(wal);
    took
}

#[test]
fn a_start_does_not_read_the_backlog() {
    let (_dir, layout) = wal(1000, 0);
    assert_eq!(sealed::list(&layout).unwrap().len(), 1000);
    // Whatever is in all but the newest segment, a start does not look at it.
    for base in 0..999 {
        fs::write(layout.sealed_file(Lsn(base)), b"unread").unwrap();
    }
    let (_wal, report) = Wal::open(layout, OPTIONS).unwrap();
    assert_eq!(report.next_lsn, Lsn(1000));
}

#[test]
fn a_start_takes_the_time_of_what_is_left_and_not_of_the_backlog() {
    println!("| sealed segments waiting | left in active/ | start |\n|---|---|---|");
    let mut times = Vec::new();
    for (segments, left_mib) in [(1, 0), (1000, 0), (1, 16), (1, 64), (1000, 64)] {
        let (_dir, layout) = wal(segments, left_mib << 20);
        times.push(open(&layout));
        println!("| {segments} | {left_mib} MiB | {} ms |", times[times.len() - 1].as_millis());
    }
    // The last two differ in the backlog alone; ten times leaves room for a crowded machine.
    assert!(times[4] < 10 * times[3], "{times:?}");
}
