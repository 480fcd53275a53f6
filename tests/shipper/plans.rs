//! Plans on disk: their bytes, those that an earlier build has left, and files that another build
//! has written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sewer_shipper::destination::Fingerprint;
use sewer_shipper::hadoop::codec::Compression::Gzip;
use sewer_shipper::plan::backlog::Backlog;
use sewer_shipper::plan::journal::Journal;
use sewer_shipper::plan::{self, Attempts, Plan};
use sewer_shipper::record::rows::cat;
use sewer_test_support::http;
use sewer_test_support::process::eventually;
use sewer_wal::{Lsn, look_up_identity};

use crate::node::Node;

const WAIT: Duration = Duration::from_mins(1);

const PLAN: &str = include_str!("fixtures/plan.json");
const EARLIER: &str = include_str!("fixtures/plan-of-an-earlier-build.json");
const DAMAGED_WAL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/wal/fixtures/format-1/damaged");
/// A WAL of two segments, and all that the build before this one had on disk while it shipped them.
const EARLIER_BUILD: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/shipper/fixtures/earlier-build");

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
fn a_plan_is_pinned_by_its_bytes() {
    let plan = Plan::decode(PLAN.as_bytes()).unwrap();
    assert_eq!(plan.segments, [0, 5, 9].map(|base| Lsn(base).into()));
    assert_eq!(plan.damaged[0].name, Lsn(5).into());
    assert_eq!(plan.file_name(), format!("{:020}-{:020}.json", 0, 11));
    assert_eq!(plan.outputs[0].attempts, Some(Attempts { first: 2, last: 3 }));
    let confirmed = Fingerprint { bytes: 848, crc32c: 0x0a1b_2c3d };
    assert_eq!(plan.outputs[0].confirmed, Some(confirmed));
    assert_eq!(String::from_utf8(plan.encode()).unwrap(), PLAN);
}

