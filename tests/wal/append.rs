//! The WAL's promises, without a process around it: what `append` returned for is read back in
//! order, whatever is cut, torn or flipped, and LSNs never begin again. Each for both engines.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use sewer_wal::reader::Kind;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Engine, Layout, Lsn, LsnRange, Wal, WalError, WalOptions, sealed};
use tempfile::TempDir;

use crate::common::{
    OPTIONS, batch, batch_of, data_end, engines, logs, options, read, sealed_lsns, wal_dir,
    wal_in_memory, wal_of_log,
};

/// What a log of format 2 has before its first batch, and what batches begin on.
const LOG_START: usize = 8192;
const BLOCK: usize = 4096;

#[test]
fn appended_events_are_sealed_by_a_clean_stop_and_read_back_in_order() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let (mut wal, report) = Wal::open(layout.clone(), options(engine)).unwrap();
        assert!(report.created && report.logs.is_empty() && report.notes.is_empty());
        assert_eq!(wal.append(&batch(0, 3)).unwrap(), LsnRange::new(Lsn(0), 3));
        assert_eq!(wal.append(&batch(3, 1)).unwrap(), LsnRange::new(Lsn(3), 1));
        wal.close().unwrap();
        assert_eq!(sealed_lsns(&layout), [0, 1, 2, 3], "{engine:?}");
        assert_eq!(logs(&layout).len(), 1, "only the log that keeps the next LSN stays");
    }
}

#[test]
fn lsns_go_on_after_everything_was_shipped_and_deleted() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let mut ids = Vec::new();
        for round in 0..3 {
            let (mut wal, report) = Wal::open(layout.clone(), options(engine)).unwrap();
            assert_eq!(report.next_lsn, Some(Lsn(round * 5)));
            assert_eq!(report.notes, [""; 0]);
            ids.push(report.wal_id);
            wal.append(&batch(round * 5, 5)).unwrap();
            if round == 1 {
                drop(wal); // as a crash leaves it; the next open seals
                seal_leftovers(&layout).unwrap();
            } else {
                wal.close().unwrap();
            }
            let names: Vec<_> = sealed::list(&layout).unwrap().iter().map(|s| s.name).collect();
            assert_eq!(names, [Lsn(round * 5).into()]);
            sealed::delete(&layout, names).unwrap();
        }
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn a_reader_sees_durable_events_of_a_running_wal() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
        wal.append(&batch(0, 2)).unwrap();
        assert_eq!(read(&logs(&layout)[0], Kind::Active), (vec![0, 1], vec![]));
        wal.append(&batch(2, 1)).unwrap();
        assert_eq!(read(&logs(&layout)[0], Kind::Active), (vec![0, 1, 2], vec![]));
    }
}

#[test]
fn segments_end_by_size_and_no_event_is_split_or_missed() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let (mut wal, _) =
            Wal::open(layout.clone(), WalOptions { segment_bytes: 64 << 10, ..options(engine) })
                .unwrap();
        let mut next = 0;
        let deadline = Instant::now() + Duration::from_mins(1);
        for count in (1..20).cycle() {
            wal.append(&batch_of(next, count, 300)).unwrap();
            next += count;
            // A segment grows while the next one is not ready, which is up to the disk.
            if count == 19 && sealed::list(&layout).unwrap().len() > 2 {
                break;
            }
            assert!(Instant::now() < deadline, "no three segments in a minute");
        }
        wal.close().unwrap();
        assert_eq!(sealed_lsns(&layout), (0..next).collect::<Vec<_>>(), "{engine:?}");
    }
}

#[test]
fn segments_end_by_age_without_another_event() {
    let (_dir, layout) = wal_dir();
    let options = WalOptions { roll_interval: Duration::from_millis(50), ..OPTIONS };
    let (mut wal, _) = Wal::open(layout.clone(), options).unwrap();
    wal.append(&batch(0, 1)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while sealed::list(&layout).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "not sealed in 20 s");
        // As the pixel does: it ticks only when it is time.
        if wal.next_tick() <= Instant::now() {
            wal.tick().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sealed_lsns(&layout), [0]);
    assert_eq!(wal.append(&batch(1, 1)).unwrap().first, Lsn(1));
}

#[test]
fn batches_of_every_size_are_sealed_and_none_over_the_limit_is_taken() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
        let mut next = 0;
        for (count, bytes) in [(1, 0), (1, 3900), (1, 3950), (4, 1_000_000), (9, 100), (1, 8000)] {
            wal.append(&batch_of(next, count, bytes)).unwrap();
            next += count;
        }
        let error = wal.append(&batch_of(next, 5, 1_000_000)).unwrap_err();
        assert!(matches!(error, WalError::BatchTooLarge { .. }), "{error}");
        assert_eq!(wal.append(&batch(next, 1)).unwrap().first, Lsn(next), "still usable");
        drop(wal);
        seal_leftovers(&layout).unwrap();
        assert_eq!(sealed_lsns(&layout), (0..=next).collect::<Vec<_>>(), "{engine:?}");
    }
}

