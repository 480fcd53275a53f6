//! A WAL that took an enemy's events, and what is done to its bytes.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use sewer_test_support::random::Random;
use sewer_wal::reader::{Damage, Item, Kind};
use sewer_wal::{Batch, Engine, Event, Layout, Lsn, LsnRange, SegmentReader, Wal, sealed};

use super::enemy::{FIXED_BYTES, Known};
use crate::common::{batch_of, data_end, logs, options, wal_in_memory};

pub const SECTOR: usize = 512;
pub const BLOCK: usize = 4096;
pub const LOG_START: usize = 8192;

/// A batch where it lies in a file.
#[derive(Clone, Debug)]
pub struct Placed {
    pub bytes: Range<usize>,
    pub lsns: Range<u64>,
}

impl Placed {
    /// One of the two with which a log begins.
    fn empty(index: usize) -> Self {
        let start = LOG_START + index * BLOCK;
        Self { bytes: start..start + BLOCK, lsns: 0..0 }
    }
}

/// A file, what it holds, and what was asked for.
pub struct Scene {
    /// The file `ID` that goes with it.
    pub id: Vec<u8>,
    pub bytes: Vec<u8>,
    pub batches: Vec<Placed>,
    /// Every event that was ever requested, by its LSN.
    pub requested: BTreeMap<u64, Vec<u8>>,
    /// Earlier logs and segments of the same WAL.
    pub older: Vec<Vec<u8>>,
}

/// What is read of a file or of files.
#[derive(Debug, Default)]
pub struct Found {
    pub events: BTreeMap<u64, Vec<u8>>,
    pub damage: Vec<Damage>,
}

/// A batch of up to three hostile events, in each a piece that begins as far behind a sector or a
/// block of the file as the enemy likes; in a log batches begin on blocks, so it can tell.
fn batch(known: &Known, random: &mut Random) -> Batch {
    let mut batch = Batch::default();
    let count = 1 + random.below(3);
    let mut at = 9 + 5 + FIXED_BYTES + 4 * usize::try_from(count).unwrap() + 4;
    for number in 0..count {
        let path = (known.next_lsn + number).to_string();
        // Chunk, event, and the path that comes first.
        let begins = at + 5 + 10 + 4 + path.len() + 4;
        let boundary = *random.pick(&[SECTOR, BLOCK, BLOCK, 1]);
        let mut agent = vec![b' '; begins.next_multiple_of(boundary) - begins];
        loop {
            agent.extend(known.piece(known.offset + (begins + agent.len()) as u64, random));
            if random.below(3) > 0 {
                break;
            }
        }
        agent.truncate(60_000);
        let body = if random.below(2) == 0 { known.piece(0, random) } else { vec![0; 700] };
        let event = Event {
            timestamp_ms: 1_700_000_000_000,
            request_path: Some(path.as_bytes()),
            user_agent: Some(&agent),
            extra: vec![("body", &body)],
            ..Event::default()
        };
        batch.push(&event).unwrap();
        at += 9 + batch.events().last().map_or(0, <[u8]>::len);
    }
    batch
}

impl Scene {
    /// A log as a crash leaves it, with `count` batches of the enemy's behind the two empty ones.
    pub fn log(engine: Engine, count: u64, random: &mut Random) -> Self {
        Self::build(engine, count, random, |layout, wal| {
            let log = layout.log_file(wal.segment());
            drop(wal);
            fs::read(log).unwrap()
        })
    }

    /// A log as a crash leaves it, of batches of one event of so many bytes each, by nobody in
    /// particular.
    pub fn plain(engine: Engine, event_bytes: &[usize]) -> Self {
        let (_dir, layout) = wal_in_memory();
        let mut wal = Wal::open(layout.clone(), options(engine)).unwrap().0;
        let log = layout.log_file(wal.segment());
        let mut batches: Vec<_> = (0..2).map(Placed::empty).collect();
        let mut requested = BTreeMap::new();
        for (lsn, bytes) in (0..).zip(event_bytes) {
            let (batch, start) = (batch_of(lsn, 1, *bytes), data_end(&log));
            wal.append(&batch).unwrap();
            requested.insert(lsn, batch.events().next().unwrap().to_vec());
            batches.push(Placed { bytes: start..data_end(&log), lsns: lsn..lsn + 1 });
        }
        let (id, bytes) = (fs::read(layout.id_file()).unwrap(), fs::read(log).unwrap());
        Self { id, bytes, batches, requested, older: Vec::new() }.truncated()
    }

    /// Some of the zeros behind the last batch are as good as all.
    fn truncated(mut self) -> Self {
        let end = self.batches.last().map_or(0, |batch| batch.bytes.end);
        self.bytes.truncate(end + 4 * BLOCK);
        self
    }

