//! Any sequence of what operators and disks do to the directories of WALs: opened, closed, crashed,
//! shipped, copied, snapshotted, put back, and damaged in what tells their identity. Whatever
//! comes, an id and an LSN stand for one event among all segments that were ever published.
//!
//! Directories are told from their copies by times of birth, which not every file system has. A
//! directory is not copied and damaged in `ID` in one life: some such sequences, of three steps and
//! more, still give an LSN twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sewer_test_support::random::Random;
use sewer_test_support::sweep;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::wal::seal_leftovers;
use sewer_wal::{
    Batch, Engine, Event, Layout, SegmentReader, Wal, WalError, WalId, WalOptions,
    look_up_identity, sealed,
};
use tempfile::TempDir;

use crate::common::copy_tree;

/// Sequences, and operations in each, unless all are tried.
const SEQUENCES: u64 = 6;
const OPERATIONS: u64 = 60;
const DIRS_MAX: usize = 4;

fn options(random: &mut Random) -> WalOptions {
    WalOptions {
        // Some segments end in mid-life.
        segment_bytes: 24 << 10,
        roll_interval: std::time::Duration::from_hours(1),
        min_free_bytes: 0,
        engine: *random.pick(&[Engine::Auto, Engine::Okaywal]),
    }
}

/// A directory. Between two lives of a process it is copied, or its `ID` is damaged, but not both.
struct Dir {
    layout: Layout,
    is_copy: bool,
    has_damaged_id: bool,
}

impl Dir {
    fn new(layout: Layout, is_copy: bool) -> Self {
        Self { layout, is_copy, has_damaged_id: false }
    }
}

struct Model {
    root: TempDir,
    dirs: Vec<Dir>,
    snapshots: Vec<PathBuf>,
    names: u64,
    /// The number of the next event.
    next: u64,
    published: BTreeMap<(WalId, u64), u64>,
    notes: usize,
}

