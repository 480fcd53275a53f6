//! An image of a whole disk cannot be told from the original: when it is put back, the pixel gives
//! the LSNs behind it once more, to other events, whose files get names that are taken. They are
//! never taken for delivered: they wait for a person, or have names of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sewer_wal::{Batch, Event};

use crate::node::Node;

/// The content of every file below a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The disk with a WAL as it was at some time, down to the inode of `ID`, by which a copy of files
/// would be noticed.
struct Image {
    files: BTreeMap<PathBuf, Vec<u8>>,
    id: PathBuf,
}

impl Image {
    fn of(node: &Node) -> Self {
        let id = node.dir.path().join("ID");
        fs::hard_link(node.layout.id_file(), &id).unwrap();
        Self { files: contents(node.layout.root()), id }
    }

    fn put_back(self, node: &Node) {
        for path in contents(node.layout.root()).into_keys() {
            fs::remove_file(path).unwrap();
        }
        for (path, content) in self.files {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::rename(self.id, node.layout.id_file()).unwrap();
    }
}

/// Records ten events and seals them; those of another `life` are as long.
fn record(node: &Node, life: &str, count: u8) {
    let mut wal = node.open_wal();
    let mut batch = Batch::default();
    for number in 0..count {
        let path = format!("/{life}/{number:02}");
        let request_path = Some(path.as_bytes());
        batch.push(&Event { timestamp_ms: 5, request_path, ..Event::default() }).unwrap();
    }
    wal.append(&batch).unwrap();
    wal.close().unwrap();
}

/// The request paths of all rows.
fn paths(node: &Node) -> Vec<String> {
    let shipper = node.shipper(&[]);
    let is_final = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "seq");
    let files = contents(&node.out());
    let names = files.keys().filter(is_final).map(|path| path.display().to_string());
    let names: Vec<_> = names.collect();
    let names = names.iter().map(String::as_str);
    let rows = shipper.run(&["--cat"].into_iter().chain(names).collect::<Vec<_>>());
    let path = |row: &str| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        row["request_path"].as_str().unwrap().to_owned()
    };
    let mut paths: Vec<_> = rows.expect_success().lines().map(path).collect();
    paths.sort_unstable();
    paths
}

fn expected(lives: &[(&str, u8)]) -> Vec<String> {
    let of = |(life, count): &(&str, u8)| {
        let life = (*life).to_owned();
        (0..*count).map(move |number| format!("/{life}/{number:02}")).collect::<Vec<_>>()
    };
    lives.iter().flat_map(of).collect()
}

#[test]
fn events_whose_lsns_were_given_before_are_never_taken_for_delivered() {
    for compression in ["none", "snappy"] {
        let node = Node::new();
        drop(node.open_wal());
        let before = Image::of(&node);
        let compression = format!("destination.compression={compression}");
        let shipper = node.shipper(&[&compression, "retry.replay_patience=1s"]);
        record(&node, "first", 10);
        shipper.run(&["--replay"]).expect_success();
        assert_eq!(paths(&node), expected(&[("first", 10)]));

        before.put_back(&node);
        record(&node, "other", 10);
        let replay = shipper.run(&["--replay"]);
        assert_eq!(replay.code, Some(1), "{compression}: {replay:?}");
        assert!(replay.stderr.contains("there is already a file of"), "{replay:?}");
        assert!(
            replay.stderr.contains("ERROR") && replay.stderr.contains("conflict"),
            "{replay:?}"
        );
        assert_eq!(paths(&node), expected(&[("first", 10)]), "the old file is as it was");
        assert_eq!(node.bases(), [0], "its events are here");

        // A person moves the old file away.
        let is_final = |path: &PathBuf| path.extension().is_some_and(|end| end == "seq");
        let of_first = contents(&node.out()).into_keys().find(is_final).unwrap();
        fs::rename(&of_first, of_first.with_file_name("by-hand.seq")).unwrap();
        shipper.run(&["--replay"]).expect_success();
        assert_eq!(paths(&node), expected(&[("first", 10), ("other", 10)]));
        assert_eq!(node.left(), 0);
    }
}

#[test]
fn where_names_differ_what_shares_lsns_waits_for_a_person() {
    let node = Node::new();
    drop(node.open_wal());
    let before = Image::of(&node);
    let shipper = node.shipper(&["retry.replay_patience=1s"]);
    record(&node, "first", 10);
    shipper.run(&["--replay"]).expect_success();
    before.put_back(&node);
    record(&node, "other", 12);
    let replay = shipper.run(&["--replay"]);
    assert_eq!(replay.code, Some(1), "{replay:?}");
    assert!(replay.stderr.contains("have LSNs in common"), "{replay:?}");
    assert_eq!(paths(&node), expected(&[("first", 10)]));
    assert_eq!(node.bases(), [0], "its events are here");
}
