//! Power cuts under the WAL itself, at every operation of the file system that it makes: first
//! start, batches, rolls by size and by age, seals, a clean stop, and recovery, which is cut again.
//!
//! A workload runs once on a file system that keeps every state between two operations; each of
//! these is then cut in every way, and a WAL opened on what is left. It must open, hold every event
//! that was acknowledged until then exactly once and under its LSN, hold none twice, and go on.
//! What was published and shipped before the WAL is opened again must not be published again.
//!
//! All of it for both engines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sewer_test_support::lossyfs::{Image, LossyFs, Moment, Op, Rules, Survival, available_or_skip};
use sewer_test_support::random::Random;
use sewer_test_support::sweep;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Engine, Event, Layout, Lsn, SegmentReader, Wal, WalError, WalOptions, sealed};

use crate::common::batch_of;

/// Segments that take four batches of a few events, or a large one.
const fn options(engine: Engine) -> WalOptions {
    let roll_interval = Duration::from_millis(20);
    WalOptions { segment_bytes: 24 << 10, roll_interval, min_free_bytes: 0, engine }
}

const ENGINES: [Engine; 2] = [Engine::Direct, Engine::Okaywal];

/// Of how many cut points one is tried unless all are: for other ways than [`Survival::Synced`],
/// for what recovery begins with, for the cut under it, and for a shipper in between.
const OTHERS_NTH: u64 = 6;
const START_NTH: u64 = 20;
const AGAIN_NTH: u64 = 4;
const SHIPPED_NTH: u64 = 3;

/// Events by their numbers, each with its LSN and the operations that had been made when it was
/// acknowledged.
type Acknowledged = BTreeMap<u64, (u64, u64)>;

/// What a run of the WAL leaves.
struct Run {
    engine: Engine,
    acknowledged: Acknowledged,
    /// The number of the next event: those below were handed to the WAL at least.
    next: u64,
    /// Every state between two operations, if the file system keeps them.
    history: Vec<Moment>,
    /// The trace, to tell where a cut was.
    trace: Vec<String>,
}

/// What a WAL is put through.
#[derive(Clone, Copy)]
struct Workload {
    engine: Engine,
    batches: u64,
    /// Rolls by age, too.
    with_age: bool,
    is_closed: bool,
}

const fn all(engine: Engine) -> Workload {
    Workload { engine, batches: 30, with_age: true, is_closed: true }
}

/// Runs a workload on what an earlier run left, whose events are `before`.
fn run(fs: &LossyFs, workload: Workload, first: u64) -> Result<Run, WalError> {
    let options = options(workload.engine);
    let (mut wal, _) = Wal::open(Layout::new(fs.path().join("wal")), options)?;
    let (mut acknowledged, mut next) = (Acknowledged::new(), first);
    for index in 0..workload.batches {
        // Small ones, of which a copy without padding is sealed, and some that fill a segment.
        let (count, bytes) = if index % 10 == 5 { (25, 3900) } else { (1 + index % 3, 300) };
        let range = wal.append(&batch_of(next, count, bytes))?;
        let operations = fs.operations();
        let lsns = (next..).zip(range.first.0..range.end.0);
        acknowledged.extend(lsns.map(|(number, lsn)| (number, (lsn, operations))));
        next += count;
        if workload.with_age && index % 10 == 9 {
            std::thread::sleep(options.roll_interval);
            wal.tick()?;
        }
    }
    if workload.is_closed {
        wal.close()?;
    } else {
        drop(wal);
    }
    let trace = fs.trace(usize::MAX).lines().map(str::to_owned).collect();
    Ok(Run { engine: workload.engine, acknowledged, next, history: fs.history(), trace })
}

/// Opens the WAL on what is left, writes an event more, stops, and reads everything back.
fn recover_and_check(
    image: &Image,
    engine: Engine,
    acknowledged: &Acknowledged,
    next: u64,
) -> Result<(), String> {
    let fs = LossyFs::mount(image, Rules::Strict).map_err(|e| format!("mount: {e}"))?;
    let workload = Workload { engine, batches: 1, with_age: false, is_closed: true };
    let again = run(&fs, workload, next).map_err(|e| format!("the WAL does not go on: {e}"))?;
    let mut all = acknowledged.clone();
    all.extend(again.acknowledged);
    check(&Layout::new(fs.path().join("wal")), &all)
}

