//! A start takes the time of what the last process left in `active/`, not that of the backlog: with
//! a thousand sealed segments waiting it opens no more of them than without.
//!
//! `cargo test --release -p sewer-wal --test recovery_time -- --nocapture` prints a table of times.

use std::fs;
use std::time::{Duration, Instant};

use sewer_wal::{Batch, Engine, Event, Layout, Lsn, Wal, WalOptions, sealed};

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 256 << 20,
    roll_interval: Duration::from_hours(1),
    min_free_bytes: 0,
    engine: Engine::Auto,
};

/// A WAL with `segments` sealed segments, and `left_bytes` in a log that nobody has sealed.
fn wal(segments: u64, left_bytes: u64) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    for (first, events) in [(0, segments - 1), (segments - 1, 1)] {
        let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
        assert_eq!(report.next_lsn, Some(Lsn(first)));
        wal.append(&batch(usize::try_from(events).unwrap())).unwrap();
        wal.close().unwrap();
    }
    // A thousand names take no thousand segments: only the newest one is ever opened.
    for base in 1..segments - 1 {
        fs::copy(layout.sealed_file(Lsn(0)), layout.sealed_file(Lsn(base))).unwrap();
    }
    let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    assert_eq!(report.next_lsn, Some(Lsn(segments)));
    while wal.segment_bytes() < left_bytes {
        wal.append(&batch(500)).unwrap();
    }
    drop(wal);
    (dir, layout)
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
    assert_eq!(report.next_lsn, Some(Lsn(1000)));
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
