//! The disk of a WAL is moved to another node and back, restored from a snapshot, cloned, or its
//! plan is damaged, at each call of the destination: each event arrives exactly once all the same.
//! Whoever goes on would plan otherwise.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use sewer_shipper::config::Config;
use sewer_shipper::plan::journal::Journal;
use sewer_shipper::ship::planner::Planner;
use sewer_shipper::ship::schedule::{self, Until};
use sewer_wal::{Batch, Engine, Event, Layout, Wal, WalOptions, sealed};
use tokio::sync::{Notify, watch};

use crate::delivery::{EVENTS, Node};
use crate::script::Script;

/// A node whose shipper was killed at the call of that number, before or after it had its effect.
/// None if it came to its end before.
async fn killed_at(call: usize, after_effect: bool) -> Option<Node> {
    let node = Node::new();
    let mut shipment = node.plan(node.tools(&Script::killing(call, after_effect)));
    shipment.run().await.is_err().then_some(node)
}

/// Ships a WAL until nothing is left that can be shipped; what fails is tried again.
async fn ship(config: &Config, wal: &Path, is_own: bool) {
    let mut planner = Planner::open(config, wal, is_own).unwrap();
    let patience = Duration::from_secs(20);
    // Nobody stops it before.
    let (_stop, stopping) = watch::channel(false);
    let drained =
        schedule::ship(&mut planner, Until::Drained { patience }, &Notify::new(), stopping).await;
    assert!(drained, "not done after {patience:?}");
}

/// The same node, as it would plan now: a shipment for each segment.
fn planning_otherwise(node: &Node) -> Config {
    let mut config = node.config.clone();
    config.roll.max_bytes = ByteSize(1);
    config
}

fn of_host(mut config: Config, host: &str) -> Config {
    host.clone_into(&mut config.shipper.host);
    config
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn assert_once(node: &Node, layout: &Layout, what: &str) {
    let delivered = node.delivered();
    assert_eq!(delivered.len() as u64, EVENTS, "{what}: events are missing");
    assert!(delivered.values().all(|&count| count == 1), "{what}: events came twice");
    assert_eq!(sealed::list(layout).unwrap(), [], "{what}: segments are left");
    let found = Journal::of(layout).load(&node.identity).unwrap();
    assert_eq!((found.plans.len(), found.damaged.len()), (0, 0), "{what}: a plan is left");
}

/// Every final name at the destination.
fn names(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(names(&path));
        } else if !name.starts_with('.') {
            found.insert(name);
        }
    }
    found
}

#[tokio::test]
async fn a_disk_that_moves_to_another_node_delivers_each_event_once() {
    for after_effect in [false, true] {
        let mut call = 0;
        while let Some(node) = killed_at(call, after_effect).await {
            let moved = node.dir.path().join("moved");
            fs::rename(node.layout.root(), &moved).unwrap();
            ship(&of_host(planning_otherwise(&node), "other"), &moved, false).await;
            let what = format!("moved at call {call}, after effect {after_effect}");
            assert_once(&node, &Layout::new(moved), &what);
            let names = names(&node.dir.path().join("out"));
            assert!(names.iter().all(|name| name.starts_with("h-")), "{what}: {names:?}");
            call += 1;
        }
        assert!(call >= 12, "only {call} calls were made");
    }
}

#[tokio::test]
async fn a_disk_that_comes_back_after_half_a_replay_elsewhere_delivers_each_event_once() {
    let mut moves = 0;
    for call in 0.. {
        let Some(node) = killed_at(call, true).await else { break };
        for elsewhere in 0.. {
            // The other node goes on by the plans on the disk, and is killed too.
            let snapshot = node.dir.path().join("before");
            copy(node.layout.root(), &snapshot);
            let out = node.dir.path().join("out");
            let out_before = node.dir.path().join("out-before");
            copy(&out, &out_before);
            let tools = node.tools(&Script::killing(elsewhere, true));
            let was_killed = node.take_up(tools).unwrap().run().await.is_err();
            ship(&planning_otherwise(&node), node.layout.root(), true).await;
            assert_once(&node, &node.layout, &format!("moved at {call}, back at {elsewhere}"));
            moves += 1;
            for (from, to) in [(snapshot, node.layout.root().to_owned()), (out_before, out)] {
                fs::remove_dir_all(&to).unwrap();
                fs::rename(from, to).unwrap();
            }
            if !was_killed {
                break;
            }
        }
    }
    println!("{moves} moves there and back");
    assert!(moves > 50, "only {moves}");
}

/// As `cp -a` makes one, with all files of their own.
fn snapshot(node: &Node) -> PathBuf {
    let snapshot = node.dir.path().join("snapshot");
    copy(node.layout.root(), &snapshot);
    snapshot
}

