//! DataNodes that die, freeze and come back while files are written to them: three of them, and
//! three replicas of every file. The rows and their checks: `sewer_test_support::faults`.

use std::time::Duration;

use sewer_test_support::faults::{Matrix, Rig, RigOptions, Row, freeze, wait_for_replica};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::process::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

const DATANODES: usize = 3;

/// How long a fault lasts that has no length of its own: many shipments, and several retries.
const WHILE: Duration = Duration::from_secs(6);

/// How long it may take until something is shipped to what is left of the DataNodes. Which ones a
/// file gets is up to the NameNode's dice: with two of three dead, one attempt of three succeeds.
const FEWER_WAIT: Duration = Duration::from_secs(90);

/// So much of a block has arrived, and more is to come, when a DataNode is struck mid-write.
const MID_WRITE_BYTES: u64 = 256 << 10;

/// Files of some megabytes, so that one can be caught while its data flows.
fn options() -> RigOptions {
    RigOptions {
        shipper: vec!["hdfs.replication=3".into(), "roll.max_age=1s".into()],
        padding_bytes: 6 << 10,
        ..RigOptions::default()
    }
}

fn row(fault: &str, step: &str) -> Row {
    Row::new(fault, step).ends_with_replication(3)
}

/// Waits until a few more files are shipped, while DataNodes are dead and the NameNode has not
/// noticed.
fn expect_shipping(rig: &Rig<'_>) {
    let files = || rig.metrics()["sewer_shipper_files_total"];
    let before = files();
    let shipped = eventually(FEWER_WAIT, || files() > before + 1.5);
    let (after, alarms) = (files(), rig.alarms().join("\n"));
    assert!(shipped, "shipped to fewer DataNodes: {before} files, then {after}\n{alarms}");
}

fn bring_back(rig: &Rig<'_>) {
    (0..DATANODES).for_each(|i| rig.hdfs().datanode(i).start());
    rig.hdfs().wait_until_ready();
}

fn rows_of_one(matrix: &mut Matrix, hdfs: &Hdfs) {
    let killed = row("one of three DataNodes killed", "mid-write").in_slice();
    matrix.row(hdfs, &killed, &options(), |rig| {
        let victim = wait_for_replica(rig.hdfs(), DATANODES, MID_WRITE_BYTES);
        rig.hdfs().datanode(victim).kill();
        expect_shipping(rig);
        bring_back(rig);
    });
    let dead = row("one of three DataNodes dead, not noticed", "before the file is made")
        .in_slice()
        .tells("connection")
        .tells("datanode");
    matrix.row(hdfs, &dead, &options(), |rig| {
        rig.hdfs().datanode(1).kill();
        expect_shipping(rig);
        bring_back(rig);
    });
    let fault = format!("one of three DataNodes frozen for {} s", freeze().as_secs());
    let frozen = row(&fault, "mid-write").in_slice().freezes().tells("timeout").tells("datanode");
    matrix.row(hdfs, &frozen, &options(), |rig| {
        let victim = wait_for_replica(rig.hdfs(), DATANODES, MID_WRITE_BYTES);
        rig.hdfs().datanode(victim).freeze();
        std::thread::sleep(freeze());
        rig.hdfs().datanode(victim).thaw();
    });
    let restarted = row("one of three DataNodes restarted", "mid-write");
    matrix.row(hdfs, &restarted, &options(), |rig| {
        let victim = wait_for_replica(rig.hdfs(), DATANODES, MID_WRITE_BYTES);
        rig.hdfs().datanode(victim).restart();
    });
}

fn rows_of_more(matrix: &mut Matrix, hdfs: &Hdfs) {
    let two =
        row("two of three DataNodes killed", "mid-write").tells("connection").tells("datanode");
    matrix.row(hdfs, &two, &options(), |rig| {
        let victim = wait_for_replica(rig.hdfs(), DATANODES, MID_WRITE_BYTES);
        rig.hdfs().datanode(victim).kill();
        rig.hdfs().datanode((victim + 1) % DATANODES).kill();
        expect_shipping(rig);
        bring_back(rig);
    });
    let all = row("all DataNodes killed, then back", "mid-write").tells("connection");
    matrix.row(hdfs, &all, &options(), |rig| {
        wait_for_replica(rig.hdfs(), DATANODES, MID_WRITE_BYTES);
        (0..DATANODES).for_each(|i| rig.hdfs().datanode(i).kill());
        std::thread::sleep(WHILE);
        bring_back(rig);
    });
}

#[test]
fn events_arrive_exactly_once_whatever_datanodes_do() {
    if !hdfs::available_or_skip("faults::datanodes") {
        return;
    }
    let mut matrix = Matrix::new(BINARY);
    let hdfs =
        Hdfs::start(&HdfsOptions { datanodes: DATANODES, replication: 3, ..Default::default() });
    rows_of_one(&mut matrix, &hdfs);
    rows_of_more(&mut matrix, &hdfs);
    matrix.finish();
}