/// A batch in a log: where it begins, what it takes without padding, and where it ends.
struct Place {
    start: usize,
    used: usize,
    end: usize,
}

/// A crashed WAL of one log: its `ID`, the bytes of the log, and its batches of two events each,
/// the two empty ones at its beginning included.
fn crashed(engine: Engine) -> (Vec<u8>, Vec<u8>, Vec<Place>) {
    let (_dir, layout) = wal_dir();
    let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
    let log = logs(&layout)[0].clone();
    let empty = |start| Place { start, used: batch(0, 0).framed_bytes(), end: start + BLOCK };
    let mut places = vec![empty(LOG_START), empty(LOG_START + BLOCK)];
    for number in 0..3 {
        let batch = batch_of(number * 2, 2, 1500 * usize::try_from(number).unwrap());
        let start = data_end(&log);
        wal.append(&batch).unwrap();
        places.push(Place { start, used: batch.framed_bytes(), end: data_end(&log) });
    }
    drop(wal);
    let mut bytes = fs::read(&log).unwrap();
    bytes.truncate(places[4].end);
    (fs::read(layout.id_file()).unwrap(), bytes, places)
}

#[test]
fn a_log_cut_anywhere_gives_back_its_whole_batches() {
    for engine in engines() {
        let (id, whole, places) = crashed(engine);
        // All sectors, and each byte of what stands before the events of a batch.
        let sectors = (0..=whole.len()).step_by(512);
        let heads = places.iter().flat_map(|place| place.start..place.start + 74);
        for cut in sectors.chain(heads) {
            let (_dir, copy) = wal_in_memory();
            // Zeros behind the cut, as in a preallocated file.
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(whole.len() + 3 * BLOCK, 0);
            wal_of_log(&copy, &id, &bytes);
            let report = seal_leftovers(&copy).unwrap();
            // The padding and the end's marker tell nothing.
            let is_whole = |place: &&Place| {
                let used = place.start..place.start + place.used - 1;
                bytes[used.clone()] == whole[used]
            };
            let batches = places.iter().take_while(is_whole).count();
            let events = batches.saturating_sub(2) as u64 * 2;
            let segments = sealed::list(&copy).unwrap();
            let read = segments.iter().map(|segment| read(&segment.path, Kind::Sealed));
            let (lsns, damage): (Vec<_>, Vec<_>) = read.unzip();
            assert_eq!(lsns.concat(), (0..events).collect::<Vec<_>>(), "cut at {cut}");
            // Where not even the first, empty batch is left, nothing tells.
            let next = Some(Lsn(events)).filter(|_| batches > 0);
            if cut % 512 == 0 {
                assert_eq!(report.next_lsn, next, "{engine:?}, cut at {cut}");
                assert_eq!(damage.concat(), [], "{engine:?}, cut at {cut}");
                continue;
            }
            // Sectors reach the disk whole: one that is cut is damaged, and the LSNs that it may
            // have had are passed over and told as lost.
            let lost: u64 = damage.concat().iter().map(|damage| damage.lost.count()).sum();
            let passed = report.next_lsn.zip(next).map_or(0, |(found, next)| found.since(next));
            assert_eq!(lost, passed, "{engine:?}, cut at {cut}");
        }
    }
}

/// A sealed segment of the given form, whose events are 0 to 7.
fn segment(engine: Engine, bytes: usize) -> (TempDir, Layout) {
    let (dir, layout) = wal_dir();
    let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
    for number in 0..4 {
        wal.append(&batch_of(number * 2, 2, bytes)).unwrap();
    }
    wal.close().unwrap();
    (dir, layout)
}

#[test]
fn any_flipped_bit_of_a_segment_is_found_and_costs_at_most_its_batch() {
    // The compact form, and that of the log: two batches of 4,000 bytes are hardly padded.
    for (engine, bytes, step) in
        [(Engine::Auto, 0, 1), (Engine::Okaywal, 1970, 61), (Engine::Direct, 1970, 61)]
    {
        if !engines().contains(&engine) && engine != Engine::Auto {
            continue;
        }
        let (_dir, layout) = segment(engine, bytes);
        let path = layout.sealed_file(Lsn(0));
        let sound = fs::read(&path).unwrap();
        assert_eq!(sound.len() > LOG_START, bytes > 0, "{} bytes", sound.len());
        let (_memory, there) = wal_in_memory();
        fs::create_dir_all(there.sealed_dir()).unwrap();
        let path = there.sealed_file(Lsn(0));
        for bit in (0..sound.len() * 8).step_by(step) {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &damaged).unwrap();
            let (lsns, damage) = read(&path, Kind::Sealed);
            assert!(!damage.is_empty(), "bit {bit} of byte {} was not noticed", bit / 8);
            assert!(lsns.len() >= 6, "bit {bit}: {} of 8 events are left; {damage:?}", lsns.len());
            let lost: u64 = damage.iter().map(|damage| damage.lost.count()).sum();
            assert_eq!(lsns.len() as u64 + lost, 8, "bit {bit}: {damage:?}");
        }
    }
}

