//! A directory that holds segments of several identities, as after the loss of what tells the next
//! LSN, or after a copy: each is shipped under its own, once, though their LSNs and the names of
//! their segments are the same. And a damaged `ID`, with which everything works that reads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytesize::ByteSize;
use sewer_shipper::plan;
use sewer_shipper::plan::backlog::Backlog;
use sewer_shipper::plan::journal::Journal;
use sewer_test_support::process::eventually;
use sewer_wal::{Identity, Lsn, SegmentName, WalId, look_up_identity};

use crate::node::{Node, append};

const WAIT: Duration = Duration::from_mins(1);

fn identity(node: &Node) -> Identity {
    look_up_identity(&node.layout).unwrap().expect("there is a WAL")
}

/// Appends a segment for each list of batches.
fn append_segments(node: &Node, segments: &[&[u64]]) {
    for batches in segments {
        let mut wal = node.open_wal();
        append(&mut wal, batches);
        wal.close().unwrap();
    }
}

/// A node with LSN 0 to 6 in three segments of one identity, and LSN 0 to 8 in three of another.
fn two_identities() -> (Node, WalId, WalId) {
    let node = Node::with_segments(&[&[1, 2], &[3], &[1]]);
    let first = identity(&node).id;
    node.forget_next_lsn();
    append_segments(&node, &[&[1, 2], &[2, 1], &[3]]);
    let Identity { id: second, earlier, .. } = identity(&node);
    assert_ne!(first, second);
    assert_eq!(earlier, [first]);
    (node, first, second)
}

/// How many files the destination has of each WAL, and their records together.
fn records(dir: &Path, found: &mut BTreeMap<String, (u64, u64)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            records(&path, found);
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let id = name.split('-').nth(1).unwrap().to_owned();
        let mut rows = Vec::new();
        let count =
            sewer_shipper::record::rows::cat(fs::File::open(&path).unwrap(), &mut rows).unwrap();
        let of_wal = found.entry(id).or_default();
        *of_wal = (of_wal.0 + 1, of_wal.1 + count);
    }
}

fn delivered(node: &Node) -> BTreeMap<String, (u64, u64)> {
    let mut found = BTreeMap::new();
    records(&node.out(), &mut found);
    found
}

/// Every LSN of either identity, once of each.
fn all_lsns() -> Vec<u64> {
    let mut lsns: Vec<_> = (0..7).chain(0..9).collect();
    lsns.sort_unstable();
    lsns
}

#[test]
fn each_identity_is_shipped_once_under_its_own_although_names_and_lsns_are_the_same() {
    for (max_bytes, files) in [(1, 3), (1 << 30, 1)] {
        let (mut node, first, second) = two_identities();
        let names = node.layout.sealed_names().unwrap();
        for wal_id in [None, Some(second)] {
            assert!(names.contains(&SegmentName { wal_id, base: Lsn(0) }), "{names:?}");
        }
        node.config.roll.max_bytes = ByteSize(max_bytes);
        let sets = [&format!("roll.max_bytes={max_bytes}B")[..]];
        let process = node.shipper(&sets);
        let dry = process.run(&["--replay", "--dry-run"]).expect_success();
        assert!(dry.contains(&format!("{} shipments, ", 2 * files)), "{dry}");
        assert!(
            dry.contains(&format!("LSN 0 to 2 of the WAL {first}")) == (max_bytes == 1),
            "{dry}"
        );
        let before = process.run(&["--audit"]).expect_success();

        let shipped = node.ship();
        assert_eq!((&shipped.set_aside[..], &shipped.errors[..]), (&[][..], &[][..]));
        assert_eq!(shipped.lsns, all_lsns());
        let found = delivered(&node);
        assert_eq!(found[&first.to_string()], (files, 7), "{found:?}");
        assert_eq!(found[&second.to_string()], (files, 9), "{found:?}");
        assert_eq!(node.left(), 0);
        let after = process.run(&["--audit"]).expect_success();
        for said in [before, after] {
            assert!(said.contains("complete from LSN 0 to LSN 8\n"), "{said}");
            let earlier = format!("of the WAL {first}, which was recorded here earlier:\n");
            let (_, said) = said.split_once(&earlier).unwrap_or_else(|| panic!("{said}"));
            assert!(said.contains("complete from LSN 0 to LSN 6\n"), "{said}");
        }
    }
}