#[tokio::test]
async fn a_snapshot_restored_while_the_destination_is_ahead_delivers_nothing_twice() {
    for (host, is_own, nth) in [("h", true, 1), ("other", true, 4), ("other", false, 4)] {
        for after_effect in [false, true] {
            let mut call = 0;
            while let Some(node) = killed_at(call, after_effect).await {
                let snapshot = snapshot(&node);
                // The original goes on; then there is the snapshot.
                ship(&node.config, node.layout.root(), true).await;
                let before = names(&node.dir.path().join("out"));
                ship(&of_host(planning_otherwise(&node), host), &snapshot, is_own).await;
                let what = format!("{host} {is_own} at call {call}, after effect {after_effect}");
                assert_once(&node, &Layout::new(snapshot), &what);
                assert_eq!(names(&node.dir.path().join("out")), before, "{what}");
                call += nth;
            }
            assert!(call >= 12, "only {call} calls were made");
        }
    }
}

/// The snapshot is older than every plan, so nothing on the disk tells how its events were shipped.
#[tokio::test]
async fn a_snapshot_without_a_plan_finds_its_events_at_the_destination() {
    for (first, next) in [(1, 1 << 30), (1 << 30, 1), (1, 1), (1 << 30, 1 << 30)] {
        for (host, is_own) in [("h", true), ("other", true), ("other", false)] {
            let node = Node::new();
            let snapshot = snapshot(&node);
            let mut config = node.config.clone();
            config.roll.max_bytes = ByteSize(first);
            ship(&config, node.layout.root(), true).await;
            let before = names(&node.dir.path().join("out"));
            config.roll.max_bytes = ByteSize(next);
            ship(&of_host(config, host), &snapshot, is_own).await;
            let what = format!("{first} bytes, then {next}, by {host} {is_own}");
            assert_once(&node, &Layout::new(snapshot), &what);
            assert_eq!(names(&node.dir.path().join("out")), before, "{what}");
        }
    }
}

fn append_one(layout: &Layout) {
    let options = WalOptions {
        segment_bytes: 4 << 20,
        roll_interval: Duration::from_mins(1),
        min_free_bytes: 0,
        engine: Engine::Auto,
    };
    let (mut wal, _) = Wal::open(layout.clone(), options).unwrap();
    let mut batch = Batch::default();
    batch.push(&Event { request_path: Some(b"behind"), ..Event::default() }).unwrap();
    wal.append(&batch).unwrap();
    wal.close().unwrap();
}

#[tokio::test]
async fn a_damaged_plan_holds_back_its_events_alone_until_a_person_has_seen_to_it() {
    for (call, flip) in (0..).zip([100_usize, 7, 250, 400, 33].into_iter().cycle()) {
        let Some(node) = killed_at(call, true).await else { break };
        let dir = node.layout.shipments_dir();
        let mut files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let plan = files.find(|path| path.extension().is_some_and(|e| e == "json"));
        let plan = plan.expect("there is a plan");
        let mut bytes = fs::read(&plan).unwrap();
        bytes[flip] ^= 1;
        fs::write(&plan, &bytes).unwrap();
        append_one(&node.layout);
        let segments = sealed::list(&node.layout).unwrap().len();
        let before = names(&node.dir.path().join("out")).len();
        ship(&planning_otherwise(&node), node.layout.root(), true).await;
        let what = format!("call {call}");
        assert_eq!(names(&node.dir.path().join("out")).len(), before + 1, "{what}");
        assert_eq!(node.delivered_visible().get("behind"), Some(&1), "{what}");
        assert_eq!(sealed::list(&node.layout).unwrap().len(), segments - 1, "{what}: held");
        let found = Journal::of(&node.layout).load(&node.identity).unwrap();
        let told = found.damaged[0].to_string();
        assert!(told.contains("its content does not agree with its checksum"), "{told}");
        assert!(told.contains(&format!("LSN 0..={} wait for it", EVENTS - 1)), "{told}");
        assert_eq!(fs::read(&plan).unwrap(), bytes, "it is left as it is");

        fs::remove_file(&plan).unwrap();
        ship(&planning_otherwise(&node), node.layout.root(), true).await;
        let delivered = node.delivered_visible();
        assert_eq!(delivered.len() as u64, EVENTS + 1, "{what}: events are missing");
        assert!(delivered.values().all(|&count| count == 1), "{what}: events came twice");
        assert_eq!(sealed::list(&node.layout).unwrap(), [], "{what}");
    }
}

/// Each finds the files of the other, wherever it is with its own.
#[test]
fn two_clones_under_the_same_host_shipped_at_the_same_moment_deliver_each_event_once() {
    for _ in 0..8 {
        let node = crate::node::Node::with_segments(&[&[100], &[100], &[100], &[100]]);
        let clone = node.dir.path().join("clone");
        copy(node.layout.root(), &clone);
        let shipper = node.shipper(&["roll.max_bytes=1B", "retry.initial=10ms"]);
        let of_clone = format!("wal.dir={}", clone.display());
        std::thread::scope(|scope| {
            let one = scope.spawn(|| shipper.run(&["--replay"]));
            let other = scope.spawn(|| shipper.run(&["--replay", "--set", &of_clone]));
            for replay in [one, other] {
                replay.join().unwrap().expect_success();
            }
        });
        assert_eq!(node.lsns(), (0..400).collect::<Vec<_>>());
        for layout in [&node.layout, &Layout::new(&clone)] {
            assert_eq!(sealed::list(layout).unwrap(), []);
        }
    }
}
