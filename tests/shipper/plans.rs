//! Plans that an earlier build has left are carried out, and those of this build can be read by it.

use std::fs;
use std::path::Path;

use sewer_shipper::plan::Plan;
use sewer_shipper::record::rows::cat;
use sewer_wal::{Lsn, look_up_identity};

use crate::node::Node;

const PLAN: &str = include_str!("fixtures/plan-of-an-earlier-build.json");
const WAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/wal/fixtures/format-1/damaged");

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_plan_is_written_as_the_earlier_build_wrote_it() {
    let plan: Plan = serde_json::from_str(PLAN).unwrap();
    assert_eq!(plan.segments, [0, 5, 9].map(|base| Lsn(base).into()));
    assert_eq!(plan.damaged[0].name, Lsn(5).into());
    assert_eq!(plan.file_name(), format!("{:020}-{:020}.json", 0, 11));
    assert_eq!(serde_json::to_string_pretty(&plan).unwrap() + "\n", PLAN);
}

#[test]
fn a_plan_of_a_wal_that_was_never_here_is_not_carried_out() {
    let node = Node::with_segments(&[&[1, 4], &[2, 2], &[3]]);
    let shipments = node.config.shipper.dir.join("shipments");
    fs::create_dir_all(&shipments).unwrap();
    let name = format!("{:020}-{:020}.json", 0, 11);
    fs::write(shipments.join(&name), PLAN).unwrap();
    let shipper = node.shipper(&["retry.replay_patience=1s"]);
    let replay = shipper.run(&["--replay"]);
    assert_eq!(replay.code, Some(1), "{replay:?}");
    let told = format!("{name} is not a plan that this build can carry out: it is for the WAL");
    assert!(replay.stderr.contains(&told), "{replay:?}");
    assert_eq!(node.bases(), [0, 5, 9], "its segments have the names of ours");
}

/// It has published one of two files, of a WAL of format 1 with a damaged event.
#[test]
fn a_plan_of_an_earlier_build_is_taken_up() {
    let node = Node::new();
    copy(Path::new(WAL), node.layout.root());
    let identity = look_up_identity(&node.layout).unwrap().unwrap();
    let plan = PLAN.replace("file:///out", &node.config.destination.uri);
    let shipments = node.config.shipper.dir.join("shipments");
    fs::create_dir_all(&shipments).unwrap();
    fs::write(shipments.join(format!("{:020}-{:020}.json", 0, 11)), plan).unwrap();
    // Another destination and layout is configured since.
    let shipper = node.shipper(&["destination.path=/elsewhere/%S", "destination.format=tsv"]);
    let dry = shipper.run(&["--replay", "--dry-run"]).expect_success();
    assert!(dry.contains("already planned") && dry.contains("1 shipments, 1 files"), "{dry}");
    let done = shipper.run(&["--replay"]).expect_success();
    assert!(done.contains("1 segments quarantined, 1 events lost to damage"), "{done}");

    let name = format!("old-{}-{:020}-{:020}.seq", identity.id, 0, 11);
    assert!(!node.out().join("p/27").exists(), "it was published before");
    assert!(!node.out().join("elsewhere").exists(), "nothing was planned anew");
    let mut rows = Vec::new();
    let file = fs::File::open(node.out().join("p/28").join(name)).unwrap();
    assert_eq!(cat(file, &mut rows).unwrap(), 3);
    assert_eq!(node.left(), 0);
    assert_eq!(node.lost(5), [6].into());
    assert_eq!(fs::read_dir(shipments).unwrap().count(), 0);
}