#[test]
fn the_audit_names_what_is_missing_of_either_identity() {
    for of_earlier in [true, false] {
        let (mut node, first, second) = two_identities();
        node.config.roll.max_bytes = ByteSize(1);
        node.ship();
        let id = if of_earlier { first } else { second };
        let name = format!("h-{id}-{:020}-{:020}.seq", 3, 5);
        fs::remove_file(find(&node.out(), &name)).unwrap();
        let audit = node.shipper(&[]).run(&["--audit"]);
        assert_eq!(audit.code, Some(1), "{audit:?}");
        let (current, earlier) = audit.stdout.split_once("of the WAL").unwrap();
        let (named, sound) = if of_earlier { (earlier, current) } else { (current, earlier) };
        assert!(named.contains("GAP LSN 3..=5: 3 events are nowhere"), "{audit:?}");
        assert!(sound.contains("\ncomplete from LSN 0"), "{audit:?}");
    }
}

fn find(dir: &Path, name: &str) -> std::path::PathBuf {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return find(&path, name);
        }
        if path.file_name().is_some_and(|found| found == name) {
            return path;
        }
    }
    panic!("{name} is not in {}", dir.display());
}

#[test]
fn damage_is_reported_under_the_identity_that_it_is_of() {
    let (node, first, second) = two_identities();
    let names = [None, Some(second)].map(|wal_id| SegmentName { wal_id, base: Lsn(0) });
    // Nothing in the files tells whose they are.
    for name in names {
        fs::write(node.layout.sealed_file(name), vec![0; 500]).unwrap();
    }
    let shipped = node.ship();
    assert_eq!(shipped.counted.losses.events, 6, "{shipped:?}");
    for (name, id) in names.into_iter().zip([first, second]) {
        let report = fs::read(node.layout.quarantine_report(name)).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["wal_id"], id.to_string(), "{report}");
        assert_eq!((&report["segment"], &report["events_lost"]), (&0.into(), &3.into()));
        assert!(node.layout.quarantine_dir().join(name.to_string()).exists());
    }
    let audit = node.shipper(&[]).run(&["--audit"]);
    assert_eq!(audit.code, Some(1), "{audit:?}");
    assert_eq!(audit.stdout.matches("LOST to damage, as reported: LSN 0..=2").count(), 2);
}

/// The plans of both are for LSN 0 to 2, and both are taken up.
#[test]
fn plans_of_both_identities_are_taken_up() {
    let (mut node, first, second) = two_identities();
    node.config.roll.max_bytes = ByteSize(1);
    let identity = identity(&node);
    let mut backlog = Backlog::new(node.layout.clone(), identity.clone());
    backlog.refresh().unwrap();
    let journal = Journal::open(&node.layout).unwrap();
    let mut claimed = std::collections::BTreeSet::new();
    while let Some(due) = backlog.due(&node.config.roll, &claimed, true) {
        claimed.extend(due.segments.iter().map(|segment| segment.name));
        let plan = plan::make(&node.layout, &identity, &due, &node.config, "h").unwrap();
        journal.store(&plan).unwrap();
    }
    let plans = journal.load(&identity).unwrap().plans;
    let mut files: Vec<_> = plans.iter().map(plan::Plan::file_name).collect();
    files.sort_unstable();
    let range = |first: u64, last: u64| format!("{first:020}-{last:020}");
    let ranges = [(0, 2), (3, 5), (6, 6)].map(|(a, b)| format!("{}.json", range(a, b)));
    let mut expected = Vec::from(ranges);
    let ranges = [(0, 2), (3, 5), (6, 8)];
    expected.extend(ranges.map(|(a, b)| format!("{}-{second}.json", range(a, b))));
    expected.sort_unstable();
    assert_eq!(files, expected);
    let shipped = node.ship();
    assert_eq!(shipped.lsns, all_lsns(), "{shipped:?}");
    let found = delivered(&node);
    assert_eq!((found[&first.to_string()].1, found[&second.to_string()].1), (7, 9), "{found:?}");
}

/// The segments of one identity are gone when the plan for them is taken up, and another one has
/// come to use their names.
#[test]
fn a_published_plan_deletes_nothing_of_another_identity() {
    let node = Node::with_segments(&[&[1, 2]]);
    let first = identity(&node);
    let mut backlog = Backlog::new(node.layout.clone(), first.clone());
    backlog.refresh().unwrap();
    let claimed = std::collections::BTreeSet::new();
    let due = backlog.due(&node.config.roll, &claimed, true).unwrap();
    let mut published = plan::make(&node.layout, &first, &due, &node.config, "h").unwrap();
    node.ship();
    node.forget_next_lsn();
    append_segments(&node, &[&[1, 2]]);
    let second = identity(&node);
    assert_ne!(first.id, second.id);
    assert_eq!(node.layout.sealed_names().unwrap(), [Lsn(0).into()], "nothing else has that name");
    // As a power cut between the deletion of segments and that of the plan leaves it.
    published.published = true;
    for output in &mut published.outputs {
        output.published = true;
    }
    Journal::open(&node.layout).unwrap().store(&published).unwrap();
    let shipped = node.ship();
    assert_eq!(shipped.lsns, [0, 0, 1, 1, 2, 2], "{shipped:?}");
    let found = delivered(&node);
    assert_eq!(found[&second.id.to_string()], (1, 3), "{found:?}");
}

