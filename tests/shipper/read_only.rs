//! `--replay --journal DIR`: the WAL on a disk that takes no writes is shipped, and nothing is
//! written into it; the same directory again, and nothing is shipped twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sewer_wal::Layout;

use crate::node::{Node, append};

/// A node with two sealed segments and a log that a dead pixel left; LSN 0 to 8.
fn node_with_a_log() -> Node {
    let node = Node::with_segments(&[&[2, 1], &[3]]);
    let mut wal = node.open_wal();
    append(&mut wal, &[1, 2]);
    // As a kill leaves it: nothing is sealed, nobody holds the lock.
    std::mem::forget(wal);
    node
}

/// Every file with its content, and every directory.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::from([(dir.to_owned(), Vec::new())]);
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

/// A copy of the WAL, which nobody has locked.
fn dead_disk(node: &Node) -> PathBuf {
    let disk = node.dir.path().join("disk");
    let copied = Command::new("cp").arg("-a").arg(node.layout.root()).arg(&disk).status();
    assert!(copied.unwrap().success());
    disk
}

#[test]
fn nothing_is_written_into_the_wal_and_a_second_replay_ships_nothing() {
    let node = node_with_a_log();
    let disk = dead_disk(&node);
    let before = tree(&disk);
    let (disk_text, journal) = (disk.display().to_string(), node.dir.path().join("journal"));
    let journal = journal.display().to_string();
    let shipper = node.shipper(&["roll.max_bytes=1B"]);
    let replay = ["--replay", "--wal", &disk_text, "--journal", &journal];
    let first = shipper.run(&replay).expect_success();
    assert!(first.contains("shipped 9 events in 3 files"), "{first}");
    assert_eq!(node.lsns(), (0..9).collect::<Vec<_>>());
    let second = shipper.run(&replay).expect_success();
    assert!(second.contains("shipped 0 events in 0 files"), "{second}");
    assert_eq!(node.lsns(), (0..9).collect::<Vec<_>>());
    assert_eq!(tree(&disk), before);

    // Another directory knows nothing, and finds it at the destination.
    let other = node.dir.path().join("other").display().to_string();
    let shipper = node.shipper(&["roll.max_bytes=1GiB"]);
    let third = shipper.run(&["--replay", "--wal", &disk_text, "--journal", &other]);
    third.expect_success();
    assert_eq!(node.lsns(), (0..9).collect::<Vec<_>>());
    // And so does whoever gets the disk once it takes writes again.
    shipper.run(&["--replay", "--wal", &disk_text]).expect_success();
    assert_eq!(node.lsns(), (0..9).collect::<Vec<_>>());
    assert_eq!(Layout::new(disk).sealed_names().unwrap(), []);
}

#[test]
fn the_journal_of_one_wal_is_not_taken_for_that_of_another() {
    let (node, other) = (Node::with_segments(&[&[3]]), Node::with_segments(&[&[2]]));
    let journal = node.dir.path().join("journal").display().to_string();
    let shipper = node.shipper(&[]);
    shipper.run(&["--replay", "--journal", &journal]).expect_success();
    let wal = other.layout.root().display().to_string();
    let refused = shipper.run(&["--replay", "--wal", &wal, "--journal", &journal]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("stands for the WAL"), "{refused:?}");
    assert_eq!(node.lsns(), [0, 1, 2]);
}

/// A directory mounted so that it takes no writes; unmounted when dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(dir: &Path) -> Option<Self> {
        let mount = |args: &[&str]| {
            let status = Command::new("mount").args(args).arg(dir).status();
            status.is_ok_and(|status| status.success())
        };
        let own = dir.display().to_string();
        if !mount(&["--bind", &own]) {
            return None;
        }
        let mounted = Self(dir.to_owned());
        mount(&["-o", "remount,bind,ro"]).then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "umount {}", self.0.display());
    }
}

#[test]
fn a_read_only_mount_is_shipped_by_way_of_a_journal_and_only_so() {
    let node = node_with_a_log();
    let disk = dead_disk(&node);
    let Some(_mounted) = ReadOnly::mount(&disk) else {
        eprintln!("skipped: nothing can be mounted here");
        return;
    };
    let disk = disk.display().to_string();
    let shipper = node.shipper(&[]);
    let refused = shipper.run(&["--replay", "--wal", &disk]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let told = "is on a read-only file system";
    assert!(refused.stderr.contains(told) && refused.stderr.contains("--journal"), "{refused:?}");
    for looks in [&["--replay", "--dry-run", "--wal", &disk][..], &["--audit", "--wal", &disk]] {
        shipper.run(looks).expect_success();
    }
    let journal = node.dir.path().join("journal").display().to_string();
    for _ in 0..2 {
        shipper.run(&["--replay", "--wal", &disk, "--journal", &journal]).expect_success();
        assert_eq!(node.lsns(), (0..9).collect::<Vec<_>>());
    }
}
