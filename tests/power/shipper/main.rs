//! Power cuts under an unmodified shipper, with its WAL, its plans and its destination on one lossy
//! file system: at every operation of plan, write, confirm, publish and delete. The next shipper,
//! which would plan otherwise, goes on from what is left, and each event is exactly once among the
//! final names. Also when a shipper is killed first and the power is cut under its successor.
//!
//! A shipper runs once on a file system that keeps every state between two operations; each of
//! these is then cut, and a shipper run to its end on what is left.

mod disks;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use sewer_test_support::command::{self, Finished};
use sewer_test_support::load::Record;
use sewer_test_support::lossyfs::{Image, LossyFs, Moment, Op, Rules, Survival, available_or_skip};
use sewer_test_support::random::Random;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::sweep;
use sewer_wal::{Batch, Engine, Event, Layout, Wal, WalOptions, sealed};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// How long a replay of a few events may take.
const REPLAY_WAIT: Duration = Duration::from_mins(1);

const SEGMENTS: u64 = 3;
const EVENTS: u64 = 6;

/// The event that is damaged on disk, in the second segment: it is lost, its neighbours are not.
const DAMAGED: u64 = EVENTS + 2;

/// A shipment per segment at first, all in one afterwards.
const FIRST_ROLL: &str = "roll.max_bytes=1B";
const NEXT_ROLL: &str = "roll.max_bytes=1GiB";

/// Of how many cut points one is tried unless all are.
const NTH: u64 = 3;
const KILLED_NTH: u64 = 9;

/// A WAL with sealed segments, one of them damaged, events of two hours each.
fn image() -> Image {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("out")).unwrap();
    let layout = Layout::new(dir.path().join("wal"));
    let options = WalOptions {
        engine: Engine::Auto,
        segment_bytes: 64 << 10,
        roll_interval: Duration::from_hours(1),
        min_free_bytes: 0,
    };
    for segment in 0..SEGMENTS {
        let (mut wal, _) = Wal::open(layout.clone(), options).unwrap();
        for number in segment * EVENTS..(segment + 1) * EVENTS {
            let query = format!("n=-{number}");
            let timestamp_ms = (number % 2).cast_signed() * 3_600_000;
            let query_string = Some(query.as_bytes());
            let mut batch = Batch::default();
            batch.push(&Event { timestamp_ms, query_string, ..Event::default() }).unwrap();
            wal.append(&batch).unwrap();
        }
        wal.close().unwrap();
    }
    let segment = sealed::list(&layout).unwrap().remove(1).path;
    let mut bytes = std::fs::read(&segment).unwrap();
    let damaged = format!("n=-{DAMAGED}");
    let at = bytes.windows(damaged.len()).position(|found| found == damaged.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    Image::read(dir.path()).unwrap()
}

/// Everything that must arrive.
fn promised() -> Record {
    let mut record = Record::default();
    record.acknowledged.extend((0..SEGMENTS * EVENTS).filter(|number| *number != DAMAGED));
    record
}

/// Plans name their destination, so it must be called the same in every life of the file system,
/// wherever that is mounted: by way of the shipper's working directory.
fn replay(fs: &LossyFs, roll: &str) -> Result<(), String> {
    let ended = replay_in(fs.path(), &[roll], &[])?;
    if ended.code == Some(0) {
        return Ok(());
    }
    Err(format!("the replay ended with {:?}\n{}{}", ended.code, ended.stdout, ended.stderr))
}

/// A replay in a directory with everything in it.
fn replay_in(dir: &Path, sets: &[&str], args: &[&str]) -> Result<Finished, String> {
    let own = tempfile::tempdir().unwrap();
    let common = [
        "wal.dir=wal",
        "shipper.dir=/proc/self/cwd/shipper",
        "destination.format=json",
        "retry.initial=10ms",
        "retry.replay_patience=1s",
    ];
    let sets: Vec<_> = common.iter().chain(sets).copied().collect();
    let shipper = Shipper::new(BINARY, own.path(), "file:///proc/self/cwd/out", &sets);
    let mut command = Command::new(BINARY);
    command.args(shipper.args()).arg("--replay").args(args).current_dir(dir);
    command::run(command::without_own_variables(&mut command), REPLAY_WAIT)
}

/// A shipper on `image` to its end, with every state on the way.
fn recorded(
    image: &Image,
    roll: &str,
    dropped: Option<Op>,
) -> Result<(Vec<Moment>, Vec<String>), String> {
    let fs = LossyFs::mount(image, Rules::Strict).map_err(|e| e.to_string())?;
    if let Some(op) = dropped {
        fs.drop_calls(op);
    }
    fs.keep_history();
    replay(&fs, roll)?;
    Ok((fs.history(), fs.trace(usize::MAX).lines().map(str::to_owned).collect()))
}

/// Ships what is left and looks at what would survive right after.
fn go_on_and_check(image: &Image) -> Result<(), String> {
    let fs = LossyFs::mount(image, Rules::Strict).map_err(|e| e.to_string())?;
    replay(&fs, NEXT_ROLL)?;
    check(&fs.survivors(Survival::Synced))
}

fn check(done: &Image) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    done.write(dir.path()).map_err(|e| format!("write the survivors: {e}"))?;
    check_in(dir.path(), "wal", true)
}

