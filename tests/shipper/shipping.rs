//! The shipper as a process, on WALs with known events: shipments beside each other, what needs a
//! person, markers, a replay and its dry run, what the status port says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sewer_test_support::http;
use sewer_test_support::process::eventually;
use sewer_test_support::shipper::Shipper;
use sewer_wal::{Batch, Engine, Event, Layout, Lsn, Wal, WalId, WalOptions};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");
const WAIT: Duration = Duration::from_mins(1);
const OPTIONS: WalOptions = WalOptions {
    segment_bytes: 1 << 20,
    roll_interval: Duration::from_hours(1),
    min_free_bytes: 0,
    engine: Engine::Auto,
};
const HOUR_MS: i64 = 3_600_000;
/// 2026-01-01T00:00:00Z.
const NEW_YEAR_MS: i64 = 1_767_225_600_000;

/// A node whose WAL has a sealed segment for each list of timestamps, and a destination.
struct Node {
    dir: TempDir,
    wal_id: WalId,
}

impl Node {
    fn new(segments: &[&[i64]]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let wal_id = Self::append(&Layout::new(dir.path().join("wal")), segments);
        Self { dir, wal_id }
    }

    fn append(layout: &Layout, segments: &[&[i64]]) -> WalId {
        let mut wal_id = None;
        for timestamps in segments {
            let (mut wal, report) = Wal::open(layout.clone(), OPTIONS).unwrap();
            let mut batch = Batch::default();
            for &timestamp_ms in *timestamps {
                let event = Event { timestamp_ms, request_path: Some(b"/p"), ..Event::default() };
                batch.push(&event).unwrap();
            }
            wal.append(&batch).unwrap();
            wal.close().unwrap();
            wal_id = Some(report.wal_id);
        }
        wal_id.expect("there is a segment")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn shipper(&self, sets: &[&str]) -> Shipper {
        let destination = format!("file://{}", self.out().display());
        let sets: Vec<_> = sets.iter().copied().chain(["shipper.host=h"]).collect();
        Shipper::new(BINARY, self.dir.path(), &destination, &sets)
    }

    /// The final name of a shipment of these LSNs.
    fn name(&self, first: u64, last: u64) -> String {
        format!("h-{}-{first:020}-{last:020}.seq", self.wal_id)
    }

    /// The files at the destination by their paths below it, with their sizes.
    fn files(&self) -> BTreeMap<String, u64> {
        let mut files = BTreeMap::new();
        walk(&self.out(), &self.out(), &mut files);
        files
    }
}

fn walk(root: &Path, dir: &Path, files: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            walk(root, &entry.path(), files);
        } else {
            let path = entry.path().strip_prefix(root).unwrap().display().to_string();
            files.insert(path, entry.metadata().unwrap().len());
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn stats(shipper: &Shipper) -> Value {
    let response = http::get(&shipper.status_address(), "/stats").expect("the status port answers");
    serde_json::from_str(&response.body).expect("JSON")
}

#[test]
fn a_shipment_that_needs_a_person_holds_back_no_other() {
    let node = Node::new(&[&[NEW_YEAR_MS; 3][..]; 6]);
    let partition = node.out().join("sewer/2026-01-01/00");
    fs::create_dir_all(&partition).unwrap();
    let taken = partition.join(node.name(0, 2));
    fs::write(&taken, "not ours").unwrap();
    // One segment for a shipment, one shipment at a time: the others need the slot.
    let mut shipper = node.shipper(&["roll.max_bytes=1B", "shipper.parallel=1"]);
    shipper.start();
    shipper.wait_until_ready();
    let others = || node.files().len() == 6 && stats(&shipper)["backlog_segments"] == 1;
    assert!(eventually(WAIT, others), "{:#}", stats(&shipper));
    assert_eq!(fs::read_to_string(&taken).unwrap(), "not ours");

    let told = stats(&shipper);
    assert_eq!(told["failing"].as_array().unwrap().len(), 1, "{told:#}");
    let failing = &told["failing"][0];
    assert_eq!((&failing["reason"], &failing["needs_action"]), (&"conflict".into(), &true.into()));
    assert!(failing["error"].as_str().unwrap().contains(&node.name(0, 2)), "{failing}");
    assert_eq!(told["last_error_reason"], "conflict");
    let metrics = shipper.metrics();
    let label = "{needs_action=\"yes\",reason=\"conflict\"}";
    assert!((metrics[&format!("sewer_shipper_failing_shipments{label}")] - 1.0).abs() < 0.1);
    assert!((metrics["sewer_shipper_shipments_total{outcome=\"shipped\"}"] - 5.0).abs() < 0.1);
    assert!(metrics["sewer_shipper_retries_total{reason=\"conflict\"}"] > 0.9);
    let oldest = metrics["sewer_shipper_oldest_unshipped_timestamp_seconds"];
    assert!((oldest - 1_767_225_600.0).abs() < 0.1, "{oldest}");

    fs::remove_file(&taken).unwrap();
    let done = || stats(&shipper)["backlog_segments"] == 0;
    assert!(eventually(WAIT, done), "{:#}", stats(&shipper));
    assert!(fs::metadata(&taken).unwrap().len() > 8, "the shipment's own file is there now");
    let healed = stats(&shipper);
    assert_eq!(
        (&healed["failing"], &healed["failing_since_ms"]),
        (&Value::Array(vec![]), &Value::Null)
    );
    let metrics = shipper.metrics();
    assert!(
        !metrics.contains_key("sewer_shipper_oldest_unshipped_timestamp_seconds"),
        "{metrics:?}"
    );
    shipper.stop();
}

#[test]
fn the_next_shipment_is_written_while_one_is_not_finished_but_no_more_than_asked_for() {
    for parallel in [1, 3] {
        let node = Node::new(&[&[NEW_YEAR_MS; 500][..]; 12]);
        let shipper = node.shipper(&["roll.max_bytes=1B", &format!("shipper.parallel={parallel}")]);
        let finished = shipper.run(&["--replay"]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let (mut under_way, mut most) = (0_i32, 0);
        for line in finished.stderr.lines() {
            under_way += i32::from(line.contains("planned a shipment"));
            most = most.max(under_way);
            under_way -= i32::from(line.contains(" published "));
        }
        assert_eq!(most, parallel, "{}", finished.stderr);
        assert_eq!(node.files().len(), 12);
    }
}

#[test]
fn a_dry_run_names_what_a_replay_then_does_and_changes_nothing() {
    let hours = [NEW_YEAR_MS, NEW_YEAR_MS + HOUR_MS];
    let node = Node::new(&[&[hours[0]; 2], &[hours[0], hours[1]]]);
    let shipper = node.shipper(&[]);
    let shown = shipper.run(&["--replay", "--dry-run"]).expect_success();
    assert_eq!(node.files(), BTreeMap::new(), "nothing is written");
    assert!(!node.dir.path().join("shipper").exists(), "not even a directory");
    assert!(shown.contains("1 shipments, 2 files to be published, 4 events"), "{shown}");
    for (hour, events) in [("00", 3), ("01", 1)] {
        let line = format!("  /sewer/2026-01-01/{hour}/{}: {events} events", node.name(0, 3));
        assert!(shown.contains(&line), "{line:?} is not in {shown}");
    }
    let replayed = shipper.run(&["--replay"]).expect_success();
    assert!(replayed.contains("shipped 4 events in 2 files"), "{replayed}");
    let planned = ["00", "01"].map(|hour| format!("sewer/2026-01-01/{hour}/{}", node.name(0, 3)));
    assert_eq!(node.files().into_keys().collect::<Vec<_>>(), planned);
    let nothing = shipper.run(&["--replay", "--dry-run"]).expect_success();
    assert!(nothing.contains("0 shipments, 0 files to be published, 0 events"), "{nothing}");
}

#[test]
fn the_wal_of_a_dead_node_is_drained_by_another_ones_shipper() {
    let node = Node::new(&[&[NEW_YEAR_MS; 4]]);
    let dead = node.dir.path().join("dead/wal");
    fs::create_dir(node.dir.path().join("dead")).unwrap();
    let dead_id = Node::append(&Layout::new(&dead), &[&[NEW_YEAR_MS; 5], &[NEW_YEAR_MS; 6]]);
    let shipper = node.shipper(&[]);
    let told = shipper.run(&["--replay", "--wal", dead.to_str().unwrap()]).expect_success();
    assert!(told.contains("shipped 11 events in 1 files"), "{told}");
    assert!(told.contains("the backlog is empty"), "{told}");
    let name = format!("sewer/2026-01-01/00/h-{dead_id}-{:020}-{:020}.seq", 0, 10);
    assert_eq!(node.files().into_keys().collect::<Vec<_>>(), [name]);
    assert_eq!(shipper.left().len(), 1, "this node's own segment is not touched");
}

#[test]
fn a_partition_gets_its_marker_once_nothing_more_can_come_for_it() {
    let old = [NEW_YEAR_MS, NEW_YEAR_MS + HOUR_MS];
    let node = Node::new(&[&old, &[now_ms()]]);
    let mut shipper = node.shipper(&["destination.done_marker=true"]);
    shipper.start();
    shipper.wait_until_ready();
    let marker = format!("_SUCCESS-h-{}", node.wal_id);
    let expected = ["00", "01"].map(|hour| format!("sewer/2026-01-01/{hour}/{marker}"));
    let markers = || -> Vec<_> {
        node.files().into_iter().filter(|(path, _)| path.ends_with(&marker)).collect()
    };
    assert!(eventually(WAIT, || markers().len() == 2), "{:?}", node.files());
    assert_eq!(markers(), expected.map(|path| (path, 0)), "empty, and none for the present");
    shipper.stop();
    let open = fs::read_to_string(node.dir.path().join("wal/shipments/partitions.json")).unwrap();
    assert_eq!(open.matches("last_timestamp_ms").count(), 1, "the present one is open: {open}");

    // A late event opens its partition again; it is shipped, and the marker stays.
    Node::append(&Layout::new(node.dir.path().join("wal")), &[&old[..1]]);
    shipper.run(&["--replay"]).expect_success();
    assert_eq!(markers().len(), 2);
    let open = fs::read_to_string(node.dir.path().join("wal/shipments/partitions.json")).unwrap();
    assert_eq!(open.matches("last_timestamp_ms").count(), 1, "{open}");
}

#[test]
fn markers_wait_for_what_is_set_aside() {
    let node = Node::new(&[&[NEW_YEAR_MS]]);
    let (own, other) = (node.dir.path().join("wal"), node.dir.path().join("other"));
    let other = Layout::new(other);
    Node::append(&other, &[&[NEW_YEAR_MS]]);
    let stranger = Layout::new(own).sealed_file(Lsn(1));
    fs::copy(other.sealed_file(Lsn(0)), &stranger).unwrap();
    let shipper = node.shipper(&["destination.done_marker=true"]);
    let replay = shipper.run(&["--replay"]);
    let has_marker = || node.files().keys().any(|path| path.contains("_SUCCESS"));
    assert_eq!(replay.code, Some(1), "{}{}", replay.stdout, replay.stderr);
    assert_eq!(node.files().len(), 1, "its own is shipped");
    assert!(!has_marker(), "nobody knows what the stranger holds: {:?}", node.files());
    fs::remove_file(&stranger).unwrap();
    shipper.run(&["--replay"]).expect_success();
    assert!(has_marker(), "{:?}", node.files());
}

#[test]
fn markers_wait_for_what_is_not_sealed() {
    let node = Node::new(&[&[NEW_YEAR_MS]]);
    let layout = Layout::new(node.dir.path().join("wal"));
    let (mut wal, _) = Wal::open(layout, OPTIONS).unwrap();
    let mut batch = Batch::default();
    batch.push(&Event { timestamp_ms: NEW_YEAR_MS + 5, ..Event::default() }).unwrap();
    wal.append(&batch).unwrap();
    let mut shipper = node.shipper(&["destination.done_marker=true"]);
    shipper.start();
    assert!(eventually(WAIT, || node.files().len() == 1), "{}", shipper.process().log_tail());
    // The first look for complete partitions comes right after.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(node.files().len(), 1, "an event for it is in the active segment");
    wal.close().unwrap();
    assert!(eventually(WAIT, || node.files().len() == 3), "{:?}", node.files());
    shipper.stop();
}

#[test]
fn a_lag_over_the_limit_is_bad_health() {
    let node = Node::new(&[&[NEW_YEAR_MS]]);
    fs::write(node.out().join("sewer"), "a file where a directory has to be").unwrap();
    let mut shipper = node.shipper(&["status.max_lag=1h"]);
    shipper.start();
    let health = |status| {
        move |shipper: &Shipper| {
            http::get(&shipper.status_address(), "/").is_ok_and(|answer| answer.status == status)
        }
    };
    assert!(eventually(WAIT, || health(503)(&shipper)), "{}", shipper.process().log_tail());
    let reason = || stats(&shipper)["failing"][0]["reason"] == "configuration";
    assert!(eventually(WAIT, reason), "{:#}", stats(&shipper));
    fs::remove_file(node.out().join("sewer")).unwrap();
    assert!(eventually(WAIT, || health(200)(&shipper)), "{:#}", stats(&shipper));
    shipper.stop();
}
