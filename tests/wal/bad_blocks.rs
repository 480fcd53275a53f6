//! A block that the disk cannot read (EIO), that reads as zeros, or that has a flipped bit, in
//! every file of a WAL in turn: the WAL opens, what is lost is the batches that touch the damage,
//! named by LSN, and the rest is read. No LSN of what could have been shipped is given again.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sewer_test_support::lossyfs::{Image, LossyFs, Rules, available_or_skip};
use sewer_test_support::random::Random;
use sewer_test_support::sweep;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Engine, Event, Layout, SegmentReader, Wal, WalId, WalOptions, sealed};

use crate::common::{batch_of, options};

const BLOCK: u64 = 4096;

/// Of how many cases one is tried unless all are.
const NTH: u64 = 8;

/// The bits that are flipped of each block, by chance.
const FLIPS: u64 = 6;

/// The events of each batch, and their bytes: within a block, over several, and many in one batch.
const BATCHES: [(u64, usize); 9] =
    [(1, 300), (2, 3000), (1, 9000), (30, 400), (1, 100), (1, 3900), (12, 1700), (1, 10), (3, 10)];

/// Damage of a file.
#[derive(Clone, Debug)]
enum Harm {
    /// The disk reports an error.
    Unreadable(Range<u64>),
    /// A lost write, or a sector that the disk has given up.
    Zeroed(Range<u64>),
    /// A bit of this byte.
    Flipped(u64, u8),
}

impl Harm {
    fn flipped(byte: u64, random: &mut Random) -> Self {
        Self::Flipped(byte, *random.pick(&[0, 1, 2, 3, 4, 5, 6, 7]))
    }

    fn bytes(&self) -> Range<u64> {
        match self {
            Self::Unreadable(bytes) | Self::Zeroed(bytes) => bytes.clone(),
            Self::Flipped(at, _) => *at..at + 1,
        }
    }

    fn inflict(&self, fs: &LossyFs, path: &Path) -> std::io::Result<()> {
        let mut damaged = vec![0; usize::try_from(self.bytes().end - self.bytes().start).unwrap()];
        match self {
            Self::Unreadable(bytes) => {
                fs.make_unreadable(path, bytes.clone());
                return Ok(());
            }
            Self::Zeroed(_) => {}
            Self::Flipped(at, bit) => {
                File::open(path)?.read_at(&mut damaged, *at)?;
                damaged[0] ^= 1 << bit;
            }
        }
        let file = File::options().write(true).open(path)?;
        // Beyond its end there is nothing to damage.
        let end = file.metadata()?.len().saturating_sub(self.bytes().start);
        damaged.truncate(usize::try_from(end).unwrap());
        file.write_all_at(&damaged, self.bytes().start)
    }
}

/// Where a batch lies, and its LSNs.
type Placed = (Range<u64>, Range<u64>);

struct Scene {
    image: Image,
    wal_id: WalId,
    /// The LSN behind the last event.
    end: u64,
    /// The files by their paths below the WAL, each with its batches.
    files: Vec<(PathBuf, Vec<Placed>)>,
}

/// The batches of a file.
fn batches(path: &Path, kind: Kind) -> Vec<Placed> {
    let mut reader = SegmentReader::open(path, kind).unwrap();
    let mut batches: Vec<Placed> = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let Item::Batch(batch) = item else { panic!("damage in a sound file") };
        if let Some((bytes, _)) = batches.last_mut() {
            bytes.end = batch.offset;
        }
        let lsns = batch.range.first.0..batch.range.end.0;
        batches.push((batch.offset..batch.offset, lsns));
    }
    if let Some((bytes, _)) = batches.last_mut() {
        bytes.end = reader.data_end();
    }
    batches
}

/// A WAL as a crash leaves it: two segments, of which one is compact, a log with events, a spare.
fn scene(engine: Engine) -> Scene {
    // Made where it is looked at: elsewhere it would be a copy, and begin a new identity.
    let fs = LossyFs::mount(&Image::default(), Rules::Strict).unwrap();
    let layout = Layout::new(fs.path());
    let mut next = 0;
    for life in 0..3 {
        let (mut wal, _) = Wal::open(layout.clone(), options(engine)).unwrap();
        for (count, bytes) in BATCHES {
            // Large enough to be sealed as it is, in one of them.
            let bytes = if life == 1 { 5 * bytes.next_multiple_of(4096) - 250 } else { bytes };
            let count = if life == 1 { count.min(2) } else { count };
            wal.append(&batch_of(next, count, bytes)).unwrap();
            next += count;
        }
        if life < 2 {
            wal.close().unwrap();
        }
    }
    let mut files = Vec::new();
    for segment in sealed::list(&layout).unwrap() {
        files.push((segment.path.clone(), batches(&segment.path, Kind::Sealed)));
    }
    for number in layout.log_numbers().unwrap() {
        let path = layout.log_file(number);
        files.push((path.clone(), batches(&path, Kind::Active)));
    }
    files.extend([layout.id_file(), layout.lock_file()].map(|path| (path, Vec::new())));
    for (path, _) in &mut files {
        *path = path.strip_prefix(layout.root()).unwrap().to_path_buf();
    }
    let wal_id = sewer_wal::look_up_identity(&layout).unwrap().unwrap().id;
    // Both forms are there.
    let starts = files.iter().take(2).map(|(_, batches)| batches[0].0.start);
    assert_eq!(starts.map(|start| start < BLOCK).collect::<Vec<_>>(), [true, false]);
    Scene { image: Image::read(layout.root()).unwrap(), wal_id, end: next, files }
}