#[test]
fn an_identity_that_begins_while_the_shipper_runs_is_shipped_without_a_restart() {
    let node = Node::with_segments(&[&[1, 2], &[3], &[1]]);
    let first = identity(&node).id;
    let mut shipper = node.shipper(&["shipper.scan_interval=200ms"]);
    shipper.start();
    let is_done = || node.left() == 0 && node.plans() == 0;
    assert!(eventually(WAIT, is_done), "{}", shipper.process().log_tail());
    node.forget_next_lsn();
    append_segments(&node, &[&[1, 2], &[2, 1], &[3]]);
    assert!(eventually(WAIT, is_done), "{}", shipper.process().log_tail());
    assert_eq!(node.lsns(), all_lsns());
    let found = delivered(&node);
    assert_eq!((found[&first.to_string()].1, found.len()), (7, 2), "{found:?}");
    shipper.stop();
}

/// Jobs wait for as many markers as there are nodes.
#[test]
fn a_partition_gets_one_marker_of_a_node_that_has_had_two_identities() {
    let (node, _, second) = two_identities();
    let shipper = node.shipper(&["destination.done_marker=true"]);
    shipper.run(&["--replay"]).expect_success();
    let partition = fs::read_dir(node.out().join("sewer/1970-01-01/00")).unwrap();
    let names = partition.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let markers: Vec<_> = names.filter(|name| name.starts_with("_SUCCESS")).collect();
    assert_eq!(markers, [format!("_SUCCESS-h-{second}")]);
}

/// The copy of a directory goes on under an identity of its own, and ships what it came with under
/// that which it was recorded under.
#[test]
fn a_copied_directory_ships_what_it_holds_once() {
    let mut node = Node::with_segments(&[&[1, 2], &[3]]);
    // Where the file system tells when files are made, unlike some memory.
    let _original = std::mem::replace(&mut node.dir, tempfile::tempdir().unwrap());
    let original = node.layout.root().to_owned();
    node.layout = sewer_wal::Layout::new(node.dir.path().join("wal"));
    let status = Command::new("cp").arg("-a").arg(&original).arg(node.layout.root()).status();
    assert!(status.unwrap().success());
    node.config.wal.dir = node.layout.root().to_owned();
    node.config.shipper.dir = node.dir.path().join("shipper");
    node.config.destination.uri = format!("file://{}", node.dir.path().join("out").display());
    std::fs::create_dir(node.dir.path().join("out")).unwrap();
    let first = identity(&node).id;
    append_segments(&node, &[&[1, 2]]);
    let second = identity(&node).id;
    let shipped = node.ship();
    let found = delivered(&node);
    if first == second {
        println!("skipped: the file system does not tell when a file was made");
        assert_eq!(shipped.lsns, (0..9).collect::<Vec<_>>());
        return;
    }
    assert_eq!(shipped.lsns, [0, 0, 1, 1, 2, 2, 3, 4, 5], "{shipped:?}");
    assert_eq!((found[&first.to_string()].1, found[&second.to_string()].1), (6, 3), "{found:?}");
}

#[test]
fn with_a_damaged_or_missing_id_everything_that_reads_it_works() {
    let flip = |id: &[u8]| [&id[..3], &[id[3] ^ 1], &id[4..]].concat();
    let cut = |id: &[u8]| id[..5].to_vec();
    for index in 0..4 {
        let node = Node::with_segments(&[&[1, 2], &[3]]);
        let id = identity(&node).id;
        let sound = fs::read(node.layout.id_file()).unwrap();
        let zeros = vec![0; sound.len()];
        let bytes = [flip(&sound), cut(&sound), zeros, Vec::new()][index].clone();
        if bytes.is_empty() {
            fs::remove_file(node.layout.id_file()).unwrap();
        } else {
            fs::write(node.layout.id_file(), &bytes).unwrap();
        }
        let shipper = node.shipper(&[]);
        for args in [&["--check"][..], &["--replay", "--dry-run"], &["--audit"]] {
            let said = shipper.run(args).expect_success();
            assert!(said.contains(&id.to_string()), "damage {index}, {args:?}: {said}");
        }
        let left = fs::read(node.layout.id_file()).unwrap_or_default();
        assert_eq!(left, bytes, "who only reads leaves it as it is");
        shipper.run(&["--replay"]).expect_success();
        assert_eq!(node.lsns(), (0..6).collect::<Vec<_>>(), "damage {index}");
        let found = delivered(&node);
        assert_eq!(found.keys().collect::<Vec<_>>(), [&id.to_string()], "damage {index}");
        assert!(shipper.run(&["--audit"]).expect_success().contains("to LSN 5"));
    }
}
