//! Delivery step by step: whichever call of the destination fails, before or after it has had its
//! effect, and whether the shipper goes on or is started anew, each event arrives exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sewer_shipper::config::Config;
use sewer_shipper::destination;
use sewer_shipper::metrics::Metrics;
use sewer_shipper::plan::backlog::Backlog;
use sewer_shipper::plan::journal::Journal;
use sewer_shipper::plan::{self, Losses};
use sewer_shipper::record::rows::cat;
use sewer_shipper::ship::{ShipError, Shipment, Tools};
use sewer_wal::{Batch, Engine, Event, Identity, Layout, Wal, WalOptions, sealed};

use crate::script::{Failing, Script};

pub const EVENTS: u64 = 300;
/// Events alternate between two hours, so that a shipment has two outputs.
const HOUR_MS: i64 = 3_600_000;

/// A node with everything in one directory.
pub struct Node {
    pub dir: tempfile::TempDir,
    pub layout: Layout,
    pub identity: Identity,
    pub config: Config,
}

impl Node {
    /// A WAL with [`EVENTS`] sealed events. In memory where that can be: syncs prove nothing here.
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let layout = Layout::new(dir.path().join("wal"));
        let options = WalOptions {
            segment_bytes: 4 << 20,
            roll_interval: Duration::from_mins(1),
            min_free_bytes: 0,
            engine: Engine::Auto,
        };
        let (mut wal, report) = Wal::open(layout.clone(), options).unwrap();
        for number in 0..EVENTS {
            if number == EVENTS / 2 {
                wal.close().unwrap();
                wal = Wal::open(layout.clone(), options).unwrap().0;
            }
            let mut batch = Batch::default();
            let path = number.to_string();
            let timestamp_ms = number.cast_signed() % 2 * HOUR_MS;
            let request_path = Some(path.as_bytes());
            batch.push(&Event { timestamp_ms, request_path, ..Event::default() }).unwrap();
            wal.append(&batch).unwrap();
        }
        wal.close().unwrap();
        let mut config = Config::default();
        config.destination.uri = format!("file://{}", dir.path().join("out").display());
        fs::create_dir(dir.path().join("out")).unwrap();
        config.shipper.host = "h".into();
        config.shipper.dir = dir.path().join("shipper");
        config.retry.initial = Duration::from_millis(1);
        Self { dir, layout, identity: Identity::new(report.wal_id), config }
    }

    pub fn tools(&self, script: &Arc<Script>) -> Tools {
        let options = self.config.destination_options();
        let inner = destination::open(&self.config.destination.uri, options).unwrap();
        Tools {
            layout: self.layout.clone(),
            journal: Journal::open(&self.layout).unwrap(),
            destination: Arc::new(Failing { inner, script: Arc::clone(script) }),
            metrics: Arc::new(Metrics::new(None)),
            open_partitions: None,
        }
    }

    /// A shipment of all that is sealed, planned and written down.
    pub fn plan(&self, tools: Tools) -> Shipment {
        let mut backlog = Backlog::new(self.layout.clone(), self.identity.clone());
        backlog.refresh().unwrap();
        let due = backlog.due(&self.config.roll, &BTreeSet::new(), true).unwrap();
        assert!(due.segments.len() > 1, "the shipment spans segments");
        let plan = plan::make(&self.layout, &self.identity, &due, &self.config, "h").unwrap();
        assert_eq!(plan.outputs.len(), 2);
        tools.journal.store(&plan).unwrap();
        Shipment::new(plan, true, tools)
    }

    /// As after a restart: from the journal, or nothing if the shipment was finished.
    pub fn take_up(&self, tools: Tools) -> Option<Shipment> {
        let plan = tools.journal.load(&self.identity).unwrap().plans.pop()?;
        Some(Shipment::new(plan, false, tools))
    }

    /// How often each event is found in a finished file; every file must have a final name.
    pub fn delivered(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        collect(&self.dir.path().join("out"), false, &mut counts);
        counts
    }

    /// The same, where hidden files may be left.
    pub fn delivered_visible(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        collect(&self.dir.path().join("out"), true, &mut counts);
        counts
    }
}