fn check(layout: &Layout, acknowledged: &Acknowledged) -> Result<(), String> {
    let mut found = BTreeMap::new();
    let mut expected_lsn = None;
    for segment in sealed::list(layout).map_err(|e| e.to_string())? {
        let mut reader =
            SegmentReader::open(&segment.path, Kind::Sealed).map_err(|e| e.to_string())?;
        while let Some(item) = reader.next_item().map_err(|e| e.to_string())? {
            let batch = match item {
                Item::Batch(batch) => batch,
                Item::Damage(damage) => {
                    return Err(format!("{damage:?} in {}", segment.path.display()));
                }
            };
            for (lsn, bytes) in batch.events() {
                if expected_lsn.is_some_and(|expected| expected != lsn.0) {
                    return Err(format!("LSN {lsn} instead of {expected_lsn:?}"));
                }
                expected_lsn = Some(lsn.0 + 1);
                let path = Event::decode(bytes).map_err(|e| e.to_string())?.request_path;
                let number = path.and_then(|path| std::str::from_utf8(path).ok()?.parse().ok());
                let number: u64 = number.ok_or("an event without its number")?;
                if found.insert(number, lsn.0).is_some() {
                    return Err(format!("event {number} is there twice"));
                }
            }
        }
    }
    for (number, (lsn, _)) in acknowledged {
        match found.get(number) {
            Some(there) if there == lsn => {}
            Some(there) => return Err(format!("event {number} has LSN {there}, not {lsn}")),
            None => return Err(format!("acknowledged event {number} (LSN {lsn}) is lost")),
        }
    }
    Ok(())
}

impl Run {
    /// What was acknowledged when so many operations had been made.
    fn acknowledged_by(&self, operations: usize) -> Acknowledged {
        let until = |(_, (_, at)): &(&u64, &(u64, u64))| *at <= operations as u64;
        self.acknowledged.iter().filter(until).map(|(number, ack)| (*number, *ack)).collect()
    }

    /// Cuts at the given points in the given ways; the first that breaks a promise is the error.
    fn cut(&self, points: Vec<u64>, ways: &[Survival]) -> Result<(), String> {
        sweep::each(points, |number| {
            let operations = usize::try_from(number).unwrap() - 1;
            let acknowledged = self.acknowledged_by(operations);
            for way in ways {
                let image = self.history[operations].survivors(*way);
                recover_and_check(&image, self.engine, &acknowledged, self.next)
                    .map_err(|why| self.describe(operations, *way, &why))?;
            }
            Ok(())
        })
    }

    fn describe(&self, operations: usize, way: Survival, why: &str) -> String {
        let before = &self.trace[operations.saturating_sub(8)..operations];
        let next = self.trace.get(operations).map_or("the end", String::as_str);
        let engine = self.engine;
        format!("{engine:?}, {way:?} cut before {next}: {why}\nafter\n{}", before.join("\n"))
    }
}

fn recorded(rules: Rules, engine: Engine) -> Run {
    let fs = LossyFs::mount(&Image::default(), rules).unwrap();
    fs.keep_history();
    run(&fs, all(engine), 0).unwrap()
}

#[test]
fn acked_events_survive_a_cut_at_every_operation() {
    if !available_or_skip("power cuts under the WAL") {
        return;
    }
    let mut random = Random::announced("power_cut_wal");
    let seed = random.next();
    let torn = (0..3).map(|more| Survival::Torn(seed.wrapping_add(more)));
    let others: Vec<_> =
        [Survival::Sizes, Survival::Names, Survival::Killed].into_iter().chain(torn).collect();
    let kinds = ENGINES.map(|engine| [(engine, Rules::Strict), (engine, Rules::Ext4)]);
    for (engine, rules) in kinds.into_iter().flatten() {
        let run = recorded(rules, engine);
        let all = run.history.len() as u64;
        let some = sweep::points(all, OTHERS_NTH, &mut random);
        let cuts = run.history.len() + some.len() * others.len();
        run.cut((1..=all).collect(), &[Survival::Synced])
            .and_then(|()| run.cut(some, &others))
            .unwrap_or_else(|why| panic!("{rules:?}: {why}"));
        let events = run.acknowledged.len();
        println!(
            "{engine:?}, {rules:?}: {all} cut points, {events} events, {cuts} cuts, none lost"
        );
    }
}

#[test]
fn a_recovery_cut_at_every_operation_is_done_again() {
    if !available_or_skip("power cuts under the WAL's recovery") {
        return;
    }
    for engine in ENGINES {
        let first = recorded(Rules::Strict, engine);
        let mut random = Random::announced("power_cut_wal recovery");
        let starts = sweep::points(first.history.len() as u64, START_NTH, &mut random);
        let (tried, cuts) = (starts.len() * 2, AtomicUsize::new(0));
        let seed = random.next();
        sweep::each(starts, |number| {
            for way in [Survival::Synced, Survival::Killed] {
                let mut random = Random::new(seed ^ number);
                let operations = usize::try_from(number).unwrap() - 1;
                let made = cut_twice(&first, operations, way, &mut random)?;
                cuts.fetch_add(made, Ordering::Relaxed);
            }
            Ok(())
        })
        .unwrap_or_else(|why| panic!("{why}"));
        println!("{engine:?}: {tried} recoveries, cut at {} points, none lost", cuts.into_inner());
    }
}

