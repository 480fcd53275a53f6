//! What the suites of this folder share: WALs in directories of their own, batches whose events
//! know their LSNs, and what a file gives back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sewer_wal::reader::{Damage, Item, Kind};
use sewer_wal::{Batch, Engine, Event, Layout, SegmentReader, Wal, WalOptions, sealed};
use tempfile::TempDir;

/// Segments that end only when a test says so.
pub const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 64 << 20,
    roll_interval: Duration::from_hours(1),
    min_free_bytes: 0,
    engine: Engine::Auto,
};

/// A WAL's place in a temporary directory.
pub fn wal_dir() -> (TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    (dir, layout)
}

/// The same in memory, where a sync takes no time; on disk where there is no such place.
pub fn wal_in_memory() -> (TempDir, Layout) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    (dir, layout)
}

/// The engines that the file system of temporary directories allows.
pub fn engines() -> Vec<Engine> {
    let (_dir, layout) = wal_dir();
    match Wal::open(layout, WalOptions { engine: Engine::Direct, ..OPTIONS }) {
        Ok(_) => vec![Engine::Direct, Engine::Okaywal],
        Err(why) => {
            println!("skipped for the direct engine: {why}");
            vec![Engine::Okaywal]
        }
    }
}

pub const fn options(engine: Engine) -> WalOptions {
    WalOptions { engine, ..OPTIONS }
}

/// A batch of `count` events whose paths are their numbers from `first`, and whose other field
/// makes each about `bytes` long.
pub fn batch_of(first: u64, count: u64, bytes: usize) -> Batch {
    let mut batch = Batch::default();
    let agent = vec![b'x'; bytes];
    for number in first..first + count {
        let path = number.to_string();
        let event = Event {
            timestamp_ms: 1_000 + number.cast_signed(),
            request_path: Some(path.as_bytes()),
            user_agent: Some(&agent),
            ..Event::default()
        };
        batch.push(&event).unwrap();
    }
    batch
}

/// The same with next to nothing but the path.
pub fn batch(first: u64, count: u64) -> Batch {
    batch_of(first, count, 0)
}

/// What a file gives back: the LSNs of its events, each checked against its path, and the damage.
pub fn read(path: &Path, kind: Kind) -> (Vec<u64>, Vec<Damage>) {
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

/// The LSNs of all sealed segments, which must be without damage.
pub fn sealed_lsns(layout: &Layout) -> Vec<u64> {
    let segments = sealed::list(layout).unwrap();
    segments
        .iter()
        .flat_map(|segment| {
            let (lsns, damage) = read(&segment.path, Kind::Sealed);
            assert_eq!(damage, []);
            assert_eq!(lsns.first(), Some(&segment.name.base.0));
            lsns
        })
        .collect()
}

/// The files of the logs, oldest first.
pub fn logs(layout: &Layout) -> Vec<PathBuf> {
    layout.log_numbers().unwrap().into_iter().map(|number| layout.log_file(number)).collect()
}

/// Where the last complete batch of a log ends.
pub fn data_end(log: &Path) -> usize {
    let mut reader = SegmentReader::open(log, Kind::Active).unwrap();
    while reader.next_item().unwrap().is_some() {}
    usize::try_from(reader.data_end()).unwrap()
}

/// Makes a WAL of one log with this content, and with the file `ID` of another.
pub fn wal_of_log(layout: &Layout, id: &[u8], log: &[u8]) {
    fs::create_dir_all(layout.log_dir(1)).unwrap();
    fs::create_dir_all(layout.sealed_dir()).unwrap();
    fs::write(layout.id_file(), id).unwrap();
    fs::write(layout.log_file(1), log).unwrap();
}

/// Copies a directory as `cp -a` does: other files with the same content.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