    /// A sealed segment of an enemy's batches, compact or as the log was. (The log has its two
    /// empty batches and, before them, the two blocks of its header: little is enough to be
    /// compact, and a megabyte is enough not to be.)
    pub fn segment(engine: Engine, compact: bool, random: &mut Random) -> Self {
        let mut count = if compact { 2 } else { 16 };
        let mut build = |count| {
            Self::build(engine, count, random, |layout, wal| {
                wal.close().unwrap();
                fs::read(sealed::list(layout).unwrap().last().unwrap().path.clone()).unwrap()
            })
        };
        let mut scene = build(count);
        while scene.is_compact() != compact && count < 200 {
            count *= 2;
            scene = build(count);
        }
        if scene.is_compact() {
            // Without padding each batch lies elsewhere, and the empty ones are not there.
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(format!("{:020}.seg", scene.lsns().start));
            fs::write(&path, &scene.bytes).unwrap();
            scene.batches = placed(&path);
        }
        scene
    }

    pub fn is_compact(&self) -> bool {
        self.bytes[65] == 2
    }

    fn build(
        engine: Engine,
        count: u64,
        random: &mut Random,
        end: impl FnOnce(&Layout, Wal) -> Vec<u8>,
    ) -> Self {
        let (_dir, layout) = wal_in_memory();
        let engine = if engine == Engine::Direct { Engine::Auto } else { engine };
        let (mut requested, mut older, mut batches) = (BTreeMap::new(), vec![], vec![]);
        // The first life is only there to be known to the enemy in the second.
        let mut wal = Wal::open(layout.clone(), options(engine)).unwrap().0;
        Self::append(&mut wal, 4, &older, &mut requested, random);
        older.push(fs::read(&logs(&layout)[0]).unwrap());
        wal.close().unwrap();
        for segment in sealed::list(&layout).unwrap() {
            older.push(fs::read(segment.path).unwrap());
        }
        let mut wal = Wal::open(layout.clone(), options(engine)).unwrap().0;
        let next = wal.next_lsn().0;
        batches.extend((0..2).map(Placed::empty));
        for batch in &mut batches {
            batch.lsns = next..next;
        }
        let placed = Self::append(&mut wal, count, &older, &mut requested, random);
        batches.extend(placed);
        let id = fs::read(layout.id_file()).unwrap();
        let bytes = end(&layout, wal);
        requested.retain(|lsn, _| *lsn >= next);
        Self { id, bytes, batches, requested, older }.truncated()
    }

    fn append(
        wal: &mut Wal,
        count: u64,
        older: &[Vec<u8>],
        requested: &mut BTreeMap<u64, Vec<u8>>,
        random: &mut Random,
    ) -> Vec<Placed> {
        let mut placed = Vec::new();
        let base = wal.next_lsn().0;
        for index in 0..count {
            let known = Known {
                wal_id: wal.id(),
                segment: wal.segment(),
                next_lsn: wal.next_lsn().0,
                next_id: 4 + index,
                base,
                offset: wal.segment_bytes(),
                leaked: older.to_vec(),
            };
            let batch = batch(&known, random);
            let start = usize::try_from(wal.segment_bytes()).unwrap();
            let LsnRange { first, end } = wal.append(&batch).unwrap();
            requested.extend((first.0..).zip(batch.events().map(<[u8]>::to_vec)));
            let ends = usize::try_from(wal.segment_bytes()).unwrap();
            placed.push(Placed { bytes: start..ends, lsns: first.0..end.0 });
        }
        placed
    }

    /// The LSNs that were given.
    pub fn lsns(&self) -> Range<u64> {
        self.batches[0].lsns.start..self.batches.last().unwrap().lsns.end
    }

    /// The LSNs of the batches that differ in their bytes.
    pub fn touched(&self, damaged: &[u8]) -> Vec<Range<u64>> {
        let differs = |placed: &&Placed| {
            damaged.get(placed.bytes.clone()) != Some(&self.bytes[placed.bytes.clone()])
        };
        self.batches.iter().filter(differs).map(|placed| placed.lsns.clone()).collect()
    }

