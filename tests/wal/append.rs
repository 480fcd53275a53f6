//! The WAL's promises, without a process around it: what `append` returned for is read back in
//! order, whatever is cut, torn or flipped, and LSNs never begin again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sewer_wal::reader::{Damage, Item, Kind};
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{
    Batch, Event, Layout, Lsn, LsnRange, SegmentReader, Wal, WalError, WalOptions, sealed,
};
use tempfile::TempDir;

const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 64 << 20,
    roll_interval: Duration::from_hours(1),
    min_free_bytes: 0,
};

fn wal_dir() -> (TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    (dir, layout)
}

/// A batch of `count` events whose paths are their numbers from `first`.
fn batch(first: u64, count: u64) -> Batch {
    let mut batch = Batch::default();
    for number in first..first + count {
        let path = number.to_string();
        let timestamp_ms = 1_000 + number.cast_signed();
        let path = Some(path.as_bytes());
        batch.push(&Event { timestamp_ms, request_path: path, ..Event::default() }).unwrap();
    }
    batch
}

/// What a file gives back: the LSNs of its events, each checked against its path, and the damage.
fn read(path: &Path, kind: Kind) -> (Vec<u64>, Vec<Damage>) {
    let mut reader = SegmentReader::open(path, kind).unwrap();
    let (mut lsns, mut damage) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Damage(found) => damage.push(found),
            Item::Batch(batch) => {
                for (lsn, bytes) in batch.events() {
                    let event = Event::decode(bytes).unwrap();
                    assert_eq!(event.request_path, Some(lsn.to_string().as_bytes()));
                    lsns.push(lsn.0);
                }
            }
        }
    }
    (lsns, damage)
}

fn sealed_lsns(layout: &Layout) -> Vec<u64> {
    let segments = sealed::list(layout).unwrap();
    segments
        .iter()
        .flat_map(|segment| {
            let (lsns, damage) = read(&segment.path, Kind::Sealed);
            assert_eq!(damage, []);
            assert_eq!(lsns.first(), Some(&segment.base.0));
            lsns
        })
        .collect()
}

fn logs(layout: &Layout) -> Vec<PathBuf> {
    layout.log_numbers().unwrap().into_iter().map(|number| layout.log_file(number)).collect()
}

#[test]
fn appended_events_are_sealed_by_a_clean_stop_and_read_back_in_order() {
    let (_dir, layout) = wal_dir();
    let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    assert!(report.created && report.logs.is_empty());
    assert_eq!(wal.append(&batch(0, 3)).unwrap(), LsnRange::new(Lsn(0), 3));
    assert_eq!(wal.append(&batch(3, 1)).unwrap(), LsnRange::new(Lsn(3), 1));
    wal.close().unwrap();
    assert_eq!(sealed_lsns(&layout), [0, 1, 2, 3]);
    assert_eq!(logs(&layout).len(), 1, "only the log that keeps the next LSN stays");
}

#[test]
fn lsns_go_on_after_everything_was_shipped_and_deleted() {
    let (_dir, layout) = wal_dir();
    for round in 0..3 {
        let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
        assert_eq!(report.next_lsn, Lsn(round * 5));
        wal.append(&batch(round * 5, 5)).unwrap();
        if round == 1 {
            drop(wal); // as a crash leaves it; the next open seals
            seal_leftovers(&layout).unwrap();
        } else {
            wal.close().unwrap();
        }
        let bases: Vec<_> = sealed::list(&layout).unwrap().iter().map(|s| s.base).collect();
        assert_eq!(bases, [Lsn(round * 5)]);
        sealed::delete(&layout, bases).unwrap();
    }
}

#[test]
fn a_reader_sees_durable_events_of_a_running_wal() {
    let (_dir, layout) = wal_dir();
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    wal.append(&batch(0, 2)).unwrap();
    assert_eq!(read(&logs(&layout)[0], Kind::Active), (vec![0, 1], vec![]));
    wal.append(&batch(2, 1)).unwrap();
    assert_eq!(read(&logs(&layout)[0], Kind::Active), (vec![0, 1, 2], vec![]));
}

#[test]
fn segments_end_by_size_and_no_event_is_split_or_missed() {
    let (_dir, layout) = wal_dir();
    let options = WalOptions { segment_bytes: 4096, ..OPTIONS };
    let (mut wal, _) = Wal::open(layout.clone(), options).unwrap();
    for number in 0..400 {
        wal.append(&batch(number, 1)).unwrap();
    }
    wal.close().unwrap();
    let segments = sealed::list(&layout).unwrap();
    assert!(segments.len() > 2, "{} segments", segments.len());
    assert_eq!(sealed_lsns(&layout), (0..400).collect::<Vec<_>>());
}

#[test]
fn segments_end_by_age_without_another_event() {
    let (_dir, layout) = wal_dir();
    let options = WalOptions { roll_interval: Duration::from_millis(50), ..OPTIONS };
    let (mut wal, _) = Wal::open(layout.clone(), options).unwrap();
    assert_eq!(wal.next_tick(), None, "an empty segment does not age");
    wal.append(&batch(0, 1)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while sealed::list(&layout).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "not sealed in 20 s");
        // As the pixel does: it ticks only when it is time.
        if wal.next_tick().is_some_and(|at| at <= Instant::now()) {
            wal.tick().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sealed_lsns(&layout), [0]);
    assert_eq!(wal.append(&batch(1, 1)).unwrap().first, Lsn(1));
}

