//! The disk with the WAL is moved to another node, put back from a snapshot while HDFS is ahead,
//! cloned, or its plan is damaged, at each step of a shipment. Two shippers are processes of their
//! own, and the second plans otherwise. The same at every operation of the file system, with a
//! local destination: `tests/power/shipper/disks.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sewer_test_support::command::Finished;
use sewer_test_support::faults::{Matrix, Row, Step};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::proxy::Proxy;
use sewer_test_support::random::Random;
use sewer_test_support::shipper::Shipper;
use sewer_test_support::wal::append_segment;
use sewer_wal::{Event, Layout, sealed};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// The events of each of two segments, and the bytes in each: together more than one block.
const SEGMENT_EVENTS: u64 = 150;
const EVENT_BYTES: usize = 8 << 10;

/// What becomes of the disk while a shipment is at a step.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Moved,
    MovedAndBack,
    Restored,
    Cloned,
    PlanDamaged,
}

impl Fate {
    const ALL: [Self; 5] =
        [Self::Moved, Self::MovedAndBack, Self::Restored, Self::Cloned, Self::PlanDamaged];

    const fn name(self) -> &'static str {
        match self {
            Self::Moved => "disk moved to another node",
            Self::MovedAndBack => "disk moved, drained in part there, and moved back",
            Self::Restored => "snapshot of the disk put back, HDFS ahead",
            Self::Cloned => "disk cloned under another host, the original drained",
            Self::PlanDamaged => "plan damaged, then removed by a person",
        }
    }
}

fn event((query, bytes): &(String, Vec<u8>)) -> Event<'_> {
    Event {
        timestamp_ms: 5,
        query_string: Some(query.as_bytes()),
        user_agent: Some(bytes),
        ..Event::default()
    }
}

/// A node with a disk, and a directory of HDFS.
struct Site<'a> {
    hdfs: &'a Hdfs,
    root: String,
    uri: String,
    sets: Vec<String>,
    dir: TempDir,
}

impl<'a> Site<'a> {
    fn new(hdfs: &'a Hdfs, proxy: &Proxy, step: Step) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = format!("/disk-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random::new(7);
        for segment in 0..2 {
            let events: Vec<_> = (0..SEGMENT_EVENTS)
                .map(|number| {
                    let query = format!("n={}", segment * SEGMENT_EVENTS + number);
                    (query, random.bytes(EVENT_BYTES))
                })
                .collect();
            append_segment(&dir.path().join("wal"), events.iter().map(event));
        }
        let mut sets = vec!["hdfs.rpc_timeout=3s".to_owned(), "hdfs.data_timeout=6s".to_owned()];
        sets.extend(step.options(proxy).shipper);
        let uri = format!("hdfs://{}{root}", proxy.address());
        Self { hdfs, root, uri, sets, dir }
    }

    fn wal(&self) -> PathBuf {
        self.dir.path().join("wal")
    }

    /// The shipper of a node: with `first`, it plans a shipment for each segment.
    fn shipper(&self, host: &str, first: bool) -> Shipper {
        let host = format!("shipper.host={host}");
        let roll = if first { "roll.max_bytes=1B" } else { "roll.max_bytes=1GiB" };
        let sets = self.sets.iter().map(String::as_str);
        let sets: Vec<_> = sets.chain([&host[..], roll, "shipper.parallel=1"]).collect();
        Shipper::new(BINARY, self.dir.path(), &self.uri, &sets)
    }

    /// Starts the node's shipper, and kills it when a shipment is at the step.
    fn kill_at(&self, step: Step, proxy: &Proxy) {
        let mut shipper = self.shipper("first", true);
        shipper.start();
        let held = step.reach(proxy);
        shipper.kill();
        drop(held);
    }

    /// Every event once, nothing hidden, nothing open, nothing left of the WAL in `wal`.
    fn check(&self, wal: &Path, is_clean: bool) {
        let mut rows = BTreeMap::<String, u32>::new();
        for row in self.hdfs.read_rows(&self.root) {
            let query = row.key["query_string"].as_str().unwrap_or("(none)").to_owned();
            *rows.entry(query).or_default() += 1;
        }
        assert_eq!(rows.len() as u64, 2 * SEGMENT_EVENTS, "events are missing");
        assert!(rows.values().all(|&count| count == 1), "events came twice");
        assert_eq!(sealed::list(&Layout::new(wal)).unwrap(), [], "segments are left");
        let files = self.hdfs.list_files(&self.root);
        let odd = files.iter().find(|f| (f.is_hidden() && is_clean) || f.open_for_write);
        assert!(odd.is_none(), "{odd:?} is left");
        let names = files.iter().filter(|file| !file.is_hidden()).map(|file| &file.path);
        let other: Vec<_> = names.filter(|path| !path.contains("/first-")).collect();
        assert!(other.is_empty(), "{other:?} are under another name");
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "copy {}", from.display());
}