/// Recovers from a cut or a kill after so many operations, cuts the power under that, and recovers
/// again. Returns the number of second cuts.
fn cut_twice(
    first: &Run,
    operations: usize,
    way: Survival,
    random: &mut Random,
) -> Result<usize, String> {
    let moment = &first.history[operations];
    let fs = LossyFs::mount(&moment.survivors(way), Rules::Strict).map_err(|e| e.to_string())?;
    fs.keep_history();
    let short = Workload { engine: first.engine, batches: 3, with_age: false, is_closed: false };
    let second =
        run(&fs, short, first.next).map_err(|e| first.describe(operations, way, &e.to_string()))?;
    let points = sweep::points(second.history.len() as u64, AGAIN_NTH, random);
    for number in &points {
        let again = usize::try_from(*number).unwrap() - 1;
        let mut all = first.acknowledged_by(operations);
        all.extend(second.acknowledged_by(again));
        let image = second.history[again].survivors(Survival::Synced);
        recover_and_check(&image, first.engine, &all, second.next).map_err(|why| {
            first.describe(operations, way, &second.describe(again, Survival::Synced, &why))
        })?;
    }
    Ok(points.len())
}

/// Ships what is published, as far as a shipper can tell that this is done: reads it and deletes
/// it. Returns the LSNs.
fn ship(layout: &Layout) -> Result<Vec<u64>, String> {
    let mut shipped = Vec::new();
    let segments = sealed::list(layout).map_err(|e| e.to_string())?;
    for segment in &segments {
        let mut reader =
            SegmentReader::open(&segment.path, Kind::Sealed).map_err(|e| e.to_string())?;
        while let Some(item) = reader.next_item().map_err(|e| e.to_string())? {
            match item {
                Item::Damage(damage) => return Err(format!("{damage:?}")),
                Item::Batch(batch) => shipped.extend(batch.events().map(|(lsn, _)| lsn.0)),
            }
        }
    }
    sealed::delete(layout, segments.iter().map(|segment| segment.name))
        .map_err(|e| e.to_string())?;
    Ok(shipped)
}

/// A pixel ends anywhere, a shipper goes on with what is published, then the pixel is back. (Where
/// directories are not of one journal a power cut can give a segment back to `active/` under the
/// shipper's hands; these are left out.)
#[test]
fn what_was_shipped_before_the_wal_is_back_is_not_published_again() {
    if !available_or_skip("a shipper between a cut and recovery") {
        return;
    }
    let mut random = Random::announced("power_cut_wal shipped");
    for engine in ENGINES {
        let run = recorded(Rules::Ext4, engine);
        let all = run.history.len() as u64;
        let points = sweep::points(all, SHIPPED_NTH, &mut random);
        let tried = points.len();
        sweep::each(points, |number| {
            let operations = usize::try_from(number).unwrap() - 1;
            for way in [Survival::Synced, Survival::Killed] {
                ship_between(&run, operations, way)
                    .map_err(|why| run.describe(operations, way, &why))?;
            }
            Ok(())
        })
        .unwrap_or_else(|why| panic!("{why}"));
        println!("{engine:?}: {tried} of {all} cut points, none published twice");
    }
}

fn ship_between(run: &Run, operations: usize, way: Survival) -> Result<(), String> {
    let image = run.history[operations].survivors(way);
    let fs = LossyFs::mount(&image, Rules::Ext4).map_err(|e| e.to_string())?;
    let layout = Layout::new(fs.path().join("wal"));
    if !layout.sealed_dir().exists() {
        return Ok(());
    }
    let shipped = ship(&layout)?;
    let (wal, _) =
        Wal::open(layout.clone(), options(run.engine)).map_err(|e| format!("open: {e}"))?;
    wal.close().map_err(|e| format!("close: {e}"))?;
    let again = ship(&layout)?;
    if let Some(lsn) = again.iter().find(|lsn| shipped.contains(lsn)) {
        return Err(format!("LSN {lsn} is published again"));
    }
    let acknowledged = run.acknowledged_by(operations);
    let is_there = |lsn: &u64| shipped.contains(lsn) || again.contains(lsn);
    match acknowledged.values().find(|(lsn, _)| !is_there(lsn)) {
        Some((lsn, _)) => Err(format!("acknowledged LSN {} is lost", Lsn(*lsn))),
        None => Ok(()),
    }
}

#[test]
fn a_program_that_did_not_sync_is_caught() {
    if !available_or_skip("missing syncs under the WAL") {
        return;
    }
    let kinds = ENGINES.map(|engine| [(engine, Op::Sync), (engine, Op::SyncDir)]);
    for (engine, op) in kinds.into_iter().flatten() {
        let fs = LossyFs::mount(&Image::default(), Rules::Strict).unwrap();
        fs.drop_calls(op);
        fs.keep_history();
        let run = run(&fs, all(engine), 0).unwrap();
        let points = (1..=run.history.len() as u64).collect();
        let why = run.cut(points, &[Survival::Synced]).unwrap_err();
        println!("{engine:?} without {op:?}: {why}");
    }
}