fn old_shipments(node: &Node) -> PathBuf {
    let dir = node.config.shipper.dir.join("shipments");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// As when the directory of a WAL was replaced, or where two WALs share a `shipper.dir`.
#[test]
fn a_plan_of_another_wal_in_the_old_place_is_left_alone() {
    let node = Node::with_segments(&[&[1, 4], &[2, 2], &[3]]);
    let path = old_shipments(&node).join(format!("{:020}-{:020}.json", 0, 11));
    fs::write(&path, EARLIER).unwrap();
    let shipper = node.shipper(&[]);
    let replay = shipper.run(&["--replay"]);
    assert_eq!(replay.code, Some(0), "{replay:?}");
    assert!(replay.stderr.contains("it is another WAL's, and left alone"), "{replay:?}");
    assert_eq!(node.lsns(), (0..12).collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(path).unwrap(), EARLIER);
}

#[test]
fn a_plan_that_cannot_be_read_in_the_old_place_holds_back_its_events() {
    let node = Node::with_segments(&[&[1, 4], &[2, 2], &[3]]);
    let path = old_shipments(&node).join(format!("{:020}-{:020}.json", 5, 8));
    fs::write(&path, &EARLIER[..500]).unwrap();
    let shipper = node.shipper(&[]);
    let replay = shipper.run(&["--replay"]);
    assert_eq!(replay.code, Some(1), "{replay:?}");
    assert!(replay.stderr.contains("ERROR") && replay.stderr.contains("LSN 5..=8 wait for it"));
    assert_eq!(node.lsns(), [0, 1, 2, 3, 4, 9, 10, 11]);
    let audit = shipper.run(&["--audit"]);
    assert_eq!(audit.code, Some(1), "{audit:?}");
    assert!(audit.stdout.contains("HELD BACK") && !audit.stdout.contains("GAP"), "{audit:?}");
    fs::remove_file(&path).unwrap();
    shipper.run(&["--replay"]).expect_success();
    assert_eq!(node.lsns(), (0..12).collect::<Vec<_>>());
}

#[test]
fn a_running_shipper_tells_of_a_damaged_plan_and_goes_on_when_a_person_has_seen_to_it() {
    for is_put_back in [true, false] {
        let node = Node::with_segments(&[&[1, 4], &[2, 2], &[3]]);
        let plan = plan(&node);
        let path = Journal::open(&node.layout).unwrap().dir().join(plan.file_name());
        fs::write(&path, &plan.encode()[..700]).unwrap();
        let mut shipper = node.shipper(&[]);
        shipper.start();
        let address = shipper.status_address();
        let failing = || {
            let answer = http::get(&address, "/stats").ok()?;
            let stats: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
            Some(stats["failing"].clone())
        };
        let is_told = || {
            let failing = failing().unwrap_or_default();
            failing[0]["reason"] == "plan" && failing[0]["needs_action"] == true
        };
        assert!(eventually(WAIT, is_told), "{:?}", failing());
        assert_eq!(node.lsns(), [0; 0]);
        if is_put_back {
            Journal::of(&node.layout).store(&plan).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        assert!(eventually(WAIT, || node.left() == 0), "{:?}", failing());
        let is_over = || failing().is_some_and(|failing| failing == serde_json::json!([]));
        assert!(eventually(WAIT, is_over), "{:?}", failing());
        assert_eq!(node.lsns(), (0..12).collect::<Vec<_>>());
        shipper.stop();
    }
}

/// It has published one of two files, of a WAL of format 1 with a damaged event.
#[test]
fn a_plan_of_an_earlier_build_is_taken_up() {
    let node = Node::new();
    copy(Path::new(DAMAGED_WAL), node.layout.root());
    let identity = look_up_identity(&node.layout).unwrap().unwrap();
    let plan = EARLIER.replace("file:///out", &node.config.destination.uri);
    let shipments = old_shipments(&node);
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
    assert!(!shipments.exists());
}

/// What of a shipment of the earlier build was there: the plan's state, and for each of two files
/// whether there is nothing, a part or all under its temporary name, or the file.
#[derive(Clone, Copy, Debug)]
struct Step {
    plan: &'static str,
    files: [File; 2],
    segments: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum File {
    Nothing,
    Half,
    Temporary,
    Final,
}

use File::{Final, Half, Nothing, Temporary};

const STEPS: [Step; 11] = [
    Step { plan: "planned", files: [Nothing, Nothing], segments: 2 },
    Step { plan: "planned", files: [Half, Nothing], segments: 2 },
    Step { plan: "planned", files: [Temporary, Nothing], segments: 2 },
    Step { plan: "planned", files: [Final, Nothing], segments: 2 },
    Step { plan: "first-published", files: [Final, Nothing], segments: 2 },
    Step { plan: "first-published", files: [Final, Half], segments: 2 },
    Step { plan: "first-published", files: [Final, Temporary], segments: 2 },
    Step { plan: "first-published", files: [Final, Final], segments: 2 },
    Step { plan: "published", files: [Final, Final], segments: 2 },
    Step { plan: "published", files: [Final, Final], segments: 1 },
    Step { plan: "published", files: [Final, Final], segments: 0 },
];

/// A node as the earlier build has left it at that step.
fn left_by_the_earlier_build(step: Step) -> Node {
    let earlier = Path::new(EARLIER_BUILD);
    let node = Node::new();
    copy(&earlier.join("wal"), node.layout.root());
    fs::create_dir(node.layout.active_dir()).unwrap();
    for name in node.layout.sealed_names().unwrap().into_iter().take(2 - step.segments) {
        fs::remove_file(node.layout.sealed_file(name)).unwrap();
    }
    let text = fs::read_to_string(earlier.join(step.plan).with_extension("json")).unwrap();
    let text = text.replace("file:///out", &node.config.destination.uri);
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (first, last) = (&plan["first_lsn"], &plan["last_lsn"]);
    let name = format!("{:020}-{:020}.json", first.as_u64().unwrap(), last.as_u64().unwrap());
    fs::write(old_shipments(&node).join(name), text).unwrap();
    let old = &node.config.shipper.dir;
    fs::write(old.join("reserve"), vec![0; 64 << 10]).unwrap();
    let noted = fs::read_to_string(earlier.join("partitions.json")).unwrap();
    let noted = noted.replace("file:///out", &node.config.destination.uri);
    fs::write(old.join("partitions.json"), noted).unwrap();
    for (output, file) in plan["outputs"].as_array().unwrap().iter().zip(step.files) {
        let directory = output["directory"].as_str().unwrap().trim_start_matches('/');
        let name = output["name"].as_str().unwrap();
        let whole = fs::read(earlier.join("out").join(directory).join(name)).unwrap();
        let directory = node.out().join(directory);
        fs::create_dir_all(&directory).unwrap();
        let temporary = directory.join(format!(".{name}.3.tmp"));
        match file {
            Nothing => {}
            Half => fs::write(temporary, &whole[..whole.len() / 2]).unwrap(),
            Temporary => fs::write(temporary, whole).unwrap(),
            Final => fs::write(directory.join(name), whole).unwrap(),
        }
    }
    node
}

#[test]
fn a_shipment_of_the_earlier_build_is_taken_up_at_each_step() {
    for step in STEPS {
        let node = left_by_the_earlier_build(step);
        let shipper =
            node.shipper(&["destination.path=/elsewhere", "destination.done_marker=true"]);
        let dry = shipper.run(&["--replay", "--dry-run"]).expect_success();
        assert!(dry.contains("1 shipments"), "{step:?}: {dry}");
        let replay = shipper.run(&["--replay"]);
        assert_eq!(replay.code, Some(0), "{step:?}: {replay:?}");
        let mut rows = Vec::new();
        for hour in ["00", "01"] {
            let dir = node.out().join("sewer/1970-01-01").join(hour);
            let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            let names: Vec<_> = names.collect();
            let is_file = |path: &&PathBuf| path.extension().is_some_and(|end| end == "seq");
            assert_eq!(names.iter().filter(is_file).count(), 1, "{step:?}: {names:?}");
            let markers = names.iter().filter(|path| path.to_string_lossy().contains("_SUCCESS-"));
            assert_eq!((markers.count(), names.len()), (1, 2), "{step:?}: {names:?}");
            let file = names.iter().find(is_file).unwrap();
            cat(fs::File::open(file).unwrap(), &mut rows).unwrap();
        }
        let mut found: Vec<u64> = Vec::new();
        for row in String::from_utf8(rows).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            found.push(row["request_path"].as_str().unwrap().parse().unwrap());
        }
        found.sort_unstable();
        assert_eq!(found, (0..12).collect::<Vec<_>>(), "{step:?}");
        assert!(!node.out().join("elsewhere").exists(), "{step:?}: nothing was planned anew");
        assert_eq!((node.left(), node.plans()), (0, 0), "{step:?}");
        let old = fs::read_dir(&node.config.shipper.dir).unwrap().count();
        assert_eq!(old, 0, "{step:?}: something is left in the old place");
    }
}

/// The plan of all that is sealed.
fn plan(node: &Node) -> Plan {
    let identity = look_up_identity(&node.layout).unwrap().unwrap();
    let mut backlog = Backlog::new(node.layout.clone(), identity.clone());
    backlog.refresh().unwrap();
    let due = backlog.due(&node.config.roll, &BTreeSet::new(), true).unwrap();
    plan::make(&node.layout, &identity, &due, &node.config, "h").unwrap()
}

/// A node whose file has its final name already, which the plan does not know. The file is of the
/// same rows, as a build with another codec library makes it: here, with another codec.
fn renamed_without_an_answer(is_confirmed: bool) -> (Node, PathBuf, Vec<u8>) {
    let mut node = Node::with_segments(&[&[2, 1], &[3]]);
    let mut plan = plan(&node);
    let path = node.out().join(plan.outputs[0].final_path().trim_start_matches('/'));
    let segments = node.dir.path().join("kept");
    copy(&node.layout.sealed_dir(), &segments);
    let compression = std::mem::replace(&mut node.config.destination.compression, Gzip);
    node.ship();
    node.config.destination.compression = compression;
    copy(&segments, &node.layout.sealed_dir());
    let content = fs::read(&path).unwrap();
    plan.outputs[0].confirmed = is_confirmed.then(|| Fingerprint::of(&content));
    Journal::open(&node.layout).unwrap().store(&plan).unwrap();
    (node, path, content)
}

#[test]
fn a_file_of_another_build_is_known_by_what_the_plan_remembers() {
    let (node, path, content) = renamed_without_an_answer(true);
    let shipped = node.ship();
    assert_eq!(shipped.errors, [""; 0], "{shipped:?}");
    assert_eq!((shipped.lsns.len(), node.left()), (6, 0));
    assert_eq!(fs::read(path).unwrap(), content, "it is as it was");
}

#[test]
fn a_file_that_nothing_remembers_is_compared_with_what_the_plan_yields() {
    let (node, path, content) = renamed_without_an_answer(false);
    let replay = node.shipper(&["retry.replay_patience=1s"]).run(&["--replay"]);
    assert_eq!(replay.code, Some(1), "{replay:?}");
    assert!(replay.stderr.contains("there is already a file of"), "{replay:?}");
    assert_eq!(node.left(), 2, "nothing is taken for delivered");
    assert_eq!(fs::read(path).unwrap(), content, "nor written over");
}