fn drained(replay: &Finished) {
    assert_eq!(replay.code, Some(0), "{}{}", replay.stdout, replay.stderr);
}

/// Flips a bit in every plan, and has a replay tell of it; then removes them, as a person does.
fn damage_plans(site: &Site<'_>) {
    let is_plan = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".json") && name.starts_with('0')
    };
    let entries = fs::read_dir(site.wal().join("shipments")).unwrap();
    let plans: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(is_plan).collect();
    assert!(!plans.is_empty(), "a shipment was under way");
    for plan in &plans {
        let mut bytes = fs::read(plan).unwrap();
        bytes[200] ^= 1;
        fs::write(plan, bytes).unwrap();
    }
    let replay = site.shipper("first", false).run(&["--replay"]);
    assert_eq!(replay.code, Some(1), "{}{}", replay.stdout, replay.stderr);
    assert!(replay.stderr.contains("is not a plan that this build can carry out"), "{replay:?}");
    for plan in plans {
        fs::remove_file(plan).unwrap();
    }
}

/// What happens to the disk; returns how long the last shipper took.
fn strike(hdfs: &Hdfs, proxy: &Proxy, fate: Fate, step: Step) -> Duration {
    let site = Site::new(hdfs, proxy, step);
    site.kill_at(step, proxy);
    let elsewhere = site.dir.path().join("elsewhere");
    let other = elsewhere.display().to_string();
    let replay_there = ["--replay", "--wal", &other];
    let begun;
    match fate {
        Fate::Moved => {
            fs::rename(site.wal(), &elsewhere).unwrap();
            begun = Instant::now();
            drained(&site.shipper("second", false).run(&replay_there));
            site.check(&elsewhere, true);
        }
        Fate::MovedAndBack => {
            fs::rename(site.wal(), &elsewhere).unwrap();
            let mut second = site.shipper("second", false);
            second.set("retry.replay_patience=1s");
            std::thread::scope(|scope| {
                let replay = scope.spawn(|| second.run(&replay_there));
                // Cut at the next file: whatever the first one was at.
                let held = Step::BeforeRename.reach(proxy);
                fs::rename(&elsewhere, site.wal()).unwrap();
                drop(held);
                drop(replay.join());
            });
            begun = Instant::now();
            drained(&site.shipper("first", false).run(&["--replay"]));
            site.check(&site.wal(), true);
        }
        Fate::Restored | Fate::Cloned => {
            copy(&site.wal(), &elsewhere);
            drained(&site.shipper("first", true).run(&["--replay"]));
            fs::remove_dir_all(site.wal()).unwrap();
            fs::rename(&elsewhere, site.wal()).unwrap();
            let host = if matches!(fate, Fate::Cloned) { "second" } else { "first" };
            begun = Instant::now();
            drained(&site.shipper(host, false).run(&["--replay"]));
            site.check(&site.wal(), true);
        }
        Fate::PlanDamaged => {
            damage_plans(&site);
            begun = Instant::now();
            drained(&site.shipper("first", false).run(&["--replay"]));
            site.check(&site.wal(), false);
        }
    }
    begun.elapsed()
}

#[test]
fn events_arrive_exactly_once_whatever_happens_to_the_disk() {
    let mut matrix = Matrix::new(BINARY);
    let is_in_slice = |fate: Fate, step: Step| {
        matches!(
            (fate, step),
            (Fate::Moved, Step::RenameUnanswered)
                | (Fate::Restored, Step::MidWrite)
                | (Fate::PlanDamaged, Step::BeforeRename)
        )
    };
    let rows = Fate::ALL.iter().flat_map(|fate| Step::ALL.map(|step| (*fate, step)));
    let rows = rows.map(|(fate, step)| {
        let row = Row::new(fate.name(), step.name());
        (fate, step, if is_in_slice(fate, step) { row.in_slice() } else { row })
    });
    let rows: Vec<_> = rows.collect();
    if !matrix.wants(&rows.iter().map(|(_, _, row)| row).collect::<Vec<_>>())
        || !hdfs::available_or_skip("faults::disks")
    {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let proxy = Proxy::start(hdfs.namenode().address());
    for (fate, step, row) in rows {
        matrix.row_alone(&hdfs, &row, || strike(&hdfs, &proxy, fate, step));
    }
    matrix.finish();
}
