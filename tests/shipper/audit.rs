//! `sewer-shipper --audit` says that every event is accounted for exactly when it is, and names
//! what is not by its LSN.

#[allow(dead_code)] // Made for the damage tests; only the node itself is needed here.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::node::{Node, append};
use bytesize::ByteSize;
use sewer_test_support::command::{self, without_own_variables};
use sewer_test_support::http;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Runs the audit and returns what it says, which must end with this exit code.
fn audit(node: &Node, code: i32) -> String {
    let config = node.dir.path().join("shipper.toml");
    fs::write(&config, toml::to_string(&node.config).unwrap()).unwrap();
    let mut command = Command::new(BINARY);
    command.arg("--audit").arg("--config").arg(config);
    let done = command::run(without_own_variables(&mut command), Duration::from_mins(1)).unwrap();
    assert_eq!(done.code, Some(code), "{done:?}");
    done.stdout
}

/// LSN 0 to 11 in three segments, each a shipment of its own.
fn node() -> Node {
    let mut node = Node::with_segments(&[&[2, 2], &[4], &[1, 3]]);
    node.config.roll.max_bytes = ByteSize(1);
    node
}

fn shipped() -> Node {
    let node = node();
    assert_eq!(node.ship().lsns.len(), 12);
    node
}

/// The final files, in the order of their LSNs.
fn outputs(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(outputs(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn what_is_all_at_the_destination_is_complete() {
    let node = shipped();
    let said = audit(&node, 0);
    assert!(said.contains("destination: 3 shipments, 3 files, 12 records"), "{said}");
    assert!(said.ends_with("complete from LSN 0 to LSN 11\n"), "{said}");
}

#[test]
fn a_backlog_shipped_in_part_is_complete_wherever_its_events_are() {
    let node = node();
    assert!(audit(&node, 0).ends_with("complete from LSN 0 to LSN 11\n"));
    let second = fs::read(node.sealed(4)).unwrap();
    fs::remove_file(node.sealed(4)).unwrap();
    assert_eq!(node.ship().lsns.len(), 8);
    let said = audit(&node, 1);
    assert!(said.contains("GAP LSN 4..=7: 4 events are nowhere"), "{said}");
    fs::write(node.sealed(4), second).unwrap();
    let mut wal = node.open_wal();
    append(&mut wal, &[2]);
    let said = audit(&node, 0);
    assert!(said.contains("local: 1 sealed segments, 4 events"), "{said}");
    assert!(said.ends_with("complete from LSN 0 to LSN 13\n"), "{said}");
}

#[test]
fn a_deleted_file_is_a_gap_named_by_its_lsns() {
    let hours = ["; their neighbours are in ", "; a neighbour of theirs is in "];
    for (index, lsns, hours) in [(1, "4..=7", hours[0]), (2, "8..=11", hours[1])] {
        let node = shipped();
        fs::remove_file(&outputs(&node.out())[index]).unwrap();
        let said = audit(&node, 1);
        let gap = format!("GAP LSN {lsns}: 4 events are nowhere{hours}/sewer/1970-01-01/00\n");
        assert!(said.contains(&gap), "{said}");
        assert!(said.contains("NOT complete: 1 problems"), "{said}");
    }
}

/// What is in a local segment tells it as well.
#[test]
fn a_gap_between_two_hours_is_told_with_both() {
    let mut node = node();
    node.config.destination.path = "/p/%S".into();
    let append_one = |events: u64| {
        let mut wal = node.open_wal();
        append(&mut wal, &[events]);
        wal.close().unwrap();
    };
    append_one(990);
    node.ship();
    append_one(1);
    let is_lost = |path: &PathBuf| path.to_string_lossy().ends_with("1001.seq");
    let lost: Vec<_> = outputs(&node.out()).into_iter().filter(is_lost).collect();
    assert_eq!(lost.len(), 2, "in two partitions");
    for path in &lost {
        fs::remove_file(path).unwrap();
    }
    let said = audit(&node, 1);
    let gap =
        "GAP LSN 12..=1001: 990 events are nowhere; their neighbours are in /p/01 and in /p/02";
    assert!(said.contains(gap), "{said}");
}

/// Its footer tells what it had, and nothing else does.
#[test]
fn a_segment_that_has_lost_its_head_is_not_complete() {
    let node = node();
    let mut bytes = fs::read(node.sealed(4)).unwrap();
    let half = bytes.len() / 2;
    bytes[..half].fill(0);
    fs::write(node.sealed(4), bytes).unwrap();
    let said = audit(&node, 1);
    assert!(said.contains("DAMAGED ") && said.contains("NOT complete: "), "{said}");
}

#[test]
fn what_cannot_be_looked_at_is_told_by_another_exit_code() {
    let mut node = shipped();
    node.config.destination.uri = "hdfs://127.0.0.1:27999".into();
    node.config.hdfs.rpc_timeout = Duration::from_secs(5);
    audit(&node, 3);
    fs::remove_dir_all(node.layout.root()).unwrap();
    audit(&node, 3);
}

#[test]
fn a_missing_partition_of_a_shipment_is_a_gap_in_its_records() {
    let mut node = node();
    node.config.destination.path = "/p/%S".into(); // LSN 0 to 11 are 1.000 s to 1.011 s
    node.config.roll.max_bytes = ByteSize(1 << 20);
    let mut wal = node.open_wal();
    append(&mut wal, &[990]);
    wal.close().unwrap();
    node.ship();
    let files = outputs(&node.out());
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(audit(&node, 0).contains("destination: 1 shipments, 2 files, 1002 records"));
    fs::remove_file(&files[1]).unwrap();
    let said = audit(&node, 1);
    assert!(
        said.contains("GAP LSN 0..=1001: 2 of 1002 records are in none of its 1 files"),
        "{said}"
    );
}

#[test]
fn a_doubled_file_is_an_overlap_named_by_its_lsns() {
    let node = shipped();
    let file = outputs(&node.out())[1].clone();
    let elsewhere = node.out().join("sewer/copy");
    fs::create_dir(&elsewhere).unwrap();
    let copy = elsewhere.join(file.file_name().unwrap());
    fs::copy(&file, &copy).unwrap();
    let said = audit(&node, 1);
    assert!(said.contains("OVERLAP LSN 4..=7: 4 records more than 4"), "{said}");
    // Under a name that its header does not bear out.
    let name = file.file_name().unwrap().to_str().unwrap().replace("007.seq", "008.seq");
    fs::rename(&copy, elsewhere.join(name)).unwrap();
    let said = audit(&node, 1);
    assert!(said.contains("its header is that of another file"), "{said}");
}

#[test]
fn a_segment_that_is_shipped_and_still_there_is_an_overlap() {
    let node = node();
    let segment = fs::read(node.sealed(4)).unwrap();
    node.ship();
    fs::write(node.sealed(4), segment).unwrap();
    let said = audit(&node, 1);
    assert!(said.contains("OVERLAP LSN 4..=7: both in"), "{said}");
}

#[test]
fn hidden_and_foreign_files_are_not_counted() {
    let node = shipped();
    let file = outputs(&node.out())[1].clone();
    let hidden = format!(".{}.1.tmp", file.file_name().unwrap().display());
    fs::copy(&file, file.with_file_name(&hidden)).unwrap();
    let id = sewer_wal::look_up_identity(&node.layout).unwrap().unwrap().id.to_string();
    let other = file.to_str().unwrap().replace(&id, "00000000000000ff");
    fs::copy(&file, other).unwrap();
    fs::write(file.with_file_name("_SUCCESS"), "").unwrap();
    let said = audit(&node, 0);
    assert!(said.contains("destination: 3 shipments, 3 files, 12 records"), "{said}");
    assert!(said.contains("hidden, not counted:") && said.contains(&hidden), "{said}");
}

#[test]
fn an_event_lost_to_damage_is_named_as_such_and_its_batch_is_accounted_for() {
    let node = node();
    let mut bytes = fs::read(node.sealed(4)).unwrap();
    let at = bytes.windows(5).position(|w| w == [1, 0, 0, 0, b'5']).unwrap();
    bytes[at + 4] ^= 0x80;
    fs::write(node.sealed(4), bytes).unwrap();
    assert_eq!(node.ship().lsns.len(), 11);
    let said = audit(&node, 1);
    assert!(said.contains("LOST to damage, as reported: LSN 5\n"), "{said}");
    assert!(said.contains("NOT complete: 1 problems"), "{said}");
}

#[test]
fn beside_a_pixel_and_a_shipper_at_work_it_raises_no_false_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let destination = format!("file://{}", directory.path().join("out").display());
    fs::create_dir(directory.path().join("out")).unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut shipper = Shipper::new(BINARY, directory.path(), &destination, &[]);
    shipper.start();
    shipper.wait_until_ready();
    let (address, done) = (pixel.address(), AtomicBool::new(false));
    let deadline = Instant::now() + Duration::from_secs(10);
    let (mut audits, mut last) = (0, String::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                http::get(&address, "/p").unwrap();
            }
        });
        while Instant::now() < deadline {
            let audit = shipper.run(&["--audit"]);
            done.store(audit.code != Some(0), Ordering::Relaxed);
            last = audit.expect_success();
            audits += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("{audits} audits; the last one:\n{last}");
    assert!(last.contains("complete from LSN 0"), "{last}");
    pixel.stop();
    shipper.stop();
}