/// What is read of all that is sealed: LSNs, and those that are said to be lost.
fn read_sealed(layout: &Layout) -> Result<(BTreeSet<u64>, BTreeSet<u64>), String> {
    let (mut found, mut lost) = (BTreeSet::new(), BTreeSet::new());
    let segments = sealed::list(layout).map_err(|e| e.to_string())?;
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1).map(|next| next.name.base);
        let reader = SegmentReader::open(&segment.path, Kind::Sealed).map_err(|e| e.to_string())?;
        let mut reader = reader.expecting_end(next);
        while let Some(item) = reader.next_item().map_err(|e| e.to_string())? {
            match item {
                Item::Damage(damage) => lost.extend(damage.lost.first.0..damage.lost.end.0),
                Item::Batch(batch) => {
                    for (lsn, bytes) in batch.events() {
                        let event = Event::decode(bytes).map_err(|e| e.to_string())?;
                        if event.request_path != Some(lsn.to_string().as_bytes()) {
                            return Err(format!("LSN {lsn} is another event"));
                        }
                        if !found.insert(lsn.0) {
                            return Err(format!("LSN {lsn} is there twice"));
                        }
                    }
                }
            }
        }
    }
    Ok((found, lost))
}

/// Opens the WAL with a damaged file, and holds it to the promises.
fn check(scene: &Scene, engine: Engine, file: usize, harm: &Harm) -> Result<(), String> {
    let fs = LossyFs::mount(&scene.image, Rules::Strict).map_err(|e| e.to_string())?;
    let layout = Layout::new(fs.path());
    let (path, placed) = &scene.files[file];
    let bad = harm.bytes();
    harm.inflict(&fs, &fs.path().join(path)).map_err(|e| format!("damage it: {e}"))?;
    let small = WalOptions { segment_bytes: 64 << 10, ..options(engine) };
    let (mut wal, report) = Wal::open(layout.clone(), small).map_err(|e| format!("open: {e}"))?;
    let touched: BTreeSet<u64> = placed
        .iter()
        .filter(|(bytes, _)| bytes.start < bad.end && bad.start < bytes.end)
        .flat_map(|(_, lsns)| lsns.clone())
        .collect();
    let next = report.next_lsn.map_or(0, |lsn| lsn.0);
    if report.wal_id == scene.wal_id && next < scene.end {
        // Only what nobody can have seen may be numbered again: the end of the last log.
        let is_end = (next..scene.end).all(|lsn| touched.contains(&lsn));
        if !is_end {
            return Err(format!("LSNs go back to {next} from {}", scene.end));
        }
    }
    let damage = report.logs.iter().flat_map(|log| &log.damage);
    let told: BTreeSet<u64> = damage.flat_map(|at| at.lost.first.0..at.lost.end.0).collect();
    let own = [batch_of(next, 1, 10), batch_of(next + 1, 2, 10)];
    let first = wal.append(&own[0]).map_err(|e| format!("append: {e}"))?.first.0;
    wal.append(&own[1]).map_err(|e| format!("append: {e}"))?;
    wal.close().map_err(|e| format!("close: {e}"))?;
    let (found, lost) = read_sealed(&layout)?;
    for lsn in 0..scene.end {
        let is_new = lsn >= first && report.wal_id == scene.wal_id;
        match (found.contains(&lsn), touched.contains(&lsn)) {
            (false, false) => return Err(format!("LSN {lsn} is lost, and its batch is sound")),
            (false, true) if !lost.contains(&lsn) && !is_new && !told.contains(&lsn) => {
                return Err(format!("LSN {lsn} is lost, and nothing says so"));
            }
            (true, _) if lost.contains(&lsn) => {
                return Err(format!("LSN {lsn} is there, and it is said to be lost"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn a_bad_block_costs_the_batches_in_it_and_the_wal_opens() {
    if !available_or_skip("bad blocks") {
        return;
    }
    let mut random = Random::announced("bad blocks");
    for engine in [Engine::Direct, Engine::Okaywal] {
        let scene = scene(engine);
        let mut cases = Vec::new();
        for (file, (_, placed)) in scene.files.iter().enumerate() {
            // The footer, what is torn, and some of the zeros behind.
            let end = placed.last().map_or(3 * BLOCK, |(bytes, _)| bytes.end + 2 * BLOCK);
            for block in (0..end.div_ceil(BLOCK)).map(|block| block * BLOCK) {
                let bytes = block..block + BLOCK;
                cases.extend(
                    [Harm::Unreadable(bytes.clone()), Harm::Zeroed(bytes)].map(|h| (file, h)),
                );
                // The small files end within the first sector.
                let bytes = if placed.is_empty() { 128 } else { BLOCK };
                let flips =
                    (0..FLIPS).map(|_| Harm::flipped(block + random.below(bytes), &mut random));
                cases.extend(flips.map(|harm| (file, harm)));
            }
            // What proves a batch.
            for (bytes, _) in placed {
                let byte = bytes.start + random.below(64);
                cases.push((file, Harm::flipped(byte, &mut random)));
            }
        }
        let points = sweep::points(cases.len() as u64, NTH, &mut random);
        let (all, tried) = (cases.len(), points.len());
        sweep::each(points, |point| {
            let (file, harm) = &cases[usize::try_from(point).unwrap() - 1];
            let path = scene.files[*file].0.display();
            check(&scene, engine, *file, harm)
                .map_err(|why| format!("{engine:?}, {harm:?} of {path}: {why}"))
        })
        .unwrap_or_else(|why| panic!("{why}"));
        println!("{engine:?}: {tried} of {all} kinds of damage in {} files", scene.files.len());
    }
}
