//! `_SUCCESS` markers stay true, and come, on disks that move, and with notes that rot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sewer_wal::look_up_identity;

use crate::node::Node;

const MARK: &str = "destination.done_marker=true";

fn markers(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(markers(&path));
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && name.starts_with("_SUCCESS")
        {
            found.push(name.to_owned());
        }
    }
    found
}

fn id(node: &Node) -> String {
    look_up_identity(&node.layout).unwrap().unwrap().id.to_string()
}

fn notes(node: &Node) -> PathBuf {
    node.layout.shipments_dir().join("partitions.json")
}

/// A node whose shipper was stopped after it had noted a partition and before it marked it: by a
/// pixel that still had an event for it, here a log of which nothing is sealed.
fn with_an_open_partition() -> Node {
    let node = Node::with_segments(&[&[3]]);
    let mut wal = node.open_wal();
    crate::node::append(&mut wal, &[2]);
    node.shipper(&[MARK]).run(&["--replay"]).expect_success();
    assert_eq!(markers(&node.out()), [""; 0], "two events may still come");
    assert!(fs::read_to_string(notes(&node)).unwrap().contains("/sewer/1970-01-01/00"));
    wal.close().unwrap();
    node
}

#[test]
fn the_partitions_of_a_dead_node_are_marked_under_its_name_by_who_drains_its_disk() {
    let node = with_an_open_partition();
    let disk = node.dir.path().join("disk");
    let copied = Command::new("cp").arg("-a").arg(node.layout.root()).arg(&disk).status();
    assert!(copied.unwrap().success());
    let shipper = node.shipper(&[MARK, "shipper.host=another"]);
    let disk = disk.display().to_string();
    shipper.run(&["--replay", "--wal", &disk]).expect_success();
    assert_eq!(node.lsns(), (0..5).collect::<Vec<_>>());
    assert_eq!(markers(&node.out()), [format!("_SUCCESS-h-{}", id(&node))]);
    // The original, put back, has nothing to add.
    node.shipper(&[MARK]).run(&["--replay"]).expect_success();
    assert_eq!(node.lsns(), (0..5).collect::<Vec<_>>());
    assert_eq!(markers(&node.out()), [format!("_SUCCESS-h-{}", id(&node))]);
}

#[test]
fn a_damaged_list_of_open_partitions_stops_nothing_and_is_told() {
    for bit in [0, 100, 333] {
        let node = with_an_open_partition();
        let mut bytes = fs::read(notes(&node)).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(notes(&node), &bytes).unwrap();
        let replay = node.shipper(&[MARK]).run(&["--replay"]);
        assert_eq!(replay.code, Some(0), "{replay:?}");
        let told = "the list of open partitions is damaged";
        assert!(replay.stderr.contains("ERROR") && replay.stderr.contains(told), "{replay:?}");
        assert_eq!(fs::read(notes(&node).with_extension("json.damaged")).unwrap(), bytes);
        assert_eq!(node.lsns(), (0..5).collect::<Vec<_>>());
        assert_eq!(markers(&node.out()).len(), 1, "it was shipped into once more");
    }
}

#[test]
fn no_partition_is_marked_while_a_plan_cannot_be_read() {
    let node = with_an_open_partition();
    let plan = node.layout.shipments_dir().join(format!("{:020}-{:020}.json", 3, 4));
    fs::write(&plan, "{}").unwrap();
    let shipper = node.shipper(&[MARK]);
    assert_eq!(shipper.run(&["--replay"]).code, Some(1));
    assert_eq!((markers(&node.out()), node.lsns()), (Vec::new(), vec![0, 1, 2]));
    fs::remove_file(plan).unwrap();
    shipper.run(&["--replay"]).expect_success();
    assert_eq!((markers(&node.out()).len(), node.lsns().len()), (1, 5));
}