#[test]
fn a_log_cut_at_any_byte_gives_back_its_whole_batches() {
    let (_dir, layout) = wal_dir();
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    let log = logs(&layout)[0].clone();
    let data_end = || {
        let mut reader = SegmentReader::open(&log, Kind::Active).unwrap();
        while reader.next_item().unwrap().is_some() {}
        usize::try_from(reader.data_end()).unwrap()
    };
    let mut ends = vec![];
    for number in 0..4 {
        wal.append(&batch(number * 2, 2)).unwrap();
        ends.push(data_end());
    }
    let whole = fs::read(&log).unwrap()[..*ends.last().unwrap()].to_vec();
    drop(wal);
    for cut in 0..=whole.len() {
        let (_copy_dir, copy) = wal_dir();
        let torn = copy.log_file(1);
        fs::create_dir_all(torn.parent().unwrap()).unwrap();
        fs::create_dir(copy.sealed_dir()).unwrap();
        fs::copy(layout.id_file(), copy.id_file()).unwrap();
        // Zeros behind the cut, as in a preallocated file.
        let mut bytes = whole[..cut].to_vec();
        bytes.resize(whole.len() + 100, 0);
        fs::write(&torn, bytes).unwrap();
        let batches = ends.iter().filter(|&&end| end <= cut).count() as u64;
        match seal_leftovers(&copy) {
            Ok(report) => {
                assert_eq!(report.next_lsn, Lsn(batches * 2), "cut at {cut}");
                assert_eq!(sealed_lsns(&copy), (0..batches * 2).collect::<Vec<_>>());
            }
            // Not even the first, empty batch is left to tell the next LSN.
            Err(e) => assert!(batches == 0 && matches!(e, WalError::NextLsnUnknown { .. }), "{e}"),
        }
    }
}

#[test]
fn any_flipped_bit_of_a_segment_is_found_and_costs_at_most_its_batch() {
    let (_dir, layout) = wal_dir();
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    for number in 0..4 {
        wal.append(&batch(number * 2, 2)).unwrap();
    }
    wal.close().unwrap();
    let path = &sealed::list(&layout).unwrap()[0].path;
    let sound = fs::read(path).unwrap();
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(path, &bytes).unwrap();
        let mut reader = SegmentReader::open(path, Kind::Sealed).unwrap();
        let (mut events, mut damage) = (0, vec![]);
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Batch(batch) => events += batch.events().count(),
                Item::Damage(found) => damage.push(found),
            }
        }
        assert!(!damage.is_empty(), "bit {bit} of byte {} was not noticed", bit / 8);
        assert!(events >= 6, "bit {bit}: {events} of 8 events are left; {damage:?}");
        let lost: u64 = damage.iter().map(|damage| damage.lost.count()).sum();
        assert_eq!(events as u64 + lost, 8, "bit {bit}: {damage:?}");
    }
}

#[test]
fn damage_before_an_intact_batch_is_no_torn_tail() {
    let (_dir, layout) = wal_dir();
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    for number in 0..3 {
        wal.append(&batch(number, 1)).unwrap();
    }
    let log = logs(&layout)[0].clone();
    drop(wal);
    let mut bytes = fs::read(&log).unwrap();
    let second = bytes.windows(5).position(|w| w == [1, 3, 0, 0, 0]).unwrap();
    bytes[second] = 0xff;
    fs::write(&log, bytes).unwrap();
    let report = seal_leftovers(&layout).unwrap();
    assert_eq!(report.next_lsn, Lsn(3));
    let lost: Vec<_> = report.logs[0].damage.iter().map(|damage| damage.lost).collect();
    assert_eq!(lost, [LsnRange::new(Lsn(1), 1)]);
    let (lsns, damage) = read(&layout.sealed_file(Lsn(0)), Kind::Sealed);
    assert_eq!(lsns, [0, 2]);
    assert_eq!(damage[0].lost, LsnRange::new(Lsn(1), 1));
}

#[test]
fn a_wal_without_its_names_says_what_to_restore() {
    let (_dir, layout) = wal_dir();
    let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    wal.append(&batch(0, 1)).unwrap();
    assert!(matches!(Wal::open(layout.clone(), OPTIONS), Err(WalError::Locked { .. })));
    wal.close().unwrap();
    let id = fs::read(layout.id_file()).unwrap();

    fs::remove_file(layout.id_file()).unwrap();
    let error = Wal::open(layout.clone(), OPTIONS).unwrap_err().to_string();
    assert!(error.contains(&format!("echo {} > ", report.wal_id)), "{error}");

    fs::write(layout.id_file(), id).unwrap();
    fs::remove_dir_all(layout.active_dir()).unwrap();
    let error = Wal::open(layout.clone(), OPTIONS).unwrap_err().to_string();
    assert!(error.contains("the next LSN is unknown"), "{error}");
    assert_eq!(sealed_lsns(&layout), [0], "nothing was touched");
}

#[test]
fn a_log_of_another_wal_is_refused_and_left_alone() {
    let (_dir, layout) = wal_dir();
    let (_other_dir, other) = wal_dir();
    let (mut wal, _) = Wal::open(other.clone(), OPTIONS).unwrap();
    wal.append(&batch(0, 1)).unwrap();
    drop(wal);
    drop(Wal::open(layout.clone(), OPTIONS).unwrap());
    fs::create_dir(layout.log_dir(99)).unwrap();
    fs::copy(&logs(&other)[0], layout.log_file(99)).unwrap();
    let error = Wal::open(layout.clone(), OPTIONS).unwrap_err();
    assert!(matches!(error, WalError::ForeignSegment { .. }), "{error}");
    assert!(layout.log_file(99).exists());
}

#[test]
fn the_watch_reports_a_sealed_segment() {
    let (_dir, layout) = wal_dir();
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    let watch = sealed::SealedWatch::new(&layout).unwrap();
    assert!(!watch.wait(Duration::from_millis(1)).unwrap());
    wal.append(&batch(0, 1)).unwrap();
    wal.close().unwrap();
    assert!(watch.wait(Duration::from_secs(20)).unwrap());
}