#[test]
fn a_segment_has_hardly_any_padding_and_a_log_none_within_what_is_acknowledged() {
    for engine in engines() {
        for (count, bytes) in [(1, 400), (10, 400), (40, 400), (1, 3000), (1, 3900)] {
            let (_dir, layout) = wal_dir();
            let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
            let mut unpadded = 0;
            for number in 0..20 {
                let batch = batch_of(number * count, count, bytes);
                unpadded += batch.framed_bytes() as u64;
                wal.append(&batch).unwrap();
                assert_eq!(wal.segment_bytes() % BLOCK as u64, 0, "{engine:?}");
            }
            wal.close().unwrap();
            let sealed = fs::metadata(layout.sealed_file(Lsn(0))).unwrap().size();
            // Header and footer are the same whatever is in between.
            let most = unpadded * 4 / 3 + LOG_START as u64 + 2 * BLOCK as u64 + 100;
            assert!(
                sealed <= most,
                "{engine:?}, {count} of {bytes}: {sealed} for {unpadded} bytes"
            );
            assert_eq!(sealed_lsns(&layout).len() as u64, 20 * count);
        }
    }
}

#[test]
fn damage_before_an_intact_batch_is_no_torn_tail() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
        for number in 0..3 {
            wal.append(&batch(number, 1)).unwrap();
        }
        let log = logs(&layout)[0].clone();
        drop(wal);
        let mut bytes = fs::read(&log).unwrap();
        // The marker of the second batch with an event.
        bytes[LOG_START + 3 * BLOCK] = 0xff;
        fs::write(&log, bytes).unwrap();
        let report = seal_leftovers(&layout).unwrap();
        assert_eq!(report.next_lsn, Some(Lsn(3)));
        let lost: Vec<_> = report.logs[0].damage.iter().map(|damage| damage.lost).collect();
        assert_eq!(lost, [LsnRange::new(Lsn(1), 1)]);
        let (lsns, damage) = read(&layout.sealed_file(Lsn(0)), Kind::Sealed);
        assert_eq!(lsns, [0, 2]);
        assert_eq!(damage[0].lost, LsnRange::new(Lsn(1), 1));
    }
}

#[test]
fn one_process_appends_and_files_are_for_nobody_else() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
        wal.append(&batch(0, 1)).unwrap();
        assert!(matches!(Wal::open(layout.clone(), OPTIONS), Err(WalError::Locked { .. })));
        let log = logs(&layout)[0].clone();
        wal.close().unwrap();
        let dirs = [layout.root().into(), layout.active_dir(), layout.sealed_dir()];
        let kept = log.parent().unwrap().with_file_name("00000000000000000002");
        for dir in dirs.into_iter().chain([kept]) {
            assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o750, "{}", dir.display());
        }
        let files = [layout.id_file(), layout.lock_file(), layout.sealed_file(Lsn(0))];
        for file in files.into_iter().chain(logs(&layout)) {
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640, "{}", file.display());
        }
    }
}

#[test]
fn a_wal_that_was_removed_under_its_pixel_takes_no_more_events() {
    for engine in engines() {
        let (dir, layout) = wal_dir();
        let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
        wal.append(&batch(0, 1)).unwrap();
        fs::rename(layout.root(), dir.path().join("elsewhere")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = loop {
            assert!(Instant::now() < deadline, "not noticed in 20 s");
            if wal.next_tick() <= Instant::now()
                && let Err(error) = wal.tick()
            {
                break error;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(matches!(error, WalError::Removed { .. }), "{error}");
        assert!(matches!(wal.append(&batch(1, 1)), Err(WalError::Poisoned(_))));
    }
}

#[test]
fn a_log_of_another_wal_is_left_alone() {
    let (_dir, layout) = wal_dir();
    let (_other_dir, other) = wal_dir();
    let (mut wal, _) = Wal::open(other.clone(), OPTIONS).unwrap();
    wal.append(&batch(0, 1)).unwrap();
    drop(wal);
    drop(Wal::open(layout.clone(), OPTIONS).unwrap());
    fs::create_dir(layout.log_dir(99)).unwrap();
    fs::copy(&logs(&other)[0], layout.log_file(99)).unwrap();
    let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    assert_eq!((report.next_lsn, report.logs.len()), (Some(Lsn(0)), 0));
    wal.append(&batch(0, 2)).unwrap();
    wal.close().unwrap();
    assert!(layout.log_file(99).exists());
    assert_eq!(sealed_lsns(&layout), [0, 1]);
}

#[test]
fn the_watch_reports_a_sealed_segment() {
    for engine in engines() {
        let (_dir, layout) = wal_dir();
        let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
        let watch = sealed::SealedWatch::new(&layout).unwrap();
        assert!(!watch.wait(Duration::from_millis(1)).unwrap());
        wal.append(&batch(0, 1)).unwrap();
        wal.close().unwrap();
        assert!(watch.wait(Duration::from_secs(20)).unwrap());
    }
}
