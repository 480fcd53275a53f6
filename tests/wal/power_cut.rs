//! Power cuts under the WAL itself, at every operation of the file system that it makes: first
//! start, batches, rolls by size and by age, seals, a clean stop, and recovery, which is cut again.
//!
//! A workload runs once on a file system that keeps every state between two operations; each of
//! these is then cut in every way, and a WAL opened on what is left. It must open, hold every event
//! that was acknowledged until then exactly once and under its LSN, hold none twice, and go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sewer_test_support::lossyfs::{Image, LossyFs, Moment, Op, Rules, Survival, available_or_skip};
use sewer_test_support::random::Random;
use sewer_test_support::sweep;
use sewer_wal::reader::{Item, Kind};
use sewer_wal::{Batch, Event, Layout, SegmentReader, Wal, WalError, WalOptions, sealed};

const OPTIONS: WalOptions =
    WalOptions { segment_bytes: 4096, roll_interval: Duration::from_millis(20), min_free_bytes: 0 };

/// Of how many cut points one is tried unless all are: for other ways than [`Survival::Synced`],
/// for what recovery begins with, and for the cut under it.
const OTHERS_NTH: u64 = 6;
const START_NTH: u64 = 10;
const AGAIN_NTH: u64 = 4;

/// Events by their numbers, each with its LSN and the operations that had been made when it was
/// acknowledged.
type Acknowledged = BTreeMap<u64, (u64, u64)>;

/// What a run of the WAL leaves.
struct Run {
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
    batches: u64,
    /// Rolls by age, too.
    with_age: bool,
    is_closed: bool,
}

const ALL: Workload = Workload { batches: 40, with_age: true, is_closed: true };
const SHORT: Workload = Workload { batches: 3, with_age: false, is_closed: false };

fn batch(first: u64, count: u64) -> Batch {
    let mut batch = Batch::default();
    for number in first..first + count {
        let path = number.to_string();
        let agent = [b'x'; 300];
        let event = Event {
            request_path: Some(path.as_bytes()),
            user_agent: Some(&agent),
            ..Event::default()
        };
        batch.push(&event).unwrap();
    }
    batch
}

/// Runs a workload on what an earlier run left, whose events are `before`.
fn run(fs: &LossyFs, workload: Workload, first: u64) -> Result<Run, WalError> {
    let (mut wal, _) = Wal::open(Layout::new(fs.path().join("wal")), OPTIONS)?;
    let (mut acknowledged, mut next) = (Acknowledged::new(), first);
    for index in 0..workload.batches {
        let count = 1 + index % 3;
        let range = wal.append(&batch(next, count))?;
        let operations = fs.operations();
        let lsns = (next..).zip(range.first.0..range.end.0);
        acknowledged.extend(lsns.map(|(number, lsn)| (number, (lsn, operations))));
        next += count;
        if workload.with_age && index % 10 == 9 {
            std::thread::sleep(OPTIONS.roll_interval);
            wal.tick()?;
        }
    }
    if workload.is_closed {
        wal.close()?;
    } else {
        drop(wal);
    }
    let trace = fs.trace(usize::MAX).lines().map(str::to_owned).collect();
    Ok(Run { acknowledged, next, history: fs.history(), trace })
}

/// Opens the WAL on what is left, writes an event more, stops, and reads everything back.
fn recover_and_check(image: &Image, acknowledged: &Acknowledged, next: u64) -> Result<(), String> {
    let fs = LossyFs::mount(image, Rules::Strict).map_err(|e| format!("mount: {e}"))?;
    let workload = Workload { batches: 1, with_age: false, is_closed: true };
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
                recover_and_check(&image, &acknowledged, self.next)
                    .map_err(|why| self.describe(operations, *way, &why))?;
            }
            Ok(())
        })
    }

    fn describe(&self, operations: usize, way: Survival, why: &str) -> String {
        let before = &self.trace[operations.saturating_sub(8)..operations];
        let next = self.trace.get(operations).map_or("the end", String::as_str);
        format!("{way:?} cut before {next}: {why}\nafter\n{}", before.join("\n"))
    }
}

fn recorded(rules: Rules, workload: Workload) -> Run {
    let fs = LossyFs::mount(&Image::default(), rules).unwrap();
    fs.keep_history();
    run(&fs, workload, 0).unwrap()
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
    for rules in [Rules::Strict, Rules::Ext4] {
        let run = recorded(rules, ALL);
        let all = run.history.len() as u64;
        let some = sweep::points(all, OTHERS_NTH, &mut random);
        let cuts = run.history.len() + some.len() * others.len();
        run.cut((1..=all).collect(), &[Survival::Synced])
            .and_then(|()| run.cut(some, &others))
            .unwrap_or_else(|why| panic!("{rules:?}: {why}"));
        let events = run.acknowledged.len();
        println!("{rules:?}: {all} cut points, {events} events, {cuts} cuts, none lost");
    }
}

#[test]
fn a_recovery_cut_at_every_operation_is_done_again() {
    if !available_or_skip("power cuts under the WAL's recovery") {
        return;
    }
    let first = recorded(Rules::Strict, ALL);
    let mut random = Random::announced("power_cut_wal recovery");
    let starts = sweep::points(first.history.len() as u64, START_NTH, &mut random);
    let (tried, cuts) = (starts.len() * 2, AtomicUsize::new(0));
    let seed = random.next();
    sweep::each(starts, |number| {
        for way in [Survival::Synced, Survival::Killed] {
            let mut random = Random::new(seed ^ number);
            let made = cut_twice(&first, usize::try_from(number).unwrap() - 1, way, &mut random)?;
            cuts.fetch_add(made, Ordering::Relaxed);
        }
        Ok(())
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{tried} recoveries, cut at {} points, none lost", cuts.into_inner());
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
    let second =
        run(&fs, SHORT, first.next).map_err(|e| first.describe(operations, way, &e.to_string()))?;
    let points = sweep::points(second.history.len() as u64, AGAIN_NTH, random);
    for number in &points {
        let again = usize::try_from(*number).unwrap() - 1;
        let mut all = first.acknowledged_by(operations);
        all.extend(second.acknowledged_by(again));
        let image = second.history[again].survivors(Survival::Synced);
        recover_and_check(&image, &all, second.next).map_err(|why| {
            first.describe(operations, way, &second.describe(again, Survival::Synced, &why))
        })?;
    }
    Ok(points.len())
}

#[test]
fn a_program_that_did_not_sync_is_caught() {
    if !available_or_skip("missing syncs under the WAL") {
        return;
    }
    for op in [Op::Sync, Op::SyncDir] {
        let fs = LossyFs::mount(&Image::default(), Rules::Strict).unwrap();
        fs.drop_calls(op);
        fs.keep_history();
        let run = run(&fs, ALL, 0).unwrap();
        let all = (1..=run.history.len() as u64).collect();
        let why = run.cut(all, &[Survival::Synced]).unwrap_err();
        println!("without {op:?}: {why}");
    }
}