/// Holds what is in a directory, with the WAL of that name, to the promise. Hidden files may be
/// left unless `is_clean`.
fn check_in(dir: &Path, wal: &str, is_clean: bool) -> Result<(), String> {
    let layout = Layout::new(dir.join(wal));
    let left = sealed::list(&layout).map_err(|e| e.to_string())?;
    if !left.is_empty() {
        return Err(format!("the replay said that it was done, but {left:?} are left"));
    }
    let quarantined = files(&layout.quarantine_dir());
    if quarantined.len() != 2 {
        return Err(format!("instead of the damaged segment and its report: {quarantined:?}"));
    }
    let hidden = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    let (hidden, finals): (Vec<_>, Vec<_>) = files(&dir.join("out")).into_iter().partition(hidden);
    if let Some(path) = hidden.first().filter(|_| is_clean) {
        return Err(format!("{} is left over", path.display()));
    }
    promised()
        .check(queries(&finals)?.iter().map(String::as_str))
        .map_err(|why| format!("{why} in {finals:?}"))
}

/// The query of each row of these files.
fn queries(finals: &[PathBuf]) -> Result<Vec<String>, String> {
    let mut queries = Vec::new();
    for path in finals {
        let mut rows = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
        sewer_shipper::record::rows::cat(std::io::BufReader::new(file), &mut rows)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        for line in rows.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let row: Value = serde_json::from_slice(line).map_err(|e| e.to_string())?;
            queries.push(row["query_string"].as_str().unwrap_or("none").to_owned());
        }
    }
    Ok(queries)
}

/// The files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn describe(trace: &[String], at: usize) -> String {
    let before = trace[at.saturating_sub(8)..at].join("\n");
    let next = trace.get(at).map_or("the end", String::as_str);
    format!("cut before {next}, after\n{before}\n")
}

#[test]
fn each_event_arrives_once_after_a_power_cut_at_every_operation() {
    if !available_or_skip("power cuts under the shipper") {
        return;
    }
    let mut random = Random::announced("power_cut_shipper");
    let (history, trace) = recorded(&image(), FIRST_ROLL, None).unwrap();
    let points = sweep::points(history.len() as u64, NTH, &mut random);
    let (seed, tried) = (random.next(), points.len());
    sweep::each(points, |number| {
        let at = usize::try_from(number).unwrap() - 1;
        for way in [Survival::Synced, Survival::Torn(seed ^ number), Survival::Killed] {
            go_on_and_check(&history[at].survivors(way))
                .map_err(|why| format!("{way:?}: {}{why}", describe(&trace, at)))?;
        }
        Ok(())
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!(
        "{} cut points, {tried} tried, {} cuts, none lost or doubled",
        history.len(),
        tried * 3
    );
}

#[test]
fn each_event_arrives_once_after_a_kill_and_then_a_power_cut() {
    if !available_or_skip("power cuts under the shipper's successor") {
        return;
    }
    let mut random = Random::announced("power_cut_shipper killed");
    let (history, trace) = recorded(&image(), FIRST_ROLL, None).unwrap();
    // Killed where a name was just changed and not synced, which is what a successor builds on.
    let is_name =
        |line: &String| ["Mkdir", "Create", "Rename", "Unlink"].iter().any(|op| line.contains(op));
    let kills: Vec<usize> = (1..history.len()).filter(|at| is_name(&trace[at - 1])).collect();
    let seeds: Vec<_> = kills.into_iter().map(|at| (at, random.next())).collect();
    let (kills, cuts) = (seeds.len(), AtomicUsize::new(0));
    sweep::each(seeds, |(killed_at, seed)| {
        let killed = history[killed_at].survivors(Survival::Killed);
        let so = |why: String| format!("killed, {}{why}", describe(&trace, killed_at));
        let (next, next_trace) = recorded(&killed, FIRST_ROLL, None).map_err(so)?;
        for number in sweep::points(next.len() as u64, KILLED_NTH, &mut Random::new(seed)) {
            let at = usize::try_from(number).unwrap() - 1;
            go_on_and_check(&next[at].survivors(Survival::Synced))
                .map_err(|why| so(format!("then {}{why}", describe(&next_trace, at))))?;
            cuts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
    .unwrap_or_else(|why| panic!("{why}"));
    println!("{kills} kills, {} cuts after them, none lost or doubled", cuts.into_inner());
}

#[test]
fn a_shipper_that_did_not_sync_is_caught() {
    if !available_or_skip("missing syncs under the shipper") {
        return;
    }
    for op in [Op::Sync, Op::SyncDir] {
        let (history, _) = recorded(&image(), FIRST_ROLL, Some(op)).unwrap();
        let last = history.last().unwrap();
        // Without any name that is durable the cut takes back everything, deletions included, and
        // all is well; it is when some come through that they come in any order.
        let mut cuts = [Survival::Synced].into_iter().chain((0..50).map(Survival::Torn));
        let why = cuts.find_map(|way| go_on_and_check(&last.survivors(way)).err());
        let why = why.unwrap_or_else(|| panic!("nobody noticed that {op:?} was missing"));
        println!("without {op:?}: {}", why.lines().next().unwrap_or_default());
    }
}