fn collect(dir: &Path, is_hidden_allowed: bool, counts: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, is_hidden_allowed, counts);
            continue;
        }
        let is_hidden = path.file_name().unwrap().as_encoded_bytes().starts_with(b".");
        if is_hidden && is_hidden_allowed {
            continue;
        }
        assert_eq!(path.extension().unwrap(), "seq", "left behind: {}", path.display());
        let mut text = Vec::new();
        cat(fs::File::open(&path).unwrap(), &mut text).unwrap();
        for line in String::from_utf8(text).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            *counts.entry(row["request_path"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
}

async fn deliver(fails_at: usize, after_effect: bool, restarts: bool) -> bool {
    let node = Node::new();
    let script = Script::failing(fails_at, after_effect);
    let mut shipment = node.plan(node.tools(&script));
    let mut attempts = 0;
    while shipment.run().await.is_err() {
        attempts += 1;
        assert!(attempts < 5, "call {fails_at} failed once, the shipment {attempts} times");
        assert!(!sealed::list(&node.layout).unwrap().is_empty(), "deleted before it was delivered");
        if restarts {
            match node.take_up(node.tools(&script)) {
                Some(again) => shipment = again,
                None => break,
            }
        }
    }
    let what = format!("call {fails_at}, after effect {after_effect}, restarts {restarts}");
    let delivered = node.delivered();
    assert_eq!(delivered.len() as u64, EVENTS, "{what}: events are missing");
    assert!(delivered.values().all(|&count| count == 1), "{what}: events came twice");
    assert_eq!(sealed::list(&node.layout).unwrap(), [], "{what}: segments are left");
    assert!(node.take_up(node.tools(&script)).is_none(), "{what}: the plan is left");
    script.has_failed()
}

#[tokio::test]
async fn each_event_arrives_once_whichever_call_fails() {
    let mut cases = 0;
    for (after_effect, restarts) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut fails_at = 0;
        while deliver(fails_at, after_effect, restarts).await {
            fails_at += 1;
        }
        assert!(fails_at >= 12, "only {fails_at} calls were made");
        cases += fails_at;
    }
    println!("{cases} failures, each at another call or with another consequence");
}

#[tokio::test]
async fn a_cut_in_the_middle_of_deletion_is_finished_by_the_next_start() {
    let node = Node::new();
    let script = Script::without_failure();
    let mut shipment = node.plan(node.tools(&script));
    let mut published = shipment.plan().clone();
    shipment.run().await.unwrap();
    // As a power cut between the deletion of segments and that of the plan leaves it.
    published.published = true;
    let tools = node.tools(&script);
    tools.journal.store(&published).unwrap();
    let calls = script.calls();
    node.take_up(tools).unwrap().run().await.unwrap();
    assert_eq!(script.calls(), calls, "the destination is not needed for it");
    assert!(node.take_up(node.tools(&script)).is_none());
}

#[tokio::test]
async fn a_segment_that_vanishes_before_publishing_is_never_taken_for_shipped() {
    let node = Node::new();
    let script = Script::without_failure();
    let mut shipment = node.plan(node.tools(&script));
    let segments = sealed::list(&node.layout).unwrap();
    fs::rename(&segments[1].path, node.dir.path().join("aside.seg")).unwrap();
    let error = shipment.run().await.unwrap_err();
    assert!(matches!(error, ShipError::Vanished { .. }) && error.needs_a_human(), "{error}");
    assert_eq!(sealed::list(&node.layout).unwrap().len(), segments.len() - 1);
    fs::rename(node.dir.path().join("aside.seg"), &segments[1].path).unwrap();
    shipment.run().await.unwrap();
    assert_eq!(node.delivered().len() as u64, EVENTS);
}

