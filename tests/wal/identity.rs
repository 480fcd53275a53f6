//! The identity of a WAL, when what tells it is lost, damaged, swapped or copied: each is said in a
//! sentence, nothing that was acknowledged is lost, and no LSN of an id is given twice. Any
//! sequence of it is tried in `identity_model`.

use std::fs;
use std::path::Path;

use sewer_wal::reader::Kind;
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{Layout, Lsn, RecoveryReport, Wal, WalId, sealed};
use tempfile::TempDir;

use crate::common::{OPTIONS, batch, copy_tree, logs, read, wal_dir};

/// A WAL with a sealed segment of three events (0 to 2) and, unless it was closed, two more in a
/// log.
fn wal(is_closed: bool) -> (TempDir, Layout, WalId) {
    let (dir, layout) = wal_dir();
    let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    wal.append(&batch(0, 3)).unwrap();
    wal.close().unwrap();
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    wal.append(&batch(3, 2)).unwrap();
    if is_closed {
        wal.close().unwrap();
    } else {
        drop(wal);
    }
    (dir, layout, report.wal_id)
}

/// Opens it, adds an event, and closes it; every event recorded until then must be sealed, under
/// the ids that go with it.
fn go_on(layout: &Layout, old: WalId) -> RecoveryReport {
    let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    let first = wal.append(&batch(report.next_lsn.unwrap().0, 1)).unwrap().first;
    assert_eq!(Some(first), report.next_lsn);
    wal.close().unwrap();
    let mut found = Vec::new();
    for segment in sealed::list(layout).unwrap() {
        let identity = sewer_wal::look_up_identity(layout).unwrap().unwrap();
        let inspected = sealed::inspect(&segment, &identity).unwrap();
        let (lsns, damage) = read(&segment.path, Kind::Sealed);
        assert_eq!(damage, []);
        found.extend(lsns.into_iter().map(|lsn| (inspected.wal_id, lsn)));
    }
    let mut expected: Vec<_> = (0..5).map(|lsn| (old, lsn)).collect();
    expected.push((report.wal_id, first.0));
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{:?}", report.notes);
    report
}

/// Whether it went on as before, and what was said.
fn same(report: &RecoveryReport, old: WalId, note: &str) {
    assert_eq!((report.wal_id, report.next_lsn), (old, Some(Lsn(5))), "{:?}", report.notes);
    said(report, note);
}

/// Whether it has begun anew, and what was said.
fn anew(report: &RecoveryReport, old: WalId, note: &str) {
    assert!(report.wal_id != old && report.next_lsn == Some(Lsn(0)), "{report:?}");
    said(report, note);
    said(report, "from LSN 0");
    assert!(report.notes[0].contains(&report.wal_id.to_string()), "{:?}", report.notes);
}

fn said(report: &RecoveryReport, note: &str) {
    assert!(report.notes.iter().any(|said| said.contains(note)), "{note}: {:?}", report.notes);
}

#[test]
fn a_missing_id_is_told_by_the_logs() {
    for is_closed in [false, true] {
        let (_dir, layout, old) = wal(is_closed);
        fs::remove_file(layout.id_file()).unwrap();
        same(&go_on(&layout, old), old, "ID is missing");
        assert_eq!(go_on_quietly(&layout), old);
    }
}