impl Model {
    /// In memory, if files have a time of birth there.
    fn new() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").ok();
        let has_births =
            |dir: &TempDir| fs::metadata(dir.path()).is_ok_and(|d| d.created().is_ok());
        let root = memory.filter(has_births).unwrap_or_else(|| tempfile::tempdir().unwrap());
        let (dirs, snapshots, published) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut model = Self { root, dirs, snapshots, names: 0, next: 0, published, notes: 0 };
        let layout = Layout::new(model.path());
        model.dirs.push(Dir::new(layout, false));
        model
    }

    fn path(&mut self) -> PathBuf {
        self.names += 1;
        self.root.path().join(format!("{}", self.names))
    }

    /// One life of a process: some events, and an end.
    fn live(&mut self, dir: usize, random: &mut Random) -> Result<String, String> {
        let layout = self.dirs[dir].layout.clone();
        let (mut wal, report) =
            Wal::open(layout, options(random)).map_err(|e| format!("open: {e}"))?;
        (self.dirs[dir].is_copy, self.dirs[dir].has_damaged_id) = (false, false);
        self.notes += report.notes.len();
        for _ in 0..random.below(6) {
            let mut batch = Batch::default();
            for _ in 0..=random.below(3) {
                let number = self.next.to_string();
                let path = Some(number.as_bytes());
                batch
                    .push(&Event { request_path: path, ..Event::default() })
                    .map_err(|e| e.to_string())?;
                self.next += 1;
            }
            wal.append(&batch).map_err(|e| format!("append: {e}"))?;
        }
        let closes = random.below(2) == 0;
        if closes {
            wal.close().map_err(|e| format!("close: {e}"))?;
        } else {
            drop(wal);
        }
        Ok(format!("{dir} lives as {} from {:?}, closed: {closes}", report.wal_id, report.next_lsn))
    }

    /// Looks at all that is published in a directory.
    fn look(&mut self, dir: usize) -> Result<(), String> {
        let layout = &self.dirs[dir].layout;
        let identity = match look_up_identity(layout) {
            Ok(Some(identity)) => identity,
            // Until a process begins a new one.
            Ok(None) | Err(WalError::BadIdentity { .. }) => return Ok(()),
            Err(e) => return Err(e.to_string()),
        };
        for segment in sealed::list(layout).map_err(|e| e.to_string())? {
            let inspected = match sealed::inspect(&segment, &identity) {
                Ok(inspected) => inspected,
                // What was there before another one's files were copied over it.
                Err(WalError::ForeignSegment { .. }) => continue,
                Err(e) => return Err(e.to_string()),
            };
            let mut reader =
                SegmentReader::open(&segment.path, Kind::Sealed).map_err(|e| e.to_string())?;
            while let Some(item) = reader.next_item().map_err(|e| e.to_string())? {
                let Item::Batch(batch) = item else { continue };
                for (lsn, bytes) in batch.events() {
                    let path = Event::decode(bytes).map_err(|e| e.to_string())?.request_path;
                    let number = path.and_then(|path| std::str::from_utf8(path).ok()?.parse().ok());
                    let number: u64 = number.ok_or("an event without its number")?;
                    let key = (inspected.wal_id, lsn.0);
                    let there = *self.published.entry(key).or_insert(number);
                    if there != number {
                        return Err(format!("{key:?} is event {there} and event {number}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn damage_id(&mut self, dir: usize, random: &mut Random) -> String {
        self.dirs[dir].has_damaged_id = true;
        let path = self.dirs[dir].layout.id_file();
        let Ok(mut id) = fs::read(&path) else { return "no ID to damage".into() };
        match random.below(3) {
            0 => fs::remove_file(&path).unwrap(),
            1 if !id.is_empty() => {
                let bit = usize::try_from(random.below(id.len() as u64 * 8)).unwrap();
                id[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, id).unwrap();
            }
            _ => {
                id.truncate(usize::try_from(random.below(id.len() as u64 + 1)).unwrap());
                fs::write(&path, id).unwrap();
            }
        }
        format!("ID of {dir} damaged")
    }

    fn damage_logs(&self, dir: usize, random: &mut Random) -> String {
        let layout = &self.dirs[dir].layout;
        let numbers = layout.log_numbers().unwrap();
        let Some(newest) = numbers.last() else { return "no log to damage".into() };
        match random.below(3) {
            0 => {
                let log = layout.log_file(*newest);
                let length = fs::metadata(&log).map_or(0, |data| data.len());
                fs::write(log, vec![0; usize::try_from(length).unwrap()]).unwrap();
                format!("newest log of {dir} zeroed")
            }
            1 => {
                fs::remove_dir_all(layout.log_dir(*newest)).unwrap();
                format!("newest log of {dir} removed")
            }
            _ => {
                fs::remove_dir_all(layout.active_dir()).unwrap();
                format!("active/ of {dir} removed")
            }
        }
    }

    fn copy(&mut self, dir: usize) -> String {
        let to = Layout::new(self.path());
        copy_tree(self.dirs[dir].layout.root(), to.root());
        let copy = Dir::new(to, true);
        if self.dirs.len() < DIRS_MAX {
            self.dirs.push(copy);
            return format!("{dir} copied as {}", self.dirs.len() - 1);
        }
        // In the place of another, which is removed: what it has published stays published.
        let other = (dir + 1) % DIRS_MAX;
        self.dirs[other] = copy;
        format!("{dir} copied as {other}")
    }

    fn restore(&mut self, dir: usize, random: &mut Random) -> String {
        if self.snapshots.is_empty() {
            return "no snapshot".into();
        }
        let snapshot = random.pick(&self.snapshots).clone();
        let root = self.dirs[dir].layout.root().to_path_buf();
        let is_over = random.below(2) == 0;
        if !is_over && root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        copy_tree(&snapshot, &root);
        // Over what was there, it may be the `ID` of another identity.
        (self.dirs[dir].is_copy, self.dirs[dir].has_damaged_id) = (true, is_over);
        format!("{dir} restored from {}, over what was there: {is_over}", snapshot.display())
    }

    fn swap_ids(&mut self, dir: usize, other: usize) -> String {
        self.dirs[dir].has_damaged_id = true;
        self.dirs[other].has_damaged_id = true;
        let [a, b] = [dir, other].map(|dir| self.dirs[dir].layout.id_file());
        if let (Ok(one), Ok(two)) = (fs::read(&a), fs::read(&b)) {
            fs::write(&a, two).unwrap();
            fs::write(&b, one).unwrap();
        }
        format!("the IDs of {dir} and {other} swapped")
    }

    fn step(&mut self, random: &mut Random) -> Result<String, String> {
        let any =
            |random: &mut Random, dirs: usize| usize::try_from(random.below(dirs as u64)).unwrap();
        let (dir, other) = (any(random, self.dirs.len()), any(random, self.dirs.len()));
        let may_damage = !self.dirs[dir].is_copy && !self.dirs[other].is_copy;
        let may_copy = !self.dirs[dir].has_damaged_id;
        Ok(match random.below(16) {
            0 if may_copy => self.copy(dir),
            1 if may_copy => {
                let to = self.path();
                copy_tree(self.dirs[dir].layout.root(), &to);
                self.snapshots.push(to);
                format!("snapshot of {dir}")
            }
            2 => self.restore(dir, random),
            3 if may_damage => self.damage_id(dir, random),
            4 => self.damage_logs(dir, random),
            5 if may_damage => self.swap_ids(dir, other),
            6 => {
                match seal_leftovers(&self.dirs[dir].layout) {
                    Ok(report) => format!("{dir} sealed: {:?}", report.next_lsn),
                    // Nothing is there that could be sealed.
                    Err(e @ WalError::BadIdentity { .. }) => format!("{dir} not sealed: {e}"),
                    Err(e) => return Err(e.to_string()),
                }
            }
            7 => {
                let layout = &self.dirs[dir].layout;
                let segments = sealed::list(layout).map_err(|e| e.to_string())?;
                let some = segments.iter().take(any(random, segments.len() + 1));
                sealed::delete(layout, some.map(|segment| segment.name))
                    .map_err(|e| e.to_string())?;
                format!("{dir} shipped")
            }
            _ => self.live(dir, random)?,
        })
    }
}

fn sequence(seed: u64) -> Result<(u64, usize), String> {
    let mut random = Random::new(seed);
    let mut model = Model::new();
    let mut done = vec![model.live(0, &mut random)?];
    for _ in 0..OPERATIONS {
        let step = model.step(&mut random);
        let so = |why, done: &[String]| format!("seed {seed}: {why}\n{}", done.join("\n"));
        done.push(step.map_err(|why| so(why, &done))?);
        for dir in 0..model.dirs.len() {
            model.look(dir).map_err(|why| so(why, &done))?;
        }
    }
    Ok((model.next, model.notes))
}

#[test]
fn an_id_and_an_lsn_stand_for_one_event_whatever_is_done_to_directories() {
    let root = tempfile::tempdir().unwrap();
    if fs::metadata(root.path()).is_ok_and(|data| data.created().is_err()) {
        println!("skipped: files have no time of birth in {}", root.path().display());
        return;
    }
    let mut random = Random::announced("identity model");
    let many = if sweep::is_complete() { 50 } else { 1 };
    let seeds: Vec<_> = (0..SEQUENCES * many).map(|_| random.next()).collect();
    let told = std::sync::Mutex::new((0, 0));
    let tried = seeds.len();
    sweep::each(seeds, |seed| {
        let (events, notes) = sequence(seed)?;
        let mut told = told.lock().unwrap();
        *told = (told.0 + events, told.1 + notes);
        Ok(())
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{tried} sequences, events and notes: {:?}", told.into_inner().unwrap());
}