#[tokio::test]
async fn somebody_elses_file_under_the_final_name_is_reported_and_never_overwritten() {
    let node = Node::new();
    let script = Script::without_failure();
    let mut shipment = node.plan(node.tools(&script));
    let path =
        format!("{}/out{}", node.dir.path().display(), shipment.plan().outputs[1].final_path());
    fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
    fs::write(&path, b"not ours").unwrap();
    for _ in 0..2 {
        let error = shipment.run().await.unwrap_err();
        assert!(error.needs_a_human(), "{error}");
        assert!(error.to_string().contains(".seq"), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"not ours");
    fs::remove_file(&path).unwrap();
    shipment.run().await.unwrap();
    assert_eq!(node.delivered().len() as u64, EVENTS);
}

#[tokio::test]
async fn a_damaged_segment_is_quarantined_after_its_good_events_are_delivered() {
    let node = Node::new();
    let script = Script::without_failure();
    let victim = sealed::list(&node.layout).unwrap()[1].clone();
    let mut bytes = fs::read(&victim.path).unwrap();
    // The first event's path is its number, which is also its LSN.
    let number = victim.name.base.to_string();
    let at = bytes.windows(number.len()).position(|w| w == number.as_bytes()).unwrap();
    bytes[at] ^= 0x80;
    fs::write(&victim.path, bytes).unwrap();
    let mut shipment = node.plan(node.tools(&script));
    assert_eq!(shipment.plan().losses(), Losses { events: 1, uncounted: 0 });
    shipment.run().await.unwrap();
    let delivered = node.delivered();
    assert_eq!(delivered.len() as u64, EVENTS - 1);
    assert!(!delivered.contains_key(&number));
    let quarantined = node.layout.quarantine_dir().join(victim.path.file_name().unwrap());
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(quarantined.with_extension("json")).unwrap()).unwrap();
    assert!(quarantined.exists());
    assert_eq!(report["events_lost"], 1, "{report}");
    assert_eq!(report["damage"][0]["first_lost_lsn"], victim.name.base.0, "{report}");
}

/// Damage that comes between the first output and the second takes one event of the second, or all
/// of a segment, whose end nothing but the plan tells.
#[tokio::test]
async fn a_shipment_damaged_after_a_part_is_published_delivers_the_rest() {
    for is_whole in [false, true] {
        let node = Node::new();
        // Writing the second output fails: after create, write, close and the calls of publishing.
        let script = Script::failing_at(10);
        let mut shipment = node.plan(node.tools(&script));
        while script.calls() <= 10 {
            shipment.run().await.unwrap_err();
        }
        let published = |shipment: &Shipment| -> Vec<bool> {
            shipment.plan().outputs.iter().map(|output| output.published).collect()
        };
        assert_eq!(published(&shipment), [true, false]);
        let victim = sealed::list(&node.layout).unwrap()[1].clone();
        let number = (victim.name.base.0 | 1).to_string();
        let mut bytes = fs::read(&victim.path).unwrap();
        if is_whole {
            bytes.fill(0);
        } else {
            let at = bytes.windows(number.len()).position(|w| w == number.as_bytes()).unwrap();
            bytes[at] ^= 0x80;
        }
        fs::write(&victim.path, bytes).unwrap();
        fs::remove_dir_all(node.layout.active_dir()).unwrap();

        let mut restarted = node.take_up(node.tools(&script)).unwrap();
        let error = restarted.run().await.unwrap_err();
        assert!(error.is_changed(), "{error}");
        assert!(!restarted.reconsider().await.unwrap(), "a part is published, so the plan stays");
        let lost = if is_whole { EVENTS / 2 } else { 1 };
        assert_eq!(restarted.plan().losses(), Losses { events: lost, uncounted: 0 });
        restarted.run().await.unwrap();
        let delivered = node.delivered();
        // Half of what was in the segment had been published before.
        let missing = if is_whole { EVENTS / 4 } else { 1 };
        assert_eq!(delivered.len() as u64, EVENTS - missing);
        assert!(!delivered.contains_key(&number) && delivered.values().all(|&count| count == 1));
        assert!(node.layout.quarantine_dir().join(victim.path.file_name().unwrap()).exists());
        assert!(node.take_up(node.tools(&script)).is_none());
    }
}