/// The second open has nothing more to say.
fn go_on_quietly(layout: &Layout) -> WalId {
    let (_, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    assert_eq!(report.notes, [""; 0]);
    report.wal_id
}

#[test]
fn a_damaged_id_is_told_by_the_logs() {
    let (_dir, layout, _) = wal(false);
    let bits = fs::read(layout.id_file()).unwrap().len() * 8;
    // Each bit is tried in the module that reads the file.
    for bit in (0..bits).step_by(41) {
        let (_dir, layout, old) = wal(bit % 2 == 0);
        let mut id = fs::read(layout.id_file()).unwrap();
        id[bit / 8] ^= 1 << (bit % 8);
        fs::write(layout.id_file(), id).unwrap();
        same(&go_on(&layout, old), old, "ID is damaged");
    }
    for length in [0, 16, 40] {
        let (_dir, layout, old) = wal(false);
        let id = fs::read(layout.id_file()).unwrap();
        fs::write(layout.id_file(), &id[..length]).unwrap();
        same(&go_on(&layout, old), old, "ID is damaged");
    }
}

#[test]
fn a_damaged_id_and_no_log_begin_anew_and_keep_what_is_sealed() {
    for damage in [None, Some(b"\0\0\0".as_slice())] {
        let (_dir, layout, old) = wal(true);
        match damage {
            None => fs::remove_file(layout.id_file()).unwrap(),
            Some(bytes) => fs::write(layout.id_file(), bytes).unwrap(),
        }
        fs::remove_dir_all(layout.active_dir()).unwrap();
        anew(&go_on(&layout, old), old, if damage.is_some() { "is damaged" } else { "is missing" });
        go_on_quietly(&layout);
    }
}

#[test]
fn an_id_of_another_wal_is_not_taken_for_this_ones() {
    let (_other_dir, other, foreign) = wal(true);
    for is_closed in [false, true] {
        let (_dir, layout, old) = wal(is_closed);
        fs::copy(other.id_file(), layout.id_file()).unwrap();
        let report = go_on(&layout, old);
        assert_ne!(report.wal_id, foreign);
        same(&report, old, "names a WAL that has left nothing here");
        go_on_quietly(&layout);
    }
}

#[test]
fn a_copy_begins_anew_and_the_original_goes_on() {
    for is_closed in [false, true] {
        let (dir, layout, old) = wal(is_closed);
        let copy = Layout::new(dir.path().join("copy"));
        copy_tree(layout.root(), copy.root());
        anew(&go_on(&copy, old), old, "is a copy of the WAL");
        let (_, report) = Wal::open(layout, OPTIONS).unwrap();
        assert_eq!((report.wal_id, report.next_lsn), (old, Some(Lsn(5))));
        assert_eq!(report.notes, [""; 0]);
        let id = go_on_quietly(&copy);
        assert_ne!(id, old);
    }
}

#[test]
fn a_copy_whose_id_is_damaged_begins_anew_even_if_it_was_only_sealed_before() {
    for (is_closed, is_sealed) in [(false, false), (true, false), (false, true)] {
        let (dir, layout, old) = wal(is_closed);
        let copy = Layout::new(dir.path().join("copy"));
        copy_tree(layout.root(), copy.root());
        fs::write(copy.id_file(), "damaged").unwrap();
        if is_sealed {
            seal_leftovers(&copy).unwrap();
        }
        anew(&go_on(&copy, old), old, "is damaged");
        let (_, report) = Wal::open(layout, OPTIONS).unwrap();
        assert_eq!((report.wal_id, report.next_lsn), (old, Some(Lsn(5))));
    }
}

#[test]
fn a_snapshot_that_is_copied_back_begins_anew() {
    let (dir, layout, old) = wal(false);
    let snapshot = dir.path().join("snapshot");
    copy_tree(layout.root(), &snapshot);
    let (mut wal, _) = Wal::open(layout.clone(), OPTIONS).unwrap();
    wal.append(&batch(5, 4)).unwrap();
    wal.close().unwrap();
    fs::remove_dir_all(layout.root()).unwrap();
    copy_tree(&snapshot, layout.root());
    anew(&go_on(&layout, old), old, "is a copy of the WAL");
}

#[test]
fn a_wal_without_any_log_goes_on_where_a_clean_stop_has_noted() {
    for keep_dir in [false, true] {
        let (_dir, layout, old) = wal(true);
        for number in layout.log_numbers().unwrap() {
            fs::remove_dir_all(layout.log_dir(number)).unwrap();
        }
        if !keep_dir {
            fs::remove_dir(layout.active_dir()).unwrap();
        }
        let report = go_on(&layout, old);
        assert_eq!((report.wal_id, report.next_lsn), (old, Some(Lsn(5))));
    }
}

#[test]
fn a_newest_log_that_is_zeroed_takes_no_lsn_back() {
    let zero = |log: &Path| {
        let length = fs::metadata(log).unwrap().len();
        fs::write(log, vec![0; usize::try_from(length).unwrap()]).unwrap();
    };
    let (_dir, layout, old) = wal(true);
    zero(&logs(&layout)[0]);
    let report = go_on(&layout, old);
    assert_eq!((report.wal_id, report.next_lsn), (old, Some(Lsn(5))), "ID has noted it");
    // After a crash nothing has noted it; the events of the log are lost with it.
    let (_dir, layout, old) = wal(false);
    for log in logs(&layout) {
        zero(&log);
    }
    let (_, report) = Wal::open(layout, OPTIONS).unwrap();
    anew(&report, old, "nothing tells where the LSNs");
}

#[test]
fn a_log_whose_header_is_damaged_is_kept_and_said() {
    let (_dir, layout, old) = wal(false);
    let log = logs(&layout)[0].clone();
    let mut bytes = fs::read(&log).unwrap();
    bytes[..8192].fill(0xff);
    fs::write(&log, bytes).unwrap();
    let (_, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
    said(&report, "nothing can be read of the log");
    anew(&report, old, "nothing tells where the LSNs");
    assert_eq!(fs::read_dir(layout.quarantine_dir()).unwrap().count(), 1);
}