    /// One way to spoil the bytes.
    pub fn spoil(&self, bytes: &mut [u8], random: &mut Random) -> String {
        let (start, end) = (self.batches[0].bytes.start, self.batches.last().unwrap().bytes.end);
        let below = |end: usize, random: &mut Random| {
            usize::try_from(random.below(end.max(1) as u64)).unwrap()
        };
        let unit = *random.pick(&[SECTOR, BLOCK]);
        let at = start + below(end - start, random) / unit * unit;
        let to = (at + unit).min(end);
        let kind = random.below(8);
        match kind {
            0 | 1 => {
                let bit = start * 8 + below((end - start) * 8, random);
                bytes[bit / 8] ^= 1 << (bit % 8);
                return format!("bit {bit} flipped");
            }
            2 => bytes[at..to].fill(0),
            3 => {
                let from = below(end, random) / SECTOR * SECTOR;
                let part = self.bytes[from..(from + to - at).min(end)].to_vec();
                bytes[at..at + part.len()].copy_from_slice(&part);
                return format!("{at}..{to} filled with {from}..");
            }
            4 => {
                let older = random.pick(&self.older);
                let from = below(older.len(), random) / SECTOR * SECTOR;
                let part = &older[from..(from + to - at).min(older.len())];
                bytes[at..at + part.len()].copy_from_slice(part);
            }
            // Where the structure of a batch is.
            5 => {
                let head = random.pick(&self.batches).bytes.start;
                bytes[head + below(70, random)] ^= 1 << random.below(8);
                return format!("the head at {head} damaged");
            }
            6 => bytes[at..to].iter_mut().for_each(|byte| *byte = random.byte()),
            // A piece of the enemy's own bytes, on a block.
            _ => {
                let from = start + below(end - start, random);
                let part = self.bytes[from..(from + to - at).min(end)].to_vec();
                bytes[at..at + part.len()].copy_from_slice(&part);
            }
        }
        format!("{at}..{to} spoilt in way {kind}")
    }

    /// Holds what was found to what was requested: `end` is the LSN up to which a loss must be
    /// named.
    pub fn check(&self, found: &Found, touched: &[Range<u64>], end: u64) -> Result<(), String> {
        for (lsn, bytes) in &found.events {
            if self.requested.get(lsn) != Some(bytes) {
                return Err(format!("LSN {lsn} was read and is not what was requested"));
            }
        }
        let lost =
            |lsn: u64| found.damage.iter().any(|d| d.lost.first.0 <= lsn && lsn < d.lost.end.0);
        for lsn in self.lsns() {
            let is_there = found.events.contains_key(&lsn);
            let is_touched = touched.iter().any(|batch| batch.contains(&lsn));
            if !is_there && !is_touched {
                return Err(format!("LSN {lsn} is lost, and its batch is intact"));
            }
            if !is_there && lsn < end && !lost(lsn) {
                return Err(format!("LSN {lsn} is lost, and nothing says so"));
            }
            if is_there && lost(lsn) {
                return Err(format!("LSN {lsn} is there, and it is said to be lost"));
            }
        }
        // How many events a damaged last batch had is told as what there was room for.
        let beyond =
            found.damage.iter().find(|d| !d.lost.is_empty() && d.lost.first.0 > self.lsns().end);
        match beyond {
            Some(damage) => Err(format!("{damage:?} is of events that were never written")),
            None => Ok(()),
        }
    }
}

/// The batches of a sound segment.
fn placed(path: &Path) -> Vec<Placed> {
    let mut reader = SegmentReader::open(path, Kind::Sealed).unwrap();
    let mut batches: Vec<Placed> = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let Item::Batch(batch) = item else { panic!("a sound segment is damaged") };
        let start = usize::try_from(batch.offset).unwrap();
        if let Some(before) = batches.last_mut() {
            before.bytes.end = start;
        }
        let lsns = batch.range.first.0..batch.range.end.0;
        batches.push(Placed { bytes: start..start, lsns });
    }
    let end = usize::try_from(reader.data_end()).unwrap();
    batches.last_mut().unwrap().bytes.end = end;
    batches
}

impl Found {
    /// Adds what a file gives back.
    ///
    /// # Errors
    /// If an LSN comes twice.
    pub fn read(&mut self, mut reader: SegmentReader) -> Result<(), String> {
        let mut next = Lsn(0);
        while let Some(item) = reader.next_item().map_err(|e| e.to_string())? {
            let batch = match item {
                Item::Damage(damage) => {
                    self.damage.push(damage);
                    continue;
                }
                Item::Batch(batch) => batch,
            };
            if batch.range.first < next {
                return Err(format!("{} comes behind {next}", batch.range));
            }
            next = batch.range.end;
            for (lsn, bytes) in batch.events() {
                if self.events.insert(lsn.0, bytes.to_vec()).is_some() {
                    return Err(format!("LSN {lsn} is there twice"));
                }
            }
        }
        Ok(())
    }

    /// Everything sealed in a WAL.
    pub fn sealed(layout: &Layout) -> Result<Self, String> {
        let mut found = Self::default();
        for segment in sealed::list(layout).map_err(|e| e.to_string())? {
            let reader = SegmentReader::open(&segment.path, Kind::Sealed);
            found.read(reader.map_err(|e| e.to_string())?)?;
        }
        Ok(found)
    }
}
